"""Streams, datagrams and ends of sessions, with a client that does what browsers cannot."""

import socket
import time

import pytest
from aioquic.buffer import encode_uint_var

from support.quicclient import (CAPSULE_CLOSE, CAPSULE_DRAIN, H3_DATAGRAM_ERROR, H3_ID_ERROR,
                                H3_MESSAGE_ERROR, WT_SESSION_GONE, Client, capsule, close_capsule,
                                from_wire, to_wire)

U32 = 2**32 - 1
CODES = [0, 1, 29, 30, 31, 255, 256, 2**31, U32]


class Pair:
    """A client's session and the application's end of it, accepted."""

    def __init__(self, world, app=None, proxy=None, accept=True, **options):
        if app is None:
            app, proxy = world.start()
        self.app, self.proxy = app, proxy
        self.client = Client(proxy.port, **options)
        self.asked = self.client.session()
        self.client.flush()
        self.session = app.session()
        if accept:
            self.session.accept()
            assert self.asked.wait_response() == 200

    def wait(self, kind, **fields):
        self.client.flush()
        return self.session.wait(kind, **fields)

    def moved(self, condition):
        """Moves the client's packets until condition holds for what the application was sent."""
        self.client.wait(lambda: condition(list(self.session.inbox.queue)))

    def done(self):
        self.session.close()
        self.client.close()


def disconnected(code, reason, clean, by):
    return {"type": "webtransport.disconnect", "code": code, "reason": reason, "clean": clean,
            "by": by}


# streams


def test_ids_count_per_kind_in_order_of_arrival(world):
    p = Pair(world)
    for i in range(3):
        p.asked.open(data=b"b%d" % i, end=True)
        p.asked.open(unidirectional=True, data=b"u%d" % i, end=True)
    p.client.settle()
    for i in range(3):
        assert p.session.read_stream(4 * i) == b"b%d" % i
    p.done()


def test_a_stream_is_announced_by_its_header_alone(world):
    p = Pair(world)
    stream = p.asked.open()
    assert p.wait("webtransport.stream.receive") == {
        "type": "webtransport.stream.receive", "stream_id": 0, "stream_ended": False, "data": b""}
    p.client.send(stream, b"", end=True)
    assert p.wait("webtransport.stream.receive")["stream_ended"] is True
    p.done()


def test_a_streams_header_may_come_byte_by_byte_and_in_any_length(world):
    p = Pair(world)
    stream_id = p.client.quic.get_next_available_stream_id()
    header = bytes.fromhex("c000000000000041") + encode_uint_var(p.asked.stream_id)
    for i, byte in enumerate(header + b"hello"):
        p.client.quic.send_stream_data(stream_id, bytes([byte]), i == len(header) + 4)
        p.client.settle()
    assert p.session.read_stream(0) == b"hello"
    p.done()


def test_the_applications_streams_are_announced_by_an_empty_send(world):
    p = Pair(world)
    p.session.stream_send(1)
    p.session.stream_send(3)
    p.client.wait(lambda: len([s for s in p.asked.streams if s.session_id is not None]) == 2)
    assert sorted(s.unidirectional for s in p.asked.streams) == [False, True]
    assert not any(s.data or s.done for s in p.asked.streams)
    p.session.stream_send(1, b"data", end=True)
    p.session.stream_send(3, end=True)
    p.client.wait(lambda: all(s.ended for s in p.asked.streams))
    p.done()


def test_confirm_is_answered_when_the_client_has_everything(world):
    p = Pair(world)
    p.session.send("webtransport.stream.send", stream_id=3, data=b"important", end_stream=True,
                   confirm=True)
    p.client.wait(lambda: p.asked.streams and p.asked.streams[0].ended)
    p.moved(lambda got: any(m and m["type"] == "webtransport.stream.delivered" for m in got))
    assert p.session.wait("webtransport.stream.delivered") == {
        "type": "webtransport.stream.delivered", "stream_id": 3}
    p.done()


@pytest.mark.parametrize("code", CODES)
def test_codes_of_resets_and_stops(world, code):
    p = Pair(world)
    # The client resets, the client stops.
    stream = p.asked.open(data=b"x")
    p.wait("webtransport.stream.receive", stream_id=0)
    p.client.reset(stream, to_wire(code))
    p.client.stop(stream, to_wire(code))
    p.client.flush()
    ends = []
    while len(ends) < 2:
        message = p.session.next()
        if "stream_id" in message:  # the path's datagram limit may be told at any time
            ends.append(message)
    assert sorted((m["type"], m["stream_id"], m["code"]) for m in ends) == [
        ("webtransport.stream.reset", 0, code), ("webtransport.stream.stop", 0, code)]
    # A stop is answered with a reset of the same code.
    p.client.wait(lambda: stream.reset_code is not None)
    assert from_wire(stream.reset_code) == code
    # The application resets, the application stops.
    stream = p.asked.open(data=b"x")
    p.wait("webtransport.stream.receive", stream_id=4)
    p.session.send("webtransport.stream.reset", stream_id=4, code=code)
    p.session.send("webtransport.stream.stop", stream_id=4, code=code)
    p.client.wait(lambda: stream.reset_code is not None and stream.stop_code is not None)
    assert (stream.reset_code, stream.stop_code) == (to_wire(code), to_wire(code))
    p.done()


def test_a_code_that_is_no_applications_code_is_nil(world):
    p = Pair(world)
    stream = p.asked.open(data=b"x")
    p.wait("webtransport.stream.receive", stream_id=0)
    p.client.reset(stream, 0x10C)
    p.client.stop(stream, 0x10C)
    p.client.flush()
    ends = []
    while len(ends) < 2:
        message = p.session.next()
        if "stream_id" in message:  # the path's datagram limit may be told at any time
            ends.append(message)
    assert {m["type"] for m in ends} == {"webtransport.stream.reset", "webtransport.stream.stop"}
    assert all(m["code"] is None for m in ends)
    p.done()


def test_absent_code_is_zero_and_text_is_bytes(world):
    p = Pair(world)
    p.session.send("webtransport.stream.send", stream_id=3, data="text is ☃")
    p.client.wait(lambda: p.asked.streams and p.asked.streams[0].data == "text is ☃".encode())
    p.session.send("webtransport.stream.reset", stream_id=3)
    p.client.wait(lambda: p.asked.streams[0].reset_code is not None)
    assert p.asked.streams[0].reset_code == to_wire(0)
    p.done()


def test_messages_for_halves_that_have_ended_are_ignored(world):
    p = Pair(world)
    p.asked.open(data=b"x", end=True)
    p.wait("webtransport.stream.receive", stream_id=0)
    p.session.stream_send(0, b"y", end=True)
    for _ in range(3):
        p.session.stream_send(0, b"late")
        p.session.send("webtransport.stream.stop", stream_id=0, code=1)
        p.session.send("webtransport.stream.reset", stream_id=0, code=1)
    p.session.send("webtransport.datagram.send", data=b"marker")
    p.client.wait(lambda: p.asked.datagrams == [b"marker"])
    p.asked.close()
    p.wait("webtransport.disconnect")
    assert not [m for m in p.session.seen if m and m["type"] == "webtransport.error"]
    p.done()


def test_streams_beyond_the_clients_limit_wait_until_there_is_room(world):
    app, proxy = world.start()
    p = Pair(world, app, proxy, max_streams=10)
    for i in range(30):
        p.session.stream_send(3 + 4 * i, b"stream %d" % i, end=True)
    p.client.wait(lambda: len([s for s in p.asked.streams if s.ended]) == 30)
    assert sorted(bytes(s.data) for s in p.asked.streams) == sorted(
        b"stream %d" % i for i in range(30))
    p.done()


def test_what_comes_before_the_answer_is_delivered_after_it(world):
    app, proxy = world.start()
    p = Pair(world, app, proxy, accept=False)
    p.asked.open(data=b"early bidi", end=True)
    p.asked.open(unidirectional=True, data=b"early uni", end=True)
    p.asked.datagram(b"early datagram")
    p.client.settle()
    assert p.session.inbox.empty()
    p.session.accept()
    assert p.asked.wait_response() == 200
    got = {}
    datagrams = []
    while len(got) < 2 or not datagrams:
        message = p.session.next()
        if message["type"] == "webtransport.datagram.receive":
            datagrams.append(message["data"])
        elif message.get("stream_ended") or message.get("data"):  # its datagram limit may be told, too
            got[message["stream_id"]] = got.get(message["stream_id"], b"") + message["data"]
    assert got == {0: b"early bidi", 2: b"early uni"}
    assert datagrams == [b"early datagram"]
    p.done()


def test_streams_that_overtake_their_session(world):
    """A stream's first packet may arrive before CONNECT."""
    app, proxy = world.start()
    client = Client(proxy.port)
    early = client.quic.get_next_available_stream_id()
    connect_id = early + 4  # the next one, which session() takes
    client.quic.send_stream_data(early, bytes.fromhex("4041") + encode_uint_var(connect_id)
                                 + b"first!", True)
    client.settle()
    client.quic._local_next_stream_id_bidi = connect_id
    asked = client.session()
    assert asked.stream_id == connect_id
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    assert session.read_stream(0) == b"first!"
    session.close()
    client.close()


# datagrams


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_datagrams(world, size):
    p = Pair(world)
    p.asked.datagram(b"d" * size)
    assert p.wait("webtransport.datagram.receive")["data"] == b"d" * size
    p.session.send("webtransport.datagram.send", data=b"e" * size)
    p.client.wait(lambda: p.asked.datagrams)
    assert p.asked.datagrams == [b"e" * size]
    p.done()


def test_a_datagram_too_large_is_an_error_and_nothing_more(world):
    p = Pair(world)
    p.session.send("webtransport.datagram.send", data=b"x" * 65000)
    error = p.session.wait("webtransport.error")
    assert error["message"]
    p.session.send("webtransport.datagram.send", data=b"small")
    p.client.wait(lambda: p.asked.datagrams == [b"small"])
    p.done()


def test_ten_thousand_datagrams_to_a_deaf_application_are_bounded(world):
    p = Pair(world)
    for i in range(10000):
        p.asked.datagram(i.to_bytes(4, "big") * 50)
        if i % 50 == 0:
            p.client.settle()
    p.client.settle()
    stats = p.proxy.stats()
    assert stats["datagrams_received"] >= 9000
    assert stats["datagrams"] < 2000
    p.done()


# ends


@pytest.mark.parametrize("code, reason", [(0, ""), (7, "bye"), (U32, "ü" * 512), (1, "x" * 1024)])
def test_the_client_closes(world, code, reason):
    p = Pair(world)
    p.asked.close(code, reason.encode())
    p.client.flush()
    assert p.session.ended() == disconnected(code, reason, True, "client")
    p.client.wait(lambda: p.asked.ended)
    p.done()


def test_a_close_capsule_in_pieces(world):
    p = Pair(world)
    whole = close_capsule(5, b"pieces")
    for i, byte in enumerate(whole):
        p.asked.capsule(bytes([byte]), end=i == len(whole) - 1)
        p.client.settle()
    assert p.session.ended() == disconnected(5, "pieces", True, "client")
    p.done()


def test_unknown_capsules_are_skipped(world):
    p = Pair(world)
    p.asked.capsule(capsule(41 * 1000 + 23, b"grease" * 1000) + capsule(0x190B4D3D, b"\x10")
                    + close_capsule(6, b"after"), end=True)
    p.client.wait(lambda: p.asked.ended)
    assert p.session.ended() == disconnected(6, "after", True, "client")
    p.done()


def test_the_client_ends_with_a_fin_alone(world):
    p = Pair(world)
    p.asked.end()
    p.client.flush()
    assert p.session.ended() == disconnected(0, "", True, "client")
    p.client.wait(lambda: p.asked.ended)
    p.done()


def test_the_client_closes_the_connection(world):
    p = Pair(world)
    p.client.close()
    message = p.session.ended()
    assert (message["by"], message["clean"]) == ("client", False)
    p.session.close()


@pytest.mark.parametrize("wire,code", [
    (7, 7), (0, 0), (255, 255), (to_wire(0), 0), (to_wire(U32), U32),  # as it is, and mapped
    (0x33, None), (0x21, None), (0x100, None), (0x10C, None), (to_wire(29) + 1, None)])
def test_the_client_closes_the_connection_with_a_code(world, wire, code):
    p = Pair(world)
    p.client.quic.close(error_code=wire, reason_phrase="b\u00fde")
    p.client.flush()
    assert p.session.ended() == disconnected(code, "" if code is None else "b\u00fde", False, "client")
    p.session.close()
    p.client.close()


def test_a_reason_of_the_connection_that_is_not_utf8_is_left_out(world):
    p = Pair(world)
    p.client.quic.close(error_code=7, reason_phrase="x" * 254 + "\u00fd")  # more than is kept
    p.client.flush()
    assert p.session.ended() == disconnected(7, "", False, "client")
    p.session.close()
    p.client.close()


def test_the_client_resets_the_connect_stream(world):
    p = Pair(world)
    p.client.quic.reset_stream(p.asked.stream_id, 0x10C)
    p.client.flush()
    message = p.session.ended()
    assert (message["by"], message["clean"], message["code"]) == ("client", False, None)
    p.done()


@pytest.mark.parametrize("data", [
    close_capsule(0, b"x" * 1025),
    capsule(CAPSULE_CLOSE, b"\0\0\0"),
    close_capsule(0, b"\xff\xfe"),
], ids=["long reason", "short", "not UTF-8"])
def test_a_malformed_close_capsule_ends_the_session(world, data):
    p = Pair(world)
    p.asked.capsule(data, end=True)
    p.client.flush()
    message = p.session.ended()
    assert message["type"] == "webtransport.disconnect"
    assert message["clean"] is False
    p.client.wait(lambda: p.asked.reset_code is not None or p.asked.ended or p.client.terminated)
    if p.asked.reset_code is not None:
        assert p.asked.reset_code in (H3_MESSAGE_ERROR, H3_DATAGRAM_ERROR)
    p.done()


@pytest.mark.parametrize("code, reason", [(0, ""), (7, "bye"), (U32, "ü" * 512), (1, "x" * 1024)])
def test_the_application_closes(world, code, reason):
    p = Pair(world)
    p.session.send("webtransport.close", code=code, reason=reason)
    p.client.wait(lambda: p.asked.ended)
    assert p.asked.closed == (code, reason)
    # Clean is what the client answers.
    p.asked.end()
    p.client.flush()
    assert p.session.ended() == disconnected(code, reason, True, "app")
    p.done()


def test_a_close_that_is_never_answered_is_not_clean(world):
    p = Pair(world)
    p.session.send("webtransport.close", code=3, reason="alone")
    p.client.wait(lambda: p.asked.ended)
    p.client.wait(lambda: not p.session.inbox.empty())
    assert p.session.ended() == disconnected(3, "alone", False, "app")
    p.done()


def test_streams_end_with_their_session(world):
    p = Pair(world)
    mine = p.asked.open(data=b"x")
    p.session.stream_send(3, b"y")
    p.client.wait(lambda: p.asked.streams and p.asked.streams[0].data == b"y")
    p.session.send("webtransport.close", code=1, reason="over")
    p.client.wait(lambda: p.asked.ended)
    p.asked.end()
    p.client.wait(lambda: mine.reset_code is not None and mine.stop_code is not None
                  and p.asked.streams[0].reset_code is not None)
    assert {mine.reset_code, mine.stop_code, p.asked.streams[0].reset_code} == {WT_SESSION_GONE}
    p.done()


def test_close_after_delivery_waits_for_the_streams(world):
    p = Pair(world)
    data = bytes(range(256)) * 2000
    p.session.send_all(
        ("webtransport.stream.send", {"stream_id": 3, "data": data, "end_stream": True}),
        ("webtransport.close", {"code": 4, "reason": "all said", "after_delivery": True}))
    p.client.wait(lambda: p.asked.ended)
    assert p.asked.streams[0].ended and p.asked.streams[0].data == data
    assert p.asked.closed == (4, "all said")
    p.asked.end()
    p.client.flush()
    p.session.ended()
    p.done()


def test_the_application_aborts(world):
    p = Pair(world)
    p.session.send("webtransport.abort")
    p.client.wait(lambda: p.asked.reset_code is not None)
    assert p.asked.closed is None
    message = p.session.ended()
    assert (message["by"], message["clean"], message["code"]) == ("app", False, None)
    p.done()


@pytest.mark.parametrize("how", ["close", "shut"])
def test_the_application_crashes_in_mid_session(world, how):
    p = Pair(world)
    stream = p.asked.open(data=b"x")
    p.wait("webtransport.stream.receive")
    if how == "close":
        p.session.close()
    else:
        p.session.sock.shutdown(socket.SHUT_WR)
    p.client.wait(lambda: p.asked.ended or p.asked.reset_code is not None)
    code, reason = p.asked.closed
    assert code != 0 and reason
    p.asked.end()
    p.client.wait(lambda: stream.done)
    p.proxy.wait_log("session.closed", fault="backend_lost")
    p.done()


def test_the_application_crashes_inside_a_frame(world):
    p = Pair(world)
    p.session.raw(b"\0\0\0\x20\x81")
    p.session.close()
    p.client.wait(lambda: p.asked.ended)
    assert p.asked.closed[0] != 0
    p.done()


def test_what_the_application_wrote_before_it_closed_is_read_first(world):
    p = Pair(world)
    p.session.stream_send(3, b"last words", end=True)
    p.session.send("webtransport.close", code=11, reason="and out")
    p.session.sock.shutdown(socket.SHUT_WR)
    p.client.wait(lambda: p.asked.ended)
    assert p.asked.closed == (11, "and out")
    p.asked.end()
    p.client.flush()
    assert p.session.ended() == disconnected(11, "and out", True, "app")
    p.done()


def test_drain_both_ways(world):
    p = Pair(world)
    p.asked.capsule(capsule(CAPSULE_DRAIN))
    assert p.wait("webtransport.drain")["reason"] == "client"
    p.session.send("webtransport.drain")
    p.client.wait(lambda: p.asked.drained)
    # It is advice: streams may still open.
    p.asked.open(data=b"more", end=True)
    p.client.settle()
    assert p.session.read_stream(0) == b"more"
    p.done()


def test_a_client_that_vanishes_is_noticed(world):
    app, proxy = world.start(arguments=("--idle-timeout", "2s"))
    p = Pair(world, app, proxy)
    p.client.vanish()
    assert p.session.ended() == disconnected(None, "", False, "network")
    p.session.close()
    proxy.wait_log("session.closed", by="network")


def test_a_silent_client_stays_connected(world):
    """Keep-alive: an idle session outlives the idle timeout."""
    app, proxy = world.start(arguments=("--idle-timeout", "2s"))
    p = Pair(world, app, proxy)
    enough = time.monotonic() + 4
    p.client.wait(lambda: time.monotonic() > enough)
    p.asked.open(data=b"still here", end=True)
    p.client.settle()
    assert p.session.read_stream(0) == b"still here"
    p.done()


# what breaks HTTP/3 itself


@pytest.mark.parametrize("session_id", [1, 2, 3])
def test_a_stream_for_an_impossible_session_ends_the_connection(world, session_id):
    p = Pair(world)
    p.client.open_stream(session_id, data=b"x")
    p.client.wait(lambda: p.client.terminated)
    assert p.client.terminated.error_code == H3_ID_ERROR
    message = p.session.ended()
    assert (message["type"], message["clean"]) == ("webtransport.disconnect", False)
    p.done()


def test_a_datagram_for_an_impossible_session_ends_the_connection(world):
    p = Pair(world)
    p.client.quic.send_datagram_frame(b"\x40")
    p.client.wait(lambda: p.client.terminated)
    p.session.ended()
    p.done()


def test_streams_for_a_session_that_has_ended_are_refused(world):
    app, proxy = world.start()
    p = Pair(world, app, proxy)
    p.session.send("webtransport.close")
    p.client.wait(lambda: p.asked.ended)
    late = p.asked.open(data=b"late")
    p.client.wait(lambda: late.stop_code is not None or p.client.terminated)
    if late.stop_code is not None:
        assert late.stop_code == WT_SESSION_GONE
    p.asked.end()
    p.done()
