"""Routes: which application gets a session, and what the route does to it."""

import re

import pytest

from support.quicclient import Client

END = "webtransport.disconnect"
ONE_APP = "backends: {app: {addresses: 'unix:DIR/app.sock'}}\n"


class Clients:
    """A client for each session: a connection carries one."""

    def __init__(self, port):
        self.port = port
        self.clients = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for client in self.clients:
            client.close()

    def ask(self, path="/", headers=(), authority=None):
        self.clients.append(Client(self.port))
        asked = self.clients[-1].session(path, headers, authority=authority)
        self.clients[-1].flush()
        return asked

    def opened(self, app, path="/", headers=(), authority=None):
        """A session that the application has accepted: (its side, the client's side)."""
        asked = self.ask(path, headers, authority)
        session = app.session()
        session.accept()
        assert asked.wait_response() == 200
        return session, asked


def test_by_host_and_path_the_first_that_fits(world):
    apps = {name: world.app(name=f"{name}.sock") for name in ("chat", "game", "rest")}
    proxy = world.configured("""
backends:
  chat: {addresses: 'unix:DIR/chat.sock'}
  game: {addresses: 'unix:DIR/game.sock'}
  rest: {addresses: 'unix:DIR/rest.sock'}
routes:
  - {name: lobby, hosts: example.org, path: /lobby, backend: chat}
  - {hosts: [example.org, '*.example.net'], path_prefix: /chat, backend: chat}
  - {hosts: example.org, path_prefix: /game/, backend: game}
  - {hosts: '*.example.net', backend: rest}
""")
    with Clients(proxy.port) as clients:
        for authority, path, app, route in (
                ("example.org", "/lobby?x=/game/", "chat", "lobby"),
                ("example.org:1", "/chat/room", "chat", "chat"),
                ("EXAMPLE.org", "/g%61me/1", "game", "game"),
                ("a.example.net", "/chat", "chat", "chat"),
                ("a.example.net", "/chats", "rest", "rest"),
                ("a.example.net", "/game/../chat", "rest", "rest")):
            session, _ = clients.opened(apps[app], path, authority=authority)
            assert session.scope["extensions"]["sluice"]["route"] == route, (authority, path)
        for authority, path, status in (
                ("example.org", "/", 404), ("example.org", "/lobby/", 404),
                ("example.org", "/chat/../game/", 404), ("example.org", "/chat/%2e%2e/game/", 404),
                ("example.net", "/chat", 421), ("a.b.example.net", "/chat", 421)):
            assert clients.ask(path, authority=authority).wait_response() == status
            fault = {404: "no_route", 421: "host"}[status]
            proxy.wait_log("session.refused", status=status, fault=fault, host=authority)


def test_targets_are_chosen_by_the_path(world):
    apps = {name: world.app(name=f"{name}.sock") for name in ("one", "two")}
    proxy = world.configured("""
backends:
  one: {addresses: 'unix:DIR/one.sock'}
  two: {addresses: 'unix:DIR/two.sock'}
routes:
  - path: /room/{name}
    targets: {a: one, b.c: two, d: one}
    max_sessions: 2
  - {path_prefix: /all, backend: one}
""", workers=1)
    with Clients(proxy.port) as clients:
        for path in ("/room/", "/room", "/room/c", "/room/A", "/room/a/", "/room/a/b", "/room/{name}",
                     "/room/a%2fb", "/room/one", "/room/../all", "/room/%2e%2e/all", "/room/a%00"):
            assert clients.ask(path).wait_response() == 404, path
        for path, app in (("/room/b.c?x=a", "two"), ("/room/%61", "one")):
            session, _ = clients.opened(apps[app], path)
            assert session.scope["extensions"]["sluice"]["route"] == "room"
        # They have one limit together.
        assert clients.ask("/room/d").wait_response() == 503
        clients.opened(apps["one"], "/all")


def test_origins_are_the_routes_own(world):
    app = world.app()
    proxy = world.configured(ONE_APP + """
origins: https://example.org
routes:
  - {path: /open, backend: app, origins: '*'}
  - {path: /named, backend: app, origins: 'https://other.example', require_origin: true}
  - {backend: app}
""")
    with Clients(proxy.port) as clients:
        for path, origin, status in (
                ("/open", b"https://any.where", 200), ("/named", b"https://other.example", 200),
                ("/named", b"https://example.org", 403), ("/named", None, 403),
                ("/", b"https://example.org", 200), ("/", b"https://other.example", 403)):
            headers = [(b"origin", origin)] if origin else []
            if status == 200:
                clients.opened(app, path, headers)
            else:
                assert clients.ask(path, headers).wait_response() == status, (path, origin)


def test_headers_are_added_and_stripped(world):
    app = world.app()
    proxy = world.configured(ONE_APP + """
routes:
  - backend: app
    root_path: /mounted
    strip_request_headers: [cookie, x-from]
    add_request_headers: {x-from: sluice, x-two: 'b c'}
    strip_response_headers: server
    add_response_headers: {x-served-by: sluice}
""")
    with Clients(proxy.port) as clients:
        asked = clients.ask("/", [(b"x-from", b"client"), (b"cookie", b"a=1"), (b"x-own", b"1")],
                               authority="example.org")
        session = app.session()
        assert session.scope["root_path"] == "/mounted"
        assert session.scope["headers"] == [
            [b"host", b"example.org"], [b"x-own", b"1"], [b"x-from", b"sluice"],
            [b"x-two", b"b c"]]
        session.accept(headers=[[b"server", b"secret"], [b"x-app", b"1"]])
        assert asked.wait_response() == 200
        answer = [(n, v) for n, v in asked.headers if n in (b"server", b"x-app", b"x-served-by")]
        assert answer == [(b"x-app", b"1"), (b"x-served-by", b"sluice")]


def test_a_route_has_a_limit_of_its_own(world):
    app = world.app()
    proxy = world.configured(ONE_APP + """
routes:
  - {path: /few, backend: app, max_sessions: 1}
  - {backend: app}
""", workers=1)
    with Clients(proxy.port) as clients:
        _, asked = clients.opened(app, "/few")
        assert clients.ask("/few").wait_response() == 503
        proxy.wait_log("session.refused", fault="too_many_sessions")
        assert proxy.stats()["too_many_sessions"] == 1
        clients.opened(app, "/other")
        asked.close(0, b"")
        asked.client.flush()
        proxy.wait_log("session.closed", by="client")
        clients.opened(app, "/few")


def windows(told):
    return told["stream_window"], told["session_window"], told["max_pending_streams"]


def test_windows_and_timeouts_are_the_routes_own(world):
    app = world.app()
    proxy = world.configured(ONE_APP + """
accept_timeout: 1h
app_stream_window: 32KiB
app_session_window: 96KiB
max_pending_streams: 5
routes:
  - {path: /quick, backend: app, accept_timeout: 500ms, app_stream_window: 16KiB,
     app_session_window: 64KiB, max_pending_streams: 7}
  - {backend: app}
""")
    with Clients(proxy.port) as clients:
        asked = clients.ask("/quick")
        told = app.session().scope["extensions"]["webtransport"]
        assert windows(told) == (16384, 65536, 7)
        assert asked.wait_response() == 504
        session, _ = clients.opened(app, "/")
        told = session.scope["extensions"]["webtransport"]
        assert windows(told) == (32768, 98304, 5)


def test_addresses_of_a_backend_take_turns(world):
    apps = [world.app(name=f"{i}.sock") for i in range(3)]
    proxy = world.configured("""
backends:
  app:
    addresses: ['unix:DIR/0.sock', 'unix:DIR/1.sock', 'unix:DIR/2.sock']
    balance: round-robin
routes: [{backend: app}]
""", workers=1)
    with Clients(proxy.port) as clients:
        for _ in range(2):
            for app in apps:
                clients.opened(app)


@pytest.mark.parametrize("said, ask", [
    ("hash_by: path", lambda key: {"path": f"/{key}"}),
    ("hash_by: header, hash_name: x-user", lambda key: {"headers": [(b"x-user", key.encode())]}),
    ("hash_by: cookie, hash_name: user",
     lambda key: {"headers": [(b"cookie", f"a=b; user={key}; c=d".encode())]}),
])
def test_the_same_hash_gets_the_same_address(world, said, ask):
    def named(number):
        def handler(session):
            session.accept(headers=[[b"x-app", str(number).encode()]])
            while (session.next(timeout=None) or {"type": END})["type"] != END:
                pass
        return handler

    for number in range(3):
        world.app(named(number), name=f"{number}.sock")
    proxy = world.configured(f"""
backends:
  app: {{addresses: ['unix:DIR/0.sock', 'unix:DIR/1.sock', 'unix:DIR/2.sock'],
        balance: hash, {said}}}
routes: [{{backend: app}}]
""")
    chosen = {}
    with Clients(proxy.port) as clients:
        for turn in range(2):
            for key in range(16):
                asked = clients.ask(**ask(f"key{key}"))
                assert asked.wait_response() == 200
                app = dict(asked.headers)[b"x-app"]
                assert chosen.setdefault(key, app) == app, (turn, key)
    assert len(set(chosen.values())) > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_several_listeners(world, workers):
    app = world.app()
    proxy = world.configured(ONE_APP + """
routes: [{backend: app}]
listeners: [{address: '127.0.0.1:0'}, {address: '127.0.0.1:0'}]
""", workers=workers)
    other = proxy.wait_log("listening", has="port", port=re.compile(rf"^(?!{proxy.port}$)"))["port"]
    for port in (proxy.port, int(other)):
        with Clients(port) as clients:
            clients.opened(app)
