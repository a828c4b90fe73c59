"""What the keys of a bridge do, seen by services of the test's own."""

import json
import socket
import ssl
import threading
import time

import pytest

from support.certificates import write_certificate
from support.quicclient import TIMEOUT, Client, from_wire

TLS = 6  # enum bridge_code


class Echo:
    """A service that sends back what it gets: connections at their end, and datagrams."""

    def __init__(self, tls=None):
        self.tls = tls
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.senders = {}  # of datagrams, by their bytes
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self._accept, self._answer)]
        for thread in self.threads:
            thread.start()

    @property
    def stream_address(self):
        return f"tcp:127.0.0.1:{self.tcp.getsockname()[1]}"

    @property
    def datagram_address(self):
        return f"udp:127.0.0.1:{self.udp.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                try:
                    self._serve(connection)
                except OSError:
                    pass  # the proxy does not trust us, or the test is over

    def _serve(self, connection):
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True,
                                              suppress_ragged_eofs=False)
        data = b""
        while more := connection.recv(65536):
            data += more
        connection.sendall(data)
        if self.tls:
            connection.unwrap()

    def _answer(self):
        while True:
            data, sender = self.udp.recvfrom(65536)
            if data == b"the end":
                return
            self.senders[data] = sender
            self.udp.sendto(data, sender)

    def stop(self):
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.udp.sendto(b"the end", self.udp.getsockname())
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        self.tcp.close()
        self.udp.close()


@pytest.fixture
def echo():
    service = Echo()
    yield service
    service.stop()


@pytest.fixture
def certificate(directory):
    """For service.example, of itself: (file, key's file)."""
    return write_certificate(directory, 10, ("service.example",))[:2]


@pytest.fixture
def tls_echo(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    service = Echo(context)
    yield service
    service.stop()


def opened(client, path="/"):
    session = client.session(path)
    assert session.wait_response() == 200
    return session


def say(client, session, data):
    stream = session.open(data=data, end=True)
    client.wait(lambda: stream.done)
    assert (bytes(stream.data), stream.reset_code) == (data, None)


def send(client, session, echo, data):
    """A datagram, again until it comes back. Returns from where it came there."""
    end = time.monotonic() + TIMEOUT
    while data not in session.datagrams:
        assert time.monotonic() < end
        session.datagram(data)
        client.flush()
        try:
            client.wait(lambda: data in session.datagrams, timeout=1)
        except TimeoutError:
            pass
    return echo.senders[data]


def test_a_bridge_on_the_command_line(world, echo):
    proxy = world.bridge(echo.stream_address, echo.datagram_address)
    with Client(proxy.port) as client:
        session = opened(client, "/any/path")
        say(client, session, b"some bytes")
        send(client, session, echo, b"a datagram")


def test_only_what_it_has_addresses_for(world, echo):
    proxy = world.configured(f"""
backends:
  streams: {{kind: bridge, addresses: '{echo.stream_address}'}}
  datagrams: {{kind: bridge, datagrams: '{echo.datagram_address}'}}
routes:
  - path: /to/{{name}}
    targets: {{s: streams, d: datagrams}}
""")
    with Client(proxy.port) as client, Client(proxy.port) as other:
        streams, datagrams = opened(client, "/to/s"), opened(other, "/to/d")
        streams.datagram(b"lost")
        say(client, streams, b"some bytes")
        send(other, datagrams, echo, b"a datagram")
        stream = datagrams.open(data=b"lost", end=True)
        other.wait(lambda: stream.done)
        assert (bytes(stream.data), stream.ended) == (b"", False)
    with Client(proxy.port) as client:
        assert client.session("/to/x").wait_response() == 404


def test_an_idle_socket_for_datagrams_is_let_go(world, echo):
    proxy = world.configured(f"""
backends:
  quick: {{kind: bridge, datagrams: '{echo.datagram_address}', datagram_idle_timeout: 100ms}}
  slow: {{kind: bridge, datagrams: '{echo.datagram_address}'}}
routes: [{{path: /quick, backend: quick}}, {{path: /slow, backend: slow}}]
""")
    with Client(proxy.port) as client, Client(proxy.port) as other:
        quick, slow = opened(client, "/quick"), opened(other, "/slow")
        kept = send(other, slow, echo, b"slow")
        first = last = send(client, quick, echo, b"quick")
        # However long it takes: until there is another socket, or 15 seconds have gone.
        end = time.monotonic() + TIMEOUT
        while last == first:
            assert time.monotonic() < end
            with pytest.raises(TimeoutError):
                client.wait(lambda: False, timeout=0.3)
            last = send(client, quick, echo, b"quick %d" % len(echo.senders))
        assert send(other, slow, echo, b"slow, too") == kept


def header_of(world, echo, version):
    """What comes before the client's bytes, and the client's port."""
    proxy = world.configured(f"""
backends: {{echo: {{kind: bridge, addresses: '{echo.stream_address}'}}}}
routes: [{{backend: echo, proxy_protocol: {version}}}]
""")
    with Client(proxy.port) as client:
        stream = opened(client).open(data=b"some bytes", end=True)
        client.wait(lambda: stream.done)
        header, data, rest = bytes(stream.data).partition(b"some bytes")
        assert (data, rest) == (b"some bytes", b"")
        return header, client.sock.getsockname()[1], proxy.port


def test_the_client_is_told_in_a_header(world, echo):
    header, here, there = header_of(world, echo, "v1")
    assert header == f"PROXY TCP4 127.0.0.1 127.0.0.1 {here} {there}\r\n".encode()
    header, here, there = header_of(world, echo, "v2")
    assert header[:14] == b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11"  # version 2, TCP over IPv4
    assert header[16:28] == bytes([127, 0, 0, 1] * 2) + here.to_bytes(2, "big") + \
        there.to_bytes(2, "big")
    assert header_of(world, echo, "none")[0] == b""


def test_tls_to_whom_it_trusts_by_the_right_name(world, tls_echo, certificate):
    keys = {"kind": "bridge", "addresses": tls_echo.stream_address, "tls": True,
            "tls_ca": certificate[0], "tls_name": "service.example"}
    backends = {"good": keys, "other": {**keys, "tls_name": "other.example"},
                "unnamed": {key: value for key, value in keys.items() if key != "tls_name"},
                "untrusted": {key: value for key, value in keys.items() if key != "tls_ca"}}
    route = {"path": "/{name}", "targets": {name: name for name in backends}}
    proxy = world.configured(f"backends: {json.dumps(backends)}\nroutes: [{json.dumps(route)}]\n")
    for name in backends:
        with Client(proxy.port) as client:
            session = opened(client, f"/{name}")
            if name == "good":
                say(client, session, b"some bytes")
                continue
            stream = session.open(data=b"some bytes", end=True)
            client.wait(lambda: stream.done)
            assert from_wire(stream.reset_code) == TLS, name
