"""The golden vectors of the protocol."""

import asyncio
import json
from pathlib import Path

import msgpack
import pytest
from fake import run
from test_link import Collector, PretendTransport, pretend

from sluice import ProtocolError, SessionClosed
from sluice.asgi import AsgiSession
from sluice.checks import check, check_scope
from sluice.frame import Decoder, encode
from sluice.link import Link

DIRECTORY = Path(__file__).parents[3] / "protocol" / "vectors"
if not DIRECTORY.exists():
    pytest.skip("the vectors are not beside this package", allow_module_level=True)


def plain(value):
    """JSON's form of a message back into what it stands for."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def load(name):
    vectors = json.loads((DIRECTORY / name).read_text())["vectors"]
    for vector in vectors:
        append = vector.get("append", {"hex": "", "times": 0})
        vector["wire"] = bytes.fromhex(vector["frame"]) + bytes.fromhex(append["hex"]) * append["times"]
        if name == "messages.json":  # odd forms say only what they mean; this is what they look like
            vector.setdefault("message", msgpack.unpackb(vector["wire"][4:]))
    return vectors


def named(vectors):
    return {"argvalues": vectors, "ids": [v["name"] for v in vectors]}


MESSAGES = load("messages.json")
MALFORMED = load("malformed.json")
ECHO = load("echo.json")


@pytest.mark.parametrize("vector", **named([v for v in MESSAGES if v["from"] == "sluice"]))
def test_what_sluice_says(vector):
    (message,) = Decoder().feed(vector["wire"])
    assert message == plain(vector["message"])
    if message["type"] == "webtransport":
        check_scope(message)
    else:
        assert check(message)
    meaning = plain(vector.get("meaning", vector["message"]))
    for name, value in meaning.items():
        if isinstance(value, dict):  # extensions: unknown keys are in ours still
            assert message[name].items() >= {k: v for k, v in value.items() if not isinstance(v, dict)}.items()
        else:
            assert message[name] == value
    # beyond it there is nothing but nil and unknown keys
    assert all(name in vector["message"] for name in message if message[name] is not None)


@pytest.mark.parametrize("vector", **named([v for v in MESSAGES if v["from"] == "app" and "meaning" not in v]))
def test_what_an_application_says(vector):
    message = plain(vector["message"])
    assert msgpack.unpackb(encode(message)[4:]) == message


def application_link():
    """A link on which every kind of stream that the vectors name is open, and a send for ASGI messages."""
    link, transport = pretend(stream_window=10**7, session_window=10**7, subprotocols=["chat.v2", "chat.v1"])
    return link, transport, AsgiSession(link)


async def through_asgi(message):
    """What goes onto the wire when an ASGI application sends this."""
    link, transport, session = application_link()
    if message["type"] not in ("webtransport.accept", "webtransport.reject"):
        await session.send({"type": "webtransport.accept"})
    stream_id = message.get("stream_id")
    if isinstance(stream_id, int) and 0 <= stream_id < 1000:
        before = range(stream_id & 3, stream_id + (message["type"] != "webtransport.stream.send"), 4)
        for earlier in before if stream_id & 1 else ():
            await session.send({"type": "webtransport.stream.send", "stream_id": earlier})
        if not stream_id & 1:
            link.data_received(encode({"type": "webtransport.stream.receive", "stream_id": stream_id}))
    link._flush()
    transport.writes.clear()
    await session.send(message)
    link._flush()
    got, *credit = Decoder().feed(b"".join(transport.writes))
    assert [m["type"] for m in credit] == ["webtransport.credit"] * (got["type"] == "webtransport.accept")
    return got


SENDABLE = [v for v in MESSAGES if v["from"] == "app" and v["message"]["type"] != "webtransport.credit"]


@pytest.mark.parametrize("vector", **named(SENDABLE))
def test_what_an_asgi_application_says(vector):
    """The same messages come from ASGI's send, whatever odd form the application gives them."""
    meaning = plain(vector.get("meaning", vector["message"]))
    got = run(through_asgi(plain(vector["message"])))
    defaults = {"status": {"webtransport.accept": 200}.get(got["type"], 403), "code": 0, "reason": "", "data": b""}
    if "receive_window" not in meaning:
        got.pop("receive_window", None)  # the library's own
    flags = {"end_stream": False, "confirm": False, "after_delivery": False, "headers": [], "body": b""}
    normal = [
        {k: v for k, v in m.items() if v != {**defaults, **flags}.get(k, ...) and v is not None}
        for m in (got, meaning)
    ]
    assert normal[0] == normal[1]


def mistakes():
    for vector in MALFORMED:
        try:
            message = msgpack.unpackb(vector["wire"][4:])
        except Exception:
            continue
        if isinstance(message, dict) and all(isinstance(key, str) for key in message):
            # twice the same key cannot be said here; credit is the library's; an unused field is not passed on
            if vector["error"]["code"] not in ("duplicate_key", "too_many_elements", "too_deep"):
                if message.get("type") != "webtransport.credit":
                    yield vector


@pytest.mark.parametrize("vector", **named(list(mistakes())))
def test_mistakes_do_not_reach_sluice(vector):
    message = msgpack.unpackb(vector["wire"][4:])
    with pytest.raises((ValueError, TypeError)):
        run(through_asgi({"type": None, **message}))


@pytest.mark.parametrize("vector", **named([v for v in MALFORMED if v["error"]["code"] in ("bad_length", "not_a_map", "bad_encoding")]))
def test_frames_that_are_none(vector):
    with pytest.raises(ProtocolError):
        for _ in Decoder(1 << 20).feed(vector["wire"] + bytes(0)):
            pass


def test_the_whole_session_cut_at_every_byte():
    says = [v["wire"] for v in ECHO if v["from"] == "sluice"]
    wire = b"".join(says)
    hears = [plain(v["message"]) for v in ECHO if v["from"] == "app"]

    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        while (message := await receive())["type"] != "webtransport.disconnect":
            if message["type"] == "webtransport.stream.receive":
                out = {"type": "webtransport.stream.send", "end_stream": message["stream_ended"]}
                await send({**out, "stream_id": message["stream_id"], "data": message["data"]})
            elif message["type"] == "webtransport.datagram.receive":
                await send({"type": "webtransport.datagram.send", "data": message["data"]})

    async def session(pieces):
        tasks = []

        def start(link):
            adapter = AsgiSession(link)
            tasks.append(asyncio.create_task(app(link.scope, adapter.receive, adapter.send)))
            return adapter

        link = Link(start)
        transport = PretendTransport()
        link.connection_made(transport)
        for piece in pieces:
            link.data_received(piece)
            for _ in range(5):
                await asyncio.sleep(0)  # the application's turn
        try:
            await tasks[0]
        except SessionClosed:
            pass
        said = Decoder().feed(b"".join(transport.writes))
        got = [m for m in said if m["type"] != "webtransport.credit"]
        got[0] = {"type": got[0]["type"]}  # accept: the status and the window are the library's
        return got, link.disconnected

    async def main():
        # in two pieces at every byte of what comes before the end, then the end
        body, end = b"".join(says[:-1]), says[-1]
        for cut in range(len(body)):
            got, info = await session([body[:cut], body[cut:], end])
            assert got == hears and info.by == "client" and info.clean
        got, info = await session([wire[n : n + 1] for n in range(len(wire))])
        assert got == hears

    run(main())
