"""The libraries through windows that are far smaller than what goes through them: nobody waits for
ever, and what is given up in the middle gives its credit back."""

import json
import os
import subprocess

import pytest
from support.proxy import BUILD
from support.pylibrary import python_sluice, stop
from support.quicclient import Client
from support.stuck import Spoken

WINDOWS = ("--stream-window", "16K", "--connection-window", "64K", "--app-stream-window", "16K",
           "--app-session-window", "64K")
LIBRARY = ("--receive-window", "16384", "--receive-limit", "65536")
BYTES = 60 << 20
ROUNDS, STREAMS, PART, CANCELS = 8, 8, 100_000, 500


@pytest.fixture
def start(world):
    """Starts an application (of apps/credit.py, or in C) and a proxy in front of it."""
    apps = []

    def run(name):
        address = f"unix:{world.directory}/app.sock"
        if name == "c":
            apps.append(Spoken([os.path.join(BUILD, "tests/bench/app"), address]))
            apps[-1].line()
        else:
            apps.append(python_sluice(f"credit:{name}", "--bind", address, *LIBRARY))
            apps[-1].wait_line("waiting for sessions")
        return world.proxy(address, arguments=WINDOWS)

    yield run
    for app in apps:
        if isinstance(app, Spoken):
            app.kill()
        else:
            stop(app)


@pytest.mark.parametrize("streams", [1, 20])
@pytest.mark.parametrize("app", ["echo", "asgi_echo", "c"])
def test_an_echo_of_sixty_megabytes(start, app, streams):
    proxy = start(app)
    load = subprocess.run([os.path.join(BUILD, "tests/bench/load"), f"{proxy.host}:{proxy.port}",
                           "echo", f"bytes={BYTES}", f"streams={streams}"],
                          capture_output=True, text=True, timeout=120, check=False)
    assert load.returncode == 0, load.stderr
    result = json.loads(load.stdout)
    print(f"{app}, {streams} streams: {result['mb_per_s']:.0f} MB/s")
    assert not proxy.find("session.closed", fault="backend_lost")


def cancel_all(client, session, streams):
    """Again and again: some streams come when others have given way. A datagram may be lost between
    so much data, and then nothing comes of it."""
    for _ in range(CANCELS):
        if all(stream.stop_code is not None for stream in streams):
            return
        before = len(session.datagrams)
        session.datagram(b"cancel")
        try:
            client.wait(lambda: len(session.datagrams) > before, timeout=1)
        except TimeoutError:
            assert not client.terminated, client.terminated
    raise AssertionError([(s.stream_id, s.stop_code, s.reset_code, len(s.data)) for s in streams])


def test_what_is_cancelled_gives_its_credit_back(start):
    """Reads and writes are cancelled in the middle, on more streams than the limit has windows."""
    proxy = start("echo")
    with Client(proxy.port) as client:
        session = client.session("/echo")
        assert session.wait_response() == 200
        for _ in range(ROUNDS):
            echoes = [session.open(data=bytes(PART)) for _ in range(STREAMS)]
            reads = [session.open(unidirectional=True, data=bytes(PART)) for _ in range(STREAMS)]
            client.wait(lambda: all(stream.data for stream in echoes))
            cancel_all(client, session, echoes + reads)
            client.wait(lambda: all(stream.reset_code is not None for stream in echoes))
            for stream in echoes + reads:
                client.reset(stream, 0)
        last = session.open(data=bytes(5 * PART), end=True)
        client.wait(lambda: last.ended)
        assert len(last.data) == 5 * PART
        session.close()
        client.settle()
