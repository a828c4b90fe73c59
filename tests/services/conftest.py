"""Real services behind Sluice. With the fixtures of the wire tests; each test starts its service in a
folder of its own and asks it, not Sluice, what happened."""

import contextlib
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))

# pylint: disable=wrong-import-position
from importlib.util import module_from_spec, spec_from_file_location

_spec = spec_from_file_location("wire_conftest", os.path.join(sys.path[0], "conftest.py"))
_wire = module_from_spec(_spec)
_spec.loader.exec_module(_wire)

import bridged
import servers
from support.browsers import KINDS, Browser
from tunnel import Tunnel

directory = _wire.directory
world = _wire.world
page_server = _wire.page_server
pytest_runtest_makereport = _wire.pytest_runtest_makereport
pytest_configure = _wire.pytest_configure


@pytest.fixture(scope="session")
def browsers(page_server):
    """Both, by name."""
    with contextlib.ExitStack() as stack:
        started = {}
        for kind in KINDS:
            started[kind] = Browser(kind, page_server.url)
            stack.callback(started[kind].stop)
        yield started


@pytest.fixture(params=KINDS)
def browser(request, browsers):
    return browsers[request.param]


def _service(kind):
    @pytest.fixture
    def service(request):
        started = kind()
        try:
            yield started
        finally:
            started.stop()
            if getattr(request.node, "failed", False):
                print(f"log of {kind.__name__}:\n{started.log()[-6000:]}")
    return service


redis = _service(servers.Redis)
postgresql = _service(servers.PostgreSQL)
openssh = _service(servers.OpenSSH)
mosquitto = _service(servers.Mosquitto)
nginx = _service(servers.Nginx)
haproxy = _service(servers.HAProxy)
dnsmasq = _service(servers.Dnsmasq)


@pytest.fixture
def bridge(world):
    """Starts a proxy whose route '/' is a bridge with these keys."""
    return lambda **keys: world.configured(bridged.configuration({"/": keys}))


@pytest.fixture
def tunnel(bridge):
    """Starts a tunnel to a proxy, or to one that it starts with these keys."""
    started = []

    def start(source="127.0.0.1", proxy=None, **keys):
        proxy = proxy or bridge(**keys)
        started.append(Tunnel(proxy, source=source))
        started[-1].proxy = proxy
        return started[-1]
    yield start
    for each in started:
        each.stop()
