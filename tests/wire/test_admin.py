"""The admin listener and the command line of the real binary."""

import base64
import json
import subprocess

import pytest

from support.proxy import BINARY, GAUGES


def test_health(world):
    _, proxy = world.start()
    assert proxy.get("/healthz")[0] == 200


def test_certificate(world):
    _, proxy = world.start()
    status, body = proxy.get("/certificate.json")
    assert status == 200
    hashes = json.dumps(json.loads(body))
    digest = base64.b64decode(proxy.hash_base64)
    assert digest.hex() in hashes.lower().replace(":", "") or proxy.hash_base64 in hashes


def test_stats_at_rest_are_zero(world):
    _, proxy = world.start()
    assert proxy.gauges() == dict.fromkeys(GAUGES, 0)


def test_unknown_paths(world):
    _, proxy = world.start()
    assert proxy.get("/nothing-here")[0] == 404


@pytest.mark.parametrize("arguments", [
    [],
    ["--cert", "auto"],
    ["--cert", "auto", "--app", "here"],
    ["--cert", "auto", "--app", "unix:/x", "--listen", "nowhere"],
    ["--cert", "auto", "--app", "unix:/x", "--workers", "many"],
    ["--cert", "auto", "--app", "unix:/x", "--nonsense"],
])
def test_a_wrong_command_line_is_one_clear_sentence(arguments):
    done = subprocess.run([BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3
    assert done.stdout == ""


def test_a_certificate_that_is_not_there():
    done = subprocess.run([BINARY, "--listen", "127.0.0.1:0", "--cert", "/nonexistent.pem",
                           "--app", "unix:/x"], stderr=subprocess.PIPE, text=True, timeout=20,
                          check=False)
    assert done.returncode == 1
    assert "/nonexistent.pem" in done.stderr


def test_a_port_in_use(world):
    _, proxy = world.start()
    done = subprocess.run([BINARY, "--listen", f"127.0.0.1:{proxy.port}", "--cert", "auto",
                           "--app", "unix:/x"], stderr=subprocess.PIPE, text=True, timeout=20,
                          check=False)
    assert done.returncode == 1
    assert str(proxy.port) in done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(option):
    done = subprocess.run([BINARY, option], stdout=subprocess.PIPE, text=True, timeout=20,
                          check=False)
    assert done.returncode == 0
    assert "luice" in done.stdout
