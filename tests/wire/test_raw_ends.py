"""How sessions end when the client does it badly, or not at all: capsules, resets, silence."""

import pytest
from aioquic.buffer import encode_uint_var

from support.quicclient import (CAPSULE_CLOSE, CAPSULE_DRAIN, capsule, close_capsule, from_wire,
                                to_wire)
from support.rawclient import DATA, HEADERS, frame, header_block
from support.scene import cleared, ended, received, scene_of_module, told

MESSAGE_ERROR, CANCELLED = 0x10E, 0x10C
GONE = 0x170D7B68
GREASE = 0x29 * 100 + 0x17
CAPSULE_DATAGRAM = 0

shared = scene_of_module("--close-timeout", "10s")
scene = cleared("shared")
shared_hasty = scene_of_module("--close-timeout", "400ms")
hasty = cleared("shared_hasty")


def last_words(client, session, **fields):
    last = ended(client, session)
    assert last["type"] == "webtransport.disconnect"
    assert {k: last[k] for k in fields} == fields
    session.close()
    return last


# capsules


def pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


SOME = (capsule(GREASE, b"abc") + capsule(CAPSULE_DATAGRAM, b"by capsule") + capsule(CAPSULE_DRAIN)
        + capsule(GREASE + 0x29, b"") + close_capsule(2**32 - 1, "Grüße".encode()))


@pytest.mark.parametrize("framing", ["merged", "split", "bytes", "bytes in frames", "empty frames"])
def test_capsules_do_not_care_for_frames(scene, framing):
    client, asked, session = scene.open()
    if framing == "merged":
        asked.send(frame(DATA, SOME))
    elif framing == "split":
        for piece in pieces(SOME, 7):
            asked.send(frame(DATA, piece))
    elif framing == "bytes":
        for byte in frame(DATA, SOME):
            asked.send(bytes([byte]))
            client.flush()
    else:
        for byte in SOME:
            asked.send(frame(DATA, bytes([byte])))
            if framing == "empty frames":
                asked.send(frame(DATA) + frame(GREASE, b"z"))
            client.flush()
    told(client, session, "webtransport.datagram.receive", data=b"by capsule")
    last_words(client, session, code=2**32 - 1, reason="Grüße", clean=True, by="client")
    client.wait(lambda: asked.ended)
    asked.send(end=True)
    client.settle()


def test_the_client_drains(scene):
    client, asked, session = scene.open()
    asked.capsule(CAPSULE_DRAIN)
    assert told(client, session, "webtransport.drain")["reason"] == "client"
    asked.close(0)
    last_words(client, session, code=0, clean=True, by="client")


def test_lengths_of_capsules_need_not_be_minimal(scene):
    client, asked, session = scene.open()
    asked.send(frame(DATA, b"\x80\0\x28\x43" + b"\xc0\0\0\0\0\0\0\x06" + b"\0\0\0\x05ok"),
               end=True)
    last_words(client, session, code=5, reason="ok", clean=True, by="client")


@pytest.mark.parametrize("size", [0, 1, 1023, 1024])
def test_reasons_that_are_short_enough(scene, size):
    client, asked, session = scene.open()
    asked.close(9, b"r" * size)
    last_words(client, session, code=9, reason="r" * size, clean=True, by="client")


@pytest.mark.parametrize("value", [
    b"", b"\0\0\0", b"\0\0\0\x01" + b"r" * 1025, b"\0\0\0\x01" + b"r" * 100_000,
    b"\0\0\0\x01\xff", b"\0\0\0\x01\xed\xa0\x80", b"\0\0\0\x01\xc3"],
    ids=["empty", "3 bytes", "1025", "100000", "ff", "surrogate", "cut"])
def test_malformed_closes(scene, value):
    client, asked, session = scene.open()
    stream = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive")
    asked.send(frame(DATA, capsule(CAPSULE_CLOSE, value)))
    last_words(client, session, clean=False, by="proxy", code=None)
    client.wait(lambda: asked.reset_code is not None and stream.reset_code is not None)
    assert (asked.reset_code, stream.reset_code) == (MESSAGE_ERROR, GONE)
    scene.serves(client)


def test_a_drain_with_a_value(scene):
    client, asked, session = scene.open()
    asked.capsule(CAPSULE_DRAIN, b"x")
    last_words(client, session, clean=False, by="proxy")
    client.wait(lambda: asked.reset_code == MESSAGE_ERROR)


@pytest.mark.parametrize("cut", [1, 2, 4, 6])
def test_a_capsule_cut_off(scene, cut):
    client, asked, session = scene.open()
    asked.send(frame(DATA, close_capsule(1, b"xy")[:cut]), end=True)
    last_words(client, session, clean=False, by="proxy")
    client.wait(lambda: asked.reset_code == MESSAGE_ERROR)


def test_a_capsule_without_end_costs_nothing(scene):
    client, asked, session = scene.open()
    before = scene.proxy.rss_kib()
    asked.send(frame(DATA, encode_uint_var(GREASE) + encode_uint_var(2**62 - 1)))
    for _ in range(60):
        asked.send(frame(DATA, b"x" * 65536))
        client.settle()
    assert scene.proxy.rss_kib() - before < 4096
    stream = client.wt_stream(asked.stream_id, b"still here", end=True)
    assert received(client, session, 0) == b"still here"
    session.stream_send(0, end=True)
    client.wait(lambda: stream.ended)


def test_a_datagram_by_capsule_that_is_too_large_is_skipped(scene):
    client, asked, session = scene.open()
    asked.capsule(CAPSULE_DATAGRAM, b"x" * 30000)
    asked.capsule(CAPSULE_DATAGRAM, b"small")
    assert told(client, session, "webtransport.datagram.receive")["data"] == b"small"


def test_many_drains_are_told_few_times(scene):
    client, asked, session = scene.open()
    asked.send(frame(DATA, capsule(CAPSULE_DRAIN) * 20000))
    client.settle()
    asked.close()
    ended(client, session)
    assert len([m for m in session.seen if m and m["type"] == "webtransport.drain"]) < 2000


@pytest.mark.parametrize("apart", ["one frame", "one packet", "later"])
@pytest.mark.parametrize("what", [b"x" * 100, capsule(GREASE, b"x"), close_capsule(5, b"second")],
                         ids=["bytes", "capsule", "close"])
def test_nothing_comes_after_the_close(scene, what, apart):
    """The session ends as the close says, its stream with an error; the connection goes on."""
    client, asked, session = scene.open()
    close = close_capsule(4, b"first")
    if apart == "one frame":
        asked.send(frame(DATA, close + what))
    else:
        asked.send(frame(DATA, close))
        if apart == "later":
            client.wait(lambda: asked.ended)
        asked.send(frame(DATA, what))
    last_words(client, session, code=4, reason="first", by="client")
    client.wait(lambda: asked.stop_code is not None)
    assert asked.stop_code == MESSAGE_ERROR
    assert asked.ended or asked.reset_code == MESSAGE_ERROR
    scene.serves(client)
    assert scene.proxy.stats()["after_close"] > 0


# the CONNECT stream itself


def test_trailers_are_not_for_connect(scene):
    """RFC 9114, section 4.4"""
    client, asked, session = scene.open()
    asked.send(frame(HEADERS, header_block([(b"trailer", b"x")])))
    assert client.wait_terminated() == 0x105
    assert session.ended()["by"] == "proxy"


@pytest.mark.parametrize("how", ["reset", "stop", "reset and stop", "fin and stop"])
@pytest.mark.parametrize("accepted", [False, True])
def test_the_connect_stream_breaks(scene, how, accepted):
    client = scene.connect()
    asked = client.connect()
    session = scene.session_of(client)
    streams = []
    if accepted:
        session.accept()
        assert asked.wait_status() == 200
        streams = [client.wt_stream(asked.stream_id, b"x" * 2000) for _ in range(5)]
        session.stream_send(1, b"y" * 2000)
        client.wait(lambda: len(client.got) > 9)
    if "reset" in how:
        asked.reset(CANCELLED)
    if "stop" in how:
        asked.stop(CANCELLED)
    if "fin" in how:
        asked.send(end=True)
    last = last_words(client, session, by="client")
    assert "fin" in how or (last["code"], last["clean"]) == (None, False)
    client.wait(lambda: asked.done)
    client.wait(lambda: all(s.reset_code is not None and s.stop_code is not None
                            for s in streams))
    assert {s.reset_code for s in streams} <= {GONE}
    scene.serves(client)


def test_a_fin_alone_is_a_clean_end(scene):
    client, asked, session = scene.open()
    asked.send(end=True)
    last_words(client, session, code=0, reason="", clean=True, by="client")
    client.wait(lambda: asked.ended)
    scene.serves(client)


def test_a_fin_inside_a_frame_is_an_error_of_http(scene):
    client, asked, session = scene.open()
    asked.send(b"\0\x10abc", end=True)
    assert client.wait_terminated() == 0x106
    assert session.ended()["by"] == "proxy"


# the application ends it


def test_a_close_that_is_not_answered(hasty):
    """The session's streams live until the answer, or the timeout; then they are gone."""
    client, asked, session = hasty.open()
    bidi = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=0)
    session.send_all(("webtransport.stream.send", {"stream_id": 3, "data": b"y"}),
                     ("webtransport.close", {"code": 6, "reason": "enough"}))
    client.wait(lambda: asked.ended)
    late = client.wt_stream(asked.stream_id, b"late")
    if bidi.stop_code is None:  # the timeout may have been faster
        bidi.send(b"z" * 50000)
    client.wait(lambda: late.stop_code is not None)
    assert late.stop_code == GONE
    client.wait(lambda: bidi.reset_code is not None and bidi.stop_code is not None)
    assert (bidi.reset_code, bidi.stop_code) == (GONE, GONE)
    last_words(client, session, code=6, reason="enough", clean=False, by="app")
    kinds = [payload for kind, payload in asked.frames() if kind == DATA]
    assert kinds[-1] == close_capsule(6, b"enough")
    assert asked.stop_code == GONE


@pytest.mark.parametrize("answer", ["fin", "close", "reset", "stop", "connection"])
def test_answers_to_a_close(scene, answer):
    client, asked, session = scene.open()
    client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=0)
    session.send("webtransport.close", code=6, reason="enough")
    client.wait(lambda: asked.ended)
    if answer == "fin":
        asked.send(end=True)
    elif answer == "close":
        asked.close(7, b"mine")
    elif answer == "reset":
        asked.reset(CANCELLED)
    elif answer == "stop":
        asked.stop(CANCELLED)
        asked.send(end=True)
    else:
        client.quic.close(0x100)
        client.flush()
    last = ended(client, session)
    assert (last["by"], last["code"], last["reason"]) == ("app", 6, "enough")
    assert last["clean"] == (answer in ("fin", "close") or (answer == "stop" and last["clean"]))


def test_capsules_that_come_too_late_change_nothing(scene):
    client, asked, session = scene.open()
    session.send("webtransport.close", code=6, reason="enough")
    client.wait(lambda: asked.ended)
    asked.capsule(CAPSULE_DATAGRAM, b"late")
    asked.capsule(CAPSULE_DRAIN)
    asked.capsule(GREASE, b"x" * 3000)
    asked.datagram(b"late")
    client.settle()
    asked.send(end=True)
    last_words(client, session, code=6, reason="enough", clean=True, by="app")
    assert not {"webtransport.drain", "webtransport.datagram.receive"} & {
        m["type"] for m in session.seen if m}
    scene.serves(client)


def test_both_close_at_once(scene):
    client, asked, session = scene.open()
    session.send("webtransport.close", code=6, reason="app's")
    asked.close(7, b"client's")
    last = ended(client, session)
    assert (last["by"], last["code"], last["reason"]) in [("app", 6, "app's"),
                                                         ("client", 7, "client's")]
    client.wait(lambda: asked.done)
    scene.serves(client)


def test_an_abort_that_is_not_answered(hasty):
    client, asked, session = hasty.open()
    stream = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=0)
    session.send("webtransport.abort")
    client.wait(lambda: asked.reset_code is not None and asked.stop_code is not None)
    client.wait(lambda: stream.reset_code is not None)
    last_words(client, session, clean=False, by="app", code=None)
    asked.reset(CANCELLED)
    client.settle()


def test_a_rejection_with_a_large_body(scene):
    client = scene.connect()
    asked = client.connect()
    session = scene.session_of(client)
    body = bytes(range(256)) * 256
    session.send("webtransport.reject", status=451, headers=[[b"content-type", b"text/x"]],
                 body=body)
    assert asked.wait_status() == 451
    client.wait(lambda: asked.ended)
    assert asked.body() == body
    assert (b"content-type", b"text/x") in asked.headers()
    scene.serves(client)


def test_the_application_drains_in_a_loop(scene):
    client, asked, session = scene.open()
    session.send_all(*[("webtransport.drain", {})] * 5000)
    session.send("webtransport.datagram.send", data=b"marker")
    client.wait(lambda: client.datagrams)
    client.settle()
    assert [p for k, p in asked.frames() if k == DATA] == [capsule(CAPSULE_DRAIN)]


def test_the_application_opens_and_resets_in_a_loop(scene):
    """The client never hears of those streams; each ends in both directions all the same."""
    client, _, session = scene.open()
    for i in range(300):
        session.send_all(("webtransport.stream.send", {"stream_id": 4 * i + 1, "data": b""}),
                         ("webtransport.stream.reset", {"stream_id": 4 * i + 1, "code": 3}))
        told(client, session, "webtransport.stream.reset", stream_id=4 * i + 1)
    scene.wait_stats(lambda s: s["streams"] == 0)


def test_codes_survive_on_a_stream_that_was_stopped_and_reset(scene):
    client, asked, session = scene.open()
    for i, code in enumerate([0, 29, 30, 2**32 - 1]):
        stream = client.wt_stream(asked.stream_id, b"x")
        told(client, session, "webtransport.stream.receive", stream_id=4 * i)
        stream.stop(to_wire(code))
        stream.reset(to_wire(code))
        ends = {(m["type"].rsplit(".")[-1], m["code"]) for m in (
            told_any(client, session, 4 * i), told_any(client, session, 4 * i))}
        assert ends == {("reset", code), ("stop", code)}
        client.wait(lambda: stream.reset_code is not None)  # pylint: disable=W0640
        assert from_wire(stream.reset_code) == code


def told_any(client, session, stream_id):
    """The next reset or stop of this stream."""
    while True:
        client.wait(lambda: not session.inbox.empty())
        message = session.next()
        if message["type"] != "webtransport.stream.receive" and \
                message.get("stream_id") == stream_id:
            return message
