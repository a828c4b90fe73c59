"""What the keys of a bridge do, seen by services of the test's own."""

import socket
import threading
import time

import pytest

from support.quicclient import TIMEOUT, Client


class Echo:
    """A service that sends back what it gets: connections to their end, and datagrams."""

    def __init__(self):
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
                data = b""
                while more := connection.recv(65536):
                    data += more
                connection.sendall(data)

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
