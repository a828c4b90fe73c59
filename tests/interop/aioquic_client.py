"""Features with aioquic's own HTTP/3 and WebTransport API (H3Connection with enable_webtransport).

aioquic leaves to its caller: the codes of streams as QUIC carries them, the capsules of a session, and
what comes back on bidirectional streams that the client opened (it takes that for frames of HTTP/3).
All are done here in a few lines and are a remark in the results.
"""

import asyncio
import json
import os
import ssl
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError, encode_uint_var
from aioquic.h3 import events as h3
from aioquic.h3.connection import H3Connection
from aioquic.quic import events as quic
from aioquic.quic.configuration import QuicConfiguration

from features import run

CLOSE, DRAIN = 0x2843, 0x78AE
WT_FIRST = 0x52E4A40FA8DB


def to_wire(code):
    """draft-ietf-webtrans-http3, section 4.4"""
    return WT_FIRST + code + code // 0x1E


def from_wire(code):
    return code - WT_FIRST - (code - WT_FIRST) // 0x1F


class Stream:
    def __init__(self):
        self.data, self.ended = bytearray(), False
        self.reset = self.stopped = None


class Connection(QuicConnectionProtocol):
    """One connection with one session."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.changed = asyncio.Event()
        self.streams, self.datagrams, self.capsules = {}, [], []
        self.status = self.session_id = self.terminated = None
        self.session_ended, self.body = False, b""
        self.own = set()  # bidirectional streams that we opened

    def quic_event_received(self, event):
        if isinstance(event, quic.StreamReset):
            self.at(event.stream_id).reset = event.error_code
        elif isinstance(event, quic.StopSendingReceived):
            self.at(event.stream_id).stopped = event.error_code
        elif isinstance(event, quic.ConnectionTerminated):
            self.terminated = event
        if isinstance(event, quic.StreamDataReceived) and event.stream_id in self.own:
            self.receive(event.stream_id, event.data, event.end_stream)
        else:
            for answer in self.http.handle_event(event):
                self.take(answer)
        self.changed.set()

    def receive(self, stream_id, data, ended):
        stream = self.at(stream_id)
        stream.data += data
        stream.ended = stream.ended or ended

    def take(self, event):
        if isinstance(event, h3.WebTransportStreamDataReceived):
            self.receive(event.stream_id, event.data, event.stream_ended)
        elif isinstance(event, h3.DatagramReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, h3.HeadersReceived):
            self.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h3.DataReceived):
            self.body += event.data
            self.session_ended = self.session_ended or event.stream_ended
            self.parse_capsules()

    def parse_capsules(self):
        while self.body:
            buffer = Buffer(data=self.body)
            try:
                kind = buffer.pull_uint_var()
                value = buffer.pull_bytes(buffer.pull_uint_var())
            except BufferReadError:
                return
            self.capsules.append((kind, value))
            self.body = self.body[buffer.tell():]

    def at(self, stream_id):
        return self.streams.setdefault(stream_id, Stream())

    async def until(self, condition):
        """Waits for it; returns its value."""
        while not (value := condition()):
            if self.terminated:
                raise ConnectionError(f"the connection has ended: {self.terminated}")
            self.changed.clear()
            await self.changed.wait()
        return value

    # The session.

    async def ask(self, url):
        """Sends the CONNECT; the status of the answer."""
        where = urlsplit(url)
        self.session_id = self._quic.get_next_available_stream_id()
        path = where.path + (f"?{where.query}" if where.query else "")
        self.http.send_headers(self.session_id, [
            (b":method", b"CONNECT"), (b":scheme", b"https"), (b":authority", where.netloc.encode()),
            (b":path", path.encode()), (b":protocol", b"webtransport")])
        self.transmit()
        return await self.until(lambda: self.status)

    def open(self, data, end=False, uni=False):
        stream_id = self.http.create_webtransport_stream(self.session_id, is_unidirectional=uni)
        if not uni:
            self.own.add(stream_id)
        self.write(stream_id, data, end)
        return stream_id

    def write(self, stream_id, data, end=False):
        self._quic.send_stream_data(stream_id, data, end)
        self.transmit()

    def reset(self, stream_id, code):
        self._quic.reset_stream(stream_id, to_wire(code))
        self.transmit()

    def stop(self, stream_id, code):
        self._quic.stop_stream(stream_id, to_wire(code))
        self.transmit()

    def datagram(self, data):
        self.http.send_datagram(self.session_id, data)
        self.transmit()

    def close_session(self, code, reason):
        value = code.to_bytes(4, "big") + reason
        capsule = encode_uint_var(CLOSE) + encode_uint_var(len(value)) + value
        self.http.send_data(self.session_id, capsule, end_stream=True)
        self.transmit()

    async def read(self, stream_id):
        stream = self.at(stream_id)
        await self.until(lambda: stream.ended or stream.reset is not None)
        assert stream.ended, f"stream {stream_id} was reset with {stream.reset:#x}"
        return bytes(stream.data)

    async def opened_by_server(self, kind):
        """The first stream of this kind (1 bidirectional, 3 unidirectional) with data of the session."""
        def first():
            return next((i for i, s in self.streams.items() if i % 4 == kind and s.data), None)
        return await self.until(first)

    async def command(self, text):
        return await self.read(self.open(text + b"\n", end=True))


class Features:
    """Each returns a remark or None, or raises."""

    ANSWERS = "it takes what comes back on such a stream for HTTP/3 frames; its caller here reads it from QUIC"
    CODES = "it leaves the codes of streams as QUIC has them; its caller here maps them"
    CAPSULES = "it knows no capsules; its caller here does"

    async def connect(self, session):
        pass

    async def bidi(self, session):
        data = os.urandom(1_000_000)
        assert await session.read(session.open(b"echo\n" + data, end=True)) == data, "other bytes came back"
        return self.ANSWERS

    async def uni(self, session):
        data = os.urandom(100_000)
        session.open(data, end=True, uni=True)
        assert await session.read(await session.opened_by_server(3)) == data, "other bytes came back"

    async def server_bidi(self, session):
        asked = session.open(b"bidi\n")
        opened = await session.opened_by_server(1)
        assert await session.read(opened) == b"hello"
        session.write(opened, b"there", end=True)
        assert await session.read(asked) == b"got:there"

    async def server_uni(self, session):
        session.open(b"uni\n", end=True)
        assert await session.read(await session.opened_by_server(3)) == b"hello"

    async def datagram(self, session):
        while not session.datagrams:  # one may be lost
            session.datagram(b"ping")
            try:
                await asyncio.wait_for(session.until(lambda: session.datagrams), 1)
            except asyncio.TimeoutError:
                pass
        assert session.datagrams[0] == b"ping"

    async def started(self, session):
        stream_id = session.open(b"echo\nx")
        await session.until(lambda: session.at(stream_id).data == b"x")
        return stream_id

    async def reset(self, session):
        session.reset(await self.started(session), 42)
        told = json.loads(await session.command(b"seen reset"))
        assert told["resets"] == [42], told
        return self.CODES

    async def stop(self, session):
        session.stop(await self.started(session), 43)
        told = json.loads(await session.command(b"seen stop"))
        assert told["stops"] == [43], told
        return self.CODES

    async def server_reset(self, session):
        stream = session.at(session.open(b"reset 44\n"))
        code = await session.until(lambda: stream.reset)
        assert from_wire(code) == 44, f"code {code:#x}"
        return self.CODES

    async def server_stop(self, session):
        stream = session.at(session.open(b"stop 45\n"))
        code = await session.until(lambda: stream.stopped)
        assert from_wire(code) == 45, f"code {code:#x}"
        return self.CODES

    async def server_close(self, session):
        session.open(b"close 8 so long\n")
        await session.until(lambda: session.session_ended)
        assert (CLOSE, b"\0\0\0\x08so long") in session.capsules, session.capsules
        return self.CAPSULES

    async def drain(self, session):
        await session.command(b"drain")
        await session.until(lambda: (DRAIN, b"") in session.capsules)
        return self.CAPSULES


class Client:
    def __init__(self, options):
        self.options = options
        where = urlsplit(options.url)
        self.host, self.port = where.hostname, where.port

    def connection(self):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_REQUIRED,
                                          server_name="localhost", max_datagram_frame_size=65536)
        configuration.load_verify_locations(self.options.ca)
        return connect(self.host, self.port, configuration=configuration, create_protocol=Connection)

    async def in_session(self, name, run):
        async with self.connection() as session:
            status = await session.ask(f"{self.options.url}?key={name}")
            assert status == 200, f"status {status}"
            return await run(session)

    async def close(self):
        async def closing(session):
            session.close_session(7, b"bye")
            await session.until(lambda: session.session_ended)

        async def asking(session):
            return json.loads(await session.command(b"seen close"))
        await self.in_session("close", closing)
        end = (await self.in_session("close-asked", asking))["disconnect"]
        assert (end["code"], end["reason"], end["by"]) == (7, "bye", "client"), end
        return Features.CAPSULES

    async def reject(self):
        async with self.connection() as session:
            status = await session.ask(self.options.url + "-none")
            assert status == 404, f"status {status}"


asyncio.run(run(Client, Features(), "aioquic", needs_ca=True))
