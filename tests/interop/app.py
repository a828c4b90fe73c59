"""The application of the interoperability tests: what a client asks it to do, it does.

Sessions of /interop are accepted, all others answered with 404. The first line on a bidirectional
stream that the client opens is a command, what follows is the command's:

    echo            everything until the end, and the end
    uni, bidi       opens a stream of this kind, writes "hello" and ends it. bidi: what the client
                    answers there comes back as "got:..." on the stream of the command
    reset CODE      resets its direction of this stream
    stop CODE       wants no more of this stream; its own direction ends when the client's has
    close CODE TEXT closes the session
    drain           asks the client to finish
    seen KEY        a JSON object: what became of the streams of the session whose query was ?key=KEY
                    and how it ended; as soon as there is something to tell, or after 10 s

A unidirectional stream is answered on a new one, datagrams are echoed. Everything else is answered
with "unknown".
"""

import asyncio
import json
from urllib.parse import parse_qs

PATH = "/interop"
PATIENCE = 10
KEPT = 1000  # sessions that are remembered


class Seen:
    """What a session saw, for those who ask later."""

    def __init__(self):
        self.told = {"resets": [], "stops": [], "disconnect": None}
        self.changed = asyncio.Event()

    def add(self, name, code):
        self.told[name].append(code)
        self.changed.set()

    def end(self, message):
        self.told["disconnect"] = {name: message[name] for name in ("code", "reason", "by", "clean")}
        self.changed.set()


SEEN = {}


def remember(key):
    """For a session that begins; an older one of the same key is forgotten."""
    SEEN.pop(key, None)
    while len(SEEN) >= KEPT:
        del SEEN[next(iter(SEEN))]
    SEEN[key] = Seen()
    return SEEN[key]


class Stream:
    """One stream that can be read: its messages wait here."""

    def __init__(self, session, stream_id):
        self.session, self.id = session, stream_id
        self.inbox = asyncio.Queue()
        self.answer_id = stream_id if stream_id % 4 != 2 else None
        self.over = False

    async def pieces(self):
        """(data, whether that is the end), until the end or a reset."""
        while not self.over:
            message = await self.inbox.get()
            if message["type"] == "webtransport.stream.receive":
                self.over = message["stream_ended"]
                yield message["data"], self.over
            else:
                self.over = True

    async def line(self):
        """The first line, and what has come with it."""
        head, ended = b"", False
        async for data, ended in self.pieces():
            head += data
            if b"\n" in head:
                break
        line, _, rest = head.partition(b"\n")
        return line.decode(errors="replace"), rest, ended

    async def rest(self):
        return b"".join([data async for data, _ in self.pieces()])

    async def send(self, data, end=False):
        if self.answer_id is None:
            self.answer_id = self.session.next_id(uni=True)
        await self.session.send("stream.send", stream_id=self.answer_id, data=data, end_stream=end)


class Session:
    def __init__(self, scope, receive, send):
        query = parse_qs(scope["query_string"].decode(errors="replace"))
        self.seen = remember(query["key"][0]) if "key" in query else Seen()
        self.receive, self._send = receive, send
        self.streams, self.tasks = {}, set()
        self.opened = {True: 0, False: 0}

    async def send(self, kind, **fields):
        await self._send({"type": "webtransport." + kind, **fields})

    def next_id(self, uni):
        self.opened[uni] += 1
        return 4 * (self.opened[uni] - 1) + (3 if uni else 1)

    async def open(self, uni, data):
        """A stream of our own with these bytes and the end."""
        stream_id = self.next_id(uni)
        if not uni:
            self.streams[stream_id] = Stream(self, stream_id)
        await self.send("stream.send", stream_id=stream_id, data=data, end_stream=True)
        return self.streams.get(stream_id)

    def start(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() and not isinstance(task.exception(), OSError):
            raise task.exception()

    async def run(self):
        await self.send("accept")
        while (message := await self.receive())["type"] != "webtransport.disconnect":
            await self.take(message)
        self.seen.end(message)
        for task in list(self.tasks):
            task.cancel()

    async def take(self, message):
        kind, stream_id = message["type"].removeprefix("webtransport."), message.get("stream_id")
        if kind == "datagram.receive":
            await self.send("datagram.send", data=message["data"])
        elif kind == "stream.stop":
            self.seen.add("stops", message["code"])
        elif kind in ("stream.receive", "stream.reset"):
            if kind == "stream.reset":
                self.seen.add("resets", message["code"])
            if stream_id not in self.streams:
                stream = self.streams[stream_id] = Stream(self, stream_id)
                self.start(serve(stream) if stream_id % 4 == 0 else echo(stream))
            self.streams[stream_id].inbox.put_nowait(message)


async def echo(stream, rest=b"", ended=False):
    if rest or ended:
        await stream.send(rest, ended)
    async for data, ended in stream.pieces():
        await stream.send(data, ended)


async def seen_by(key):
    saw = SEEN.get(key) or Seen()
    try:
        await asyncio.wait_for(saw.changed.wait(), PATIENCE)
    except asyncio.TimeoutError:
        pass
    return json.dumps(saw.told).encode()


async def serve(stream):
    """One command."""
    session = stream.session
    line, rest, ended = await stream.line()
    match line.split(" ", 2):
        case ["echo"]:
            await echo(stream, rest, ended)
        case ["uni"]:
            await session.open(True, b"hello")
            await stream.send(b"", end=True)
        case ["bidi"]:
            opened = await session.open(False, b"hello")
            await stream.send(b"got:" + await opened.rest(), end=True)
        case ["reset", code]:
            await session.send("stream.reset", stream_id=stream.id, code=int(code))
        case ["stop", code]:
            await session.send("stream.stop", stream_id=stream.id, code=int(code))
            await stream.rest()
            await stream.send(b"", end=True)
        case ["close", code, reason]:
            await session.send("close", code=int(code), reason=reason)
        case ["drain"]:
            await session.send("drain")
            await stream.send(b"", end=True)
        case ["seen", key]:
            await stream.send(await seen_by(key), end=True)
        case _:
            await stream.send(b"unknown", end=True)


async def app(scope, receive, send):
    if scope["type"] != "webtransport":
        return
    if scope["path"] != PATH:
        await send({"type": "webtransport.reject", "status": 404})
    else:
        await Session(scope, receive, send).run()
