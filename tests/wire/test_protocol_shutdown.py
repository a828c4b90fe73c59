"""Ends of the proxy and of the application that touch many sessions."""

import pytest

from support.quicclient import Client


def begin(app, proxy, path="/"):
    client = Client(proxy.port)
    asked = client.session(path)
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    return client, asked, session


def test_while_draining_new_sessions_are_refused(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client, asked, session = begin(app, proxy)
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


def test_the_applications_end_does_not_touch_the_proxy(world):
    """All sessions lose their application at once; the next application serves on."""
    app, proxy = world.start()
    sessions = [begin(app, proxy, f"/{i}") for i in range(10)]
    app.stop()
    for client, asked, _ in sessions:
        client.wait(lambda a=asked: a.ended)
        assert asked.closed[0] != 0
        client.close()
    world.apps.remove(app)
    app = world.app()
    client, _, session = begin(app, proxy)
    client.close()
    session.close()
