"""Services and clients of a bridge that do not read: their own streams stand still, the others of the same
session go on, and the memory is what the windows promise."""

import pytest
from support.stuck import MIB, Memory

WORK = 16 * MIB  # bytes of a round
LEAST = 4096  # of each stream, also if the session's window is used up
BOTH = pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])


def begin(stage, streams, unix, way, *arguments):
    """(client, memory): a session that has worked, so that its windows have grown."""
    proxy = stage.start_bridge("work", *arguments, unix=unix)
    return stage.bystander(way, path="/", streams=8, bytes=WORK, stuck=streams), Memory(proxy)


def still(stage, held, streams=None):
    """Until bytes are held (or so many streams are left) and nothing moves; the statistics, which are
    within what was promised. The service is slow to begin on a busy machine, and is still then, too."""
    stage.proxy.wait_stats(lambda s: s[held] > 0 and streams in (None, s["streams"]))
    stats = stage.wait_still()
    assert stats["send_bytes"] + stats["receive_bytes"] <= stats["memory_bytes"] <= 32 * MIB, stats
    return stats


def settle(stage, client, streams):
    """Gives the stuck streams up: all that was held for them is free."""
    client.say("unstick")
    client.expect("unstuck")
    stats = stage.proxy.wait_stats(
        lambda s: s["streams"] == s["links"] == s["send_bytes"] == s["receive_bytes"] == 0)
    assert stats["sessions"] == 1
    client.round()


@BOTH
@pytest.mark.parametrize("streams", [1, 20])
def test_a_service_that_reads_some_of_its_connections_only(stage, streams, unix):
    client, memory = begin(stage, streams, unix, "up")
    client.say("stick-up")
    client.expect("stuck")
    stats = still(stage, "receive_bytes")
    assert 0 < stats["receive_bytes"] <= 8 * MIB  # connection_window
    for client.way in ("up", "down"):
        client.round()
    assert still(stage, "receive_bytes", streams)["streams"] == streams
    memory.check(32 * MIB)  # --session-memory and --connection-memory
    settle(stage, client, streams)


@BOTH
def test_a_client_that_does_not_read_one_of_its_streams(stage, unix):
    """A service pours without end on it."""
    client, memory = begin(stage, 1, unix, "down")
    client.say("stick")
    client.expect("stuck")
    stats = still(stage, "send_bytes")
    assert 0 < stats["send_bytes"] <= MIB  # app_stream_window
    for client.way in ("up", "down"):
        client.round()
    assert 0 < still(stage, "send_bytes", 1)["send_bytes"] <= MIB
    memory.check(32 * MIB)
    settle(stage, client, 1)


@BOTH
def test_a_client_that_reads_none_of_its_streams(stage, unix):
    """Its whole session stands still, within its windows; another session of the same worker goes on."""
    client, memory = begin(stage, 100, unix, "down")
    other = stage.bystander("down", path="/", streams=8, bytes=WORK)
    client.say("stick")
    stats = still(stage, "send_bytes")
    assert 0 < stats["send_bytes"] <= 8 * MIB + 100 * LEAST  # app_session_window
    for other.way in ("up", "down"):
        other.round()
    assert 0 < still(stage, "send_bytes", 100)["send_bytes"] <= 8 * MIB + 100 * LEAST
    memory.check(48 * MIB)
    client.say("unstick")
    while not (line := client.line()).startswith("unstuck"):
        assert line == "stuck", line
    stage.proxy.wait_stats(lambda s: s["streams"] == s["links"] == s["send_bytes"] == 0)
    client.round()


@BOTH
def test_small_windows_are_kept_by_hundreds_of_stuck_streams(stage, unix):
    """Of services and of the client at once."""
    client, memory = begin(stage, 100, unix, "up", "--stream-window", "16K", "--app-stream-window", "16K",
                           "--app-session-window", "64K")
    client.say("stick-up")
    client.expect("stuck")
    stats = still(stage, "receive_bytes")
    assert 0 < stats["receive_bytes"] <= 100 * 16 << 10
    client.say("stick")
    stats = still(stage, "send_bytes")
    assert 0 < stats["receive_bytes"] <= 100 * 16 << 10, stats
    assert 0 < stats["send_bytes"] <= (64 << 10) + 100 * LEAST, stats
    memory.check(8 * MIB)
    client.say("unstick")
    while not (line := client.line()).startswith("unstuck"):
        assert line == "stuck", line
    stage.proxy.wait_stats(
        lambda s: s["streams"] == s["links"] == s["send_bytes"] == s["receive_bytes"] == 0)
    client.round()
