"""Fixtures of the wire tests: the real binary, over UDP, with real browsers."""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALLED = os.path.join(HERE, "..", "..", "build", "wire")

# Quick when everything is there; tests/support/setup has usually been before.
subprocess.run([os.path.join(HERE, "setup.sh")], check=True)
# Before the system's own packages: some of them are too old for it.
sys.path[:0] = glob.glob(os.path.join(INSTALLED, "venv/lib/python3*/site-packages"))

# pylint: disable=wrong-import-position
from support.browsers import KINDS, Browser, PageServer
from support.proxy import Proxy
from support.rawapp import RawApp
from support.service import Bridge
from support.stuck import Stage

SOAK = os.environ.get("SOAK") == "1"
REPEAT = int(os.environ.get("REPEAT", "60" if SOAK else "3"))


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: takes long; runs with SOAK=1 only")
    config.addinivalue_line("markers", "firefox_since(major, why): skips older Firefox")


def pytest_collection_modifyitems(items):
    if SOAK:
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="takes long; runs in make soak (SOAK=1)"))


@pytest.fixture(scope="session")
def page_server():
    server = PageServer()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=KINDS)
def one_browser(request, page_server):
    browser = Browser(request.param, page_server.url)
    yield browser
    browser.stop()


@pytest.fixture
def browser(one_browser, request):
    since = request.node.get_closest_marker("firefox_since")
    if since and one_browser.kind == "firefox" and one_browser.major < since.args[0]:
        pytest.skip(f"Firefox {one_browser.major} is older than {since.args[0]}: {since.args[1]}")
    return one_browser


@pytest.fixture
def directory():
    """A folder with a path short enough for Unix sockets."""
    path = tempfile.mkdtemp(prefix="sluice-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


class World:
    """Proxies and applications of one test, ended in the right order after it."""

    def __init__(self, directory):
        self.directory = directory
        self.apps = []
        self.proxies = []

    def app(self, handler=None, name="app.sock", **options):
        app = RawApp(os.path.join(self.directory, name), handler, **options)
        self.apps.append(app)
        return app

    def proxy(self, app=None, **options):
        """A proxy in front of app (a RawApp or an address)."""
        address = app if isinstance(app, str) else app.address
        folder = tempfile.mkdtemp(dir=self.directory)
        proxy = Proxy(folder, address, **options)
        self.proxies.append(proxy)
        return proxy

    def bridge(self, *addresses, **options):
        """A proxy in front of services at these addresses."""
        proxy = Proxy(tempfile.mkdtemp(dir=self.directory), None, bridge=addresses, **options)
        self.proxies.append(proxy)
        return proxy

    def write_configuration(self, path, text):
        if "listeners:" not in text:
            text += "\nlisteners: [{address: '127.0.0.1:0'}]\n"
        if "certificates:" not in text:
            text += "\ncertificates: [{cert: auto}]\n"
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text.replace("DIR", self.directory))
        os.rename(path + ".new", path)

    def configured(self, text, **options):
        """A proxy with this configuration file; DIR in it becomes the test's folder. Without
        listeners it has one on a free port, without certificates an automatic one."""
        folder = tempfile.mkdtemp(dir=self.directory)
        path = os.path.join(folder, "sluice.yaml")
        self.write_configuration(path, text)
        proxy = Proxy(folder, None, config=path, **options)
        self.proxies.append(proxy)
        return proxy

    def reload(self, proxy, text):
        """Lets it read another configuration; returns the log line that says how that went."""
        start = len(proxy.events)
        self.write_configuration(proxy.config, text)
        proxy.process.send_signal(signal.SIGHUP)
        return proxy.wait_log(re.compile(r"^reload(ed|\.failed)$"), start=start)

    def start(self, handler=None, **options):
        app = self.app(handler)
        return app, self.proxy(app, **options)


@pytest.fixture
def world(directory, request):
    w = World(directory)
    yield w
    failed = getattr(request.node, "failed", False)
    for app in w.apps:
        app.hang_up()
    try:
        for proxy in w.proxies:
            if proxy.process.poll() is None and not failed:
                # Chromium ends its connections in silence, and the proxy waits for it a while.
                silent = "browser" in request.fixturenames
                proxy.wait_idle(but=("connections", "requests") if silent else ())
            if failed:
                print(f"log of sluice (pid {proxy.process.pid}):\n{proxy.log(200)}")
                proxy.kill()
            else:
                proxy.stop()
    finally:
        for proxy in w.proxies:
            proxy.kill()
        for app in w.apps:
            app.stop()


@pytest.fixture
def stage(world, request):
    """A proxy with clients and an application that make trouble: see support/stuck.py."""
    s = Stage(world)
    yield s
    s.stop(not getattr(request.node, "failed", False))


@pytest.fixture
def bridge(world, request):
    """Services that know nothing of WebTransport, and a proxy before them: see support/service.py."""
    b = Bridge(world)
    yield b
    b.stop(not getattr(request.node, "failed", False))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.failed = report.failed
