"""Each limit is reached here: who asks for more sees the answer that docs/operations.md promises, the
counter says so, and others are served meanwhile. (Those of one client address: test_clients.py.)"""

import re

import pytest

from support.quicclient import Client
from support.scene import ended, received

APP = "backends: {app: {addresses: 'unix:DIR/app.sock'}}\nroutes: [{backend: app}]\n"
CONNECTION_REFUSED = 2  # RFC 9000, section 20.1


class Listeners:
    """A proxy with two listeners, of which the first one has limits."""

    def __init__(self, world, limits, **options):
        self.world = world
        self.app = world.app()
        self.proxy = world.configured(self.text(limits), workers=1, **options)
        self.clients = []
        other = re.compile(rf"^(?!{self.proxy.port}$)")
        self.other = int(self.proxy.wait_log("listening", has="port", port=other)["port"])

    def text(self, limits):
        return APP + f"listeners: [{{address: '127.0.0.1:0'{limits}}}, {{address: '127.0.0.1:0'}}]\n"

    def connect(self, port=None, wait=True):
        self.clients.append(Client(port or self.proxy.port, wait=wait))
        self.clients[-1].flush()
        return self.clients[-1]

    def refused(self, fault):
        client = self.connect(wait=False)
        before = self.proxy.stats()[fault]
        client.wait(lambda: client.terminated)
        assert client.terminated.error_code == CONNECTION_REFUSED
        assert self.proxy.stats()[fault] == before + 1
        line = self.proxy.wait_log("conn.refused", fault=fault)
        assert line["local"] == f"127.0.0.1:{self.proxy.port}"

    def serves(self, client):
        asked = client.session()
        client.wait(lambda: not self.app.sessions.empty())
        session = self.app.session()
        session.accept()
        assert asked.wait_response() == 200
        asked.open(data=b"ping", end=True)
        assert received(client, session, 0) == b"ping"
        asked.close()
        assert ended(client, session)["by"] == "client"
        session.close()

    def reload(self, limits):
        assert self.world.reload(self.proxy, self.text(limits))["event"] == "reloaded"

    def close(self):
        for client in self.clients:
            client.close()


@pytest.fixture
def listeners(world, request):
    l = Listeners(world, request.param)
    yield l
    l.close()


def limited(limits):
    return pytest.mark.parametrize("listeners", [f", {limits}"], indirect=True)


@limited("max_connections: 2")
def test_connections_of_a_listener(listeners):
    first, second = listeners.connect(), listeners.connect()
    listeners.refused("listener_connections")
    assert listeners.proxy.stats()["retries_sent"] >= 1  # the last place is for a proven address
    listeners.serves(first)
    listeners.serves(listeners.connect(listeners.other))
    listeners.reload(", max_connections: 3")
    listeners.serves(listeners.connect())
    listeners.refused("listener_connections")
    second.close()
    listeners.proxy.wait_stats(lambda s: s["connections"] == 3)
    listeners.serves(listeners.connect())


@limited("max_handshakes: 4")
def test_handshakes_of_a_listener(listeners):
    """Two places are for those who have proven their addresses."""
    slow = [listeners.connect(wait=False) for _ in range(4)]
    for client in slow[2:]:  # these are sent a Retry, and answer it
        client.wait(lambda: client.quic._retry_source_connection_id)  # pylint: disable=W0212,W0640
        client.flush()
    listeners.proxy.wait_stats(lambda s: s["connections"] == 4)
    listeners.refused("listener_handshakes")
    listeners.serves(listeners.connect(listeners.other))
    listeners.reload("")
    listeners.serves(listeners.connect())
    for client in slow:
        client.wait_connected()


@limited("max_connections: 1")
def test_a_listener_that_is_not_named_any_more_keeps_its_limit(listeners):
    listeners.connect()
    text = APP + "listeners: [{address: '127.0.0.2:0'}, {address: '127.0.0.3:0'}]\n"
    listeners.world.reload(listeners.proxy, text)
    listeners.refused("listener_connections")


def test_connections_of_all(world):
    listeners = Listeners(world, "", arguments=("--max-connections", "3"))
    clients = [listeners.connect(), listeners.connect(listeners.other), listeners.connect()]
    listeners.refused("too_many_connections")
    for client in clients:
        listeners.serves(client)
    clients[1].close()
    listeners.proxy.wait_stats(lambda s: s["connections"] == 2)
    listeners.serves(listeners.connect())
    listeners.close()
