"""The examples as people start them, with examples/run.py, and their pages in real browsers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "wire"))

from support.browsers import KINDS, Browser  # pylint: disable=wrong-import-position

BUILD = os.environ.get("SLUICE_BUILD") or os.path.join(ROOT, "build")
# What a visitor does, in the page itself. `until` looks again after every task.
VISITOR = """
    const $ = (id) => document.getElementById(id);
    const until = async (what, condition) => {
      const end = performance.now() + 30000;
      for (let value; !(value = await condition());) {
        if (performance.now() > end)
          throw new Error(`never: ${what}; the page says: ${document.body.innerText.slice(0, 1500)}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const fill = (id, text) => { $(id).value = text; $(id).dispatchEvent(new Event('input')); };
    const submit = (id) => $(id).requestSubmit();
    await until('connected', () => $('state').dataset.state === 'connected');
"""


class Example:
    """One that runs. Of ports that were free at first one may be taken since: then with others."""

    def __init__(self, name):
        for _ in range(3):
            ports = [free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)]
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(ROOT, "examples", "run.py"), name, "--build", BUILD,
                 "--port", str(ports[0]), "--page", str(ports[1])], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
            self.said = ""
            for line in self.process.stdout:
                self.said += line
                if "Ctrl-C" in line:
                    break
            if self.process.poll() is None or "cannot be used" not in self.said:
                break
        self.page = self._find(r"page +(\S+)")
        self.socket = self._find(r"service +unix:(\S+)")
        self.folder = re.match(r"(.*/sluice-example-[^/]+)/", self.socket)[1]

    def _find(self, pattern):
        found = re.search(pattern, self.said)
        assert found, f"the example did not start:\n{self.said}{self.process.stdout.read()}"
        return found[1]

    def told(self):
        """What the page is told."""
        with urllib.request.urlopen(f"{self.page}session.json") as answer:
            return json.load(answer)

    def visit(self, browser, script, **args):
        return browser.run(VISITOR + script, timeout=60, page=self.page, **args)

    def children(self):
        return subprocess.run(["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE, text=True,
                              check=False).stdout.split()

    def stop(self):
        """As Ctrl-C does: nothing is left behind."""
        children = self.children()
        assert len(children) == 2  # the service and the proxy
        self.process.send_signal(signal.SIGINT)
        rest = self.process.stdout.read()
        assert self.process.wait(30) == 0, rest
        assert rest.endswith("\nended.\n") and "Traceback" not in rest, rest
        assert not os.path.exists(self.folder)
        assert not [child for child in children if os.path.exists(f"/proc/{child}")]


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session", params=KINDS)
def browser(request):
    started = Browser(request.param, "about:blank")
    yield started
    started.stop()


def started(name):
    @pytest.fixture(scope="module")
    def example():
        running = Example(name)
        yield running
        running.stop()
    return example


redis = started("redis")
postgresql = started("postgresql")
terminal = started("terminal")
