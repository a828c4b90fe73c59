"""Starts the real binary, reads its log, and holds it to its promises when it stops."""

import base64
import datetime
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("SLUICE_BUILD", os.path.join(ROOT, "build"))
BINARY = os.path.join(BUILD, "proxy", "sluice")
TIMEOUT = 40  # seconds until what does not come is given up; nothing is measured by it
WORKERS = int(os.environ.get("SLUICE_WORKERS", "1"))
GAUGES = ("connections", "requests", "sessions", "streams", "links", "send_bytes", "receive_bytes",
          "datagrams")

_FIELD = re.compile(r'([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_logfmt(line):
    fields = {}
    for key, value in _FIELD.findall(line):
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        fields[key] = value
    return fields


def is_it(text, wanted):
    return bool(wanted.search(text)) if isinstance(wanted, re.Pattern) else text == wanted


class _UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Logged:
    """A process whose stderr is a log of sluice, read as it is written."""

    def __init__(self, command, **options):
        self.lines = []
        self.events = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                                        errors="replace", **options)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                fields = parse_logfmt(line)
                if "event" in fields:
                    self.events.append(fields)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def find(self, event, has=None, start=0, **fields):
        """Log lines of this event whose fields are these (a compiled pattern is searched for)."""
        def fits(line):
            if not is_it(line["event"], event) or (has and has not in line):
                return False
            return all(is_it(line.get(key, ""), want) if isinstance(want, re.Pattern)
                       else line.get(key) == str(want) for key, want in fields.items())
        return [line for line in self.events[start:] if fits(line)]

    def wait_log(self, event, has=None, timeout=TIMEOUT, start=0, **fields):
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                found = self.find(event, has, start, **fields)
                if found:
                    return found[0]
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self.reader.is_alive()):
                    raise AssertionError(f"no log line event={event} {fields}; log:\n" + self.log())
                self.changed.wait(min(left, 0.2))

    def wait_lines(self, count, event, timeout=TIMEOUT, **fields):
        """Until there are so many of them; no more."""
        end = time.monotonic() + timeout
        with self.changed:
            while len(self.find(event, **fields)) < count:
                left = end - time.monotonic()
                assert left > 0, f"{self.find(event, **fields)}, not {count}; log:\n{self.log()}"
                self.changed.wait(min(left, 0.2))
        assert len(self.find(event, **fields)) == count

    def wait_line(self, pattern, timeout=TIMEOUT):
        """Like wait_log, for lines that are not a log's."""
        end = time.monotonic() + timeout
        with self.changed:
            while not any(re.search(pattern, line) for line in self.lines):
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self.reader.is_alive()):
                    raise AssertionError(f"no line with {pattern}:\n" + self.log())
                self.changed.wait(min(left, 0.2))

    def learn_address(self):
        """Waits until sluice listens; url() and at() need it."""
        listening = self.wait_log("listening", has="port")
        self.host = listening["address"].strip("[]")
        self.port = int(listening["port"])
        self.hash = self.wait_log("certificate", has="hash")["hash"]

    def url(self, path="/"):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{path}"

    @property
    def hash_base64(self):
        """The certificate's SHA-256 as browsers' scenarios take it."""
        digest = bytes.fromhex(self.hash.replace(":", "")) if len(self.hash) >= 64 \
            else base64.b64decode(self.hash)
        assert len(digest) == 32, self.hash
        return base64.b64encode(digest).decode()

    def at(self, path="/"):
        """The arguments of a browser's scenario that connects here."""
        return {"url": self.url(path), "hash": self.hash_base64}

    def seconds_between(self, first, second):
        """From the first line of one event to that of another, by the log's own clock."""
        begun, ended = (datetime.datetime.fromisoformat(self.wait_log(event)["time"].rstrip("Z"))
                        for event in (first, second))
        return (ended - begun).total_seconds()

    def log(self, last=60):
        return "\n".join(self.lines[-last:])

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def join(self, timeout=TIMEOUT):
        """Waits for the end after terminate(): exit code 0 and nothing leaked."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("sluice did not end within "
                                 f"{timeout} s of SIGTERM\n{self.log()}") from None
        self.reader.join(TIMEOUT)
        assert code == 0, f"exit code {code}\n{self.log()}"
        leaks = [line for line in self.events if line["event"] == "leak"]
        assert not leaks, leaks

    def stop(self):
        if self.process.poll() is None:
            self.terminate()
        self.join()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Proxy(Logged):
    """sluice in front of an application or a bridge, with its log and its admin listener at hand."""

    def __init__(self, directory, app, *, listen="127.0.0.1:0", workers=WORKERS, arguments=(),
                 admin=None, config=None, environment=None, bridge=()):
        """config: the path of a file that says all but admin, workers and log level; bridge:
        addresses."""
        self.config = config
        self.admin_path = os.path.join(directory, "admin.sock")
        self.admin = admin or f"unix:{self.admin_path}"
        served = ["--config", config] if config else \
            ["--listen", listen, "--cert", "auto", *(["--app", app] if app else ()),
             *(f"--bridge={address}" for address in bridge)]
        command = [BINARY, *served, "--admin", self.admin, "--workers", str(workers), "--log-level", "debug",
                   *arguments]
        super().__init__(command, env={**os.environ, **(environment or {})})
        self.learn_address()

    @property
    def admin_port(self):
        return int(self.wait_log("listening", has="admin_port")["admin_port"])

    def get(self, path):
        """GET from the admin listener: (status, body)."""
        status, body, _ = self.ask(path)
        return status, body

    def ask(self, path):
        """The same with the headers: (status, body, headers)."""
        if self.admin.startswith("unix:"):
            connection = _UnixHTTPConnection(self.admin_path)
        else:
            connection = http.client.HTTPConnection("localhost", self.admin_port, timeout=TIMEOUT)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body, response.headers

    def stats(self):
        status, body = self.get("/stats")
        assert status == 200, (status, body)
        flat = {}

        def walk(value):
            for key, item in value.items():
                if isinstance(item, dict):
                    walk(item)
                else:
                    flat[key] = item
        walk(json.loads(body))
        return flat

    def gauges(self):
        stats = self.stats()
        return {name: stats[name] for name in GAUGES}

    def wait_stats(self, condition, timeout=TIMEOUT):
        """Until condition(stats) holds; returns them."""
        end = time.monotonic() + timeout
        while True:
            stats = self.stats()
            if condition(stats):
                return stats
            assert time.monotonic() < end, f"still {stats}\n{self.log()}"
            time.sleep(0.02)

    def wait_idle(self, timeout=TIMEOUT, but=()):
        """Until everything that lives is gone; names in `but` may stay (a browser's connection)."""
        self.wait_stats(lambda s: not any(s[g] for g in GAUGES if g not in but), timeout)

    def rss_kib(self):
        """Without pages of files: how much of its libraries is there depends on the machine's cache."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
        raise AssertionError("no RssAnon")
