"""Many of everything: streams in one session, sessions at once."""

import pytest
from support.cclient import CClient
from support.proxy import BUILD, GAUGES
from support.rawapp import echo

STREAMS = 100_000
MARK = 10_000
RSS_TOLERANCE_KIB = 1024  # an allocator's pages, not a leak of 10 bytes per stream
SANITIZED = "asan" in BUILD or "tsan" in BUILD  # resident memory then means nothing


@pytest.mark.parametrize("at_once", [1, 50])
def test_streams_leave_nothing_behind(world, at_once):
    app, proxy = world.start(echo)
    client = CClient(proxy, "streams", STREAMS, at_once, MARK)
    client.expect("answered")
    marks = []
    for _ in range(STREAMS // MARK):
        client.expect("mark")
        stats = proxy.wait_stats(lambda s: s["streams"] == 0 and s["send_bytes"] == 0)
        marks.append(({name: stats[name] for name in GAUGES}, proxy.rss_kib()))
        client.go_on()
    client.expect("done")
    client.expect("closed")
    client.join()
    assert app.failures == []
    first, last = marks[0], marks[-1]
    print(f"resident memory at {MARK} streams {first[1]} KiB, at {STREAMS} {last[1]} KiB")
    assert last[0] == first[0]
    if not SANITIZED:
        assert last[1] - first[1] <= RSS_TOLERANCE_KIB


@pytest.mark.parametrize("workers", [1, 2])
def test_two_thousand_sessions_at_once_before_a_small_backlog(world, workers):
    count = 500 if SANITIZED else 2000
    app = world.app(lambda session: (session.accept(), session.ended(timeout=None)), backlog=16)
    # On a busy machine so many handshakes at once take longer than a single one ever should, and
    # meanwhile those that are done hear nothing.
    patience = [word for name in ("handshake", "settings", "connect", "accept", "idle")
                for word in (f"--{name}-timeout", "300s")]
    one_address = [word for what in ("connections", "connection-rate", "sessions", "session-rate")
                   for word in (f"--client-{what}", "unlimited")]
    proxy = world.proxy(app, workers=workers, arguments=patience + one_address)
    client = CClient(proxy, "sessions", count)
    answer = client.expect("answered")
    print(f"{count} sessions: {answer}")
    assert answer["failed"] == 0, (client.why(), proxy.stats())
    refused = proxy.stats()["sessions_refused"]
    assert answer["refused"] == refused
    assert answer["accepted"] + answer["refused"] == count
    if answer["refused"]:
        proxy.wait_log("session.refused", status=503)
    client.go_on()
    assert client.expect("closed")["clean"] == answer["accepted"]
    client.join()
    # A ClientHello that was said twice may have left half a handshake, which only time would end.
    proxy.stop()


def test_sessions_over_the_limit_get_503(world):
    app = world.app(lambda session: (session.accept(), session.ended(timeout=None)))
    proxy = world.proxy(app, workers=1, arguments=["--max-sessions", "20"])
    client = CClient(proxy, "sessions", 50)
    answer = client.expect("answered")
    assert answer == {"accepted": 20, "refused": 30, "failed": 0}
    client.go_on()
    client.expect("closed")
    client.join()
