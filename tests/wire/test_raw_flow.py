"""Flow control of sessions, and several of them on one connection: limits kept, broken, raised."""

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StopSendingReceived

from support.quicclient import to_wire
from support.rawclient import (DATA, WEBTRANSPORT_SETTINGS, connect_headers, frame,
                               headers_frame)
from support.scene import cleared, ended, received, scene_of_module, told

MAX_DATA, MAX_STREAM_DATA = 0x190B4D3D, 0x190B4D3E
MAX_BIDI, MAX_UNI = 0x190B4D3F, 0x190B4D40
DATA_BLOCKED, STREAM_DATA_BLOCKED = 0x190B4D41, 0x190B4D42
BIDI_BLOCKED, UNI_BLOCKED = 0x190B4D43, 0x190B4D44
REQUEST_REJECTED, MESSAGE_ERROR, FLOW_CONTROL_ERROR = 0x10B, 0x10E, 0x045D4487
SESSIONS, STREAMS, WINDOW = 2, 10, 65536  # what the server allows


def settings(data=2**30, bidi=1000, uni=1000):
    """A client with session flow control."""
    return ((0x33, 1), (0x2C7CF000, 1), (0x2B61, data), (0x2B64, uni), (0x2B65, bidi))


shared = scene_of_module("--connection-sessions", str(SESSIONS), "--max-streams", str(STREAMS),
                         "--connection-window", "64K", "--stream-window", "64K")
scene = cleared("shared")


def connect(scene, **limits):
    client = scene.connect(hello=False)
    client.hello(settings=settings(**limits))
    client.settle()
    return client


def ask(scene, client, path=b"/", **fields):
    asked = client.connect(path)
    session = scene.session_of(client)
    session.accept(**fields)
    assert asked.wait_status() == 200
    return asked, session


def number(value):
    return encode_uint_var(value)


def violated(client, asked, session):
    """The session has ended for that, and nothing else."""
    client.wait(lambda: asked.reset_code is not None and asked.stop_code is not None)
    assert asked.reset_code == asked.stop_code == FLOW_CONTROL_ERROR
    assert ended(client, session)["by"] == "proxy"
    assert not client.terminated


def limit(asked, kind):
    """What the server has allowed by now."""
    return (asked.numbers(kind) or [WINDOW if kind == MAX_DATA else STREAMS])[-1]


def wait_limit(client, asked, kind, least):
    client.wait(lambda: limit(asked, kind) >= least)


def server_streams(client):
    """What the server has sent on its streams but its own three, in order of opening."""
    client.step()
    return [client.got[i] for i in sorted(client.got) if i % 4 == 1 or (i % 4 == 3 and i > 11)]


def payload(stream):
    """Without the header: two bytes of a type, one of a session id below 64."""
    return bytes(stream.data[3:])


# several sessions


def test_two_sessions_know_nothing_of_each_other_and_a_third_is_rejected(scene):
    client = connect(scene)
    one, app_one = ask(scene, client, b"/one")
    two, app_two = ask(scene, client, b"/two")
    assert (app_one.scope["path"], app_two.scope["path"]) == ("/one", "/two")
    third = client.connect(b"/three")
    client.wait(lambda: third.reset_code is not None)
    assert third.reset_code == REQUEST_REJECTED
    for asked, app in (one, app_one), (two, app_two):
        path = app.scope["path"].encode()
        stream = client.wt_stream(asked.stream_id, path, end=True)
        assert received(client, app, 0) == path
        app.stream_send(0, b"re: " + path, end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
        assert stream.data == b"re: " + path
        asked.datagram(path)
        assert told(client, app, "webtransport.datagram.receive")["data"] == path
        app.send("webtransport.datagram.send", data=path)
        client.wait(lambda: client.datagrams)
        assert client.datagrams.pop() == number(asked.stream_id // 4) + path
    left = client.wt_stream(one.stream_id, b"left open")
    told(client, app_one, "webtransport.stream.receive", data=b"left open")
    one.close(7, b"bye")
    end = ended(client, app_one)
    assert (end["code"], end["reason"], end["by"]) == (7, "bye", "client")
    client.wait(lambda: left.reset_code is not None)
    stream = client.wt_stream(two.stream_id, b"still here", end=True)
    assert received(client, app_two, 4) == b"still here"
    assert stream.reset_code is None and two.reset_code is None
    four, app_four = ask(scene, client, b"/four")
    app_four.close()
    client.wait(lambda: four.ended or four.reset_code is not None)
    assert not two.ended
    two.close()
    assert ended(client, app_two)["by"] == "client"


def test_early_datagrams_wait_for_their_own_session(scene):
    """They come before both requests; the first session leaves those of the second alone."""
    client = connect(scene)
    first = client.raw_stream(headers_frame(connect_headers())[:1])  # no request yet
    second = client.raw_stream(headers_frame(connect_headers())[:1])
    for i in range(3):
        first.datagram(b"first %d" % i)
        second.datagram(b"second %d" % i)
    client.settle()
    for asked, name in (first, b"first"), (second, b"second"):
        asked.send(headers_frame(connect_headers())[1:])
        session = scene.session_of(client)
        session.accept()
        for i in range(3):
            message = told(client, session, "webtransport.datagram.receive")
            assert message["data"] == b"%s %d" % (name, i)


def test_many_sessions_one_after_the_other(scene):
    """More than the connection remembers; the first of them is there all the time."""
    client = connect(scene)
    first, app = ask(scene, client, b"/first")
    for i in range(40):
        asked, other = ask(scene, client, b"/%d" % i)
        stream = client.wt_stream(asked.stream_id, bytes(5000), end=True)
        assert received(client, other, 0) == bytes(5000)
        asked.close(i)
        assert ended(client, other)["code"] == i
        client.wait(lambda: stream.reset_code is not None or stream.ended)  # pylint: disable=W0640
    client.wt_stream(first.stream_id, b"first", unidirectional=True, end=True)
    assert received(client, app, 2) == b"first"


def test_without_limits_of_the_clients_there_is_one_session(scene):
    client = scene.connect(hello=False)
    client.hello(settings=((0x33, 1), (0x2C7CF000, 1), (0x2B61, 0), (0x2B64, 0), (0x2B65, 0)))
    client.settle()
    _, session = ask(scene, client)
    second = client.connect()
    client.wait(lambda: second.reset_code is not None)
    assert second.reset_code == REQUEST_REJECTED
    session.close()


def test_a_stuck_session_does_not_hold_up_another(scene):
    client = connect(scene)
    stuck, app_stuck = ask(scene, client, receive_window=1)
    asked, app = ask(scene, client)
    for _ in range(STREAMS):  # all that it may open, and all that it may send
        client.wt_stream(stuck.stream_id, bytes(WINDOW // STREAMS))
    client.settle()
    for i in range(4 * STREAMS):
        wait_limit(client, asked, MAX_BIDI, i + 1)
        wait_limit(client, asked, MAX_DATA, 20_000 * (i + 1))
        stream = client.wt_stream(asked.stream_id, bytes(20_000), end=True)
        assert received(client, app, 4 * i) == bytes(20_000)
        app.stream_send(4 * i, b"taken", end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
    assert stuck.numbers(MAX_DATA) == []
    app_stuck.close()


# what the client may


def send_too_much(client, asked):
    """One byte too much, in two streams; each for itself is small enough."""
    client.wt_stream(asked.stream_id, bytes(WINDOW // 2))
    return client.wt_stream(asked.stream_id, bytes(WINDOW // 2 + 1))


def test_more_data_than_allowed_ends_the_session(scene):
    client = connect(scene)
    asked, session = ask(scene, client, receive_window=1)
    send_too_much(client, asked)
    violated(client, asked, session)
    scene.serves(client)


def test_as_much_data_as_allowed_does_not(scene):
    client = connect(scene)
    asked, session = ask(scene, client, receive_window=1)
    client.wt_stream(asked.stream_id, bytes(WINDOW // 2))
    client.wt_stream(asked.stream_id, bytes(WINDOW // 2))
    asked.capsule(DATA_BLOCKED, number(WINDOW))
    client.settle()
    asked.datagram(b"still here")
    assert told(client, session, "webtransport.datagram.receive")["data"] == b"still here"
    assert limit(asked, MAX_DATA) <= WINDOW + 2  # the bytes that the application has asked for


def test_more_data_than_allowed_before_the_answer(scene):
    client = connect(scene)
    asked = client.connect()
    session = scene.session_of(client)
    send_too_much(client, asked)
    client.wait(lambda: asked.reset_code is not None)
    assert asked.reset_code == FLOW_CONTROL_ERROR
    ended(client, session)
    scene.serves(client)


def test_more_data_than_allowed_before_the_request(scene):
    client = connect(scene)
    earlier, session = ask(scene, client)  # whose window the connection still has
    earlier.close()
    ended(client, session)
    client.settle()
    asked = client.raw_stream()
    send_too_much(client, asked)
    scene.wait_stats(lambda s: s["receive_bytes"] == WINDOW + 1)
    asked.send(headers_frame(connect_headers()))
    client.wait(lambda: asked.reset_code is not None)
    assert asked.reset_code == FLOW_CONTROL_ERROR
    assert scene.no_session()  # the application was never asked
    scene.proxy.wait_log("session.refused", fault="flow_control", draft="draft15",
                         client=f"127.0.0.1:{client.sock.getsockname()[1]}")
    scene.serves(client)


def test_reset_streams_count_what_was_sent(scene):
    """The bytes that are lost with a reset count, too: against the limit, and as taken."""
    client = connect(scene)
    asked, session = ask(scene, client)
    for i in range(3 * STREAMS):
        wait_limit(client, asked, MAX_BIDI, i + 1)
        wait_limit(client, asked, MAX_DATA, (i + 1) * (WINDOW // 4))
        stream = client.wt_stream(asked.stream_id, bytes(WINDOW // 4))
        told(client, session, "webtransport.stream.receive", stream_id=4 * i)
        client.wait_sent(stream)
        stream.reset(to_wire(1))
        told(client, session, "webtransport.stream.reset", stream_id=4 * i)
        session.stream_send(4 * i, end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
    # All of it was given back, or is about to be: less than half of a window is missing.
    wait_limit(client, asked, MAX_DATA, 3 * STREAMS * (WINDOW // 4) + WINDOW // 2)
    wait_limit(client, asked, MAX_BIDI, 3 * STREAMS + STREAMS // 2)


def hear_stop(quic, _context, _frame_type, buf):
    stream_id, code = buf.pull_uint_var(), buf.pull_uint_var()
    quic._events.append(StopSendingReceived(error_code=code, stream_id=stream_id))


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_stopped_streams_count_what_was_sent(scene, monkeypatch, end):
    """QUIC tells nobody of bytes that come after a stop, nor of a FIN."""
    # aioquic would reset a stream at once that is stopped
    monkeypatch.setattr(QuicConnection, "_handle_stop_sending_frame", hear_stop)
    client = connect(scene)
    asked, session = ask(scene, client)
    total = 0
    for i in range(2 * STREAMS):
        wait_limit(client, asked, MAX_UNI, i + 1)
        wait_limit(client, asked, MAX_DATA, total + 5 + WINDOW // 8)
        stream = client.wt_stream(asked.stream_id, b"begin", unidirectional=True)
        told(client, session, "webtransport.stream.receive", stream_id=2 + 4 * i)
        session.send("webtransport.stream.stop", stream_id=2 + 4 * i, code=5)
        client.wait(lambda: stream.stop_code is not None)  # pylint: disable=W0640
        stream.send(bytes(WINDOW // 8))
        client.wait_sent(stream)
        client.settle()
        total += 5 + WINDOW // 8
        if end == "fin":
            stream.send(end=True)
        else:
            stream.reset(to_wire(5))
        client.settle()
    wait_limit(client, asked, MAX_DATA, total + WINDOW // 2)
    wait_limit(client, asked, MAX_UNI, 2 * STREAMS + STREAMS // 2)


@pytest.mark.parametrize("unidirectional", [False, True])
def test_more_streams_than_allowed_end_the_session(scene, unidirectional):
    client = connect(scene)
    asked, session = ask(scene, client)
    streams = [client.wt_stream(asked.stream_id, b"x", unidirectional) for _ in range(STREAMS)]
    client.settle()
    assert asked.reset_code is None
    client.wt_stream(asked.stream_id, b"x", unidirectional)
    violated(client, asked, session)
    client.wait(lambda: all(s.stop_code is not None for s in streams))
    scene.serves(client)


def test_limits_are_raised_in_batches_over_many_streams(scene):
    client = connect(scene)
    asked, session = ask(scene, client)
    streams, size = 20 * STREAMS, 4000
    for i in range(streams):
        wait_limit(client, asked, MAX_BIDI, i + 1)
        wait_limit(client, asked, MAX_DATA, size * (i + 1))
        stream = client.wt_stream(asked.stream_id, bytes(size), end=True)
        assert received(client, session, 4 * i) == bytes(size)
        session.stream_send(4 * i, end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
    raised = asked.numbers(MAX_DATA)
    assert raised == sorted(set(raised)) and len(raised) <= streams * size // (WINDOW // 2)
    raised = asked.numbers(MAX_BIDI)
    assert raised == sorted(set(raised)) and len(raised) <= streams // (STREAMS // 2)
    assert asked.numbers(MAX_UNI) == []


def test_blocked_clients_get_what_there_is_at_once(scene):
    client = connect(scene)
    asked, session = ask(scene, client)
    client.wt_stream(asked.stream_id, bytes(1000), unidirectional=True, end=True)
    assert received(client, session, 2) == bytes(1000)
    assert asked.numbers(MAX_DATA) == asked.numbers(MAX_UNI) == []
    asked.capsule(DATA_BLOCKED, number(WINDOW))
    asked.capsule(UNI_BLOCKED, number(STREAMS))
    asked.capsule(BIDI_BLOCKED, number(STREAMS))
    client.wait(lambda: asked.numbers(MAX_DATA) and asked.numbers(MAX_UNI))
    assert asked.numbers(MAX_DATA) == [WINDOW + 1000]
    assert asked.numbers(MAX_UNI) == [STREAMS + 1]
    assert asked.numbers(MAX_BIDI) == []


# what the server may


def test_the_server_keeps_to_the_clients_limit_of_data(scene):
    client = connect(scene, data=1000)
    asked, session = ask(scene, client)
    for stream_id in (3, 7):
        session.stream_send(stream_id, bytes([stream_id]) * 2000, end=True)
    for limit in (1000, 1001, 2500, 3999, 4000):
        if limit > 1000:
            asked.capsule(MAX_DATA, number(limit))
        client.wait(lambda: sum(len(payload(s))  # pylint: disable=W0640
                                for s in server_streams(client)) >= limit)
        if limit < 4000:
            client.wait(lambda: limit in asked.numbers(DATA_BLOCKED))  # pylint: disable=W0640
        client.settle()
        assert sum(len(payload(s)) for s in server_streams(client)) == limit
    assert asked.numbers(DATA_BLOCKED) == [1000, 1001, 2500, 3999]
    client.wait(lambda: all(s.ended for s in server_streams(client)))
    assert [payload(s) for s in server_streams(client)] == [b"\3" * 2000, b"\7" * 2000]


def test_headers_and_ends_need_no_limit_of_data(scene):
    client = connect(scene, data=1)
    asked, session = ask(scene, client)
    session.stream_send(1, b"x", end=True)
    for stream_id in (3, 7):
        session.stream_send(stream_id, end=True)
    client.wait(lambda: len(server_streams(client)) == 3
                and all(s.ended for s in server_streams(client)))
    assert [payload(s) for s in server_streams(client)] == [b"x", b"", b""]
    assert asked.numbers(DATA_BLOCKED) == []


def test_the_server_keeps_to_the_clients_limit_of_streams(scene):
    client = connect(scene, bidi=0, uni=2)
    asked, session = ask(scene, client)
    session.stream_send(1, b"one", end=True)
    for stream_id in (3, 7, 11, 15):
        session.stream_send(stream_id, b"%d" % stream_id, end=True)
    client.wait(lambda: asked.numbers(UNI_BLOCKED) == [2] and asked.numbers(BIDI_BLOCKED) == [0])
    client.wait(lambda: len(server_streams(client)) == 2)
    asked.capsule(MAX_BIDI, number(5))
    client.wait(lambda: len(server_streams(client)) == 3)
    for limit in (3, 4):
        asked.capsule(MAX_UNI, number(limit))
        client.wait(lambda: len(server_streams(client)) == limit + 1)  # pylint: disable=W0640
    client.wait(lambda: all(s.ended for s in server_streams(client)))
    assert sorted(payload(s) for s in server_streams(client)) == [b"11", b"15", b"3", b"7", b"one"]
    client.wait(lambda: asked.numbers(UNI_BLOCKED) == [2, 3])


def test_a_session_without_credit_does_not_hold_up_another(scene):
    client = connect(scene, data=1000)
    asked, session = ask(scene, client)
    session.stream_send(1, bytes(50_000), end=True)
    client.wait(lambda: asked.numbers(DATA_BLOCKED) == [1000])
    other, app = ask(scene, client)
    other.capsule(MAX_DATA, number(2**30))
    app.stream_send(1, bytes(200_000), end=True)
    client.wait(lambda: len(server_streams(client)) == 2)
    late = server_streams(client)[1]
    client.wait(lambda: late.ended)
    assert payload(late) == bytes(200_000)
    assert len(payload(server_streams(client)[0])) == 1000


# capsules that break the rules


@pytest.mark.parametrize("capsules", [
    [(MAX_DATA, number(2**30))], [(MAX_DATA, number(5))],
    [(MAX_DATA, number(2**31)), (MAX_DATA, number(2**31))],
    [(MAX_BIDI, number(1000))], [(MAX_UNI, number(999))], [(MAX_BIDI, number(2**60 + 1))],
    [(MAX_UNI, number(2**62 - 1))], [(BIDI_BLOCKED, number(2**60 + 1))],
    [(UNI_BLOCKED, number(2**61))], [(MAX_STREAM_DATA, number(0) + number(100))],
    [(STREAM_DATA_BLOCKED, number(0) + number(100))],
])
def test_capsules_that_break_flow_control(scene, capsules):
    client = connect(scene)
    asked, session = ask(scene, client)
    for kind, value in capsules:
        asked.capsule(kind, value)
    violated(client, asked, session)
    scene.serves(client)


@pytest.mark.parametrize("value", [b"", b"\x80\0", number(2**31) + b"\0", bytes(16), bytes(17)])
def test_capsules_that_are_no_number(scene, value):
    client = connect(scene)
    asked, session = ask(scene, client)
    asked.capsule(MAX_DATA, value)
    client.wait(lambda: asked.reset_code is not None)
    assert asked.reset_code == MESSAGE_ERROR
    ended(client, session)
    scene.serves(client)


def test_blocked_capsules_are_bounded(scene):
    """A client that raises its limit by one byte a thousand times is told so not much oftener."""
    client = connect(scene, data=10)
    asked, session = ask(scene, client)
    session.stream_send(1, bytes(5000))
    client.wait(lambda: asked.numbers(DATA_BLOCKED) == [10])
    for limit in range(11, 1011):
        asked.send(frame(DATA, number(MAX_DATA) + b"\2" + (0x4000 | limit).to_bytes(2, "big")))
    client.wait(lambda: sum(len(payload(s)) for s in server_streams(client)) == 1010)
    said = asked.numbers(DATA_BLOCKED)
    assert said == sorted(set(said)) and len(said) <= 1001


# without


@pytest.mark.parametrize("announced", [WEBTRANSPORT_SETTINGS, ((0x33, 1), (0x2C7CF000, 1))])
def test_without_flow_control_its_capsules_are_ignored(scene, announced):
    client = scene.connect(hello=False)
    client.hello(settings=announced)
    asked, session = ask(scene, client)
    for kind in range(MAX_DATA, UNI_BLOCKED + 1):
        for value in (number(0), number(2**61), b"", bytes(9)):
            asked.capsule(kind, value)
    for _ in range(3):
        stream = client.wt_stream(asked.stream_id, bytes(WINDOW // 2), end=True)
        received(client, session, 4 * _)
        session.stream_send(4 * _, b"all", end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
    client.settle()
    assert asked.capsules() == []


def test_safari_is_told_that_there_is_no_limit_when_it_asks(scene):
    """It keeps limits though nobody has announced any."""
    client = scene.connect(hello=False, extensions=[(0x3A3A, b"")])
    client.hello(settings=((0x33, 1), (0xC671706A, 1), (0x14E9CD29, 1), (0x2B61, 8388608),
                           (0x2B64, 100), (0x2B65, 100)))
    asked, session = ask(scene, client)
    client.settle()
    assert asked.capsules() == []
    for _ in range(3):
        for kind in (DATA_BLOCKED, BIDI_BLOCKED, UNI_BLOCKED):
            asked.capsule(kind, number(0))
    client.settle()
    client.wait(lambda: len(asked.capsules()) >= 3)
    assert asked.capsules() == [(MAX_DATA, number(2**62 - 1)), (MAX_BIDI, number(2**60)),
                                (MAX_UNI, number(2**60))]
    frames = [payload for kind, payload in asked.frames() if kind == DATA]
    assert len(frames) == 3  # each in one of its own
    stream = client.wt_stream(asked.stream_id, b"hello", end=True)
    assert received(client, session, 0) == b"hello"
    session.stream_send(0, b"hello", end=True)
    client.wait(lambda: stream.ended)
