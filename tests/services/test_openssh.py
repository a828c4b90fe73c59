"""OpenSSH: its own client over the bridge, and a page that begins the key exchange."""

import hashlib
import os

import bridged
import pages
from servers import run
from support.quicclient import Client

BYTES = 3_000_000


def test_client_runs_a_command(openssh, tunnel):
    data = os.urandom(BYTES)
    port = tunnel(addresses=openssh.address).port
    said = run(*openssh.client(port, "sha256sum; echo also this >&2; exit 7"), input=data, text=False, status=7)
    assert said.split()[0].decode() == hashlib.sha256(data).hexdigest()
    openssh.wait_log(r"Accepted publickey for \S+ from 127\.0\.0\.1 port")
    openssh.wait_log(r"Starting session: command for ")


def test_client_gets_much(openssh, tunnel):
    command = f"head -c {BYTES} /dev/zero | tr '\\0' x"
    assert run(*openssh.client(tunnel(addresses=openssh.address).port, command)) == "x" * BYTES


def test_client_without_the_key_is_refused(openssh, tunnel):
    os.remove(openssh.path("authorized_keys"))
    run(*openssh.client(tunnel(addresses=openssh.address).port, "true"), status=255)
    openssh.wait_log(r"Connection closed by authenticating user")


def test_client_forwards_a_connection_to_another_service(openssh, redis, tunnel):
    """ssh -W: a connection of the SSH server's to Redis, through the bridge and the client's two pipes."""
    port = tunnel(addresses=openssh.address).port
    said = run(*openssh.client(port, "-W", f"127.0.0.1:{redis.port}", ""), input="SET by ssh\r\nQUIT\r\n")
    assert said.split() == ["+OK", "+OK"]
    assert redis.ask("GET", "by") == "ssh"


def test_the_path_chooses_among_those_that_are_listed(openssh, redis, world):
    proxy = world.configured(bridged.choice("/to/{name}", shell=openssh.address, store=redis.address))
    for name, banner in (("shell", b"SSH-2.0-OpenSSH"), ("store", b"+PONG")):
        with Client(proxy.port) as client:
            session = client.session(f"/to/{name}")
            assert session.wait_response() == 200
            stream = session.open(data=b"PING\r\n")
            client.wait(lambda: bytes(stream.data).startswith(banner))
            session.close()
            client.wait(lambda: session.ended)
    with Client(proxy.port) as client:
        for other in ("none", "", "shell/", "127.0.0.1:22", "..", "%2e%2e", "SHELL"):
            assert client.session(f"/to/{other}").wait_response() == 404, other


def test_page_reads_the_banner_and_begins_the_key_exchange(openssh, bridge, browser):
    result = pages.run(browser, """
        const stream = await session.open();
        const banner = await stream.readLine();
        await stream.write('SSH-2.0-page_1.0\\r\\n');
        // RFC 4253, section 6: length, padding, then the message, of which 20 is SSH_MSG_KEXINIT.
        const head = (await stream.readExactly(5)).slice();
        const length = new DataView(head.buffer).getUint32(0);
        const payload = (await stream.readExactly(length - 1)).slice(0, length - 1 - head[4]);
        const names = new DataView(payload.buffer).getUint32(17);
        return { banner, type: payload[0], algorithms: wire.text(payload.slice(21, 21 + names)) };
    """, bridge(addresses=openssh.address))
    assert result["banner"].startswith("SSH-2.0-OpenSSH_")
    assert result["type"] == 20
    assert "curve25519-sha256" in result["algorithms"].split(",")
    openssh.wait_log(r"remote software version page_1\.0")
    openssh.wait_log(r"SSH2_MSG_KEXINIT sent")
