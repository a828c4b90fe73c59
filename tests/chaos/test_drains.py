"""SIGTERM under load: everybody is asked to finish; who does loses nothing, who stays is closed."""

import os
import random
import time

import pytest

from crowd import Crowd, come, echoed, leave
from support.rawapp import echo

ROUNDS = max(1, int(os.environ.get("ROUNDS", "3")) // 6)
CLIENTS, DRAIN = 12, 8


def finish(crowd, name, proxy, size):
    """Works until it is asked to finish; then once more, and leaves."""
    client, session = come(proxy, "/" + name.replace(" ", "-"))
    while not session.drained:
        echoed(client, session, random.randbytes(size))
        crowd.worked(name)
    echoed(client, session, random.randbytes(size))
    crowd.worked(name)
    leave(client, session, 17)
    crowd.ends[name] = "left"


def stay(crowd, name, proxy, size):
    """Is asked to finish, goes on, and is closed."""
    client, session = come(proxy, "/" + name.replace(" ", "-"))
    while not session.closed:
        stream = session.open(data=random.randbytes(size), end=True)
        client.wait(lambda s=stream: s.ended or session.closed or client.terminated)
        crowd.worked(name)
        assert session.closed or not client.terminated, client.terminated
    assert session.drained, "closed without being asked to finish"
    assert session.closed == (0, "the server is shutting down")
    session.end()
    client.close()
    crowd.ends[name] = "closed"


@pytest.mark.parametrize("workers", [1, 2])
def test_everybody_is_asked_and_nothing_is_lost(world, workers):
    for _ in range(ROUNDS):
        app = world.app(echo, name=f"{time.monotonic_ns()}.sock")
        proxy = world.proxy(app, workers=workers, arguments=("--drain-timeout", f"{DRAIN}s"))
        crowd = Crowd()
        crowd.ends = {}
        for i in range(CLIENTS):
            work = finish if i % 3 else stay
            crowd.add(f"{work.__name__} {i}", work, proxy, 10 ** (1 + i % 4))
        crowd.wait_round(2)
        proxy.terminate()
        proxy.join()
        assert proxy.seconds_between("draining", "ended") < DRAIN
        crowd.join()
        assert crowd.ends == {name: "left" if name.startswith("finish") else "closed"
                              for name in crowd.done}
        left = proxy.find("session.closed", by="client", code=17)
        closed = proxy.find("session.closed", by="proxy", code=0)
        assert (len(left), len(closed)) == (CLIENTS - CLIENTS // 3, CLIENTS // 3)
        app.stop()
        world.apps.remove(app)
        world.proxies.remove(proxy)
