"""Clients and applications that do not read, beside a bystander on the same worker."""

import pytest
from support.stuck import MIB, Memory, Share

# Throughput beside throughput needs a machine that does nothing else.
pytestmark = pytest.mark.soak

SESSIONS = 8
LIMIT = 48 * MIB
AFTER = 64 * MIB  # bytes until trouble begins: windows have grown by then
ARGUMENTS = ("--memory", "48M", "--linger-timeout", "500ms")


@pytest.mark.parametrize("kind", ["honours", "ignores"])
def test_clients_that_never_read(stage, kind):
    """The application sends as fast as it can: with an eye on its credit, or without."""
    proxy = stage.start(*ARGUMENTS)
    memory = Memory(proxy)
    bystander = stage.bystander(streams=4, bytes="32M")
    path = "/pour?streams=16" + ("&blind=65536" if kind == "ignores" else "")
    trouble = []

    def begin():
        trouble.append(stage.client(path, "noread", sessions=SESSIONS, streams=16, after=AFTER))
        trouble[-1].expect("stopped")
        stats = stage.wait_still()
        assert 0 < stats["send_bytes"] <= stats["memory_bytes"] <= LIMIT, stats

    share = Share(bystander)
    share.measure(begin, lambda: stage.end(trouble.pop()), 0.5)
    memory.check(LIMIT)


def test_applications_that_never_read(stage):
    proxy = stage.start(*ARGUMENTS)
    memory = Memory(proxy)
    bystander = stage.bystander("up", streams=4, bytes="32M")
    trouble = []

    def begin():
        trouble.append(stage.client(f"/deaf?after={AFTER // SESSIONS}", "push", sessions=SESSIONS,
                                    streams=16))
        stats = stage.wait_still()
        assert 0 < stats["receive_bytes"] <= stats["memory_bytes"] <= LIMIT, stats

    share = Share(bystander)
    share.measure(begin, lambda: stage.end(trouble.pop()), 0.5)
    memory.check(LIMIT)


def test_a_client_that_wants_no_more_of_900_streams_and_ends_none(stage):
    """What was on its way to it is nobody's any more, and must not be kept as long as the streams."""
    proxy = stage.start()
    memory = Memory(proxy)
    client = stage.client("/work", "hoard", streams=900)
    client.expect("hoarded")
    assert stage.wait_still()["streams"] == 900
    memory.check(16 * MIB)  # --connection-memory; without this rule they were 58 MiB


def test_frames_beyond_the_credit_do_not_take_the_memory_of_others(stage):
    """A frame is here before it is known to be more than was granted. Where memory is short, the
    session of who sent it ends at once instead of waiting for its client."""
    proxy = stage.start("--memory", "32M", "--linger-timeout", "500ms")
    memory = Memory(proxy)
    bystander = stage.bystander(streams=4, bytes="32M")
    trouble = stage.start_client("/pour?streams=4&blind=1000000", "noread", sessions=24, streams=4)
    proxy.wait_stats(lambda s: s["sessions_accepted"] == 25)
    stats = stage.wait_still()
    print(f"{stats['sessions'] - 1} of 24 sessions went on, holding {stats['send_bytes']} bytes")
    assert stats["backend_stalled"] > 0, stats
    assert stats["memory_bytes"] <= 32 * MIB, stats
    bystander.round()
    memory.check(32 * MIB)
    stage.end(trouble)
