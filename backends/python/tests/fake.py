"""A pretended Sluice, written from the protocol's text with nothing but msgpack; and helpers to run a server."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import msgpack

import sluice

WAIT = 60  # seconds until a test that hangs fails; nothing is measured by it


def scope(**changes):
    base = {
        "type": "webtransport",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "3",
        "scheme": "https",
        "path": "/webtransport",
        "raw_path": b"/webtransport",
        "query_string": b"a=1",
        "root_path": "",
        "headers": [[b"host", b"localhost:4433"], [b"x", b"1"], [b"x", b"2"]],
        "server": ["127.0.0.1", 4433],
        "client": ["127.0.0.1", 50000],
        "session_id": 12,
        "subprotocols": ["chat", "chat2"],
        "extensions": {
            "tls": {"tls_version": 0x0304, "cipher_suite": 0x1301, "server_cert": None, "client_cert_chain": []},
            "webtransport": {
                "max_datagram_size": 1200,
                "stream_window": 1000,
                "session_window": 100_000,
                "max_pending_streams": 16,
                "connect_protocol": "webtransport",
            },
            "sluice": {"protocol": 1, "session": "s-1", "draft": "02", "max_frame": 1 << 20, "route": "default"},
        },
    }
    windows = {k: changes.pop(k) for k in list(changes) if k in base["extensions"]["webtransport"]}
    base["extensions"]["webtransport"].update(windows)
    base.update(changes)
    return base


def frame(message) -> bytes:
    body = msgpack.packb(message)
    return struct.pack(">I", len(body)) + body


class FakeSluice:
    """One connection, one session."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.window = None  # what each stream may be sent at first, once accepted
        self.limits = {}  # stream id, or None for all together: the credit heard of last

    def say(self, kind, **fields):
        self.writer.write(frame({"type": "webtransport." + kind, **fields}))

    def raw(self, data: bytes):
        self.writer.write(data)

    def scope(self, **changes):
        self.writer.write(frame(scope(**changes)))

    def stream(self, stream_id, data=b"", ended=False):
        self.say("stream.receive", stream_id=stream_id, stream_ended=ended, data=data)

    async def hear(self):
        """The next frame from the application; None at EOF. Credit is taken note of and skipped."""
        while (message := await self.hear_any()) is not None and message["type"] == "credit":
            assert message["limit"] > self.limits.get(message.get("stream_id"), 0)
            self.limits[message.get("stream_id")] = message["limit"]
        if message is not None and message["type"] == "accept":
            self.window = message.pop("receive_window")
        return message

    async def hear_any(self):
        async with asyncio.timeout(WAIT):
            try:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            except asyncio.IncompleteReadError as error:
                assert not error.partial, "EOF inside a frame"
                return None
            except ConnectionResetError:
                return None
            message = msgpack.unpackb(await self.reader.readexactly(length))
        assert list(message).index("data") == len(message) - 1 if "data" in message else True
        message["type"] = message["type"].removeprefix("webtransport.")
        return message

    async def expect(self, kind, **fields):
        message = await self.hear()
        assert message is not None, f"EOF instead of {kind}"
        assert message["type"] == kind, message
        for name, value in fields.items():
            assert message.get(name) == value, message
        return message

    async def accepted(self, **changes):
        self.scope(**changes)
        return await self.expect("accept")

    async def over(self, code=None, reason="", clean=True, by="client"):
        """Disconnects as Sluice does, and waits for the application to hang up."""
        self.say("disconnect", code=code, reason=reason, clean=clean, by=by)
        await self.eof()

    async def eof(self):
        if self.writer.can_write_eof():
            with contextlib.suppress(OSError):
                self.writer.write_eof()
        while await self.hear() is not None:
            pass

    def close(self):
        self.writer.close()


class Client:
    """Sluice and a client behind it, who keep to what they are allowed and use all of it."""

    def __init__(self, fake, stream_window, session_window):
        self.fake = fake
        self.stream_window, self.session_window = stream_window, session_window
        self.stuck = set()  # streams whose bytes the client does not take
        self.got = {}  # stream id: bytes
        self.total = 0
        self.sent, self.all_sent = {}, 0
        self.other = asyncio.Queue()  # what is not about streams' bytes
        self.heard = asyncio.Event()
        self.ended = set()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        while (message := await self.fake.hear_any()) is not None:
            kind, stream_id = message["type"], message.get("stream_id")
            if kind == "credit":
                assert message["limit"] > self.fake.limits.get(stream_id, 0)
                self.fake.limits[stream_id] = message["limit"]
            elif kind == "stream.send":
                self._sent_to(stream_id, message)
            else:
                self.other.put_nowait(message)
            self.heard.set()
        self.other.put_nowait(None)

    def _sent_to(self, stream_id, message):
        size = len(message.get("data", b""))
        self.got[stream_id] = self.got.get(stream_id, 0) + size
        self.total += size
        assert self.got[stream_id] <= self.stream_window or stream_id not in self.stuck, "more than it may"
        if message.get("end_stream"):
            self.ended.add(stream_id)
        if stream_id not in self.stuck and size:
            self.fake.say("credit", stream_id=stream_id, limit=self.got[stream_id] + self.stream_window)
            stuck = sum(self.got.get(stream, 0) for stream in self.stuck)
            self.fake.say("credit", limit=self.total - stuck + self.session_window)

    async def until(self, condition):
        while not condition():
            self.heard.clear()
            await self.heard.wait()

    def room(self, stream_id):
        """What may be sent on this stream now."""
        limits, window = self.fake.limits, self.fake.window
        return min(limits.get(stream_id, window) - self.sent.get(stream_id, 0), limits[None] - self.all_sent)

    async def send(self, stream_id, total, *, piece=10_000, end=False):
        """Sends as much, as fast as credit allows."""
        left = total
        while left:
            await self.until(lambda: self.room(stream_id) > 0)
            size = min(left, self.room(stream_id), piece)
            left -= size
            self.sent[stream_id] = self.sent.get(stream_id, 0) + size
            self.all_sent += size
            self.fake.stream(stream_id, bytes(size), ended=end and not left)
            await self.fake.writer.drain()

    async def fill(self, stream_id):
        """Sends all that the application allows without reading any of it."""
        await self.send(stream_id, self.room(stream_id))

    async def over(self, by):
        """Disconnects as Sluice does, and waits for the application to hang up."""
        self.fake.say("disconnect", code=0, reason="", clean=True, by=by)
        self.fake.writer.write_eof()
        assert await self.answer() is None

    async def answer(self):
        """The next message that is not about bytes."""
        return await self.other.get()


async def client_of(connect, stream_window=1 << 20, session_window=8 << 20):
    fake = await connect()
    await fake.accepted(stream_window=stream_window, session_window=session_window)
    client = Client(fake, stream_window, session_window)
    await client.until(lambda: None in fake.limits)
    return client


@contextlib.asynccontextmanager
async def serving(app, tmp_path=None, lifespan=False, **options):
    """Runs a server; gives a function that connects a FakeSluice to it."""
    inner = app
    if not lifespan and not isinstance(app, sluice.SessionApp):

        async def app(scope, receive, send):
            if scope["type"] != "lifespan":
                await inner(scope, receive, send)

    options.setdefault("bind", f"unix:{tmp_path}/app.sock" if tmp_path else "tcp:127.0.0.1:0")
    options.setdefault("shutdown_timeout", 0)
    server = sluice.Server(app, **options)
    task = asyncio.create_task(server.serve())
    started = asyncio.create_task(server.started())
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        task.result()
    fakes = []

    async def connect():
        address = server.address
        if address.path is not None:
            streams = await asyncio.open_unix_connection(address.path)
        else:
            streams = await asyncio.open_connection(address.host, address.port)
        fakes.append(FakeSluice(*streams))
        return fakes[-1]

    connect.server = server
    try:
        yield connect
    finally:
        for fake in fakes:
            fake.close()
        server.stop()
        async with asyncio.timeout(WAIT):
            await task


def run(coroutine):
    async def limited():
        async with asyncio.timeout(WAIT * 2):
            return await coroutine

    return asyncio.run(limited())
