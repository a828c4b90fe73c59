"""Much through a bridge, all of it compared with what was sent: with a service that sends everything
back, byte for byte."""

import pytest
from support.stuck import MIB, SANITIZED, Memory

BOTH = pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])


def echo(stage, streams, size, unix=False, workers=1, sessions=1, *arguments):
    proxy = stage.start_bridge("echo", *arguments, workers=workers, unix=unix)
    memory = Memory(proxy)
    client = stage.client("/", "work", sessions=sessions, streams=streams, bytes=size)
    client.say("echo")
    done = client.expect("round", timeout=600)
    print(f"{done['bytes'] / done['us']:.1f} MB/s each way")
    proxy.wait_stats(lambda s: s["streams"] == s["links"] == s["send_bytes"] == s["receive_bytes"] == 0)
    return memory


@BOTH
def test_a_megabyte_on_each_of_eight_streams(stage, unix):
    echo(stage, 8, "8M", unix)


@BOTH
@pytest.mark.soak
@pytest.mark.parametrize("streams", [1, 16])
def test_a_gigabyte_each_way(stage, streams, unix):
    memory = echo(stage, streams, "128M" if SANITIZED else "1G", unix)
    memory.check(32 * MIB)  # windows both ways, of a connection and a session


@BOTH
@pytest.mark.parametrize("size", [1 << 10, pytest.param(1 << 16, marks=pytest.mark.soak)])
def test_a_thousand_streams_at_once(stage, size, unix):
    """Each with bytes both ways."""
    memory = echo(stage, 1000, 1000 * size, unix)
    memory.check(48 * MIB)


@pytest.mark.soak
def test_a_thousand_streams_at_once_of_ten_sessions_and_two_workers(stage):
    echo(stage, 100, 1000 << 16, workers=2, sessions=10)
