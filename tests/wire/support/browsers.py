"""One long-lived headless browser that runs scenarios: an async JavaScript function text in,
plain data out. The driver is browser/driver.js."""

import http.server
import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading

HERE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "browser"))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
MODULES = os.environ.get("NODE_PATH") or os.path.abspath(
    os.path.join(HERE, "..", "..", "..", "build", "wire", "browser", "node_modules"))
KINDS = ("chromium", "firefox")


class ScenarioFailed(AssertionError):
    pass


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


    def translate_path(self, path):
        # The module for pages, where it stands in the project.
        self.directory = ROOT if path.startswith("/backends/js/") else HERE
        return super().translate_path(path)


class PageServer:
    """Serves the folder browser/ on http://localhost:PORT, which browsers call secure."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
        self.url = f"http://localhost:{self.server.server_address[1]}/page.html"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Browser:
    def __init__(self, kind, page_url):
        self.kind = kind
        self.ids = itertools.count(1)
        self.waiting = {}
        self.profile = tempfile.mkdtemp(prefix=f"sluice-{kind}-")
        self.errors = tempfile.TemporaryFile("w+")
        self.node = subprocess.Popen(
            ["node", os.path.join(HERE, "driver.js"), kind, page_url, self.profile],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, "NODE_PATH": MODULES, "HOME": self.profile})
        first = json.loads(self.node.stdout.readline() or "{}")
        if not first.get("ready"):
            raise RuntimeError(f"{kind} did not start: {first.get('error')}\n{self._stderr()}")
        self.version = first["version"]
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def major(self):
        return int(re.search(r"(\d+)\.", self.version).group(1))

    def _stderr(self):
        self.errors.seek(0)
        return self.errors.read()[-4000:]

    def _read(self):
        for line in self.node.stdout:
            answer = json.loads(line)
            self.waiting.pop(answer["id"]).put(answer)
        for box in list(self.waiting.values()):
            box.put({"ok": False, "error": "the browser driver ended: " + self._stderr()})

    def start(self, script, timeout=40, page=None, **args):
        """Begins a scenario; result() of what it returns waits for its end."""
        box = queue.Queue()
        number = next(self.ids)
        self.waiting[number] = box
        command = {"id": number, "script": script, "args": args, "timeout_ms": int(timeout * 1000)}
        if page:
            command["page"] = page
        self.node.stdin.write(json.dumps(command) + "\n")
        self.node.stdin.flush()
        return _Scenario(self, box, timeout)

    def run(self, script, timeout=40, page=None, **args):
        return self.start(script, timeout, page, **args).result()

    def stop(self):
        self.node.stdin.close()
        try:
            self.node.wait(15)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class _Scenario:
    def __init__(self, browser, box, timeout):
        self.browser, self.box, self.timeout = browser, box, timeout

    def result(self):
        answer = self.box.get(timeout=self.timeout + 40)
        if not answer["ok"]:
            console = "\n".join(answer.get("console", []))
            raise ScenarioFailed(f"{self.browser.kind} {self.browser.version}: {answer['error']}\n"
                                 f"console:\n{console}")
        return answer["value"]
