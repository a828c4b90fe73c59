"""An application behind several addresses: who gets a session, and what happens when one of them is
gone, full or silent. Applications here are processes of their own where they are killed."""

import collections
import contextlib
import json
import socket

import pytest

from support.appprocess import AppProcess, name_of
from support.quicclient import Client
from support.rawapp import RawApp, echo

QUICK = ("--rest-first", "50ms", "--rest-last", "200ms", "--slow-start", "0")


def backends(proxy):
    """What /stats says, by address."""
    return {row["address"]: row for row in json.loads(proxy.get("/stats")[1])["backends"]}


def more(apps):
    return [word for app in apps for word in ("--app", app.address)]


@pytest.fixture
def stack():
    with contextlib.ExitStack() as s:
        yield s


@pytest.fixture
def three(directory):
    """Three applications in processes of their own."""
    apps = [AppProcess(directory, name) for name in ("one", "two", "three")]
    yield apps
    for app in apps:
        app.kill()


def proxy_of(world, apps, *arguments, workers=1):
    """One worker, for each has its own counts."""
    return world.proxy(apps[0].address, workers=workers, arguments=[*more(apps[1:]), *arguments])


def come(stack, proxy, **options):
    """A new connection with a session that was accepted."""
    client = stack.enter_context(Client(proxy.port))
    session = client.session(**options)
    assert session.wait_response() == 200
    return session


def echoes(session, data):
    stream = session.open(data=data, end=True)
    session.client.wait(lambda: stream.ended)
    assert bytes(stream.data) == data


def names(sessions):
    return collections.Counter(name_of(session) for session in sessions)


def test_sessions_are_spread_over_the_addresses(world, three, stack):
    proxy = proxy_of(world, three)
    sessions = [come(stack, proxy) for _ in range(9)]
    assert names(sessions) == {"one": 3, "two": 3, "three": 3}
    rows = backends(proxy)
    assert set(rows) == {app.address for app in three}
    for app in three:
        row = rows[app.address]
        assert (row["sessions"], row["given"], row["answered"], row["up"]) == (3, 3, 3, 1)
        proxy.wait_lines(3, "session.opened", address=app.address)
    sessions[0].close(3)
    sessions[0].client.flush()
    where = next(app for app in three if app.name == name_of(sessions[0]))
    proxy.wait_log("session.closed", by="client", code=3, address=where.address)


@pytest.mark.parametrize("policy", ["round-robin", "random-two", "hash"])
def test_every_policy_serves(world, three, stack, policy):
    proxy = proxy_of(world, three, "--balance", policy)
    sessions = [come(stack, proxy) for _ in range(9)]
    for session in sessions:
        echoes(session, b"hello")
    if policy == "round-robin":
        assert names(sessions) == {"one": 3, "two": 3, "three": 3}
    if policy == "hash":  # all of one client
        assert len(names(sessions)) == 1


def test_the_same_cookie_gets_the_same_application(world, three, stack):
    proxy = proxy_of(world, three, "--balance", "hash", "--hash-by", "cookie", "--hash-name", "id")
    found = {}
    for _ in range(2):
        for i in range(12):
            cookie = f"a=1; id=user{i}; b=2".encode()
            session = come(stack, proxy, headers=[(b"cookie", cookie)])
            assert found.setdefault(i, name_of(session)) == name_of(session)
    assert len(set(found.values())) > 1


def test_the_same_path_and_header_get_the_same_application(world, three, stack):
    by_path = proxy_of(world, three, "--balance", "hash", "--hash-by", "path")
    by_header = proxy_of(world, three, "--balance", "hash", "--hash-by", "header", "--hash-name",
                         "X-Room")
    found = {by_path: set(), by_header: set()}
    for i in range(12):
        one = come(stack, by_path, path=f"/room{i}?a")
        other = come(stack, by_path, path=f"/room{i}?b")
        assert name_of(one) == name_of(other)
        found[by_path].add(name_of(one))
        one = come(stack, by_header, headers=[(b"x-room", b"%d" % i)])
        other = come(stack, by_header, path="/x", headers=[(b"x-room", b"%d" % i)])
        assert name_of(one) == name_of(other)
        found[by_header].add(name_of(one))
    assert all(len(apps) > 1 for apps in found.values())


def test_another_address_is_tried_on_refusal(world, three, stack):
    three[0].kill()
    proxy = proxy_of(world, three, "--rest-first", "1h", "--rest-last", "1h")
    sessions = [come(stack, proxy) for _ in range(6)]
    assert names(sessions) == {"two": 3, "three": 3}
    assert backends(proxy)[three[0].address]["refused"] == 1
    proxy.wait_log("backend.down", address=three[0].address, fault="backend_connect")
    proxy.wait_log("backend.failed", address=three[0].address)


def test_one_attempt_tries_no_other(world, three, stack):
    three[0].kill()
    proxy = proxy_of(world, three, "--attempts", "1")
    statuses = []
    for _ in range(3):
        client = stack.enter_context(Client(proxy.port))
        statuses.append(client.session().wait_response())
    assert sorted(statuses) == [200, 200, 502]


def test_an_application_that_is_killed_is_used_again_when_it_is_back(world, three, stack):
    proxy = proxy_of(world, three, *QUICK)
    sessions = [come(stack, proxy) for _ in range(6)]
    killed = three[1]
    hit = [s for s in sessions if name_of(s) == killed.name]
    others = [s for s in sessions if name_of(s) != killed.name]
    killed.kill()
    for session in hit:
        session.client.wait(lambda s=session: s.closed)
        assert session.closed[0] == 1
        session.end()
        session.client.flush()
    for session in others:
        echoes(session, b"still here")
    new = [come(stack, proxy) for _ in range(4)]  # at once, to the others
    assert names(new) == {"one": 2, "three": 2}
    killed.start()
    proxy.wait_log("backend.up", address=killed.address)
    back = [come(stack, proxy) for _ in range(3)]
    assert names(back) == {killed.name: 3}
    for session in others + new + back:
        echoes(session, b"all is well")
    proxy.wait_stats(lambda s: s["sessions"] == len(others + new + back))
    proxy.wait_lines(2, "session.closed", fault="backend_lost", address=killed.address)


def test_a_session_lost_before_its_answer_is_tried_elsewhere(world, stack):
    dropped = []

    def drop(session):
        dropped.append(session.scope)
        session.close()
    bad = world.app(drop, name="bad.sock")
    good = world.app(echo, name="good.sock")
    proxy = world.proxy(bad, workers=1, arguments=["--app", good.address])
    for _ in range(4):
        echoes(come(stack, proxy), b"answered")
    assert len(dropped) > 0
    assert backends(proxy)[bad.address]["lost"] == len(dropped)


def test_an_application_that_loses_sessions_in_a_row_rests(world, stack):
    bad = world.app(lambda session: session.close(), name="bad.sock")
    good = world.app(echo, name="good.sock")
    proxy = world.proxy(bad, workers=1, arguments=["--app", good.address, "--failures", "2",
                                                   "--rest-first", "1h", "--rest-last", "1h"])
    for _ in range(8):
        come(stack, proxy)
    row = backends(proxy)[bad.address]
    assert (row["lost"], row["down"], row["outages"]) == (2, 1, 1)


def test_a_full_application_makes_sessions_wait(world, stack):
    app = world.app(echo)
    proxy = world.proxy(app, workers=1, arguments=["--max-address-sessions", "1", "--queue", "1",
                                                   "--queue-timeout", "1h"])
    inside = come(stack, proxy)
    waiting = stack.enter_context(Client(proxy.port)).session()
    waiting.client.flush()
    proxy.wait_stats(lambda s: s["sessions_waiting"] == 1)
    turned_away = stack.enter_context(Client(proxy.port)).session()
    assert turned_away.wait_response() == 503
    assert dict(turned_away.headers)[b"retry-after"] == b"3600"
    proxy.wait_log("session.refused", fault="backend_full", status=503)
    assert proxy.stats()["backend_full"] == 1
    echoes(inside, b"not disturbed")
    assert waiting.headers is None
    inside.close()
    inside.client.flush()
    assert waiting.wait_response() == 200
    echoes(waiting, b"at last")
    assert proxy.stats()["sessions_waiting"] == 0


def test_waiting_ends(world, stack):
    app = world.app(echo)
    proxy = world.proxy(app, workers=1, arguments=["--max-address-sessions", "1",
                                                   "--queue-timeout", "50ms"])
    come(stack, proxy)
    late = stack.enter_context(Client(proxy.port)).session()
    assert late.wait_response() == 503
    assert dict(late.headers)[b"retry-after"] == b"1"


def test_one_that_waits_may_go_away(world, stack):
    app = world.app(echo)
    proxy = world.proxy(app, workers=1, arguments=["--max-address-sessions", "1"])
    inside = come(stack, proxy)
    with Client(proxy.port) as client:
        client.session()
        client.flush()
        proxy.wait_stats(lambda s: s["sessions_waiting"] == 1)
    proxy.wait_stats(lambda s: s["sessions_waiting"] == 0)
    echoes(inside, b"nothing happened")


def test_a_health_check_must_be_accepted(world):
    asked = []

    def answer(session):
        asked.append(session.scope)
        session.accept()
        session.wait("webtransport.disconnect")
    app = world.app(answer)
    proxy = world.proxy(app, workers=1, arguments=["--probe", "accept", "--probe-interval", "20ms"])
    proxy.wait_stats(lambda _: len(asked) >= 3)
    assert asked[0]["path"] == "/"
    assert [b"user-agent", b"sluice-probe"] in [list(h) for h in asked[0]["headers"]]
    assert backends(proxy)[app.address]["up"] == 1
    assert proxy.stats()["sessions"] == 0
    proxy.stop()


def test_a_health_check_that_is_rejected_counts(world):
    app = world.app(lambda session: session.send("webtransport.reject", status=503))
    proxy = world.proxy(app, workers=1, arguments=["--probe", "accept", "--probe-interval", "20ms"])
    proxy.wait_log("backend.down", address=app.address)
    proxy.stop()


def test_a_name_stands_for_its_addresses(world, stack):
    app = RawApp(("127.0.0.1", 0), echo)
    world.apps.append(app)
    port = app.address.rpartition(":")[2]
    proxy = world.proxy(f"tcp:localhost:{port}", workers=1)
    echoes(come(stack, proxy), b"by name")
    proxy.wait_log("session.opened", address=f"tcp:127.0.0.1:{port}")


def test_ipv6(world, stack):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            port = server.getsockname()[1]
    except OSError:
        pytest.skip("this machine is without IPv6")
    dead = f"tcp:[::1]:{port}"
    app = world.app(echo)
    proxy = world.proxy(dead, workers=1, arguments=["--app", app.address])
    echoes(come(stack, proxy), b"there is nobody at the other one")
    echoes(come(stack, proxy), b"and it is known")
    assert backends(proxy)[dead]["refused"] >= 1
