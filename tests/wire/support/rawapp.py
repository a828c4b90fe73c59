"""An application written straight from protocol/README.md: plain sockets, msgpack and threads.

It uses none of the project's libraries, so it also checks that the text says enough. It never
looks at credit and never retries: what it writes goes out as it is.
"""

import os
import queue
import socket
import struct
import threading

import msgpack

TIMEOUT = 40


class Ended(Exception):
    """The proxy closed the connection although a message was expected."""


def frame(message):
    body = msgpack.packb(message, use_bin_type=True)
    return struct.pack(">I", len(body)) + body


class RawSession:
    """One connection of the proxy's: one session."""

    def __init__(self, sock):
        self.sock = sock
        self.inbox = queue.Queue()
        self.seen = []
        self.skipped = []
        self.scope = None
        self.data = {}  # stream id -> bytes read by read_stream
        self.reading = threading.Event()
        self.reading.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read_exactly(self, n):
        parts = []
        while n:
            part = self.sock.recv(n)
            if not part:
                return None
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def _read(self):
        try:
            while self.reading.wait():
                head = self._read_exactly(4)
                if head is None:
                    break
                body = self._read_exactly(struct.unpack(">I", head)[0])
                if body is None:
                    break
                self.inbox.put(msgpack.unpackb(body, raw=False))
        except OSError:
            pass
        self.inbox.put(None)

    def next(self, timeout=TIMEOUT):
        """The next message; None at the end of the connection."""
        if self.skipped:
            return self.skipped.pop(0)
        return self._receive(timeout)

    def _receive(self, timeout):
        try:
            message = self.inbox.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no message within {timeout} s; last: {self.seen[-5:]}") from None
        self.seen.append(message)
        if message is None:
            self.inbox.put(None)
        return message

    def wait(self, kind, timeout=TIMEOUT, **fields):
        """The next message of this type and with these fields; others are left for later."""
        def fits(message):
            return message["type"] == kind and all(message.get(k) == v for k, v in fields.items())

        for i, message in enumerate(self.skipped):
            if fits(message):
                return self.skipped.pop(i)
        while True:
            message = self._receive(timeout)
            if message is None:
                raise Ended(f"connection ended before {kind} {fields}; last: {self.seen[-5:]}")
            if fits(message):
                return message
            self.skipped.append(message)

    def read_stream(self, stream_id, timeout=TIMEOUT, until=None):
        """All of a stream until its end, or until it has brought these bytes."""
        data = bytearray()
        while until is None or until not in data:
            message = self.wait("webtransport.stream.receive", timeout, stream_id=stream_id)
            data += message["data"]
            if message["stream_ended"]:
                break
        return bytes(data)

    def ended(self, timeout=TIMEOUT):
        """Reads until the proxy has shut its side; returns the last message."""
        last = None
        while True:
            message = self.next(timeout)
            if message is None:
                return last
            last = message

    def pause(self):
        """Reads no more than one frame until resume()."""
        self.reading.clear()

    def resume(self):
        self.reading.set()

    def send(self, kind, **fields):
        self.send_all((kind, fields))

    def send_all(self, *messages):
        """Several messages in one write: (type, fields) each."""
        self.raw(b"".join(frame({"type": kind, **fields}) for kind, fields in messages))

    def raw(self, data):
        self.sock.sendall(data)

    def accept(self, **fields):
        self.send("webtransport.accept", **fields)

    def stream_send(self, stream_id, data=b"", end=False):
        self.send("webtransport.stream.send", stream_id=stream_id, end_stream=end, data=data)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class RawApp:
    """Listens; every session goes to handler(session) in a thread of its own, or, without a
    handler, to whoever calls session()."""

    def __init__(self, address, handler=None, backlog=4096):
        self.handler = handler
        self.sessions = queue.Queue()
        self.failures = []
        self.all = []
        if isinstance(address, str):
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(address)
            self.address = f"unix:{address}"
        else:
            self.listener = socket.create_server(address)
            host, port = self.listener.getsockname()[:2]
            self.address = f"tcp:{host}:{port}"
        self.path = address
        self.listener.listen(backlog)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        session = RawSession(sock)
        self.all.append(session)
        session.scope = session.next(timeout=None)
        if session.scope is None:  # a health check
            session.close()
            return
        if self.handler is None:
            self.sessions.put(session)
            return
        try:
            self.handler(session)
        except (Ended, OSError):
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)
        finally:
            session.close()

    def session(self, timeout=TIMEOUT):
        """The next session, its scope read, not yet accepted."""
        return self.sessions.get(timeout=timeout)

    def hang_up(self):
        """Closes the connections of all sessions."""
        for session in self.all:
            session.close()

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.hang_up()
        if isinstance(self.path, str) and os.path.exists(self.path):
            os.unlink(self.path)
        assert not self.failures, self.failures


def echo(session):
    """A handler: bidirectional streams and datagrams come back, a unidirectional stream is answered
    on a new one of the application's when it has ended."""
    session.accept()
    next_uni = 3
    held = {}
    while True:
        message = session.next(timeout=None)
        if message is None or message["type"] == "webtransport.disconnect":
            return
        kind = message["type"]
        if kind == "webtransport.datagram.receive":
            session.send("webtransport.datagram.send", data=message["data"])
        elif kind == "webtransport.stream.reset" and message["stream_id"] % 4 == 0:
            session.send("webtransport.stream.reset", stream_id=message["stream_id"],
                         code=message["code"] or 0)
        elif kind == "webtransport.stream.receive":
            stream_id, data, ended = message["stream_id"], message["data"], message["stream_ended"]
            if stream_id % 4 == 0:
                session.stream_send(stream_id, data, ended)
            elif stream_id % 4 == 2:
                held[stream_id] = held.get(stream_id, b"") + data
                if ended:
                    session.stream_send(next_uni, held.pop(stream_id), True)
                    next_uni += 4
