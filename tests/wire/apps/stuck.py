"""An application for test_stuck_*.py, written from protocol/README.md alone: some of its sessions are
good neighbours, the others make trouble. The client's path says which:

    /work                   each bidirectional stream begins with 8 bytes, big-endian: how many bytes it
                            wants back. What follows is thrown away. Honours credit.
                            Who wants 2**64 - 3 of them gets the session closed with code 77.
         ?window=N          accepts with receive_window N, and returns credit, but to streams that want
                            2**64 - 1
    /pour?streams=N         sends without end on N unidirectional streams, honouring credit
         &blind=N           ... never looking at credit, N bytes a frame
    /deaf?after=N           accepts, reads so many bytes of its socket, and never again
    /skip                   reads, and looks at nothing
    /open?count=N           opens N unidirectional streams, a byte on each
         &end=1             ... and ends them
    /bad?count=N            sends N commands that Sluice does not know, waits until it has been told of
                            all of them, and closes with code 9
    /shoot?size=N           sends datagrams as fast as it can

    stuck.py unix:PATH

Tells `listening`, and then of some sessions a line of JSON. Good neighbours run in a process of their
own, so that trouble takes no time from them that is Python's.
"""

import collections
import json
import multiprocessing
import select
import socket
import struct
import sys
import threading
import urllib.parse

import msgpack

CHUNK = 65536
BATCH = 256
STUCK, CLOSE = 2 ** 64 - 1, 2 ** 64 - 3  # wishes
CODE = 77
PERIOD = 251
PATTERN = bytes(range(PERIOD)) * (CHUNK // PERIOD + 2)


def tell(**what):
    print(json.dumps(what), flush=True)


def frame(message):
    body = msgpack.packb(message, use_bin_type=True)
    return struct.pack(">I", len(body)) + body


class Ended(Exception):
    """The connection, or the session."""


class Session:
    """Frames, and credit for what it sends."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.scope = self.read()
        told = self.scope["extensions"]["webtransport"]
        self.stream_window = told["stream_window"]
        self.limit, self.sent = told["session_window"], 0
        self.limits, self.sent_on = {}, collections.Counter()
        self.wants = collections.deque()  # [stream id, bytes left], those that may have credit
        self.held = {}  # the same, those that have none
        self.asks = {}  # stream id -> the first bytes of it
        self.window = None  # receive_window
        self.received, self.credited = collections.Counter(), {}
        self.ended = set()  # by the client
        self.over = set()  # by us

    # frames

    def _whole(self):
        if len(self.buffer) < 4:
            return 0
        length = struct.unpack_from(">I", self.buffer)[0]
        return length + 4 if len(self.buffer) >= length + 4 else 0

    def has_message(self):
        """Whether read() would not wait."""
        return self._whole() or select.select([self.sock], [], [], 0)[0]

    def read(self):
        while not (size := self._whole()):
            data = self.sock.recv(1 << 18)
            if not data:
                raise Ended
            self.buffer += data
        message = msgpack.unpackb(memoryview(self.buffer)[4:size], raw=False)
        del self.buffer[:size]
        return message

    def send(self, kind, **fields):
        self.sock.sendall(frame({"type": f"webtransport.{kind}", **fields}))

    # sending with credit

    def allowed(self, stream_id):
        limit = self.limits.get(stream_id, self.stream_window)
        return min(limit - self.sent_on[stream_id], self.limit - self.sent)

    def want(self, stream_id, size):
        self.wants.append([stream_id, size])

    def send_some(self):
        """A chunk of the next stream that has credit. False if none has."""
        while self.wants and self.limit > self.sent:
            stream_id, left = item = self.wants.popleft()
            n = min(CHUNK, left, self.allowed(stream_id))
            if left and not n:
                self.held[stream_id] = item
                continue
            at = self.sent_on[stream_id] % PERIOD
            self.sent += n
            self.sent_on[stream_id] += n
            item[1] -= n
            end = item[1] == 0 and stream_id in self.ended
            self.send("stream.send", stream_id=stream_id, end_stream=end, data=PATTERN[at:at + n])
            if item[1]:
                self.wants.append(item)
            return True
        return False

    # what Sluice says

    def obey(self, message):
        kind = message["type"].removeprefix("webtransport.")
        if kind == "disconnect":
            if message["by"] == "app":
                tell(path="/work", code=message["code"], by=message["by"], clean=message["clean"])
            raise Ended
        if kind == "credit":
            self.credit(message.get("stream_id"), message["limit"])
        elif kind == "stream.receive":
            self.receive(message)
        elif kind in ("stream.stop", "stream.reset"):
            self.give_up(message["stream_id"])

    def credit(self, stream_id, limit):
        if stream_id is None:
            self.limit = limit
            return
        self.limits[stream_id] = limit
        if stream_id in self.held:
            self.wants.append(self.held.pop(stream_id))

    def give_up(self, stream_id):
        self.held.pop(stream_id, None)
        self.wants = collections.deque(item for item in self.wants if item[0] != stream_id)
        if stream_id not in self.over:
            self.over.add(stream_id)
            self.send("stream.reset", stream_id=stream_id, code=0)

    def receive(self, message):
        stream_id, data = message["stream_id"], message["data"]
        if stream_id not in self.received or self.received[stream_id] < 8:
            self.listen(stream_id, data)
        self.received[stream_id] += len(data)
        if message["stream_ended"]:
            self.ended.add(stream_id)
            if self.asks[stream_id] == bytes(8):
                self.over.add(stream_id)
                self.send("stream.send", stream_id=stream_id, end_stream=True, data=b"")
        elif self.window and self.asks[stream_id] != STUCK.to_bytes(8):
            self.return_credit(stream_id)

    def listen(self, stream_id, data):
        """To the wish at a stream's beginning."""
        ask = self.asks.get(stream_id, b"") + data[:8 - len(self.asks.get(stream_id, b""))]
        self.asks[stream_id] = ask
        wish = int.from_bytes(ask)
        if len(ask) == 8 and wish == CLOSE:
            self.send("close", code=CODE)
        elif len(ask) == 8 and wish not in (0, STUCK):
            self.want(stream_id, wish)

    def return_credit(self, stream_id):
        limit = self.received[stream_id] + self.window
        if limit - self.credited.get(stream_id, self.window) >= self.window // 2:
            self.credited[stream_id] = limit
            self.send("credit", stream_id=stream_id, limit=limit)

    def serve(self):
        """Sends what there is credit for, and listens."""
        while True:
            if self.has_message() or not self.send_some():
                self.obey(self.read())


# what sessions do; query: the parameters of the path


def work(session, query):
    if "window" in query:
        session.window = int(query["window"])
        session.send("accept", receive_window=session.window)
    else:
        session.send("accept")
    session.serve()


def pour(session, query):
    session.send("accept")
    ids = range(3, 3 + 4 * int(query.get("streams", 1)), 4)
    for stream_id in ids:
        session.want(stream_id, 2 ** 64)
    if "blind" not in query:
        session.serve()
    # Sluice stops reading, and this waits.
    frames = [frame({"type": "webtransport.stream.send", "stream_id": stream_id,
                     "data": bytes(int(query["blind"]))}) for stream_id in ids]
    while True:
        for one in frames:
            session.sock.sendall(one)


def deaf(session, query):
    session.send("accept")
    left = int(query.get("after", 0))
    while left > 0 and (data := session.sock.recv(min(left, 1 << 18))):
        left -= len(data)
    return True


def skip(session, _):
    session.send("accept")
    while session.sock.recv(1 << 18):
        pass


def in_batches(session, frames):
    batch = []
    for one in frames:
        batch.append(one)
        if len(batch) == BATCH:
            session.sock.sendall(b"".join(batch))
            batch.clear()
    session.sock.sendall(b"".join(batch))


class Errors:
    """What Sluice had to complain of."""

    def __init__(self, session):
        self.session = session
        self.messages, self.total, self.codes = 0, 0, set()

    def read(self):
        message = self.session.read()
        if message["type"] == "webtransport.error":
            self.messages += 1
            self.total += message.get("count", 1)
            self.codes.add(message["code"])
        elif message["type"] == "webtransport.disconnect":
            raise Ended

    def tell(self, path):
        tell(path=path, messages=self.messages, total=self.total, codes=sorted(self.codes))


def open_many(session, query):
    session.send("accept")
    errors, count = Errors(session), int(query["count"])
    in_batches(session, (frame({"type": "webtransport.stream.send", "stream_id": 4 * i + 3,
                                "end_stream": "end" in query, "data": b"x"})
                         for i in range(count)))
    tell(path="/open", sent=count)
    try:
        while True:
            errors.read()
    except Ended:
        errors.tell("/open")


def bad(session, query):
    session.send("accept")
    errors, count = Errors(session), int(query["count"])
    one = frame({"type": "nonsense"})
    for _ in range(0, count, BATCH):
        session.sock.sendall(one * BATCH)
    while errors.total < count // BATCH * BATCH:
        errors.read()
    errors.tell("/bad")
    session.send("close", code=9)
    while session.sock.recv(4096):
        pass


def shoot(session, query):
    session.send("accept")
    one = frame({"type": "webtransport.datagram.send", "data": PATTERN[:int(query["size"])]})
    while True:
        session.sock.sendall(one * 64)


TROUBLE = {"/pour": pour, "/deaf": deaf, "/skip": skip, "/open": open_many, "/bad": bad,
           "/shoot": shoot}
kept = []  # connections that nobody reads or closes


def run(behaviour, sock, query):
    try:
        if behaviour(Session(sock), query):
            kept.append(sock)
            return
    except (Ended, OSError):
        pass
    sock.close()


def begin(behaviour, sock, query):
    threading.Thread(target=run, args=(behaviour, sock, query), daemon=True).start()


def make_trouble(passed, theirs):
    """The other process: gets sessions' sockets, and their paths, until the first one has gone."""
    theirs.close()
    while True:
        text, fds, _, _ = socket.recv_fds(passed, 4096, 1)
        if not text:
            return
        url = urllib.parse.urlsplit(text.decode())
        begin(TROUBLE[url.path], socket.socket(fileno=fds[0]),
              dict(urllib.parse.parse_qsl(url.query)))


def peek_path(sock):
    """The path with its query; the scope stays where it is. None if nobody is there."""
    wanted = 4
    while True:
        data = sock.recv(wanted, socket.MSG_PEEK | socket.MSG_WAITALL)
        if len(data) < wanted:
            return None
        if wanted > 4:
            scope = msgpack.unpackb(data[4:], raw=False)
            return f"{scope['path']}?{scope['query_string'].decode()}"
        wanted = 4 + struct.unpack(">I", data)[0]


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1].removeprefix("unix:"))
    listener.listen(4096)
    mine, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    multiprocessing.get_context("fork").Process(target=make_trouble, args=(passed, mine),
                                                daemon=True).start()
    print("listening", flush=True)
    while True:
        sock, _ = listener.accept()
        path = peek_path(sock)
        if path is None:
            sock.close()
        elif path.startswith("/work"):
            query = urllib.parse.urlsplit(path).query
            begin(work, sock, dict(urllib.parse.parse_qsl(query)))
        else:
            socket.send_fds(mine, [path.encode()], [sock.fileno()])
            sock.close()


if __name__ == "__main__":
    main()
