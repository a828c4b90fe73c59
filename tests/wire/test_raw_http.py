"""HTTP/3 as no well-behaved client speaks it: SETTINGS, requests, the CONNECT request itself."""

import pytest
from aioquic.buffer import encode_uint_var

from support.rawclient import (CONTROL, DATA, DECODER, ENCODER, GOAWAY, HEADERS, SETTINGS,
                               WEBTRANSPORT_SETTINGS, connect_headers, frame, header_block,
                               headers_frame, request_headers, settings_frame)
from support.scene import cleared, ended, received, scene_of_module, told

STREAM_CREATION, CLOSED_CRITICAL, FRAME_UNEXPECTED, FRAME_ERROR = 0x103, 0x104, 0x105, 0x106
SETTINGS_ERROR, MISSING_SETTINGS, REQUEST_REJECTED = 0x109, 0x10A, 0x10B
MESSAGE_ERROR = 0x10E
GREASE = 0x1F * 7 + 0x21

shared = scene_of_module("--max-header", "4K", "--max-streams", "100")
scene = cleared("shared")
# The other timeout comes first unless this one is heeded.
shared_hasty = scene_of_module("--settings-timeout", "300ms", "--idle-timeout", "5s")
hasty = cleared("shared_hasty")


# SETTINGS


def test_connect_waits_for_the_settings(scene):
    client = scene.connect(hello=False)
    asked = client.connect()
    client.settle()
    assert scene.no_session() and not asked.data
    client.hello()
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200


def test_settings_may_come_byte_by_byte(scene):
    client = scene.connect(hello=False)
    asked = client.connect()
    control = client.raw_stream(unidirectional=True)
    for byte in bytes([0x40, CONTROL]) + settings_frame(((GREASE, 5), *WEBTRANSPORT_SETTINGS)):
        client.settle()
        assert scene.no_session()
        control.send(bytes([byte]))
    scene.session_of(client).accept()
    assert asked.wait_status() == 200


def test_what_follows_a_held_connect_is_delivered(scene):
    client = scene.connect(hello=False)
    asked = client.connect()
    asked.capsule(GREASE, b"abc")
    asked.datagram(b"early")
    client.wt_stream(asked.stream_id, b"early", end=True)
    client.settle()
    client.hello()
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    assert received(client, session, 0) == b"early"
    if {"type": "webtransport.datagram.receive", "data": b"early"} not in session.seen:
        told(client, session, "webtransport.datagram.receive", data=b"early")


@pytest.mark.parametrize("how", ["close", "fin", "reset", "stop", "too much"])
def test_a_held_connect_may_end(scene, how):
    client = scene.connect(hello=False)
    asked = client.connect()
    client.settle()
    if how == "close":
        asked.close(7, b"bye")
    elif how == "fin":
        asked.send(end=True)
    elif how == "reset":
        asked.reset(0x10C)
    elif how == "stop":
        asked.stop(0x10C)
    else:
        asked.send(frame(DATA, b"\x21\x44\0" + b"x" * 8192))
        client.wait(lambda: asked.reset_code is not None)
        assert asked.reset_code == REQUEST_REJECTED
    client.settle()
    client.hello()
    client.settle()
    client.wait(lambda: asked.done)
    scene.wait_stats(lambda s: s["sessions"] == 1 and s["links"] <= 2)
    scene.forget_sessions()  # it may have heard of the one that was asked for and ended at once
    scene.serves(client)


def test_no_settings_in_time(hasty):
    client = hasty.connect(hello=False)
    client.connect()
    assert client.wait_terminated() == MISSING_SETTINGS
    hasty.proxy.wait_log("conn.closed", fault="h3_no_settings")


def test_half_settings_in_time(hasty):
    client = hasty.connect(hello=False)
    client.raw_stream(bytes([CONTROL]) + settings_frame()[:-1], unidirectional=True)
    assert client.wait_terminated() == MISSING_SETTINGS


@pytest.mark.parametrize("pairs", [
    ((0x33, 1), (0x33, 1)), ((GREASE, 1), (GREASE, 2)), ((0x00, 0),), ((0x02, 0),), ((0x03, 1),),
    ((0x04, 65536),), ((0x05, 1),), ((0x33, 2),), ((0x08, 2),), ((0x2B603742, 2),),
    ((0x2C7CF000, 2),), tuple((GREASE + 0x1F * i, i) for i in range(70))],
    ids=lambda pairs: "-".join(f"{k:x}={v}" for k, v in pairs[:2]))
def test_illegal_settings(scene, pairs):
    client = scene.connect(hello=False)
    client.connect()
    client.raw_stream(bytes([CONTROL]) + settings_frame(pairs), unidirectional=True)
    assert client.wait_terminated() == SETTINGS_ERROR


def test_a_setting_cut_off(scene):
    client = scene.connect(hello=False)
    client.raw_stream(bytes([CONTROL]) + frame(SETTINGS, b"\x33\x01\x33"), unidirectional=True)
    assert client.wait_terminated() == FRAME_ERROR


def test_settings_beyond_reason(scene):
    client = scene.connect(hello=False)
    client.raw_stream(bytes([CONTROL]) + encode_uint_var(SETTINGS) + encode_uint_var(1 << 61),
                      unidirectional=True)
    assert client.wait_terminated() == SETTINGS_ERROR


@pytest.mark.parametrize("first", [frame(GOAWAY, b"\0"), frame(GREASE, b"x"), frame(DATA, b"x")])
def test_the_control_stream_begins_with_settings(scene, first):
    client = scene.connect(hello=False)
    client.raw_stream(bytes([CONTROL]) + first, unidirectional=True)
    assert client.wait_terminated() == MISSING_SETTINGS


@pytest.mark.parametrize("second, code", [
    (settings_frame(), FRAME_UNEXPECTED), (frame(DATA, b"x"), FRAME_UNEXPECTED),
    (frame(HEADERS, b"\0\0"), FRAME_UNEXPECTED), (frame(0x02), FRAME_UNEXPECTED),
    (frame(0x06), FRAME_UNEXPECTED)])
def test_what_may_not_follow_on_the_control_stream(scene, second, code):
    client = scene.connect(hello=False)
    client.hello().send(second)
    assert client.wait_terminated() == code


@pytest.mark.parametrize("kind", [CONTROL, ENCODER, DECODER])
def test_a_second_stream_of_a_kind(scene, kind):
    client = scene.connect()
    client.raw_stream(bytes([kind]), unidirectional=True)
    client.raw_stream(bytes([kind]), unidirectional=True)
    assert client.wait_terminated() == STREAM_CREATION


def test_without_datagrams_a_session_is_refused_and_the_log_says_why(scene):
    client = scene.connect(hello=False)
    client.hello(((0x2B603742, 1),))
    asked = client.connect()
    client.wait(lambda: asked.reset_code is not None and asked.stop_code is not None)
    assert asked.reset_code == MESSAGE_ERROR
    line = scene.proxy.wait_log("session.refused", fault="no_datagrams")
    assert "datagrams" in line["why"]


def test_grease_everywhere(scene):
    client = scene.connect(hello=False)
    stray = client.raw_stream(encode_uint_var(GREASE) + b"x" * 5000, unidirectional=True)
    client.raw_stream(encode_uint_var(GREASE + 0x1F), unidirectional=True, end=True)
    control = client.raw_stream(
        bytes([CONTROL]) + settings_frame(((GREASE, 77), *WEBTRANSPORT_SETTINGS)),
        unidirectional=True)
    control.send(frame(GREASE, b"x" * 3000) + frame(0xF0700, b"\0u=1"))
    asked = client.raw_stream(frame(GREASE, b"zzz") + headers_frame(connect_headers())
                              + frame(GREASE, b"y" * 4000) + frame(DATA, b"")
                              + frame(GREASE + 0x1F))
    asked.capsule(GREASE, b"x" * 70000)
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    client.wait(lambda: stray.stop_code is not None)
    assert stray.stop_code == STREAM_CREATION
    asked.capsule(GREASE)
    asked.close(3, b"after all that")
    last = ended(client, session)
    assert (last["code"], last["reason"], last["clean"]) == (3, "after all that", True)


def test_priorities_of_streams_that_never_come_cost_nothing(scene):
    client = scene.connect(hello=False)
    control = client.hello()
    client.settle()
    before = scene.proxy.rss_kib()
    for i in range(40):
        control.send(b"".join(frame(0xF0700, encode_uint_var(4 * (1000 * i + j)) + b"u=1")
                              for j in range(1000)))
        client.settle()
    assert scene.proxy.rss_kib() - before < 4096
    scene.serves(client)


# requests


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE"])
def test_ordinary_requests_get_404(scene, method):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(request_headers(method)), end=True)
    assert asked.wait_status() == 404
    client.wait(lambda: asked.ended)
    assert bool(asked.body()) == (method != b"HEAD")
    scene.serves(client)


def test_a_body_is_taken_to_its_end(scene):
    """More than the stream's window: it is credited although nobody wants it."""
    client = scene.connect()
    asked = client.raw_stream(headers_frame(request_headers(b"POST")))
    for _ in range(40):
        asked.send(frame(DATA, b"x" * 65536))
        client.settle()
    asked.send(frame(HEADERS, header_block([(b"trailer", b"x")])), end=True)
    assert asked.wait_status() == 404
    client.wait(lambda: asked.ended)
    scene.serves(client)


@pytest.mark.parametrize("headers", [
    request_headers(more=[(b"Upper", b"x")]), request_headers(more=[(b"connection", b"close")]),
    request_headers(more=[(b":path", b"/again")]), request_headers(more=[(b"te", b"gzip")]),
    request_headers(more=[(b"content-length", b"4x")]),
    request_headers(more=[(b":status", b"200")]), request_headers()[1:], []])
def test_malformed_requests_are_reset(scene, headers):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(headers), end=True)
    client.wait(lambda: asked.done or client.terminated)
    if client.terminated:  # by nghttp3 since 1.11
        assert client.terminated.error_code == MESSAGE_ERROR
        return
    assert asked.reset_code == MESSAGE_ERROR, asked.headers()
    scene.serves(client)


@pytest.mark.parametrize("value", [b"x\r\nforged: y", b"x\0y"])
def test_header_values_that_are_none_do_not_reach_the_application(scene, value):
    client = scene.connect()
    asked = client.connect(more=[(b"a", b"before"), (b"b", value), (b"c", b"after")])
    client.settle()
    if asked.reset_code is None and not client.terminated:
        session = scene.session_of(client)
        assert session.scope["headers"] == [[b"host", b"localhost"], [b"a", b"before"],
                                            [b"c", b"after"]]


def test_a_body_that_contradicts_its_length(scene):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(request_headers(b"POST", more=[
        (b"content-length", b"3")])) + frame(DATA, b"four"), end=True)
    client.wait(lambda: asked.done or client.terminated)
    client.close()


@pytest.mark.parametrize("data, code", [
    (frame(DATA, b"x"), FRAME_UNEXPECTED), (settings_frame(), FRAME_UNEXPECTED),
    (frame(GOAWAY, b"\0"), FRAME_UNEXPECTED), (frame(0x05, b"x"), FRAME_UNEXPECTED)])
def test_frames_that_do_not_belong_on_a_request(scene, data, code):
    client = scene.connect()
    client.raw_stream(data)
    assert client.wait_terminated() == code


@pytest.mark.parametrize("cut", [1, 2, 5, 30])
def test_a_request_cut_off_by_its_end(scene, cut):
    client = scene.connect()
    client.raw_stream(headers_frame(request_headers())[:cut], end=True)
    assert client.wait_terminated() in (FRAME_ERROR, 0x101, 0x10D)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 30])
def test_requests_reset_in_the_middle(scene, cut):
    """Three times as many as may be open at once."""
    client = scene.connect()
    for _ in range(3):
        begun = [client.raw_stream(headers_frame(request_headers())[:cut]) for _ in range(100)]
        client.settle()
        for asked in begun:
            asked.reset(0x10C)
        client.wait(lambda: all(asked.reset_code is not None or asked.data for asked in begun))
    scene.wait_stats(lambda s: s["requests"] == 1)
    scene.serves(client)


def test_headers_that_refer_to_what_never_came(scene):
    client = scene.connect()
    encoder = client.raw_stream(bytes([ENCODER]), unidirectional=True)
    client.raw_stream(bytes([DECODER]), unidirectional=True)
    blocked = [client.raw_stream(frame(HEADERS, b"\x02\x00\x80")) for _ in range(20)]
    client.settle()
    for asked in blocked[:10]:
        asked.reset(0x10C)
        asked.stop(0x10C)
    for asked in blocked[10:]:
        asked.send(end=True)
        asked.stop(0x10C)
    client.settle()
    scene.wait_stats(lambda s: s["requests"] == 1)
    encoder.send(bytes.fromhex("3fe11f 41610162"))
    client.settle()
    assert not client.terminated
    scene.serves(client)


@pytest.mark.parametrize("block", [b"\x02\x00\x81", b"\xff" * 40, b"\0\0\xff\xff\xff\xff\x7f",
                                   b"\0\0\x27\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_header_blocks_that_cannot_be_decoded(scene, block):
    client = scene.connect()
    client.raw_stream(frame(HEADERS, block), end=True)
    client.raw_stream(bytes([ENCODER]) + bytes.fromhex("3fe11f 41610162"), unidirectional=True)
    assert client.wait_terminated() == 0x200


def test_headers_at_the_limit_and_beyond(scene):
    client = scene.connect()
    size = sum(len(n) + len(v) + 32 for n, v in connect_headers()) + len(b"x") + 32
    asked = client.connect(more=[(b"x", b"y" * (4096 - size + 1))])
    assert asked.wait_status() == 431
    client.wait(lambda: asked.ended)
    assert scene.no_session()
    asked = client.connect(more=[(b"x", b"y" * (4096 - size))])
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    assert [b"x", b"y" * (4096 - size)] in session.scope["headers"]


def test_headers_far_beyond_the_limit(scene):
    client = scene.connect()
    before = scene.proxy.rss_kib()
    asked = client.connect(more=[(b"x%d" % i, b"y" * 4000) for i in range(100)])
    assert asked.wait_status() == 431
    client.wait(lambda: asked.ended)
    assert scene.proxy.rss_kib() - before < 4096
    scene.serves(client)


@pytest.mark.parametrize("protocol", [b"websocket", b"webtransport-h4", b"", b"WebTransport"])
def test_other_protocols_get_501(scene, protocol):
    client = scene.connect()
    asked = client.connect(protocol=protocol)
    client.wait(lambda: asked.done or client.terminated)
    assert asked.status == 501 or protocol == b"" and not asked.data
    if not client.terminated:
        scene.serves(client)


def test_a_connect_without_protocol_gets_405(scene):
    client = scene.connect()
    asked = client.raw_stream(headers_frame([(b":method", b"CONNECT"),
                                             (b":authority", b"localhost:22")]))
    assert asked.wait_status() == 405
    assert (b"allow", b"") in asked.headers()
    client.wait(lambda: asked.ended)
    scene.serves(client)


def without(name):
    return [header for header in connect_headers() if header[0] != name]


@pytest.mark.parametrize("headers", [
    without(b":scheme"), without(b":path"), without(b":authority"), without(b":method"),
    [*without(b":authority"), (b"host", b"localhost")],
    [*without(b":scheme")[:1], (b":scheme", b"http"), *without(b":scheme")[1:]],
    connect_headers(path=b""), connect_headers(path=b"*"), connect_headers(path=b"relative"),
    connect_headers(path=b"https://localhost/"),
    [(b":authority", b""), *without(b":authority")],
    [(b":authority", b"user@localhost"), *without(b":authority")],
    connect_headers(more=[(b":protocol", b"webtransport")]),
    connect_headers(more=[(b":protocol2", b"x")]), connect_headers(more=[(b"Upper", b"x")]),
    connect_headers(more=[(b"transfer-encoding", b"chunked")]),
    connect_headers(more=[(b"connection", b"close")]),
    [(b"x", b"y"), *connect_headers()]], ids=lambda headers: repr(headers[-1]))
def test_connects_that_are_malformed_are_reset(scene, headers):
    """No application hears of them, and the connection goes on."""
    client = scene.connect()
    goes_on = client.raw_stream(headers_frame(headers)).wait_refused(MESSAGE_ERROR)
    assert scene.no_session()
    if goes_on:
        scene.serves(client)


def test_a_connect_that_ends_with_its_headers_is_none(scene):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(connect_headers()), end=True)
    client.wait(lambda: asked.reset_code is not None)
    assert asked.reset_code == MESSAGE_ERROR
    assert scene.no_session()
    scene.serves(client)


# WT_STREAM where no stream begins


@pytest.mark.parametrize("where", ["before the request", "after the request", "in the session",
                                   "in a session byte by byte", "in a POST", "control stream"])
@pytest.mark.parametrize("kind", ["4041", "80000041", "c000000000000041"])
def test_wt_stream_begins_streams_only(scene, where, kind):
    """aioquic #638: its first byte makes a stream WebTransport's, no other does."""
    client = scene.connect(hello=False)
    control = client.hello()
    wrong = bytes.fromhex(kind) + b"\0" + b"AAAA"
    if where == "control stream":
        control.send(wrong)
    elif where == "before the request":
        client.raw_stream(frame(GREASE, b"x") + wrong)
    elif where == "after the request":
        client.connect().send(wrong)
    elif where == "in a POST":
        client.raw_stream(headers_frame(request_headers(b"POST")) + frame(DATA, b"\x40\x41")).send(
            wrong)
    else:
        asked = client.connect()
        scene.session_of(client).accept()
        assert asked.wait_status() == 200
        asked.capsule(0x41, b"\x40\x41\0")  # as a capsule, and inside of one, it is nothing
        client.settle()
        for piece in ([wrong] if where == "in the session" else [bytes([b]) for b in wrong]):
            if not client.terminated:
                asked.send(piece)
                client.settle()
    assert client.wait_terminated() == FRAME_ERROR


def test_a_second_session_is_rejected_and_a_new_one_after_the_first_is_not(scene):
    client, first, session = scene.open()
    for _ in range(5):
        second = client.connect()
        client.wait(lambda: second.reset_code is not None)  # pylint: disable=W0640
        assert second.reset_code == REQUEST_REJECTED
    stream = client.wt_stream(first.stream_id, b"still here", end=True)
    assert received(client, session, 0) == b"still here"
    session.stream_send(0, end=True)
    client.wait(lambda: stream.ended)
    first.close()
    assert ended(client, session)["by"] == "client"
    third, _ = scene.serves(client)
    assert third.stream_id > first.stream_id


def test_goaway_from_the_client_asks_to_finish(scene):
    client, asked, session = scene.open()
    client.got[2].send(frame(GOAWAY, b"\0"))
    assert told(client, session, "webtransport.drain")["reason"] == "client"
    asked.close()
