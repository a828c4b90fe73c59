"""SIGTERM: sessions are asked to finish, then closed, and nothing is lost of those that finish."""

import pytest

from support.quicclient import Client
from support.visits import opened


def finish(client, asked, session, code=0):
    asked.close(code, b"done")
    client.flush()
    assert session.wait("webtransport.disconnect")["code"] == code
    session.close()
    client.wait(lambda: asked.ended)
    client.close()


def test_every_session_is_asked_and_may_finish(world):
    """With the same end in view. (That they are not all asked at once: tests/mem/test_relay.c, by a clock
    that does not run on when the machine has no time.)"""
    app, proxy = world.start(arguments=("--drain-timeout", "1h"), workers=2)
    sessions = [opened(app, proxy, f"/{i}") for i in range(12)]
    proxy.terminate()
    left = []
    for client, asked, session in sessions:
        told = session.wait("webtransport.drain", reason="shutdown")
        left.append(told["deadline_ms"])
        client.wait(lambda a=asked: a.drained)
    assert max(left) < 3_600_000 and min(left) > 3_000_000
    for i, (client, asked, session) in enumerate(sessions):
        finish(client, asked, session, i)
    proxy.join()
    assert {line["code"] for line in proxy.find("session.closed", by="client")} == \
        {str(i) for i in range(12)}


def test_streams_go_on_until_they_have_ended(world):
    """What is on its way in both directions arrives whole, and new streams may be opened."""
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client, asked, session = opened(app, proxy)
    words = bytes(range(256)) * 4096
    up = asked.open(data=words[:1000])
    client.flush()
    number = session.wait("webtransport.stream.receive")["stream_id"]
    proxy.terminate()
    client.wait(lambda: asked.drained)
    client.send(up, words[1000:], end=True)
    client.flush()
    received = bytearray()
    client.wait(lambda: take(session, number, received))
    assert bytes(received) == words[1000:]
    later = asked.open(data=b"later", end=True)
    client.flush()
    number = session.wait("webtransport.stream.receive", data=b"later")["stream_id"]
    session.stream_send(number, b"too", end=True)
    session.send("webtransport.close", code=9, reason="that was all", after_delivery=True)
    client.wait(lambda: asked.closed)
    assert asked.closed == (9, "that was all") and bytes(later.data) == b"too"
    asked.end()
    client.flush()
    session.ended()
    session.close()
    proxy.join()
    client.close()


def take(session, number, to):
    """Adds what has come of the stream; true at its end."""
    while not session.inbox.empty():
        message = session.next()
        if message["type"] == "webtransport.stream.receive" and message["stream_id"] == number:
            to += message["data"]
            if message["stream_ended"]:
                return True
    return False


def test_a_session_that_is_accepted_late_is_asked_too(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client = Client(proxy.port)
    asked = client.session()
    client.flush()
    session = app.session()
    proxy.terminate()
    proxy.wait_log("draining")
    session.accept()
    client.wait(lambda: asked.drained)
    session.wait("webtransport.drain", reason="shutdown")
    finish(client, asked, session)
    proxy.join()


def test_who_stays_is_closed_in_time(world):
    """Also where client and application do not answer, and nothing else would end the wait for them."""
    app, proxy = world.start(arguments=("--drain-timeout", "8s", "--close-timeout", "1h",
                                        "--linger-timeout", "1h"), workers=2)
    sessions = [opened(app, proxy, f"/{i}") for i in range(6)]
    deaf, silent = sessions[0], sessions[1]
    deaf[2].pause()
    proxy.terminate()
    for client, asked, _ in (s for s in sessions if s is not silent):
        client.wait(lambda a=asked: a.drained)
        client.wait(lambda a=asked: a.closed)
        assert asked.closed == (0, "the server is shutting down")
    for _, _, session in sessions[1:]:
        disconnect = session.wait("webtransport.disconnect")
        assert (disconnect["by"], disconnect["code"]) == ("proxy", 0)
    proxy.join()
    silent[0].wait(lambda: silent[1].closed)
    assert silent[1].drained and silent[1].closed == (0, "the server is shutting down")
    for client, _, session in sessions:
        client.close()
        session.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_readiness_ends_and_sighup_is_nothing_any_more(world, workers):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"), workers=workers)
    client, asked, session = opened(app, proxy)
    assert proxy.get("/healthz") == (200, b"ok\n")
    proxy.terminate()
    client.wait(lambda: asked.drained)
    assert proxy.get("/healthz") == (503, b"draining\n")
    proxy.process.send_signal(1)
    finish(client, asked, session)
    proxy.join()
    assert not proxy.find("reloading")
