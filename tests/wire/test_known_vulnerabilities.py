"""What made other WebTransport servers vulnerable: each is tried here, again and again."""

import pytest
from aioquic.buffer import encode_uint_var

from support.quicclient import CAPSULE_CLOSE, close_capsule
from support.rawclient import DATA, frame
from support.scene import cleared, ended, received, scene_of_module, told

MESSAGE_ERROR, CANCELLED = 0x10E, 0x10C
GONE = 0x170D7B68
RECEIVE = "webtransport.stream.receive"

shared = scene_of_module("--close-timeout", "1h", "--max-streams", "100")
scene = cleared("shared")
shared_in_a_hurry = scene_of_module("--close-timeout", "2s")
scene_in_a_hurry = cleared("shared_in_a_hurry")


# CVE-2026-21434: the reason of a close was read to its end, however long


@pytest.mark.parametrize("length", [1025, 1 << 20, 1 << 32, 2**62 - 5])
def test_a_reason_without_bounds_is_not_read(scene, length):
    client, asked, session = scene.open()
    before = scene.proxy.rss_kib()
    head = encode_uint_var(CAPSULE_CLOSE) + encode_uint_var(4 + length) + b"\0\0\0\1"
    asked.send(frame(DATA, head))
    assert ended(client, session)["by"] == "proxy"
    client.wait(lambda: asked.reset_code is not None and asked.stop_code is not None)
    assert (asked.reset_code, asked.stop_code) == (MESSAGE_ERROR, MESSAGE_ERROR)
    scene.serves(client)
    assert scene.proxy.rss_kib() - before < 4096


def test_a_reason_that_trickles_in_is_bounded(scene):
    client, asked, session = scene.open()
    before = scene.proxy.rss_kib()
    for byte in close_capsule(1, b"r" * 1024)[:-1]:
        asked.send(frame(DATA, bytes([byte])))
        client.flush()
    client.settle()
    assert scene.proxy.rss_kib() - before < 4096
    client.wt_stream(asked.stream_id, b"still here", end=True)
    assert received(client, session, 0) == b"still here"
    asked.send(frame(DATA, b"r"))
    assert ended(client, session)["reason"] == "r" * 1024


# CVE-2026-21435: a close waited for credit that the peer never gave


def withhold(client):
    """From now on the server may send no more than it may already."""
    client.quic._write_stream_limits = lambda *_, **__: None
    client.quic._write_connection_limits = lambda *_, **__: None


def test_a_close_without_credit_ends_all_the_same(scene_in_a_hurry):
    """Several clients at once, each again and again, half of them with streams of their own. Between two
    sessions a connection stays for the close timeout, too."""
    scene = scene_in_a_hurry
    clients = [scene.connect(max_stream_data=200) for _ in range(4)]
    for client in clients:
        withhold(client)
    for _ in range(2):
        waiting = []
        for i, client in enumerate(clients):
            asked = client.connect()
            session = scene.session_of(client)
            session.accept()
            assert asked.wait_status() == 200
            opened = [client.wt_stream(asked.stream_id, b"x") for _ in range(i % 2 * 5)]
            for number in range(len(opened)):
                told(client, session, RECEIVE, stream_id=4 * number)
            session.send("webtransport.close", code=6, reason="r" * 1024)
            waiting.append((client, asked, session, opened))
        for client, asked, session, opened in waiting:
            last = ended(client, session)
            assert (last["by"], last["code"], last["clean"]) == ("app", 6, False)
            client.wait(lambda: asked.reset_code is not None)  # pylint: disable=W0640
            assert asked.reset_code == GONE
            client.wait(lambda: all(s.reset_code == s.stop_code == GONE for s in opened))  # pylint: disable=W0640
        scene.wait_stats(lambda s: s["requests"] == 1 and s["streams"] == 0)


def test_a_close_without_credit_on_the_connection(scene_in_a_hurry):
    """Nor does the connection stay for it."""
    scene = scene_in_a_hurry
    client = scene.connect(max_data=4000)
    withhold(client)
    asked = client.connect()
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    session.stream_send(1, b"x" * 8000)
    client.wait(lambda: len(client.at(1).data) > 3000)
    session.send("webtransport.close", code=6, reason="r" * 1024)
    assert ended(client, session)["clean"] is False
    client.wait(lambda: client.terminated)
    scene.wait_stats(lambda s: s["connections"] == 1 and s["requests"] == 1)


# CVE-2026-21438: streams that were over were never let go


@pytest.mark.parametrize("way", ["client's", "client's, reset", "application's"])
def test_streams_that_are_over_leave_nothing(scene, way):
    client, asked, session = scene.open()
    count = 0

    def rounds(number):
        nonlocal count
        for _ in range(number):
            unidirectional = bool(count & 1)
            client.wait(lambda: client.may_open(unidirectional))  # pylint: disable=W0640
            stream_id = count // 2 * 4 + 2 * unidirectional
            if way == "application's":
                session.stream_send(stream_id + 1, b"x", end=True)
                stream = client.at(4 * (count // 2) + (1 if not unidirectional else 15))
                client.wait(lambda: stream.ended)  # pylint: disable=W0640
                if not unidirectional:
                    stream.send(b"y", end=True)
                    assert received(client, session, stream_id + 1) == b"y"
            else:
                stream = client.wt_stream(asked.stream_id, b"x", unidirectional)
                told(client, session, RECEIVE, stream_id=stream_id, data=b"x")
                if way == "client's":
                    stream.send(end=True)
                else:
                    stream.reset(CANCELLED)
                if not unidirectional:
                    session.stream_send(stream_id, b"y", end=True)
                    client.wait(lambda: stream.ended)  # pylint: disable=W0640
            count += 1

    rounds(200)
    scene.wait_stats(lambda s: s["streams"] == 0)
    before = scene.proxy.rss_kib()
    rounds(800)
    scene.wait_stats(lambda s: s["streams"] == 0)
    assert scene.proxy.rss_kib() - before < 4096


# The CONNECT stream reset and stopped at once: the second found what the first had freed


@pytest.mark.parametrize("when", ["asked", "open", "with streams", "after the close"])
@pytest.mark.parametrize("how", ["reset and stop", "fin and stop", "close and stop"])
def test_both_halves_of_the_connect_stream_end_in_one_packet(scene, when, how):
    for _ in range(5):
        client = scene.connect()
        asked = client.connect()
        session = scene.session_of(client)
        if when != "asked":
            session.accept()
            assert asked.wait_status() == 200
        if when == "with streams":
            for i in range(10):
                client.wt_stream(asked.stream_id, b"x" * 500)
                session.stream_send(4 * i + 1, b"y" * 500)
        if when == "after the close":
            session.send("webtransport.close", code=6, reason="")
            client.wait(lambda: asked.ended)  # pylint: disable=W0640
        if how == "reset and stop":
            asked.reset(CANCELLED)
        elif how == "fin and stop":
            asked.send(end=True)
        else:
            asked.close(3, b"bye")
        asked.stop(CANCELLED)
        assert ended(client, session)["by"] == ("app" if when == "after the close" else "client")
        client.wait(lambda: asked.done)  # pylint: disable=W0640
        scene.serves(client)
