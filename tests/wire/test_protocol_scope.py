"""What the application is told about a session, and what it may answer, byte for byte."""

import pytest

from support.quicclient import Client
from support.rawapp import RawApp

HEADERS = [
    (b"origin", b"https://example.test"),
    (b"x-twice", b"one"),
    (b"cookie", b"a=1"),
    (b"x-twice", b"two"),
    (b"x-bytes", b"caf\xe9 \xff"),
    (b"x-empty", b""),
    (b"user-agent", b"raw/1.0"),
    (b"x-twice", b"one"),
]


def open_session(world, path="/", headers=(), client_options=None, proxy=None, app=None, **options):
    if app is None:
        app, proxy = world.start()
    client = Client(proxy.port, **(client_options or {}))
    asked = client.session(path, headers, **options)
    client.flush()
    session = app.session()
    return app, proxy, client, asked, session


def test_every_key_of_the_scope(world):
    _, proxy, client, asked, session = open_session(
        world, b"/chat/caf%C3%A9%20x?room=1&q=%20%ff", HEADERS, authority="sluice.example:4433")
    scope = session.scope
    local = client.sock.getsockname()
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "webtransport",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "3",
        "scheme": "https",
        "path": "/chat/café x",
        "raw_path": b"/chat/caf%C3%A9%20x",
        "query_string": b"room=1&q=%20%ff",
        "root_path": "",
        "headers": [[b"host", b"sluice.example:4433"], *[[n, v] for n, v in HEADERS]],
        "server": ["127.0.0.1", proxy.port],
        "client": [local[0], local[1]],
        "session_id": asked.stream_id,
        "subprotocols": [],
    }
    assert list(extensions) and set(extensions) == {"tls", "webtransport", "sluice"}
    tls = extensions["tls"]
    assert tls["tls_version"] == 0x0304
    assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    assert tls["server_cert"] is None
    assert not tls["client_cert_chain"]
    wt = extensions["webtransport"]
    assert set(wt) == {"max_datagram_size", "stream_window", "session_window",
                       "max_pending_streams", "connect_protocol"}
    assert wt["connect_protocol"] == "webtransport"
    assert 1000 <= wt["max_datagram_size"] <= 65535
    assert 0 < wt["stream_window"] <= wt["session_window"]
    assert wt["max_pending_streams"] > 0
    sluice = extensions["sluice"]
    assert set(sluice) == {"protocol", "session", "draft", "max_frame", "route"}
    assert sluice["protocol"] == 1
    assert isinstance(sluice["session"], str) and sluice["session"]
    assert sluice["draft"] == "draft02"
    assert sluice["max_frame"] == 1 << 20
    assert isinstance(sluice["route"], str)
    session.accept()
    assert asked.wait_response() == 200
    client.close()


def test_keys_of_the_scope_come_as_the_right_types(world):
    _, _, client, _, session = open_session(world, b"/a?b", HEADERS)
    for key in ("raw_path", "query_string"):
        assert isinstance(session.scope[key], bytes)
    assert all(isinstance(part, bytes) for header in session.scope["headers"] for part in header)
    session.close()
    client.close()


def test_a_hosts_header_gives_way_to_the_authority(world):
    _, _, client, _, session = open_session(
        world, headers=[(b"x-a", b"1"), (b"host", b"liar.example")], authority="true.example")
    assert session.scope["headers"] == [[b"host", b"true.example"], [b"x-a", b"1"]]
    session.close()
    client.close()


@pytest.mark.parametrize("raw, path, query", [
    (b"/", "/", b""),
    (b"/?", "/", b""),
    (b"/a?b?c", "/a", b"b?c"),
    (b"/%ff", "/\ufffd", b""),
    (b"/%2F%41", "//A", b""),
    (b"/%zz%4", "/%zz%4", b""),
])
def test_paths(world, raw, path, query):
    _, _, client, _, session = open_session(world, raw)
    assert session.scope["path"] == path
    assert session.scope["raw_path"] == raw.split(b"?", 1)[0]
    assert session.scope["query_string"] == query
    session.close()
    client.close()


@pytest.mark.parametrize("token", ["webtransport", "webtransport-h3"])
def test_both_tokens(world, token):
    _, _, client, asked, session = open_session(world, protocol=token)
    assert session.scope["extensions"]["webtransport"]["connect_protocol"] == token
    session.accept()
    assert asked.wait_response() == 200
    stream = asked.open(data=b"hi", end=True)
    client.settle()
    assert session.read_stream(0) == b"hi"
    session.stream_send(0, b"ho", end=True)
    client.wait(lambda: stream.ended)
    assert stream.data == b"ho"
    client.close()


@pytest.mark.parametrize("settings, draft", [
    ({}, "draft02"),
    ({0x2B603742: None, 0xC671706A: 1}, "draft07"),
    ({0x2B603742: None, 0x14E9CD29: 1}, "draft14"),
    ({0x2B603742: None, 0x2C7CF000: 1}, "draft15"),
])
def test_draft_is_what_the_clients_settings_speak(world, settings, draft):
    _, _, client, asked, session = open_session(world, client_options={"settings": settings})
    assert session.scope["extensions"]["sluice"]["draft"] == draft
    session.accept()
    assert asked.wait_response() == 200
    client.close()


@pytest.mark.parametrize("lines, offered, chosen, answer", [
    ([b'"moq-00", "echo";x=1, "a\\"b"'], ["moq-00", "echo", 'a"b'], "echo", b'"echo"'),
    ([b'"moq-00"', b'"a\\"b"'], ["moq-00", 'a"b'], 'a"b', b'"a\\"b"'),
    ([b"moq-00, echo"], ["moq-00", "echo"], "moq-00", b"moq-00"),  # drafts up to 12
    ([b"moq-00, \"moq-00\""], ["moq-00", "moq-00"], "moq-00", b'"moq-00"')])
def test_subprotocols_as_offered_and_the_chosen_one(world, lines, offered, chosen, answer):
    _, _, client, asked, session = open_session(
        world, headers=[(b"wt-available-protocols", line) for line in lines])
    assert session.scope["subprotocols"] == offered
    session.accept(subprotocol=chosen)
    assert asked.wait_response() == 200
    assert dict(asked.headers)[b"wt-protocol"] == answer
    client.close()


@pytest.mark.parametrize("lines", [
    [b""], [b'"a", 1'], [b'("a" "b")'], [b'"a"', b'"b'], [b'"a",'], [b"'a'"], [b'"caf\xc3\xa9"']])
def test_offers_that_are_malformed_are_none(world, lines):
    """The application sees the header as it came, and may answer what it likes."""
    headers = [(b"wt-available-protocols", line) for line in lines]
    _, _, client, asked, session = open_session(world, headers=headers)
    assert session.scope["subprotocols"] == []
    assert session.scope["headers"][1:] == [[n, v] for n, v in headers]
    session.accept(headers=[[b"wt-protocol", b"anything"]])
    assert asked.wait_response() == 200
    assert dict(asked.headers)[b"wt-protocol"] == b"anything"
    client.close()


def test_sessions_have_different_names(world):
    app, proxy = world.start()
    names = set()
    for _ in range(5):
        _, _, client, _, session = open_session(world, app=app, proxy=proxy)
        names.add(session.scope["extensions"]["sluice"]["session"])
        session.close()
        client.close()
    assert len(names) == 5


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_accepts_headers_go_out_verbatim_and_in_order(world, status):
    _, _, client, asked, session = open_session(world)
    headers = [[b"set-cookie", b"a=1"], [b"x-b", b"caf\xe9"], [b"set-cookie", b"b=2"],
               [b"x-empty", b""], [b"set-cookie", b"a=1"], [b"wt-protocol", b"anything; at=all"]]
    session.accept(status=status, headers=headers)
    assert asked.wait_response() == status
    own = [[n, v] for n, v in asked.headers if n != b":status"]
    assert own == headers
    assert asked.headers[0] == (b":status", b"%d" % status)
    client.close()


@pytest.mark.parametrize("status", [302, 403, 404, 429, 500, 599])
def test_rejects_status_headers_and_body_go_out_verbatim(world, status):
    _, _, client, asked, session = open_session(world)
    session.send("webtransport.reject", status=status, body=b"no \xff entry",
                 headers=[[b"location", b"/x"], [b"set-cookie", b"a=1"], [b"set-cookie", b"b=2"]])
    client.wait(lambda: asked.ended)
    assert asked.status == status
    own = [(n, v) for n, v in asked.headers if n not in (b":status", b"content-length")]
    assert own == [(b"location", b"/x"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert asked.body == b"no \xff entry"
    assert session.ended() == {"type": "webtransport.disconnect", "code": None, "reason": "",
                               "clean": True, "by": "app"}
    session.close()
    client.close()


@pytest.mark.parametrize("command, status", [
    (("webtransport.reject", {}), 403),
    (("webtransport.close", {}), 403),
    (("webtransport.close", {"code": 7, "reason": "later"}), 403),
])
def test_defaults_of_a_refusal(world, command, status):
    _, _, client, asked, session = open_session(world)
    session.send_all(command)
    client.wait(lambda: asked.ended)
    assert asked.status == status
    session.wait("webtransport.disconnect", by="app")
    session.close()
    client.close()


def test_abort_before_accept_resets_the_request(world):
    _, _, client, asked, session = open_session(world)
    session.send("webtransport.abort")
    client.wait(lambda: asked.reset_code is not None)
    assert asked.headers is None
    message = session.ended()
    assert (message["type"], message["by"]) == ("webtransport.disconnect", "app")
    session.close()
    client.close()


def test_ipv6(world):
    app, proxy = world.start(listen="[::1]:0")
    _, _, client, asked, session = open_session(world, app=app, proxy=proxy,
                                                client_options={"host": "::1"})
    local = client.sock.getsockname()
    assert session.scope["client"] == ["::1", local[1]]
    assert session.scope["server"] == ["::1", proxy.port]
    session.accept()
    assert asked.wait_response() == 200
    client.close()


def test_one_listener_serves_both_families(world):
    app, proxy = world.start(listen="[::]:0")
    for host in ("127.0.0.1", "::1"):
        _, _, client, asked, session = open_session(world, app=app, proxy=proxy,
                                                    client_options={"host": host})
        assert session.scope["client"][0] == host
        assert session.scope["server"] == [host, proxy.port]
        session.accept()
        assert asked.wait_response() == 200
        client.close()


def test_an_application_on_tcp(world):
    app = RawApp(("127.0.0.1", 0))
    world.apps.append(app)
    proxy = world.proxy(app)
    _, _, client, asked, session = open_session(world, app=app, proxy=proxy)
    session.accept()
    assert asked.wait_response() == 200
    client.close()


@pytest.mark.parametrize("path", [b"/a\x7f", b"/a\nevent=forged", b"/a b", b"/\x01"])
def test_a_path_that_is_none_never_reaches_an_application(world, path):
    app, proxy = world.start()
    with Client(proxy.port) as client:
        asked = client.session(path)
        client.wait(lambda: asked.headers or asked.reset_code is not None or client.terminated)
        assert asked.status in (None, 400)
    assert app.sessions.empty()
    assert not [line for line in proxy.lines if line.startswith("event=forged")]


def test_log_lines_cannot_be_forged(world):
    _, proxy, client, _, session = open_session(world, b'/x"%0Aevent=forged\\" caf\xc3\xa9'
                                                .replace(b" ", b"%20"))
    session.accept()
    line = proxy.wait_log("session.opened")
    assert "event=forged" in line["path"] and "\n" not in line["path"]
    client.close()
