"""SIGTERM under load: everybody is asked to finish; who does loses nothing, who stays is closed."""

import os
import random
import time

import pytest

from crowd import Crowd, come, echoed, leave
from support.rawapp import echo

ROUNDS = max(1, int(os.environ.get("ROUNDS", "3")) // 6)
CLIENTS, DRAIN = 12, 8
LAST_WORDS = 50_000
SHUTDOWN = (0, "the server is shutting down")


def finish(crowd, name, proxy, size):
    """Works until it is asked to finish; then once more, and leaves."""
    client, session = come(proxy, "/finish")
    while not session.drained:
        echoed(client, session, random.randbytes(size))
        crowd.worked(name)
    echoed(client, session, random.randbytes(size))
    crowd.worked(name)
    leave(client, session, 17)
    crowd.ends[name] = 17


def work_until_closed(crowd, name, client, session, size):
    while not session.closed:
        words = random.randbytes(size)
        stream = session.open(data=words, end=True)
        client.wait(lambda s=stream: s.ended or session.closed or client.terminated)
        assert session.closed or (stream.ended and stream.data == words), client.terminated
        crowd.worked(name)
    assert session.drained, "closed without being asked to finish"


def listen(crowd, name, proxy, size):
    """Works until its application, which is asked to finish, too, says the last words."""
    client, session = come(proxy, "/listen")
    work_until_closed(crowd, name, client, session, size)
    words = [stream for stream in session.streams if stream.ended]
    assert [bytes(stream.data) for stream in words] == [b"x" * LAST_WORDS]
    crowd.ends[name] = session.closed
    session.end()
    client.close()


def stay(crowd, name, proxy, size):
    """Is asked to finish, goes on, and is closed."""
    client, session = come(proxy, "/stay")
    work_until_closed(crowd, name, client, session, size)
    crowd.ends[name] = session.closed
    session.end()
    client.close()


ENDS = {finish: 17, listen: (23, "that was all"), stay: SHUTDOWN}


def serve(session):
    """An echo; where clients listen it ends the session when it is asked to finish."""
    if session.scope["path"] == "/listen":
        receive = session.next

        def next_one(timeout):
            message = receive(timeout)
            if message and message["type"] == "webtransport.drain":
                session.stream_send(3, b"x" * LAST_WORDS, True)
                session.send("webtransport.close", code=23, reason="that was all",
                             after_delivery=True)
            return message
        session.next = next_one
    echo(session)


def drain_once(world, workers):
    """Returns how many sessions ended, how many seconds it took, and how often they had worked."""
    app = world.app(serve, name=f"{time.monotonic_ns()}.sock")
    proxy = world.proxy(app, workers=workers, arguments=("--drain-timeout", f"{DRAIN}s"))
    crowd, works = Crowd(), {}
    crowd.ends = {}
    for i in range(CLIENTS):
        work = (finish, listen, stay)[i % 3]
        works[f"{work.__name__} {i}"] = work
        crowd.add(f"{work.__name__} {i}", work, proxy, 10 ** (1 + i % 4))
    crowd.wait_round(2)
    proxy.terminate()
    proxy.join()  # exit code 0 and every counter zero
    seconds = proxy.seconds_between("draining", "ended")
    assert seconds < DRAIN
    crowd.join()
    assert crowd.ends == {name: ENDS[work] for name, work in works.items()}
    for by, code in (("client", 17), ("app", 23), ("proxy", 0)):
        assert len(proxy.find("session.closed", by=by, code=code)) == CLIENTS // 3
    assert len(proxy.find("session.closed")) == CLIENTS
    app.stop()
    world.apps.remove(app)
    world.proxies.remove(proxy)
    return seconds, sum(crowd.done.values())


@pytest.mark.parametrize("workers", [1, 2])
def test_everybody_is_asked_and_nothing_is_lost(world, figure, workers):
    rounds = [drain_once(world, workers) for _ in range(ROUNDS)]
    figure(f"{ROUNDS} drains of {CLIENTS} clients", workers,
           f"drain, then its close; nothing lost; 0 within {DRAIN} s",
           f"{ROUNDS * CLIENTS} drained and closed, {sum(n for _, n in rounds)} echoes whole; "
           f"exit code 0 after {max(s for s, _ in rounds):.1f} s at most, every counter zero")
