"""Starts one of the examples: its service, Sluice as a bridge to it, and a server for its page.

    examples/run.py redis|postgresql|terminal [--port 4433] [--page 8000] [--build build]

make example-redis and so on call this after they have installed and built what it takes. Everything
runs in a temporary folder and listens on this machine only; Ctrl-C ends all of it.
"""

import argparse
import contextlib
import functools
import glob
import http.server
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))
from demo import check_free, end, fail, healthy, wait_until  # pylint: disable=wrong-import-position

HERE = "127.0.0.1"
EXAMPLES = ROOT / "examples"
# What the page server shows, by the first part of the path.
FOLDERS = {"page": EXAMPLES / "page", "sluice": ROOT / "backends/js"}


class Service:
    """One of the services: started in `folder`, listening at the Unix socket `socket`."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = os.path.join(folder, "service.sock")
        self.token = ""  # the page and the session have it in their paths
        self.told = {}  # what the page needs to know

    def prepare(self):
        """Before it is started."""

    def settle(self):
        """When it listens."""

    def identity(self):
        """Who runs it: options of Popen."""
        return {}

    def ready(self):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            return probe.connect_ex(self.socket) == 0


class Redis(Service):
    def command(self):
        return [program("redis-server"), "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700",
                "--dir", self.folder, "--save", "", "--appendonly", "no", "--logfile", "redis.log"]


class PostgreSQL(Service):
    """With a user who needs a password, and a table. It does not run as root."""

    user = "postgres" if os.geteuid() == 0 else None

    def __init__(self, folder):
        super().__init__(folder)
        self.home = os.path.join(folder, "postgresql")
        self.socket = os.path.join(self.home, ".s.PGSQL.5432")
        self.password = secrets.token_urlsafe(12)
        self.told = {"user": "sluice", "password": self.password, "database": "postgres"}

    def tool(self, name):
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
        return program(name, *folders[-1:])

    def identity(self):
        return {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}

    def prepare(self):
        os.mkdir(self.home, 0o700)
        if self.user:
            os.chmod(self.folder, 0o711)  # its own folder is closed to others
            shutil.chown(self.home, self.user)
        secret = os.path.join(self.home, "password")
        write_secret(secret, self.password)
        if self.user:
            shutil.chown(secret, self.user)
        self.run("initdb", "-D", f"{self.home}/data", "-U", "sluice", "-A", "scram-sha-256", "--pwfile", secret,
                 "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync")

    def command(self):
        return [self.tool("postgres"), "-D", f"{self.home}/data", "-c", "listen_addresses=",
                "-c", f"unix_socket_directories={self.home}", "-c", "fsync=off", "-c", "log_min_messages=fatal",
                "-c", "logging_collector=off"]

    def ready(self):
        return self.run("pg_isready", "-q", "-h", self.home, check=False) == 0

    def settle(self):
        with open(EXAMPLES / "postgresql/planets.sql", "rb") as table:
            self.run("psql", "-h", self.home, "-U", "sluice", "-d", "postgres", "-Xq", "-v", "ON_ERROR_STOP=1",
                     stdin=table, env={**os.environ, "PGPASSWORD": self.password})

    def run(self, tool, *arguments, check=True, **options):
        done = subprocess.run([self.tool(tool), *arguments], cwd=self.home, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, **self.identity(), **options)
        if check and done.returncode:
            fail(f"{tool} did not work:\n{done.stdout.decode(errors='replace')}")
        return done.returncode


class Terminal(Service):
    def __init__(self, folder):
        super().__init__(folder)
        self.token = secrets.token_hex(16)

    def command(self):
        return [sys.executable, EXAMPLES / "terminal/shell.py", "--bind", self.socket]


SERVICES = {"redis": Redis, "postgresql": PostgreSQL, "terminal": Terminal}


def program(name, *folders):
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    return found or fail(f"{name} is not installed; make example-... installs what an example takes.")


def write_secret(path, text):
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


class Pages(http.server.SimpleHTTPRequestHandler):
    """The files of one example, and session.json: where to connect, and what else the page needs."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map,
                      ".js": "text/javascript", ".mjs": "text/javascript"}

    def __init__(self, *args, example, base, session, **options):
        self.example, self.base, self.session = example, base, session
        super().__init__(*args, **options)

    def parse_request(self):
        if not super().parse_request():
            return False
        # Another name that leads here is somebody else's page, which wants to read this one.
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in ("localhost", HERE) or not self.path.startswith(self.base):
            self.send_error(404)
            return False
        return True

    def do_GET(self):  # pylint: disable=invalid-name
        if self.path == f"{self.base}session.json":
            self.send_json(self.session())
        else:
            super().do_GET()

    def send_json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def translate_path(self, path):
        first, _, rest = path[len(self.base):].partition("/")
        self.directory = str(FOLDERS.get(first, EXAMPLES / self.example))
        return super().translate_path("/" + (rest if first in FOLDERS else path[len(self.base):]))

    def list_directory(self, path):
        self.send_error(404)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


def configuration(name, service, options, admin):
    """Sluice's: one route to one bridge. JSON is YAML, too."""
    route = {"path": session_path(name, service), "backend": name,
             "origins": [f"http://{host}:{options.page}" for host in ("localhost", HERE)]}
    return json.dumps({
        "listeners": [{"address": f"{HERE}:{options.port}"}],
        "certificates": [{"cert": "auto"}],
        "backends": {name: {"kind": "bridge", "addresses": [f"unix:{service.socket}"]}},
        "routes": [route],
        "admin": f"{HERE}:{admin}",
        "drain_timeout": "1s",
        "log_level": "warn",
    }, indent=2)


def session_path(name, service):
    return f"/{name}" + (f"/{service.token}" if service.token else "")


def start_pages(name, service, options, admin):
    """Returns the address of the page."""
    base = f"/{service.token}/" if service.token else "/"

    def session():
        # Asked anew each time: an automatic certificate does not live long.
        with urllib.request.urlopen(f"http://{HERE}:{admin}/certificate.json", timeout=5) as answer:
            hashes = json.load(answer)["hashes"]
        url = f"https://{HERE}:{options.port}{session_path(name, service)}"
        return {"url": url, "certificate": hashes, **service.told}

    server = http.server.ThreadingHTTPServer((HERE, options.page), functools.partial(
        Pages, example=name, base=base, session=session))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://localhost:{options.page}{base}"


def run(name, options, folder, children):
    service = SERVICES[name](folder)
    print(f"starting {name} and the proxy...", flush=True)
    service.prepare()
    # Own process groups: Ctrl-C reaches this program only, which then ends them in order.
    children[name] = subprocess.Popen(service.command(), start_new_session=True, stdin=subprocess.DEVNULL,
                                      cwd=folder, **service.identity())
    wait_until(service.ready, children)
    service.settle()
    admin, config = free_port(), os.path.join(folder, "sluice.yaml")
    write_secret(config, configuration(name, service, options, admin))
    children["the proxy"] = subprocess.Popen(
        [(ROOT / options.build).resolve() / "proxy/sluice", "--config", config], start_new_session=True)
    wait_until(lambda: healthy(f"http://{HERE}:{admin}/healthz"), children)
    print(f"\n  page          {start_pages(name, service, options, admin)}"
          f"\n  WebTransport  https://{HERE}:{options.port}{session_path(name, service)}"
          f"\n  service       unix:{service.socket}"
          "\n\nOpen the page in Chromium or Firefox on this machine. Ctrl-C ends everything.\n", flush=True)
    while True:
        for what, child in children.items():
            if child.poll() is not None:
                fail(f"{what} ended (status {child.returncode}); its reason is above.")
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(SERVICES))
    parser.add_argument("--port", type=int, default=4433, help="UDP port for WebTransport")
    parser.add_argument("--page", type=int, default=8000, help="TCP port for the page")
    parser.add_argument("--build", default="build", help="folder with the built programs")
    options = parser.parse_args()
    check_free(socket.SOCK_DGRAM, HERE, options.port, f"make example-{options.name} PORT=4434")
    check_free(socket.SOCK_STREAM, HERE, options.page, f"make example-{options.name} PAGE=8001")

    children = {}
    with tempfile.TemporaryDirectory(prefix="sluice-example-") as folder, contextlib.ExitStack() as stack:
        stack.callback(end, children)
        run(options.name, options, folder, children)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        main()
    except KeyboardInterrupt:
        print("\nended.")
