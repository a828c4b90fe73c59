"""A thousand sessions, of which 500 are stuck: the others share the worker as if they were alone."""

import pytest
from support.stuck import MIB, SANITIZED, Memory, Share

# Throughput beside throughput needs a machine that does nothing else.
pytestmark = pytest.mark.soak

CROWD = 200 if SANITIZED else 1000
LIMIT = 768 * MIB


def test_half_of_a_thousand_sessions_is_stuck(stage):
    """A quarter of them does not read, a quarter has an application that does not."""
    proxy = stage.start("--memory", "768M", "--linger-timeout", "500ms")
    memory = Memory(proxy)
    bystanders = stage.bystander(sessions=CROWD // 2, streams=1, bytes="64M")
    trouble = []

    def begin():
        trouble.append(stage.client("/pour?streams=4", "noread", sessions=CROWD // 4))
        trouble.append(stage.client("/deaf", "push", sessions=CROWD // 4, streams=4))
        stats = stage.wait_still()
        assert stats["sessions"] == CROWD, stats
        assert stats["send_bytes"] + stats["receive_bytes"] <= stats["memory_bytes"] <= LIMIT, stats

    def end():
        while trouble:
            stage.end(trouble.pop())

    Share(bystanders).measure(begin, end, 0.5)
    memory.check(LIMIT)
