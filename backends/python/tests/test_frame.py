"""Frames, and what happens when Sluice sends something that is none."""

import struct

import msgpack
import pytest
from fake import frame, run, scope, serving

from sluice.frame import MAX_FIRST_FRAME, MAX_FRAME, Decoder, ProtocolError, encode


def test_round_trip_in_every_slicing():
    messages = [{"type": "a", "data": b"\x00" * 300}, {"type": "b", "n": 2**52, "none": None}, {"type": "c", "l": [[b"x", b""]]}]
    wire = b"".join(encode(m) for m in messages)
    assert list(Decoder().feed(wire)) == messages
    for step in (1, 2, 3, 7, 100):
        decoder = Decoder()
        got = [m for at in range(0, len(wire), step) for m in decoder.feed(wire[at : at + step])]
        assert got == messages and not decoder.unfinished
    for cut in range(1, len(encode(messages[0]))):
        decoder = Decoder()
        assert list(decoder.feed(wire[:cut])) == [] and decoder.unfinished


def test_data_is_last():
    body = encode({"data": b"payload", "type": "x", "end_stream": True})
    assert body.endswith(b"payload")


def test_too_long_to_send():
    with pytest.raises(ValueError, match="longer than a frame"):
        encode({"type": "x", "data": bytes(MAX_FRAME)})


BAD = {
    "length 0": struct.pack(">I", 0),
    "length over the limit": struct.pack(">I", MAX_FIRST_FRAME + 1),
    "huge length": b"\xff\xff\xff\xff",
    "not a map": struct.pack(">I", 1) + b"\x01",
    "two values": struct.pack(">I", 2) + b"\x80\x80",
    "not msgpack": struct.pack(">I", 1) + b"\xc1",
    "a map that is cut short": struct.pack(">I", 2) + b"\x82\xa1",
    "16 million elements claimed": struct.pack(">I", 6) + b"\x81\xdd\x00\xff\xff\xff",
    "text that is not UTF-8": struct.pack(">I", 8) + b"\x81\xa4type\xa1\xff",
    "no type": frame({"a": 1}),
    "a type that is not text": frame({"type": 1}),
    "a key that is not text": frame({1: 2, "type": "webtransport"}),
}


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD.keys())
def test_bad_frames(wire):
    with pytest.raises(ProtocolError):
        list(Decoder(MAX_FRAME).feed(wire))


BAD_SCOPES = {
    "not a scope": {"type": "webtransport.stream.receive", "stream_id": 0},
    "headers": scope(headers=[["text", b""]]),
    "extensions": scope(extensions=[]),
}

BAD_MESSAGES = {
    "stream_id missing": {"type": "webtransport.stream.receive"},
    "stream_id negative": {"type": "webtransport.stream.receive", "stream_id": -4},
    "stream_id text": {"type": "webtransport.stream.reset", "stream_id": "0"},
    "stream_id bool": {"type": "webtransport.stream.reset", "stream_id": True},
    "data text": {"type": "webtransport.stream.receive", "stream_id": 0, "data": "text"},
    "code text": {"type": "webtransport.stream.stop", "stream_id": 0, "code": "1"},
    "limit missing": {"type": "webtransport.credit"},
    "after disconnect": {"type": "webtransport.disconnect"},
}


@pytest.mark.parametrize("wire", [frame(m) for m in BAD_SCOPES.values()] + list(BAD.values()))
def test_no_session_from_a_bad_scope(wire, caplog):
    async def app(scope, receive, send):
        raise AssertionError("called")

    async def main():
        async with serving(app) as connect:
            s = await connect()
            s.raw(wire)
            assert await s.hear() is None

    run(main())
    assert "does not speak the backend protocol" in caplog.text and "called" not in caplog.text


@pytest.mark.parametrize("wire", [frame(m) for m in BAD_MESSAGES.values()] + list(BAD.values()))
def test_bad_frame_ends_one_session_only(wire, caplog):
    ended = []

    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        while True:
            message = await receive()
            if message["type"] == "webtransport.disconnect":
                ended.append(message)
                return
            if message["type"] == "webtransport.datagram.receive":
                await send({"type": "webtransport.datagram.send", "data": message["data"]})

    async def main():
        async with serving(app) as connect:
            other = await connect()
            await other.accepted()
            s = await connect()
            await s.accepted()
            if wire == frame(BAD_MESSAGES["after disconnect"]):
                s.raw(wire)
            s.raw(wire)
            assert await s.hear() is None
            other.say("datagram.receive", data=b"still here")
            await other.expect("datagram.send", data=b"still here")
            await other.over()

    run(main())
    assert len(ended) == 2 and ended[0]["by"] == "proxy" and not ended[0]["clean"]
    assert "does not speak the backend protocol" in caplog.text


def test_health_check_is_nothing(caplog):
    async def main():
        async with serving(lambda *_: None) as connect:
            s = await connect()
            s.writer.write_eof()
            assert await s.hear() is None

    run(main())
    assert caplog.text == ""


@pytest.mark.parametrize("rest", [b"", b"\x00\x00\x00"])
def test_lost_connection_is_a_disconnect(rest):
    ended = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "webtransport.accept"})
        ended.append(await receive())

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted()
            s.raw(rest)
            await s.eof()

    run(main())
    assert ended[0]["by"] == "network" and ended[0]["code"] is None and "lost" in ended[0]["reason"]
