"""SIGHUP: another configuration and other certificates, while sessions go on."""

import os
import re
import signal
import socket
import time

import pytest

from support.certificates import write_certificate
from support.quicclient import Client
from support.rawapp import RawSession
from support.traveller import Traveller
from support.visits import check_alive, end, opened, status

APP = "backends: {app: {addresses: 'unix:DIR/app.sock'}}\n"
FILES = "certificates: [{cert: DIR/cert.pem, key: DIR/key.pem}]\n"


def windows(session):
    told = session.scope["extensions"]["webtransport"]
    return told["stream_window"], told["max_pending_streams"]


def test_new_sessions_get_the_new_routes_and_old_ones_keep_theirs(world):
    old, new = world.app(name="old.sock"), world.app(name="new.sock")
    proxy = world.configured("""
backends: {old: {addresses: 'unix:DIR/old.sock'}}
routes: [{path_prefix: /old, backend: old, max_pending_streams: 5, lost_code: 55}]
""")
    client, asked, session = opened(old, proxy, "/old")
    done = world.reload(proxy, """
backends: {new: {addresses: 'unix:DIR/new.sock'}}
routes: [{path_prefix: /new, backend: new, max_pending_streams: 7}]
""")
    assert (done["event"], done["routes"], done["backends"]) == ("reloaded", "1", "1")
    assert status(proxy, "/old") == 404
    client2, asked2, session2 = opened(new, proxy, "/new")
    assert (windows(session)[1], windows(session2)[1]) == (5, 7)
    check_alive(client2, asked2, session2, b"by the new way")
    end(client2, asked2, session2)
    check_alive(client, asked, session, b"by the old way")
    session.close()
    client.wait(lambda: asked.closed)
    assert asked.closed[0] == 55  # lost_code of the route that it came in by
    client.close()


def test_an_application_that_is_gone_is_forgotten_with_its_last_session(world):
    old, _ = world.app(name="old.sock"), world.app(name="new.sock")
    proxy = world.configured("""
backends: {old: {addresses: 'unix:DIR/old.sock'}}
routes: [{backend: old}]
""", workers=2)
    client, asked, session = opened(old, proxy)
    world.reload(proxy, """
backends: {new: {addresses: 'unix:DIR/new.sock'}}
routes: [{backend: new}]
""")

    def known():
        return b"/old.sock" in proxy.get("/stats")[1]

    assert known()
    end(client, asked, session)
    proxy.wait_stats(lambda _: not known())
    assert b"/new.sock" in proxy.get("/stats")[1]


def test_an_application_that_stays_is_the_same_one(world):
    """Its sessions count; a thing of its own that changes makes it another."""
    app = world.app()
    one = "backends: {app: {addresses: 'unix:DIR/app.sock', max_address_sessions: 1, queue: 0}}\n"
    proxy = world.configured(one + "routes: [{backend: app}]", workers=1)
    client, asked, session = opened(app, proxy)
    world.reload(proxy, one + "routes: [{path: /a, backend: app}, {backend: app}]")
    assert status(proxy) == 503
    proxy.wait_log("session.refused", fault="backend_full")
    world.reload(proxy, one.replace("queue: 0", "queue: 0, attempts: 2")
                 + "routes: [{backend: app}]")
    end(*opened(app, proxy))
    end(client, asked, session)


def test_a_routes_limit_counts_sessions_from_before(world):
    app = world.app()
    proxy = world.configured(APP + "routes: [{name: few, backend: app, max_sessions: 1}]",
                             workers=1)
    client, asked, session = opened(app, proxy)
    world.reload(proxy, APP + "routes: [{name: few, path: /, backend: app, max_sessions: 1}]")
    assert status(proxy) == 503
    world.reload(proxy, APP + "routes: [{name: few, backend: app, max_sessions: 2}]")
    end(*opened(app, proxy))
    end(client, asked, session)
    proxy.wait_idle()
    world.reload(proxy, APP + "routes: [{name: few, backend: app, max_sessions: 1}]")
    end(*opened(app, proxy))


def test_limits_of_connections_are_for_new_ones(world):
    app = world.app()
    proxy = world.configured(APP + "routes: [{backend: app}]\nmax_streams: 10\n", workers=1)
    client, asked, session = opened(app, proxy)
    world.reload(proxy, APP + "routes: [{backend: app}]\nmax_streams: 20\nmax_sessions: 1\n")

    def limit(of):
        return of.quic._remote_max_streams_bidi  # pylint: disable=protected-access

    assert limit(client) == 10
    check_alive(client, asked, session, b"x")
    with Client(proxy.port) as other:
        assert limit(other) == 20
        assert other.session().wait_response() == 503  # max_sessions
    proxy.wait_log("session.refused", fault="too_many_sessions")
    end(client, asked, session)


@pytest.mark.parametrize("text, reason", [
    ("routes: [{backend: app}", r"sluice\.yaml:\d+: "),
    (APP + "routes:\n  - {backend: app}\n  - {backend: other}\n",
     r"sluice\.yaml:4: .*backend.*other"),
    (APP + "routes: [{backend: app, max_sessions: some}]\n",
     r"sluice\.yaml:2: routes\[0\]\.max_sessions: .*'some'"),
    (APP + "routes: [{backend: app}]\ncertificates: [{cert: DIR/none.pem, key: DIR/none.pem}]\n",
     r"/none\.pem: cannot be read"),
], ids=["syntax", "meaning", "value", "certificate"])
def test_a_faulty_one_changes_nothing(world, text, reason):
    app = world.app()
    good = APP + "routes: [{path_prefix: /one, backend: app}]"
    proxy = world.configured(good)
    client, asked, session = opened(app, proxy, "/one")
    failed = world.reload(proxy, text)
    assert failed["event"] == "reload.failed"
    assert re.search(reason, failed["reason"]), failed["reason"]
    end(*opened(app, proxy, "/one"))
    assert status(proxy, "/two") == 404
    assert world.reload(proxy, good.replace("/one", "/two"))["event"] == "reloaded"
    end(*opened(app, proxy, "/two"))
    check_alive(client, asked, session, b"still here")
    end(client, asked, session)


def test_what_cannot_change_is_named_and_the_rest_is_taken(world):
    app = world.app()
    proxy = world.configured(APP + "routes: [{path: /one, backend: app}]\nmemory: 1GiB\n")
    done = world.reload(proxy, APP + """
routes: [{path: /two, backend: app}]
memory: 2GiB
server_id: 7
""")
    assert done["event"] == "reloaded"
    told = {line["key"]: (line["now"], line["wanted"]) for line in proxy.find("reload.ignored")}
    assert set(told) == {"memory", "server_id"}
    assert told["memory"] == ("1GiB", "2GiB")
    assert [line["level"] for line in proxy.find("reload.ignored")] == ["warn"] * 2
    end(*opened(app, proxy, "/two"))


def test_the_command_line_alone_reads_the_certificate_again(world, directory):
    cert, key, first = write_certificate(directory, 10)
    app = world.app()
    proxy = world.proxy(app, arguments=("--cert", cert, "--key", key))
    assert proxy.hash == first
    _, _, second = write_certificate(directory, 10)
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("certificate", hash=second)
    proxy.wait_log("reloaded")
    end(*opened(app, proxy))


def shown(port, **options):
    client = Traveller(port, **options)
    certificate = client.quic.tls._peer_certificate  # pylint: disable=protected-access
    return client, certificate.fingerprint(certificate.signature_hash_algorithm).hex()


def test_new_certificates_are_shown_and_tickets_go_on(world, directory):
    _, _, first = write_certificate(directory, 10)
    app = world.app()
    proxy = world.configured(APP + FILES + "routes: [{backend: app}]", workers=2)
    old, seen = shown(proxy.port)
    assert seen == first
    client, asked, session = opened(app, proxy, client=old)
    client.wait(lambda: client.tickets)
    _, _, second = write_certificate(directory, 10)
    assert world.reload(proxy, APP + FILES + "routes: [{backend: app}]")["event"] == "reloaded"
    proxy.wait_log("certificate", hash=second)
    new, seen = shown(proxy.port)
    assert seen == second
    new.close()
    check_alive(client, asked, session, b"under the old one")
    again = Traveller(proxy.port, session_ticket=client.tickets[0])
    assert again.connected.session_resumed
    end(*opened(app, proxy, client=again))
    end(client, asked, session)


def test_an_automatic_certificate_stays(world):
    proxy = world.configured(APP + "routes: [{backend: app}]")
    world.reload(proxy, APP + "routes: [{path: /, backend: app}]")
    client, seen = shown(proxy.port)
    client.close()
    assert seen == proxy.hash and len(proxy.find("certificate")) == 1


def test_changed_files_are_found_without_a_signal(world, directory):
    """Also halfway, when the key is not there yet; and what is broken is not taken."""
    write_certificate(directory, 10)
    proxy = world.configured(APP + FILES + "routes: [{backend: app}]")
    other = os.path.join(directory, "other")
    os.mkdir(other)
    _, _, second = write_certificate(other, 10)
    os.rename(os.path.join(other, "cert.pem"), os.path.join(directory, "cert.pem"))
    failed = proxy.wait_log("certificate.failed", timeout=30)
    assert "is not the key of the certificate" in failed["reason"]
    client, seen = shown(proxy.port)
    client.close()
    assert seen == proxy.hash
    os.rename(os.path.join(other, "key.pem"), os.path.join(directory, "key.pem"))
    proxy.wait_log("certificate", hash=second, timeout=30)
    client, seen = shown(proxy.port)
    client.close()
    assert seen == second


def test_many_signals_are_not_many_reloads_at_once(world):
    app = world.app()
    world.app(RawSession.accept, name="two.sock")  # who comes too soon has an answer, too
    two = APP.replace("app", "two")
    proxy = world.configured(APP + "routes: [{path: /one, backend: app}]", workers=2)
    world.write_configuration(proxy.config, two + "routes: [{path: /two, backend: two}]")
    for _ in range(20):
        proxy.process.send_signal(signal.SIGHUP)
    done = world.reload(proxy, APP + "routes: [{path: /three, backend: app}]")
    assert done["event"] == "reloaded"
    # What the log told may have been one of those before.
    proxy.wait_stats(lambda _: status(proxy, "/two") == 404)
    end(*opened(app, proxy, "/three"))


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(world, directory, abstract):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"{directory}/notify"
    manager.bind("\0" + name if abstract else name)
    manager.settimeout(20)

    def told():
        return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())

    proxy = world.configured(APP + "routes: [{backend: app}]", environment={
        "NOTIFY_SOCKET": "@" + name if abstract else name})
    assert told() == {"READY": "1", "STATUS": "Serving"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    world.reload(proxy, APP + "routes: [{backend: app, path: /}]")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    reloading = told()
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= after
    assert told() == {"READY": "1", "STATUS": "Serving"}
    world.reload(proxy, APP + "routes: [{backend: other}]")
    assert told()["RELOADING"] == "1"
    failed = told()
    assert failed["READY"] == "1" and "sluice.yaml:2: " in failed["STATUS"]
    proxy.terminate()
    stopping = told()
    assert (stopping["STOPPING"], stopping["STATUS"]) == ("1", "Draining")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) == 10_000_000
    proxy.join()
    manager.close()
