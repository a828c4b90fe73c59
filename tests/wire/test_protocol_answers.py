"""Requests that are no sessions, and sessions that no application takes: the status, and a log line
that says why."""

import os
import re
import socket

import pytest

from support.quicclient import Client

SOON = ("--accept-timeout", "300ms")


def get_headers(port, **change):
    headers = {b":method": b"GET", b":scheme": b"https", b":authority": b"localhost:%d" % port,
               b":path": b"/"}
    for key, value in change.items():
        headers[b":" + key.encode()] = value
    return [(key, value) for key, value in headers.items() if value is not None]


def test_an_ordinary_request_gets_404(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        for method in (b"GET", b"POST", b"HEAD"):
            request = client.request(get_headers(proxy.port, method=method))
            client.wait(lambda r=request: r.ended)
            assert request.status == 404
        # The connection goes on.
        asked = client.session()
        client.flush()
        session = app.session()
        session.accept()
        assert asked.wait_response() == 200


def test_a_request_with_a_body_gets_404(world):
    _, proxy = world.start()
    with Client(proxy.port) as client:
        request = client.request(get_headers(proxy.port, method=b"POST"), end=False)
        client.h3.send_data(request.stream_id, b"x" * 100000, end_stream=True)
        client.wait(lambda: request.ended)
        assert request.status == 404
    proxy.wait_idle()


@pytest.mark.parametrize("protocol", ["websocket", "connect-udp", "WebTransport", "webtransport2"])
def test_connect_for_another_protocol_is_refused(world, protocol):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        request = client.session(protocol=protocol)
        assert request.wait_response() in (400, 404, 501)
    assert app.sessions.empty()


def test_connect_without_a_protocol_is_refused(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        request = client.request([(b":method", b"CONNECT"),
                                  (b":authority", b"localhost:1")], end=False)
        client.wait(lambda: request.headers or request.reset_code is not None)
        assert request.status in (None, 400, 404, 405, 501)
    assert app.sessions.empty()


@pytest.mark.parametrize("missing", [b":path", b":scheme", b":authority"])
def test_connect_without_a_pseudo_header_is_malformed(world, missing):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        headers = [h for h in client.connect_headers("/") if h[0] != missing]
        request = client.request(headers, end=False)
        client.wait(lambda: request.headers or request.reset_code is not None or client.terminated)
        assert request.status in (None, 400)
    assert app.sessions.empty()


def test_headers_beyond_the_limit_get_431(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        asked = client.session(headers=[(b"x-%d" % i, b"v" * 4000) for i in range(100)])
        client.wait(lambda: asked.headers or asked.reset_code is not None or client.terminated)
        assert asked.status == 431
    assert app.sessions.empty()


def test_no_application_gets_502(world):
    proxy = world.proxy(f"unix:{world.directory}/absent.sock")
    with Client(proxy.port) as client:
        assert client.session().wait_response() == 502
    proxy.wait_log("session.refused", fault="backend_connect", detail=re.compile("absent.sock: No such file"))


def test_an_application_that_refuses_gets_502(world):
    path = f"{world.directory}/dead.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)  # bound, never listening: connection refused
    proxy = world.proxy(f"unix:{path}")
    with Client(proxy.port) as client:
        assert client.session().wait_response() == 502
    sock.close()
    os.unlink(path)
    proxy.wait_log("session.refused", fault="backend_connect", detail=re.compile("dead.sock: Connection refused"))


def test_a_refused_tcp_connection_gets_502(world):
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))  # and not listening, so that nobody else gets this port
        proxy = world.proxy(f"tcp:127.0.0.1:{placeholder.getsockname()[1]}")
        with Client(proxy.port) as client:
            assert client.session().wait_response() == 502
    proxy.wait_log("session.refused", fault="backend_connect")


def test_the_application_comes_and_goes(world):
    """502 while it is away, sessions again as soon as it is there."""
    path = f"{world.directory}/app.sock"
    proxy = world.proxy(f"unix:{path}")
    with Client(proxy.port) as client:
        assert client.session().wait_response() == 502
    app = world.app()
    with Client(proxy.port) as client:
        asked = client.session()
        client.flush()
        app.session().accept()
        assert asked.wait_response() == 200


def test_an_application_that_hangs_up_before_its_answer_gets_502(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        asked = client.session()
        client.flush()
        app.session().close()
        assert asked.wait_response() == 502
    proxy.wait_log("session.refused", fault="backend_lost")


def test_an_application_that_shuts_its_side_before_its_answer_gets_502(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        asked = client.session()
        client.flush()
        session = app.session()
        session.sock.shutdown(socket.SHUT_WR)
        assert asked.wait_response() == 502
        session.close()


def test_no_answer_in_time_gets_504(world):
    app, proxy = world.start(arguments=SOON)
    with Client(proxy.port) as client:
        asked = client.session()
        client.flush()
        session = app.session()
        assert asked.wait_response() == 504
        message = session.ended()
        assert (message["type"], message["by"]) == ("webtransport.disconnect", "proxy")
        session.close()
    proxy.wait_log("session.refused", fault="backend_accept_timeout")


def test_one_session_too_many_gets_503(world):
    app, proxy = world.start(arguments=("--max-sessions", "2"), workers=1)
    clients, sessions = [], []
    for _ in range(2):
        client = Client(proxy.port)
        clients.append(client)
        asked = client.session()
        client.flush()
        sessions.append(app.session())
        sessions[-1].accept()
        assert asked.wait_response() == 200
    with Client(proxy.port) as third:
        assert third.session().wait_response() == 503
    proxy.wait_log("session.refused", fault="too_many_sessions")
    # A place that has become free, on the application's side too, is used again.
    clients.pop().close()
    sessions.pop().close()
    proxy.wait_stats(lambda s: s["sessions"] == 1 and s["links"] == 1)
    with Client(proxy.port) as fourth:
        asked = fourth.session()
        fourth.flush()
        app.session().accept()
        assert asked.wait_response() == 200
    clients.pop().close()


def test_a_second_session_on_one_connection_is_refused(world):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        first = client.session()
        client.flush()
        session = app.session()
        session.accept()
        assert first.wait_response() == 200
        second = client.session()
        client.wait(lambda: second.headers or second.reset_code is not None)
        assert second.status in (None, 429, 503)
        # The first one goes on.
        stream = first.open(data=b"still", end=True)
        client.settle()
        assert session.read_stream(0) == b"still"
        session.stream_send(0, b"here", end=True)
        client.wait(lambda: stream.ended)


# who may come


@pytest.mark.parametrize("origin, status", [
    ([b"https://example.org"], 200), ([b"https://example.org:443"], 200),
    ([b"https://a.example.net:8443"], 200), ([b"null"], 403), ([], 200),
    ([b"https://example.org:444"], 403), ([b"http://example.org"], 403),
    ([b"https://a.b.example.net"], 403), ([b"https://example.org.evil.test"], 403),
    ([b""], 403), ([b"https://example.org", b"https://evil.test"], 403)])
def test_pages_of_other_origins_get_403(world, origin, status):
    app, proxy = world.start(arguments=("--origin", "https://example.org", "--origin",
                                        "https://*.example.net:*"))
    with Client(proxy.port) as client:
        asked = client.session(headers=[(b"origin", value) for value in origin])
        client.flush()
        if status == 200:
            app.session().accept()
        assert asked.wait_response() == status
    assert app.sessions.empty()
    if status == 403:
        line = proxy.wait_log("session.refused", fault="origin", status="403")
        assert line.get("origin", "") == origin[0].decode()
        assert "not allowed" in line["why"]
        assert proxy.stats()["origin"] == 1


def test_without_an_origin_where_one_is_required(world):
    app, proxy = world.start(arguments=("--require-origin",))
    with Client(proxy.port) as client:
        assert client.session().wait_response() == 403
        asked = client.session(headers=[(b"origin", b"https://any.where")])
        client.flush()
        app.session().accept()
        assert asked.wait_response() == 200
    proxy.wait_log("session.refused", fault="no_origin", status="403")


def test_other_hosts_get_421(world):
    app, proxy = world.start(arguments=("--host", "example.org", "--host", "*.example.net"))
    with Client(proxy.port) as client:
        for authority in ("example.com", "localhost:1", "a.b.example.net", "example.org.evil.test"):
            assert client.session(authority=authority).wait_response() == 421
            proxy.wait_log("session.refused", fault="host", host=authority)
        asked = client.session(authority="A.example.net:4433")
        client.flush()
        app.session().accept()
        assert asked.wait_response() == 200
