"""Several workers, and how the proxy itself ends."""

import signal

import pytest

from support.quicclient import Client

def test_sessions_spread_over_two_workers(world):
    app, proxy = world.start(workers=2)
    clients = []
    for i in range(24):
        client = Client(proxy.port)
        asked = client.session(f"/{i}")
        client.flush()
        session = app.session()
        session.accept()
        assert asked.wait_response() == 200
        clients.append((client, asked, session))
    for client, asked, session in clients:
        stream = asked.open(data=b"hi", end=True)
        client.settle()
        assert session.read_stream(0) == b"hi"
        session.stream_send(0, b"ho", end=True)
        client.wait(lambda s=stream: s.ended)
    # Session names tell nothing about workers, the log does.
    workers = {line["worker"] for line in proxy.events if "worker" in line and "session" in line}
    assert len(workers) == 2 or not workers
    for client, asked, session in clients:
        client.close()
        session.close()


def begin(app, proxy, path="/"):
    client = Client(proxy.port)
    asked = client.session(path)
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    return client, asked, session


def test_sigterm_drains_then_closes(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1s"))
    client, asked, session = begin(app, proxy)
    proxy.terminate()
    drain = session.wait("webtransport.drain")
    assert drain["reason"] == "shutdown"
    assert 0 < drain["deadline_ms"] <= 1000
    client.wait(lambda: asked.drained)
    # Readiness is off, sessions go on.
    stream = asked.open(data=b"one more", end=True)
    client.settle()
    assert session.read_stream(0) == b"one more"
    session.stream_send(0, b"yes", end=True)
    client.wait(lambda: stream.ended)
    # At the deadline it is over for both.
    client.wait(lambda: asked.ended or client.terminated)
    message = session.wait("webtransport.disconnect")
    assert message["by"] == "proxy"
    session.close()
    client.wait(lambda: client.terminated, timeout=30)
    proxy.join()
    client.close()


def test_sigterm_ends_at_once_when_sessions_end(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client, asked, session = begin(app, proxy)
    proxy.terminate()
    session.wait("webtransport.drain", reason="shutdown")
    session.send("webtransport.close", code=2, reason="done")
    client.wait(lambda: asked.ended)
    assert asked.closed == (2, "done")
    asked.end()
    client.flush()
    session.ended()
    session.close()
    client.wait(lambda: client.terminated)
    proxy.join()
    client.close()


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


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_proxy_ends_at_once(world, signal_):
    _, proxy = world.start()
    proxy.process.send_signal(signal_)
    proxy.join(timeout=5)


def test_a_second_signal_ends_it_at_once(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client, _, session = begin(app, proxy)
    proxy.terminate()
    session.wait("webtransport.drain", reason="shutdown")
    proxy.terminate()
    assert proxy.process.wait(10) == 4
    world.proxies.remove(proxy)
    session.close()
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
