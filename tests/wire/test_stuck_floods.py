"""Clients and applications that do something as fast as they can, beside a bystander on the same
worker. Two want the worker then, so the bystander's fair share is half of what it has alone."""

import time

import pytest
from support.stuck import MIB, SOAK, Memory, Share

# Throughput beside throughput needs a machine that does nothing else.
pytestmark = pytest.mark.soak

LIMIT = 48 * MIB
ARGUMENTS = ("--memory", "48M", "--linger-timeout", "500ms")
HALF_OF_FAIR = 0.25
ERRORS_A_SECOND = 4


def measure(stage, path, scenario, end=None, **options):
    """A client that makes trouble, or whose application does, beside a bystander. end(client) is
    called while the trouble goes on, and ends the client. Returns what the clients sent and got."""
    memory = Memory(stage.proxy)
    bystander = stage.bystander(streams=4, bytes="64M")
    trouble, totals = [], {"sent": 0, "received": 0}

    def end_trouble():
        done = (end or stage.end)(trouble.pop())
        for name in totals:
            totals[name] += done[name]

    Share(bystander).measure(
        lambda: trouble.append(stage.client(path, scenario, **options)), end_trouble, HALF_OF_FAIR)
    memory.check(LIMIT)
    return totals


@pytest.mark.parametrize("kind", [0, 1, 2, 3], ids=["ended", "reset", "stopped", "left-open"])
def test_a_client_that_opens_streams_as_fast_as_it_can(stage, kind):
    stage.start(*ARGUMENTS)
    opened = measure(stage, "/skip", "streams", kind=kind)["sent"]
    print(opened, "streams were opened")
    assert opened >= 1000


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "left-open"])
def test_an_application_that_opens_100000_streams(stage, ended):
    """Beyond the client's limit so many wait as are configured; the others are refused, and counted
    in a few messages."""
    stage.start(*ARGUMENTS)
    began = time.monotonic()

    def end(client):
        assert stage.app.told() == {"path": "/open", "sent": 100_000}
        stage.wait_still()
        stats = stage.proxy.stats()
        assert stats["streams"] <= (0 if ended else 1000), stats
        done = stage.end(client)
        told = stage.app.told()
        print(f"{done['received']} bytes arrived, one of each stream; "
              f"{told['total']} streams were refused in {told['messages']} messages")
        assert set(told["codes"]) <= {"too_many_streams"}
        assert told["messages"] <= ERRORS_A_SECOND * (time.monotonic() - began + 2)
        # What was told last, and what no message told any more, is within a second's messages.
        assert done["received"] + told["total"] <= 100_000
        return done

    path = "/open?count=100000" + ("&end=1" if ended else "")
    received = measure(stage, path, "listen", end)["received"]
    assert received >= 1000


def test_an_application_that_sends_nonsense(stage):
    """Sluice says so a few times a second and counts the rest; the session goes on."""
    count = (1_000_000 if SOAK else 100_000) // 256 * 256
    stage.start(*ARGUMENTS)
    began = time.monotonic()

    def end(client):
        told = stage.app.told()
        print(f"{told['total']} bad commands were told in {told['messages']} messages")
        assert told["total"] == count
        assert told["codes"] == ["unknown_type"]
        assert told["messages"] <= ERRORS_A_SECOND * (time.monotonic() - began + 3)
        assert client.expect("lost")["code"] == 9
        return stage.end(client)

    measure(stage, f"/bad?count={count}", "listen", end)


@pytest.mark.parametrize("path", ["/skip", "/deaf"])
def test_a_client_that_sends_datagrams_as_fast_as_it_can(stage, path):
    stage.start(*ARGUMENTS)

    def end(client):
        stats = stage.proxy.stats()
        # --datagram-queue, of this session and of those before that linger
        assert stats["datagrams"] <= 256 * stats["links"], stats
        return stage.end(client)

    sent = measure(stage, path, "datagrams", end, size=1000)["sent"]
    stats = stage.proxy.stats()
    print(f"{sent} datagrams were sent, {stats['datagrams_received']} came in, "
          f"{stats['datagrams_dropped']} were dropped")
    assert stats["datagrams_received"] >= 1000
    if path == "/deaf":
        assert stats["datagrams_dropped"] > 0


def test_an_application_that_sends_datagrams_as_fast_as_it_can(stage):
    stage.start(*ARGUMENTS)

    def end(client):
        stats = stage.proxy.stats()
        # --datagram-queue, of this session and of those before that linger
        assert stats["datagrams"] <= 256 * stats["links"], stats
        return stage.end(client)

    received = measure(stage, "/shoot?size=1000", "listen", end)["received"]
    stats = stage.proxy.stats()
    print(f"{stats['datagrams_sent']} datagrams were sent, {received} came in, "
          f"{stats['datagrams_dropped']} were dropped")
    assert received >= 1000
