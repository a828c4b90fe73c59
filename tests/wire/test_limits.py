"""Each limit is reached here: who asks for more sees the answer that docs/operations.md promises, the
counter says so, and others are served meanwhile. (Those of one client address: test_clients.py.)"""

import re
import time

import pytest
from aioquic.buffer import encode_uint_var

from support.quicclient import CAPSULE_CLOSE as CLOSE
from support.quicclient import H3_REQUEST_REJECTED, Client
from support.rawapp import echo
from support.scene import ended, received, scene_with_options, told

APP = "backends: {app: {addresses: 'unix:DIR/app.sock'}}\nroutes: [{backend: app}]\n"
CONNECTION_REFUSED, FLOW_CONTROL_ERROR, STREAM_LIMIT_ERROR = 2, 3, 4  # RFC 9000, section 20.1
WT_BUFFERED_STREAM_REJECTED = 0x3994BD84
MIB = 1 << 20

scene, options = scene_with_options(workers=1, close_timeout="1h")


class Listeners:
    """A proxy with two listeners, of which the first one has limits."""

    def __init__(self, world, limits, arguments=()):
        self.world = world
        self.app = world.app()
        # Connections stay although their sessions have ended.
        self.proxy = world.configured(self.text(limits), workers=1,
                                      arguments=("--close-timeout", "1h", *arguments))
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
        before = self.proxy.stats()[fault]
        client = self.connect(wait=False)
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


class Stammering(Client):
    """Says everything twice, as one whose ClientHello takes two packets does with its first ids."""

    def _send(self):
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic()):
            for _ in range(2):
                self.sock.send(data)


@limited("max_connections: 1")
def test_a_refusal_is_told_once(listeners):
    listeners.connect()
    for count in range(1, 4):
        client = Stammering(listeners.proxy.port, wait=False)
        listeners.clients.append(client)
        client.flush()
        client.wait(lambda: client.terminated)  # pylint: disable=W0640
        assert client.terminated.error_code == CONNECTION_REFUSED
        assert listeners.proxy.stats()["listener_connections"] == count
    # What was told of these is before the line of the next one.
    listeners.serves(listeners.connect(listeners.other))
    listeners.proxy.wait_log("session.opened")
    assert len(listeners.proxy.find("conn.refused", fault="listener_connections")) == 3


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


@limited("connection_rate: 1")
def test_connections_of_a_listener_in_a_short_time(listeners):
    """Five at once, then one in a second."""
    for _ in range(50):
        client = listeners.connect(wait=False)
        client.wait(lambda: client.connected or client.terminated)  # pylint: disable=W0640
        if client.terminated:
            break
        client.close()
    assert client.terminated.error_code == CONNECTION_REFUSED
    assert listeners.proxy.stats()["listener_connection_rate"] == 1
    listeners.serves(listeners.connect(listeners.other))
    listeners.reload("")
    listeners.serves(listeners.connect())


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


def test_sessions_of_a_route_in_a_short_time(world):
    app = world.app(echo)
    proxy = world.configured("""
backends: {app: {addresses: 'unix:DIR/app.sock'}}
routes: [{path: /few, backend: app, session_rate: 1}, {backend: app}]
""", workers=1)
    statuses = []
    while statuses[-1:] != [503]:
        assert len(statuses) < 50
        with Client(proxy.port) as client:
            statuses.append(client.session("/few").wait_response())
    assert len(statuses) > 5 and set(statuses) == {200, 503}
    assert proxy.stats()["route_session_rate"] == 1
    with Client(proxy.port) as client:
        assert client.session("/other").wait_response() == 200


# one connection and one session: each test has a proxy, an application and a bystander


def refused_stream(client, stream, code):
    client.wait(lambda: stream.stop_code is not None)
    assert stream.stop_code == code


@options("--max-sessions", "2")
def test_sessions_of_all(scene):
    client, asked, session = scene.open()
    assert scene.connect().connect().wait_status() == 503
    assert scene.proxy.stats()["too_many_sessions"] == 1
    scene.serves_the_bystander()
    asked.close()
    ended(client, session)
    session.close()
    scene.wait_stats(lambda s: s["sessions"] == 1 and s["links"] == 1)
    scene.serves(scene.connect())


@options("--connection-sessions", "2")
def test_sessions_of_a_connection(scene):
    limits = tuple((kind, 100) for kind in (0x2B61, 0x2B64, 0x2B65))
    client = scene.connect(hello=False)
    client.hello(((0x33, 1), (0x2C7CF000, 1), *limits))
    for _ in range(2):
        asked = client.connect()
        scene.session_of(client).accept()
        assert asked.wait_status() == 200
    third = client.connect()
    client.wait(lambda: third.reset_code is not None)
    assert third.reset_code == H3_REQUEST_REJECTED
    assert scene.proxy.stats()["second_session"] == 1
    scene.serves_the_bystander()
    scene.serves(scene.connect())


@options("--max-header", "1KiB")
def test_headers_of_a_request(scene):
    client = scene.connect()
    assert client.connect(more=[(b"x", b"y" * 1024)]).wait_status() == 431
    assert scene.proxy.stats()["headers_too_large"] == 1
    scene.serves_the_bystander()
    scene.serves(client)


@options("--max-streams", "5")
def test_streams_of_a_client(scene):
    client, asked, session = scene.open()
    open_now = [client.wt_stream(asked.stream_id, b"x", unidirectional=True) for _ in range(4)]
    client.settle()
    assert not client.may_open(unidirectional=True)  # one is HTTP/3's own
    client.wt_stream(asked.stream_id, b"at last", unidirectional=True, end=True)
    client.settle()
    scene.serves_the_bystander()
    open_now[0].send(end=True)
    told(client, session, "webtransport.stream.receive", data=b"at last")
    client.quic._remote_max_streams_uni = 1000  # pylint: disable=W0212
    client.quic.send_stream_data(2 + 4 * 100, b"one more")
    assert client.wait_terminated() == STREAM_LIMIT_ERROR
    assert scene.proxy.stats()["quic_streams"] == 1


@options("--early-streams", "2")
def test_streams_before_their_session(scene):
    client = scene.connect()
    request = client.raw_stream()  # keeps the number
    for _ in range(2):
        client.wt_stream(request.stream_id, b"early", unidirectional=True)
    client.settle()
    refused_stream(client, client.wt_stream(request.stream_id, b"x", unidirectional=True),
                   WT_BUFFERED_STREAM_REJECTED)
    assert scene.proxy.stats()["too_many_early"] == 1
    scene.serves_the_bystander()
    scene.serves(scene.connect())


@options("--stream-window", "16KiB", "--connection-window", "64KiB")
def test_windows_of_a_client(scene):
    """The application does not read: what is under way stays within the windows."""
    client, asked, session = scene.open()
    quic = client.quic
    assert quic._remote_max_stream_data_bidi_remote == 16 << 10  # pylint: disable=W0212
    assert quic._remote_max_data >= 64 << 10  # pylint: disable=W0212
    session.pause()
    streams = [client.wt_stream(asked.stream_id, bytes(MIB)) for _ in range(8)]
    still = 0
    while still < 3:  # until the kernel has no more room for the application
        before = quic._remote_max_data_used  # pylint: disable=W0212
        client.settle()
        still = still + 1 if quic._remote_max_data_used == before else 0  # pylint: disable=W0212
    assert quic._remote_max_data_used < 8 * MIB  # pylint: disable=W0212
    stats = scene.proxy.stats()
    assert stats["receive_bytes"] <= 64 << 10 and stats["quic_flow_control"] == 0
    scene.serves_the_bystander()
    quic._remote_max_data = 1 << 40  # pylint: disable=W0212
    for stream in streams:
        quic._streams[stream.stream_id].max_stream_data_remote = 1 << 40  # pylint: disable=W0212
    assert client.wait_terminated() == FLOW_CONTROL_ERROR
    assert scene.proxy.stats()["quic_flow_control"] == 1
    session.resume()


@options("--app-stream-window", "16KiB", "--app-session-window", "64KiB", "--stall-timeout", "100ms")
def test_windows_of_an_application(scene):
    """The client does not read, and the application takes no notice of that."""
    client, asked, session = scene.open()
    windows = session.scope["extensions"]["webtransport"]
    assert (windows["stream_window"], windows["session_window"]) == (16 << 10, 64 << 10)
    session.stream_send(1, bytes(200_000))
    last = session.ended()
    assert last["by"] == "proxy"
    scene.serves_the_bystander()
    client.wait(lambda: CLOSE in dict(asked.capsules()))
    asked.send(end=True)
    session.close()
    scene.wait_stats(lambda s: s["backend_stalled"] == 1)
    scene.serves(scene.connect())


@options("--session-memory", "1MiB", "--stall-timeout", "1h")
def test_memory_of_a_session(scene):
    """What an application sends beyond its credit has no time to wait where there is no room."""
    client, asked, session = scene.open()
    session.stream_send(1, bytes(MIB - 1000))
    last = session.ended()
    assert last["by"] == "proxy"
    scene.serves_the_bystander()
    client.wait(lambda: CLOSE in dict(asked.capsules()))
    asked.send(end=True)
    session.close()
    scene.wait_stats(lambda s: s["backend_stalled"] == 1)
    scene.serves(scene.connect())


@options("--max-pending-streams", "2")
def test_streams_that_wait_for_the_client(scene):
    client = scene.connect(max_streams=3)
    asked = client.connect()
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    for number in range(6):
        session.stream_send(4 * number + 1, b"x")
    error = told(client, session, "webtransport.error")
    assert (error["code"], error["stream_id"]) == ("too_many_streams", 21)
    assert scene.proxy.stats()["backend_command"] == 1
    scene.serves_the_bystander()
    session.stream_send(1, end=True)
    client.wait(lambda: client.at(1).ended)


@options("--max-frame", "128KiB")
def test_frames_of_an_application(scene):
    client, asked, session = scene.open()
    session.raw((128 * 1024 + 1).to_bytes(4, "big"))
    client.wait(lambda: CLOSE in dict(asked.capsules()))
    assert scene.proxy.stats()["backend_protocol"] == 1
    scene.serves_the_bystander()
    asked.send(end=True)
    session.close()
    scene.serves(scene.connect())


@options("--datagram-queue", "10")
def test_datagrams_that_wait(scene):
    """As long as the client is silent they wait; the oldest ones make room."""
    client, asked, session = scene.open()
    session.send_all(*[("webtransport.datagram.send", {"data": b"%d" % i + bytes(1000)})
                       for i in range(100)])
    scene.proxy.wait_stats(lambda s: s["datagrams_dropped"] > 0)
    scene.serves_the_bystander()
    client.wait(lambda: any(d.startswith(quarter(asked) + b"99") for d in client.datagrams))
    assert len(client.datagrams) + scene.proxy.stats()["datagrams_dropped"] == 100


@options("--datagram-ttl", "1ms")
def test_datagrams_that_are_too_old(scene):
    client, _, session = scene.open()
    while not scene.proxy.stats()["datagrams_expired"]:
        session.send_all(*[("webtransport.datagram.send", {"data": bytes(1000)})] * 100)
        scene.serves_the_bystander()
        client.settle()


def quarter(asked):
    return encode_uint_var(asked.stream_id // 4)


# memory


@options("--connection-memory", "1MiB")
def test_memory_of_a_connection(scene):
    client, asked, session = scene.open()
    session.pause()
    streams = []
    while all(s.stop_code is None for s in streams):
        assert len(streams) < 900
        streams += [client.wt_stream(asked.stream_id, b"x", unidirectional=True) for _ in range(20)]
        client.settle()
    assert {s.stop_code for s in streams} == {None, WT_BUFFERED_STREAM_REJECTED}
    stats = scene.proxy.stats()
    assert stats["memory_stream"] > 0
    scene.serves_the_bystander()
    scene.serves(scene.connect())
    session.resume()


@options("--memory", "16MiB", "--max-connections", "1000")
def test_memory_of_all(scene):
    """First there is no room for sessions, then none for connections either."""
    client = scene.connect()
    others = []
    while True:
        asked = client.connect()
        client.wait(lambda: asked.status or not scene.app.sessions.empty())  # pylint: disable=W0640
        if asked.status:
            break
        scene.session_of(client).accept()
        client = scene.connect()
    assert asked.status == 503
    assert scene.proxy.stats()["memory_session"] == 1
    while not others or not others[-1].terminated:
        others.append(scene.connect(hello=False, wait=False))
        others[-1].wait(lambda: others[-1].connected or others[-1].terminated)
    assert others[-1].terminated.error_code == CONNECTION_REFUSED
    stats = scene.proxy.stats()
    assert stats["memory_connection"] == 1 and stats["memory_bytes"] <= 16 * MIB
    scene.serves_the_bystander()
    scene.clear()
    scene.serves(scene.connect())
