"""The program itself: what it says, how it starts and ends, several workers, the admin listener."""

import json
import os
import signal
import socket
import subprocess

import pytest

from support.certificates import write_certificate
from support.proxy import BINARY
from support.quicclient import Client
from support.rawapp import echo


def run(*arguments):
    """Runs it to its end, which must come by itself: (exit code, standard output, error)."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def echoes(client, session, word=b"hello"):
    stream = session.open(data=word, end=True)
    client.wait(lambda: stream.done)
    return bytes(stream.data) == word


# what it says


def test_version_names_every_library():
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    names = ["sluice", "ngtcp2", "nghttp3", "GnuTLS", "libuv", "msgpack-c", "libmicrohttpd",
             "libyaml"]
    assert [line.split()[0] for line in out.splitlines()] == names
    assert all(line.split()[1][0].isdigit() for line in out.splitlines())


def test_help_explains_itself():
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for word in ("Usage: sluice", "--listen", "--app", "Examples:", "Exit codes:"):
        assert word in out


@pytest.mark.parametrize("arguments, sentence", [
    ([], "--app is missing"),
    (["--cert", "auto", "--app", "/run/app.sock"],
     "--app: expected unix:PATH or tcp:HOST:PORT, got '/run/app.sock'"),
    (["--cert", "auto", "--app", "unix:/a", "--wrokers", "2"], "there is no option --wrokers"),
    (["--cert", "auto", "--app", "unix:/a", "--workers", "none"],
     "--workers: expected a number or 'auto', from 1 to 256, got 'none'"),
])
def test_a_wrong_command_line_is_exit_code_2(arguments, sentence):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("sluice: ") and sentence in err


def test_a_certificate_that_is_not_there(directory):
    path = os.path.join(directory, "cert.pem")
    code, _, err = run("--cert", path, "--app", "unix:/a", "--listen", "127.0.0.1:0")
    assert code == 1
    assert err.splitlines()[-1].startswith("sluice: ") and path in err


def test_an_address_that_is_taken(world):
    _, proxy = world.start(echo)
    for workers in ("1", "2"):
        code, _, err = run("--cert", "auto", "--app", "unix:/a", "--workers", workers,
                           "--listen", f"127.0.0.1:{proxy.port}")
        assert code == 1
        assert f"127.0.0.1:{proxy.port}" in err and "in use" in err
    code, _, err = run("--cert", "auto", "--app", "unix:/a", "--listen", "127.0.0.1:0",
                       "--admin", proxy.admin)
    assert code == 1
    assert proxy.admin in err and "in use" in err
    proxy.get("/healthz")  # the first one's socket is still there


# certificates


@pytest.mark.parametrize("days, published", [(10, True), (90, False)])
def test_a_certificate_from_files(world, directory, days, published):
    cert, key, fingerprint = write_certificate(directory, days)
    app = world.app(echo)
    proxy = world.proxy(app, arguments=("--cert", cert, "--key", key))
    assert proxy.hash == fingerprint
    answer = json.loads(proxy.get("/certificate.json")[1])
    assert answer["hashes"] == ([fingerprint] if published else [])
    client = Client(proxy.port)
    session = client.session()
    assert session.wait_response() == 200
    assert echoes(client, session)
    client.close()


# the admin listener


def test_admin_listener(world):
    _, proxy = world.start(echo, admin="localhost:0")
    assert proxy.get("/healthz") == (200, b"ok\n")
    answer = json.loads(proxy.get("/certificate.json")[1])
    assert answer == {"algorithm": "sha-256", "hashes": [proxy.hash], "port": proxy.port,
                      "urls": [f"https://127.0.0.1:{proxy.port}/"]}
    status, page = proxy.get("/")
    assert status == 200 and b"<html" in page.lower()
    # Other pages in an operator's browser may learn the certificate, but nothing else.
    may_read = [proxy.ask(path)[2]["Access-Control-Allow-Origin"]
                for path in ("/certificate.json", "/stats", "/healthz", "/", "/none")]
    assert may_read == ["*", None, None, None, None]
    assert proxy.get("/../etc/passwd")[0] == 404
    stats = json.loads(proxy.get("/stats")[1])
    assert set(stats) == {"workers", "backends", "gauges", "counters", "faults"}


# addresses


def test_listening_everywhere_is_ipv6_and_ipv4(world):
    _, proxy = world.start(echo, listen=":0")
    hosts = ["127.0.0.1"]
    if ":" in proxy.host:
        hosts.append("::1")
    for host in hosts:
        client = Client(proxy.port, host=host)
        session = client.session()
        assert session.wait_response() == 200
        assert echoes(client, session)
        client.close()


def test_localhost_is_both_loopback_addresses(world):
    _, proxy = world.start(echo, listen="localhost:0")
    for line in proxy.find("listening", has="port"):
        client = Client(proxy.port, host=line["address"])
        session = client.session()
        assert session.wait_response() == 200
        assert echoes(client, session)
        client.close()


# workers


@pytest.mark.parametrize("workers", [2, 3])
def test_all_workers_serve(world, workers):
    _, proxy = world.start(echo, workers=workers)
    clients = [Client(proxy.port) for _ in range(16)]
    for client in clients:
        session = client.session()
        assert session.wait_response() == 200
        assert echoes(client, session)
    assert proxy.stats()["workers"] == workers
    assert proxy.stats()["sessions"] == 16
    for client in clients:
        client.close()


def test_a_client_that_moves_keeps_its_worker(world):
    """After a change of port the kernel's hash may choose the other worker's socket."""
    _, proxy = world.start(echo, workers=2)
    client = Client(proxy.port)
    session = client.session()
    assert session.wait_response() == 200
    for _ in range(12):
        client.sock.close()
        client.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sock.connect(client.peer)
        client.sock.setblocking(False)
        assert echoes(client, session)
        client.settle()
        client.settle()  # the path has been challenged, and has answered: there are only so many ids
    assert proxy.stats()["connections_accepted"] == 1
    client.close()


# the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_then_closes(world, number):
    app, proxy = world.start(arguments=("--drain-timeout", "3s"), workers=2)
    client = Client(proxy.port)
    asked = client.session()
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    proxy.process.send_signal(number)
    drain = session.wait("webtransport.drain")
    assert drain["reason"] == "shutdown" and 0 < drain["deadline_ms"] <= 2250
    client.wait(lambda: asked.drained)
    client.wait(lambda: asked.closed or client.terminated)
    asked.end()
    client.wait(lambda: client.terminated)
    last = session.wait("webtransport.disconnect")
    assert last["by"] == "proxy"
    session.close()
    proxy.join()


def test_a_drained_session_may_end_by_itself(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"))
    client = Client(proxy.port)
    asked = client.session()
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    proxy.terminate()
    session.wait("webtransport.drain", reason="shutdown")
    assert proxy.get("/healthz") == (503, b"draining\n")
    client.wait(lambda: asked.drained)
    asked.close(7, b"bye")
    client.settle()
    assert session.wait("webtransport.disconnect")["code"] == 7
    session.close()
    proxy.join()


def test_a_second_signal_does_not_wait(world):
    app, proxy = world.start(arguments=("--drain-timeout", "1h"), workers=2)
    client = Client(proxy.port)
    asked = client.session()
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_response() == 200
    proxy.terminate()
    session.wait("webtransport.drain", reason="shutdown")
    proxy.terminate()
    assert session.wait("webtransport.disconnect")["by"] == "proxy"
    session.close()
    client.wait(lambda: client.terminated)
    proxy.join()
