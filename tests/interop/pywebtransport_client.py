"""Features with pywebtransport's own API. Needs Python 3.12 (see pywebtransport.sh)."""

import asyncio
import json
import os
import ssl
from urllib.parse import urlsplit

from pywebtransport.client import WebTransportClient
from pywebtransport.config import ClientConfig
from pywebtransport.exceptions import StreamError
from pywebtransport.types import EventType

from features import run

WT_FIRST = 0x52E4A40FA8DB


def from_wire(code):
    """draft-ietf-webtrans-http3, section 4.4; codes that are an application's already stay as they are."""
    if code is None or code < WT_FIRST:
        return code
    return code - WT_FIRST - (code - WT_FIRST) // 0x1F


class Told:
    """The events of a session or stream, from now on: it forgets those that nobody listens to."""

    def __init__(self, events, *kinds):
        self.seen = {kind: asyncio.get_running_loop().create_future() for kind in kinds}
        for kind in kinds:
            events.once(event_type=kind, handler=self.take)

    def take(self, event):
        self.seen[event.type].set_result(event.data or {})

    async def wait(self, kind):
        return await self.seen[kind]


async def command(session, text):
    stream = await session.create_bidirectional_stream()
    await stream.write_all(data=text + b"\n", end_stream=True)
    return await stream.read_all()


async def first(streams):
    async for stream in streams:
        return stream
    raise ConnectionError("the session has ended")


async def started(session):
    """A stream that the application echoes."""
    stream = await session.create_bidirectional_stream()
    await stream.write(data=b"echo\nx")
    assert await stream.read(max_size=1) == b"x"
    return stream


class Features:
    """Each has a session, and returns a remark or None, or raises."""

    async def connect(self, session):
        pass

    async def bidi(self, session):
        data = os.urandom(1_000_000)
        stream = await session.create_bidirectional_stream()
        sending = asyncio.create_task(stream.write_all(data=b"echo\n" + data, end_stream=True))
        assert await stream.read_all() == data, "other bytes came back"
        await sending

    async def uni(self, session):
        data = os.urandom(100_000)
        stream = await session.create_unidirectional_stream()
        await stream.write_all(data=data, end_stream=True)
        answer = await first(session.incoming_unidirectional_streams())
        assert await answer.read_all() == data, "other bytes came back"

    async def server_bidi(self, session):
        asked = asyncio.create_task(command(session, b"bidi"))
        opened = await first(session.incoming_bidirectional_streams())
        assert await opened.read_all() == b"hello"
        await opened.write_all(data=b"there", end_stream=True)
        assert await asked == b"got:there"

    async def server_uni(self, session):
        await command(session, b"uni")
        opened = await first(session.incoming_unidirectional_streams())
        assert await opened.read_all() == b"hello"

    async def datagram(self, session):
        while True:  # one may be lost
            await session.send_datagram(data=b"ping")
            try:
                data = await asyncio.wait_for(session.read_datagram(), 1)
            except asyncio.TimeoutError:
                continue
            assert data == b"ping", data
            return

    async def reset(self, session):
        await (await started(session)).reset(error_code=42)
        told = json.loads(await command(session, b"seen py-reset"))
        assert told["resets"] == [42], told

    async def stop(self, session):
        await (await started(session)).stop_receiving(error_code=43)
        told = json.loads(await command(session, b"seen py-stop"))
        assert told["stops"] == [43], told

    async def server_reset(self, session):
        stream = await session.create_bidirectional_stream()
        await stream.write(data=b"reset 44\n")
        try:
            await stream.read_all()
        except StreamError as error:
            assert from_wire(error.error_code) == 44, f"code {error.error_code:#x}"
        else:
            raise AssertionError("the stream ended instead")

    async def server_stop(self, session):
        stream = await session.create_bidirectional_stream()
        told = Told(stream.events, EventType.STREAM_STOP_SENDING_RECEIVED)
        await stream.write(data=b"stop 45\n")
        code = (await told.wait(EventType.STREAM_STOP_SENDING_RECEIVED))["error_code"]
        assert from_wire(code) == 45, f"code {code:#x}"

    async def server_close(self, session):
        told = Told(session.events, EventType.SESSION_CLOSED)
        stream = await session.create_bidirectional_stream()
        await stream.write(data=b"close 8 so long\n")
        end = await told.wait(EventType.SESSION_CLOSED)
        assert (end.get("error_code"), end.get("reason")) == (8, "so long"), end

    async def drain(self, session):
        told = Told(session.events, EventType.SESSION_DRAINING)
        await command(session, b"drain")
        await told.wait(EventType.SESSION_DRAINING)


class Client:
    def __init__(self, options):
        self.url = options.url
        # The certificate is no authority's, and the library has no way to name it.
        self.config = ClientConfig(verify_mode=ssl.CERT_NONE)

    async def in_session(self, name, run):
        async with WebTransportClient(config=self.config) as client:
            return await run(await client.connect(url=f"{self.url}?key=py-{name}"))

    async def close(self):
        async def closing(session):
            await session.close(error_code=7, reason="bye")

        async def asking(session):
            return json.loads(await command(session, b"seen py-close"))
        await self.in_session("close", closing)
        end = (await self.in_session("close-asked", asking))["disconnect"]
        assert (end["code"], end["reason"], end["by"]) == (7, "bye", "client"), end

    async def reject(self):
        url = urlsplit(self.url)._replace(path="/nothing-is-here").geturl()
        async with WebTransportClient(config=self.config) as client:
            try:
                await client.connect(url=url)
            except Exception:  # pylint: disable=broad-except
                return
        raise AssertionError("there is a session")


asyncio.run(run(Client, Features(), "pywebtransport"))
