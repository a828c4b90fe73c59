"""A pretended Sluice, written from the protocol's text with nothing but msgpack; and helpers to run a server."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import msgpack

import sluice

WAIT = 20  # seconds until a test that hangs fails; nothing is measured by it


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
