"""Services that know nothing of WebTransport, and a proxy that is a bridge to them.

Nothing here has a thread: what a service reads, writes and ends is what the test says, and while a test
waits for it the packets of its clients move.
"""

import errno
import json
import os
import select
import socket
import struct
import time

from .proxy import GAUGES
from .quicclient import TIMEOUT, Client, from_wire

PIECE = 1 << 18
REFUSED, UNREACHABLE, TIMED_OUT, RESET, FULL, UNSUPPORTED = 1, 2, 3, 4, 5, 7


class Peer:
    """The service's end of a connection: all that came on it, and how that ended."""

    def __init__(self, sock, address=None):
        self.sock = sock
        self.address = address  # of the proxy's socket
        self.data = bytearray()
        self.ended = False
        self.error = None  # an errno
        sock.setblocking(False)

    def _read(self, most):
        try:
            piece = self.sock.recv(most)
        except BlockingIOError:
            return False
        except OSError as error:
            self.error = error.errno
            return False
        self.data += piece
        self.ended = not piece
        return not self.ended

    def pull(self, most=1 << 62):
        """Reads what is there, up to so many bytes; returns itself."""
        while not self.ended and self.error is None and most > 0:
            before = len(self.data)
            if not self._read(min(most, PIECE)):
                break
            most -= len(self.data) - before
        return self

    def push(self, data):
        """Bytes that the socket has taken at once."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def send(self, client, data):
        """All of it; meanwhile the client's packets move."""
        left = memoryview(data)
        while left:
            taken = self.push(left[:PIECE])
            left = left[taken:]
            if not taken:
                client.wait(lambda: select.select([], [self.sock], [], 0)[1])

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Service:
    """Listens at 127.0.0.1, or at a path. room: of the sockets that it gets, for what it does not read."""

    def __init__(self, path=None, backlog=64, room=None):
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = f"unix:{path}"
        else:
            self.listener = socket.socket()
            self.listener.bind(("127.0.0.1", 0))
            self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        if room:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.listener.listen(backlog)
        self.listener.setblocking(False)
        self.peers = []

    def poll(self):
        """A connection that waits, or None."""
        try:
            sock, address = self.listener.accept()
        except BlockingIOError:
            return None
        self.peers.append(Peer(sock, address))
        return self.peers[-1]

    def accept(self, client):
        return client.wait(self.poll)

    def stop(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class DatagramService:
    """A UDP socket."""

    def __init__(self):
        self.open(0)

    def open(self, port):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        self.address = f"udp:127.0.0.1:{self.port}"

    def poll(self):
        """(data, whose), or None."""
        try:
            return self.sock.recvfrom(65536)
        except BlockingIOError:
            return None

    def receive(self, client):
        return client.wait(self.poll)

    def stop(self):
        self.sock.close()


def codes(stream):
    """The application's codes of a stream: (of its reset, of the stop)."""
    return tuple(None if code is None else from_wire(code)
                 for code in (stream.reset_code, stream.stop_code))


class Bridge:
    """One test's services, proxy and clients, which all are ended with it."""

    def __init__(self, world):
        self.world = world
        self.services = []
        self.clients = []
        self.proxy = None

    def service(self, kind="tcp", **options):
        path = os.path.join(self.world.directory, f"{len(self.services)}.sock")
        self.services.append(Service(path if kind == "unix" else None, **options))
        return self.services[-1]

    def datagram_service(self):
        self.services.append(DatagramService())
        return self.services[-1]

    @staticmethod
    def text(service=None, route=None, all_of_it=None, **backend):
        """A configuration with one route; the service's address may be a list of several."""
        several = service if isinstance(service, list) else [service] if service else []
        addresses = [s if isinstance(s, str) else s.address for s in several]
        streams = [a for a in addresses if not a.startswith("udp:")]
        datagrams = [a for a in addresses if a.startswith("udp:")]
        backend = {"kind": "bridge", **backend}
        if streams:
            backend["addresses"] = streams
        if datagrams:
            backend["datagrams"] = datagrams
        whole = {"backends": {"service": backend},
                 "routes": [{"backend": "service", **(route or {})}], **(all_of_it or {})}
        # YAML, of which JSON is a part
        return "\n".join(f"{key}: {json.dumps(value)}" for key, value in whole.items()) + "\n"

    def start(self, service=None, workers=None, arguments=(), **keys):
        options = {} if workers is None else {"workers": workers}
        self.proxy = self.world.configured(self.text(service, **keys), arguments=arguments, **options)
        return self.proxy

    def reload(self, service=None, **keys):
        assert self.world.reload(self.proxy, self.text(service, **keys))["event"] == "reloaded"

    def connect(self, **options):
        self.clients.append(Client(self.proxy.port, **options))
        return self.clients[-1]

    def session(self, path="/", headers=(), **options):
        """On a connection of its own: (client, session)."""
        client = self.connect(**options)
        session = client.session(path, headers=headers)
        assert session.wait_response() == 200
        return client, session

    def joined(self, service, data=b"?", path="/", **options):
        """(client, session, stream, peer): a stream and its connection, on which data has come."""
        client, session = self.session(path, **options)
        stream = session.open(data=data)
        peer = service.accept(client)
        client.wait(lambda: len(peer.pull().data) == len(data))
        assert peer.data == data
        peer.data.clear()
        return client, session, stream, peer

    def wait_reset(self, client, peer):
        """Until the service has seen a reset of its connection (over TCP)."""
        client.wait(lambda: peer.pull().error or peer.ended)
        assert peer.error == errno.ECONNRESET

    def wait_codes(self, client, stream, reset, stop):
        client.wait(lambda: codes(stream) == (reset, stop))

    def wait_streams(self, client, count):
        """Until so many streams are there; meanwhile the client's packets move."""
        client.wait(lambda: self.proxy.stats()["streams"] == count)

    def wait_with_all(self, condition):
        """As Client.wait does, for what needs the packets of all clients."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            select.select([client.sock for client in self.clients], [], [], 0.01)
            for client in self.clients:
                client.step()

    def fill(self, client, stream):
        """Until the service's socket is full and bytes wait in the proxy."""
        def waits():
            if self.proxy.stats()["receive_bytes"] > 0:
                return True
            if not client.quic._streams[stream.stream_id].sender._buffer:  # pylint: disable=W0212
                client.send(stream, bytes(PIECE))
            return False
        client.wait(waits)

    def stop(self, good):
        for each in self.clients:
            each.close()
        for each in self.services:
            each.stop()
        if good and self.proxy and self.proxy.process.poll() is None:
            # No memory is charged either.
            self.proxy.wait_stats(lambda s: s["memory_bytes"] == 0 and not any(s[g] for g in GAUGES))
