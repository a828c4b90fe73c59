"""Effects of settings that no other file shows, and the program's words about a configuration."""

import os
import subprocess
import time

import pytest

from support.certificates import write_certificate
from support.proxy import BINARY, Logged
from support.quicclient import Client
from support.rawapp import echo

SERVED = """
backends: {app: {addresses: 'unix:DIR/app.sock'}}
routes: [{backend: app}]
"""
WHOLE = SERVED + "certificates: [{cert: auto}]\nlisteners: [{address: '127.0.0.1:0'}]\n"


def run(directory, text, *arguments):
    """The program with this file, to its end: (exit code, output, error)."""
    path = os.path.join(directory, "sluice.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("DIR", directory))
    done = subprocess.run([BINARY, "--config", path, *arguments], capture_output=True, text=True,
                          timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_faulty_file_is_told_with_its_line(directory):
    for arguments in ((), ("--check-config",), ("--print-config",)):
        code, out, err = run(directory, WHOLE + "workers: many\n", *arguments)
        assert (code, out) == (2, "")
        assert err.endswith("sluice.yaml:6: workers: expected a number or 'auto', from 1 to 256, "
                            "got 'many'\n")


def test_check_config(directory):
    assert run(directory, WHOLE, "--check-config") == (0, "the configuration is good\n", "")
    absent = WHOLE.replace("cert: auto", "cert: DIR/absent.pem")
    code, out, err = run(directory, absent, "--check-config")
    assert (code, out) == (2, "") and "absent.pem: cannot be read" in err
    cert, _, _ = write_certificate(directory, 10)
    wrong = WHOLE.replace("cert: auto", f"cert: {cert}, key: {cert}")
    code, out, err = run(directory, wrong, "--check-config")
    assert (code, out) == (2, "") and "no usable PEM private key" in err
    code, out, err = run(directory, WHOLE + "secret: DIR/absent\n", "--check-config")
    assert (code, out) == (2, "") and "absent: cannot be read" in err


def test_print_config_is_a_configuration(directory):
    code, printed, err = run(directory, WHOLE + "accept_timeout: 7s\n", "--print-config")
    assert (code, err) == (0, "")
    assert "    accept_timeout: 7s\n" in printed and "idle_timeout: 30s\n" in printed
    assert run(directory, printed, "--print-config") == (0, printed, "")


def test_server_id_stands_in_connection_ids(world):
    world.app()
    proxy = world.configured(SERVED + "server_id: 4660\n")
    with Client(proxy.port) as client:
        assert client.quic._peer_cid.cid[1:3] == b"\x12\x34"  # pylint: disable=protected-access


@pytest.mark.parametrize("level, told", [("debug", True), ("info", True), ("warn", False),
                                         ("off", False)])
def test_log_level(directory, level, told):
    path = os.path.join(directory, "sluice.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write((WHOLE + f"log_level: {level}\n").replace("DIR", directory))
    logged = Logged([BINARY, "--config", path, "--admin", f"unix:{directory}/admin"])
    try:
        while not os.path.exists(f"{directory}/admin"):
            assert logged.process.poll() is None, logged.log()
            time.sleep(0.01)
        logged.stop()
    finally:
        logged.kill()
    assert bool(logged.find("listening")) == told
    assert told or not logged.lines


def test_max_frame_is_told_and_held(world):
    app = world.app()
    proxy = world.configured("""
backends: {app: {addresses: 'unix:DIR/app.sock', max_frame: 128KiB}}
routes: [{backend: app, lost_code: 77}]
""")
    with Client(proxy.port) as client:
        asked = client.session()
        client.flush()
        session = app.session()
        assert session.scope["extensions"]["sluice"]["max_frame"] == 131072
        session.accept()
        assert asked.wait_response() == 200
        session.raw((131073).to_bytes(4, "big"))
        session.wait("webtransport.error")
        client.wait(lambda: asked.closed or client.terminated)
        assert asked.closed[0] == 77
        session.close()


def test_windows_are_told_to_clients(world):
    world.app()
    proxy = world.configured(SERVED + "connection_window: 96KiB\nstream_window: 48KiB\n")
    with Client(proxy.port) as client:
        quic = client.quic  # pylint: disable=protected-access
        assert quic._remote_max_data == 96 << 10
        assert quic._remote_max_stream_data_bidi_remote == 48 << 10
        assert quic._remote_max_stream_data_uni == 48 << 10


def test_when_memory_is_used_up_newcomers_are_refused(world):
    """Each connection takes its windows from it."""
    app = world.app(echo)
    proxy = world.configured(SERVED + "memory: 16MiB\nmax_connections: 10000\n", workers=1)
    clients = [Client(proxy.port)]
    session = clients[0].session()
    assert session.wait_response() == 200
    while not clients[-1].terminated:
        assert len(clients) < 300
        clients.append(Client(proxy.port, wait=False))
        clients[-1].wait(lambda: clients[-1].connected or clients[-1].terminated)
    stats = proxy.stats()
    assert stats["memory_connection"] == 1
    assert stats["memory_bytes"] <= 16 << 20
    stream = session.open(data=b"still here", end=True)
    clients[0].wait(lambda: stream.ended)
    assert stream.data == b"still here"
    for client in clients:
        client.close()
    assert not app.failures
