"""A local TCP port of which each connection becomes one bidirectional stream of a WebTransport session,
so that programs which know nothing of WebTransport use a service behind Sluice as they are.

QUIC and HTTP/3 are aioquic's, as in the other tests. A program's end of sending is a FIN and the other
way round, a broken connection is a reset and the other way round. What a program does not read is kept.
"""

import select
import socket
import struct
import threading
import time

from servers import until
from support.quicclient import Client, from_wire, to_wire

PIECE = 1 << 16
AHEAD = 1 << 18  # bytes of a program that wait for QUIC to take them
BROKEN = to_wire(4)


class _Bound(Client):
    """Comes from an address of its own, by which a service's log can tell it from the proxy."""

    def __init__(self, source, port):
        self.source = source
        super().__init__(port, max_data=1 << 24, max_stream_data=1 << 22)

    def _open_socket(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((self.source, 0))
        sock.connect(self.peer)
        sock.setblocking(False)
        return sock

    def unsent(self, stream):
        return len(self.quic._streams[stream.stream_id].sender._buffer)


class _Join:
    """A program's connection and its stream."""

    def __init__(self, client, sock, stream):
        self.client, self.sock, self.stream = client, sock, stream
        self.reading = self.writing = True  # from and to the program
        self.stopped = False

    def wants(self):
        """What to wait for: (readable, writable)."""
        return (self.reading and self.client.unsent(self.stream) < AHEAD,
                self.writing and bool(self.stream.data))

    def turn(self, readable):
        """Moves what can be moved. False when it is over."""
        try:
            self._give()
            if readable and self.reading:
                self._take()
        except OSError:
            self._break()
            return False
        if self.stream.reset_code is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._break()
            return False
        if not self.reading and not self.writing:
            self.sock.close()
            return False
        return True

    def _give(self):
        while self.stream.data:
            try:
                sent = self.sock.send(self.stream.data[:PIECE])
            except BlockingIOError:
                return
            del self.stream.data[:sent]
        if self.writing and self.stream.ended:
            self.writing = False
            self.sock.shutdown(socket.SHUT_WR)

    def _take(self):
        try:
            data = self.sock.recv(PIECE)
        except BlockingIOError:
            return
        if not data:
            self.reading = False
        if self.stream.stop_code is None:
            self.client.send(self.stream, data, end=not data)
        elif not self.stopped:
            self.stopped = True
            self.client.reset(self.stream, BROKEN)

    def _break(self):
        if self.reading and not self.stopped:
            self.client.reset(self.stream, BROKEN)
        if not self.stream.done:
            self.client.stop(self.stream, BROKEN)
        self.sock.close()


class Tunnel:
    """To the route at `path`; programs connect to 127.0.0.1, `port`."""

    def __init__(self, proxy, path="/", source="127.0.0.1"):
        self.client = _Bound(source, proxy.port)
        self.session = self.client.session(path)
        status = self.session.wait_response()
        assert status == 200, f"status {status}"
        self.source = self.client.sock.getsockname()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.codes = []  # with which streams were reset by Sluice
        self.joins = {}
        self.error = None
        self.waker, self.wake = socket.socketpair()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while self._turn():
                pass
            for join in self.joins.values():
                join.sock.close()
            if not self.client.terminated and not self.session.ended:
                self.session.close()
                self.client.wait(lambda: self.session.ended or self.client.terminated)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            self.client.close()
            self.listener.close()

    def _turn(self):
        """Moves packets and bytes once. False when somebody has ended the session."""
        client = self.client
        client.flush()
        timer = client.quic.get_timer()
        poll, wants = select.poll(), {}
        for each in (client.sock, self.listener, self.wake):
            poll.register(each, select.POLLIN)
        for number, join in self.joins.items():
            readable, writable = wants[number] = join.wants()
            if readable or writable:
                poll.register(number, select.POLLIN * readable | select.POLLOUT * writable)
        pause = 1 if timer is None else min(1, max(0, timer - time.monotonic()))
        ready = {number for number, _ in poll.poll(pause * 1000)}
        if client.sock.fileno() in ready:
            client._receive()
        timer = client.quic.get_timer()
        if timer is not None and time.monotonic() >= timer:
            client.quic.handle_timer(now=time.monotonic())
        while (event := client.quic.next_event()) is not None:
            client._handle(event)
        if self.listener.fileno() in ready:
            self._accept()
        for number, join in list(self.joins.items()):
            if not join.turn(number in ready and wants.get(number, (False,))[0]):
                self._forget(number, join)
        return not (self.wake.fileno() in ready or client.terminated or self.session.ended)

    def wait_codes(self):
        """The codes with which Sluice has reset streams, when it has reset one."""
        return until(lambda: set(self.codes), "a stream is reset")

    def _forget(self, number, join):
        del self.joins[number]
        if join.stream.reset_code is not None:
            self.codes.append(from_wire(join.stream.reset_code))

    def _accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        self.joins[sock.fileno()] = _Join(self.client, sock, self.session.open())

    def stop(self):
        """Closes the session and hears that it is over."""
        self.waker.send(b"x")
        self.thread.join(30)
        assert not self.thread.is_alive(), "the tunnel does not end"
        if self.error:
            raise self.error
