"""Ends of the proxy and of the application that touch many sessions."""

import pytest

from support.quicclient import CAPSULE_DRAIN, Client, capsule
from support.rawclient import DATA, RawClient
from support.visits import opened


def test_while_draining_new_sessions_are_refused(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client, asked, session = opened(app, proxy)
    proxy.terminate()
    client.wait(lambda: asked.drained)
    with pytest.raises((ConnectionError, TimeoutError)):
        other = Client(proxy.port)
        if other.session().wait_response() in (None, 503):
            raise ConnectionError("refused")
    session.send("webtransport.close")
    client.wait(lambda: asked.ended)
    asked.end()
    client.flush()
    session.ended()
    session.close()
    proxy.join()
    client.close()


def test_draining_takes_no_session_back(world):
    """GOAWAY has the largest id, in eight bytes: clients give up what is at or above it."""
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client = RawClient(proxy.port)
    client.hello()
    asked = client.connect()
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_status() == 200
    proxy.terminate()
    goaway = bytes.fromhex("0708fffffffffffffffc")
    client.wait(lambda: client.at(3).data.endswith(goaway))
    assert client.at(3).data.startswith(b"\0\x04")  # the control stream, with SETTINGS before
    client.wait(lambda: (DATA, capsule(CAPSULE_DRAIN)) in asked.frames())
    session.wait("webtransport.drain", reason="shutdown")
    stream = client.wt_stream(asked.stream_id, b"still here", end=True)
    client.settle()
    assert session.read_stream(0) == b"still here"
    session.stream_send(0, b"yes", end=True)
    client.wait(lambda: stream.ended)
    asked.close()
    client.flush()
    session.ended()
    session.close()
    proxy.join()
    client.close()


def test_the_applications_end_does_not_touch_the_proxy(world):
    """All sessions lose their application at once; the next application serves on."""
    app, proxy = world.start()
    sessions = [opened(app, proxy, f"/{i}") for i in range(10)]
    app.stop()
    for client, asked, _ in sessions:
        client.wait(lambda a=asked: a.ended)
        assert asked.closed[0] != 0
        client.close()
    world.apps.remove(app)
    app = world.app()
    client, _, session = opened(app, proxy)
    client.close()
    session.close()
