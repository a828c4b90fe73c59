"""Streams and datagrams as no well-behaved client sends them: too early, too late, too many, cut."""

import pytest
from aioquic.buffer import encode_uint_var

from support.quicclient import from_wire, to_wire
from support.rawclient import connect_headers, headers_frame, request_headers
from support.scene import cleared, ended, next_of, received, scene_of_module, told

DATAGRAM_ERROR, ID_ERROR = 0x33, 0x108
TOO_EARLY, GONE = 0x3994BD84, 0x170D7B68
EARLY = 8
STREAMS = 100
RECEIVE = "webtransport.stream.receive"

shared = scene_of_module("--early-streams", str(EARLY), "--max-streams", str(STREAMS),
                         "--close-timeout", "30s")
scene = cleared("shared")
shared_hasty = scene_of_module("--settings-timeout", "300ms")
hasty = cleared("shared_hasty")


def refused(client, streams, code):
    """Each of these is reset where it can be and stopped where it can be, with this code."""
    client.wait(lambda: all(s.stop_code is not None for s in streams))
    assert {s.stop_code for s in streams} == {code}
    bidi = [s for s in streams if not s.stream_id & 2]
    client.wait(lambda: all(s.reset_code is not None for s in bidi))
    assert all(s.reset_code == code for s in bidi)


def all_received(client, session, count):
    """{id: bytes} of the next so many streams that end, in whatever order."""
    data, done = {}, 0
    while done < count:
        message = told(client, session, RECEIVE)
        stream_id = message["stream_id"]
        data[stream_id] = data.get(stream_id, b"") + message["data"]
        done += message["stream_ended"]
    return data


# too early


def early_streams(client, session_id, count, end=False):
    return [client.wt_stream(session_id, b"early %d" % i, unidirectional=bool(i & 1), end=end)
            for i in range(count)]


def test_early_streams_are_delivered_and_more_are_refused(scene):
    client = scene.connect()
    asked = client.raw_stream()  # keeps the number
    streams = early_streams(client, asked.stream_id, EARLY, end=True)
    client.settle()
    more = early_streams(client, asked.stream_id, 6)
    refused(client, more, TOO_EARLY)
    asked.send(connect_bytes())
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    for i, stream_id in enumerate([0, 2, 4, 6, 8, 10, 12, 14]):
        assert received(client, session, stream_id) == b"early %d" % i
    late = client.wt_stream(asked.stream_id, b"late", end=True)
    assert received(client, session, 16) == b"late"
    assert late.stop_code is None and all(s.stop_code is None for s in streams)
    asked.close()


def connect_bytes():
    return headers_frame(connect_headers())


def test_an_early_stream_may_end_in_any_way_before_its_session(scene):
    client = scene.connect()
    asked = client.raw_stream()
    reset = client.wt_stream(asked.stream_id, b"abc")
    stopped = client.wt_stream(asked.stream_id, b"abc")
    both = client.wt_stream(asked.stream_id, b"abc")
    client.settle()
    reset.reset(to_wire(1))
    stopped.stop(to_wire(2))
    both.reset(to_wire(3))
    both.stop(to_wire(4))
    client.settle()
    asked.send(connect_bytes())
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    seen = [(m["type"].rsplit(".")[-1], m["stream_id"], m.get("code"))
            for m in (next_of(client, session) for _ in range(7))]
    assert [m for m in seen if m[1] == 0] == [("receive", 0, None), ("reset", 0, 1)]
    assert [m for m in seen if m[1] == 4] == [("receive", 4, None), ("stop", 4, 2)]
    assert [m for m in seen if m[1] == 8] == [("receive", 8, None), ("reset", 8, 3),
                                              ("stop", 8, 4)]


def test_early_streams_of_a_refused_session_are_refused(scene):
    client = scene.connect()
    asked = client.raw_stream()
    streams = early_streams(client, asked.stream_id, 4)
    asked.datagram(b"early")
    client.settle()
    asked.send(connect_bytes())
    scene.session_of(client).send("webtransport.reject", status=404, body=b"no")
    assert asked.wait_status() == 404
    refused(client, streams, TOO_EARLY)
    refused(client, early_streams(client, asked.stream_id, 4), GONE)
    client.wait(lambda: asked.ended)
    assert asked.body() == b"no"


def test_streams_whose_session_never_comes(hasty):
    client = hasty.connect()
    for session_id in (400, 4 * 2**20):
        streams = early_streams(client, session_id, 10)
        refused(client, streams, TOO_EARLY)
    client.settle()
    hasty.serves(client)


def test_streams_for_a_request_that_is_no_session(hasty):
    client = hasty.connect()
    plain = client.raw_stream(headers_frame(request_headers()), end=True)
    assert plain.wait_status() == 404
    refused(client, early_streams(client, plain.stream_id, 4), TOO_EARLY)
    hasty.serves(client)


def test_a_whole_window_of_early_bytes_is_given_back(scene):
    """What waits uses up the connection's window. When it is refused, that must come back."""
    client = scene.connect()
    for _ in range(3):
        asked = client.raw_stream()
        streams = [client.wt_stream(asked.stream_id, b"x" * 900_000) for _ in range(4)]
        asked.send(connect_bytes())
        session = scene.session_of(client)
        session.send("webtransport.reject")
        assert asked.wait_status() == 403
        client.wait(lambda: all(s.stop_code is not None for s in streams))  # pylint: disable=W0640
        for stream in streams:
            stream.reset(0x10C)
        client.settle()
    asked, session = scene.serves(client)
    stream = client.wt_stream(asked.stream_id, b"y" * 9_000_000, end=True)
    assert len(received(client, session, 4)) == 9_000_000
    session.stream_send(4, end=True)
    client.wait(lambda: stream.ended)


# headers in pieces


@pytest.mark.parametrize("unidirectional", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_header_byte_by_byte_in_any_length(scene, unidirectional, size):
    client, asked, session = scene.open()
    kind = 0x54 if unidirectional else 0x41

    def number(value):
        flags = {1: 0, 2: 1, 4: 2, 8: 3}[size] << (8 * size - 2)
        return (value | flags).to_bytes(size, "big") if size > 1 or value < 64 \
            else encode_uint_var(value)

    stream = client.raw_stream(unidirectional=unidirectional)
    header = number(kind) + number(asked.stream_id)
    for i, byte in enumerate(header):
        stream.send(bytes([byte]), end=i == len(header) - 1)
        client.settle()
    message = told(client, session, RECEIVE)
    assert (message["stream_id"], message["data"]) == (2 if unidirectional else 0, b"")
    assert message["stream_ended"] or received(client, session, message["stream_id"]) == b""
    if not unidirectional:
        session.stream_send(0, b"", end=True)
        client.wait(lambda: stream.ended)


@pytest.mark.parametrize("how", ["fin", "reset", "stop and fin"])
@pytest.mark.parametrize("begun", ["", "40", "4041", "404140", "c000000000", "40418000"])
def test_streams_that_end_inside_their_header(scene, how, begun):
    """Three times as many as may be open at once, and the session goes on."""
    client, asked, session = scene.open()
    begun = bytes.fromhex(begun)
    for _ in range(6):
        streams = [client.raw_stream(begun) for _ in range(STREAMS // 2 - 1)]
        client.settle()
        for stream in streams:
            if "stop" in how:
                stream.stop(to_wire(5))
            if "fin" in how:
                stream.send(end=True)
            else:
                stream.reset(to_wire(6))
        client.wait(lambda: all(s.reset_code is not None for s in streams))  # pylint: disable=W0640
        client.settle()
    client.wt_stream(asked.stream_id, b"whole", end=True)
    assert received(client, session, 0) == b"whole"
    assert [m["type"] for m in session.seen if "stream" in m["type"]] == [RECEIVE] * len(
        [m for m in session.seen if m["type"] == RECEIVE])


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_unidirectional_streams_that_end_inside_their_header(scene, how):
    client, asked, session = scene.open()
    for _ in range(3):
        for begun in ("40", "4054", "405440", "c0000000") * 24:
            stream = client.raw_stream(bytes.fromhex(begun), unidirectional=True)
            if how == "fin":
                stream.send(end=True)
            else:
                client.flush()
                stream.reset(to_wire(6))
        client.settle()
    client.wt_stream(asked.stream_id, b"whole", unidirectional=True, end=True)
    assert received(client, session, 2) == b"whole"


@pytest.mark.parametrize("split", [0, 1, 2])
def test_a_stop_may_overtake_the_header(scene, split):
    client, asked, session = scene.open()
    stream = client.raw_stream()
    header = encode_uint_var(0x41) + encode_uint_var(asked.stream_id)
    if split:
        stream.send(header[:split])
    client.settle()
    stream.stop(to_wire(77))
    client.wait(lambda: stream.reset_code is not None)
    assert from_wire(stream.reset_code) == 77
    stream.send(header[split:] + b"data", end=True)
    assert told(client, session, "webtransport.stream.stop")["code"] == 77
    session.stream_send(0, b"too late")
    client.wt_stream(asked.stream_id, b"next", end=True)
    assert received(client, session, 4) == b"next"


@pytest.mark.parametrize("session_id", [1, 2, 3, 5, 2**62 - 1])
@pytest.mark.parametrize("unidirectional", [False, True])
def test_impossible_session_ids(scene, session_id, unidirectional):
    client, _, session = scene.open()
    client.wt_stream(session_id, b"x", unidirectional)
    assert client.wait_terminated() == ID_ERROR
    assert session.ended()["by"] == "proxy"


# too late


def test_streams_for_sessions_that_have_ended(scene):
    """Also for one that ended long ago."""
    client = scene.connect()
    first = None
    for _ in range(20):
        asked, session = scene.serves(client)
        first = first or asked
        asked.close()
        assert ended(client, session)["by"] == "client"
    refused(client, early_streams(client, asked.stream_id, 6), GONE)
    refused(client, early_streams(client, first.stream_id, 6), GONE)
    asked.datagram(b"late")
    scene.serves(client)


# too many


def test_rapid_reset(scene):
    """Opened and reset in one flight, over and over: nothing piles up, the session goes on."""
    client, asked, session = scene.open()

    def burst(count):
        for i in range(count):
            client.wait(lambda: client.may_open(i % 2 == 1))
            stream = client.wt_stream(asked.stream_id, b"x", unidirectional=i % 2 == 1)
            if i % 3:
                client.flush()
            stream.reset(to_wire(i))
            if i % 2 == 0:
                stream.stop(to_wire(i))
            if i % 50 == 49:
                client.settle()
        client.settle()

    burst(400)
    scene.wait_stats(lambda s: s["streams"] == 0)
    before = scene.proxy.rss_kib()
    burst(1200)
    scene.wait_stats(lambda s: s["streams"] == 0)
    assert scene.proxy.rss_kib() - before < 4096
    stream = client.wt_stream(asked.stream_id, b"whole", end=True)
    while True:
        message = told(client, session, RECEIVE)
        if message["data"] == b"whole" or message["stream_ended"]:
            break
    session.stream_send(message["stream_id"], b"yes", end=True)
    client.wait(lambda: stream.ended)


def test_single_bytes_for_an_application_that_does_not_read(scene):
    """All the streams there may be, byte by byte: each costs what its window allows at most."""
    client, asked, session = scene.open()
    session.pause()
    before = scene.proxy.rss_kib()
    streams = [client.wt_stream(asked.stream_id) for _ in range(STREAMS - 1)]
    for _ in range(60):
        for stream in streams:
            stream.send(b"x")
        client.flush()
    client.settle()
    assert scene.proxy.rss_kib() - before < 8192
    session.resume()
    for stream in streams:
        stream.send(end=True)
    assert set(all_received(client, session, len(streams)).values()) == {b"x" * 60}


def test_streams_for_an_application_that_does_not_read_stop_at_the_limit(scene):
    """Ended streams keep their place until the application has heard of them."""
    client, asked, session = scene.open()
    session.pause()
    before = scene.proxy.rss_kib()
    for _ in range(40):
        for _ in range(STREAMS):
            client.wt_stream(asked.stream_id, b"x" * 200, unidirectional=True, end=True)
        client.settle()
    assert scene.proxy.rss_kib() - before < 8192
    assert scene.proxy.stats()["streams"] <= STREAMS
    session.resume()
    assert set(all_received(client, session, 40 * STREAMS).values()) == {b"x" * 200}


def test_the_application_crashes_with_everything_under_way(scene):
    client, asked, session = scene.open()
    streams = [client.wt_stream(asked.stream_id, b"x" * 1000) for _ in range(30)]
    for i in range(20):
        session.stream_send(4 * i + 1, b"y" * 1000)
        session.stream_send(4 * i + 3, b"z" * 1000, end=True)
    session.send("webtransport.datagram.send", data=b"d")
    session.close()
    client.wait(lambda: asked.ended)
    asked.send(end=True)
    client.wait(lambda: all(s.reset_code is not None and s.stop_code is not None for s in streams))
    assert {s.reset_code for s in streams} == {GONE}
    scene.serves(client)


# datagrams


@pytest.mark.parametrize("data", [b"", b"\x40", b"\xc0\0\0\0", b"\xd0\0\0\0\0\0\0\0"])
def test_datagrams_without_a_session_id(scene, data):
    client, _, session = scene.open()
    client.quic.send_datagram_frame(data)
    assert client.wait_terminated() == DATAGRAM_ERROR
    assert session.ended()["by"] == "proxy"


def test_empty_and_stray_datagrams(scene):
    client, asked, session = scene.open()
    for i in range(200):
        client.quic.send_datagram_frame(encode_uint_var(1000 + i) + b"x" * 500)
    asked.datagram(b"")
    assert told(client, session, "webtransport.datagram.receive")["data"] == b""
    scene.wait_stats(lambda s: s["datagrams"] <= 16)
    session.send("webtransport.datagram.send", data=b"")
    client.wait(lambda: client.datagrams == [encode_uint_var(asked.stream_id // 4)])
