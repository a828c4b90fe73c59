"""How connections begin: versions, proofs of address, limits, and what outlives a connection."""

import os
import socket

import pytest
from aioquic.buffer import Buffer

from support.quicclient import PATIENCE
from support.rawapp import echo
from support.traveller import V1, V2, Traveller

RESERVED = 0x0A0A0A0A  # RFC 9000, section 15
CONNECTION_REFUSED, INVALID_TOKEN = 0x2, 0xB
RESET_TOKEN_LEN = 16
WORKER = 4  # where a connection id names its worker


def echoes(client, word=b"hello"):
    """A whole session, by which the client knows that the handshake is confirmed, too."""
    session = client.session()
    assert session.wait_response() == 200
    stream = session.open(data=word, end=True)
    client.wait(lambda: stream.done)
    assert bytes(stream.data) == word


def connected(proxy, **options):
    client = Traveller(proxy.port, **options)
    echoes(client)
    return client


def only_greeted(proxy, **options):
    """A client that has sent its first packet and nothing since."""
    client = Traveller(proxy.port, wait=False, **options)
    client.flush()
    return client


# versions: RFC 9368, RFC 9369


@pytest.mark.parametrize("offered, spoken", [((V1,), V1), ((V2,), V2), ((V2, V1), V2),
                                             ((V1, V2), V2)])
def test_the_best_version_that_the_client_offers(world, offered, spoken):
    _, proxy = world.start(echo)
    client = connected(proxy, supported_versions=list(offered))
    assert client.version == spoken
    assert client.versions_seen == {spoken}
    assert proxy.stats()["quic_version"] == 0
    client.close()


def test_an_unknown_version_is_told_the_known_ones(world):
    _, proxy = world.start(echo)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", proxy.port))
        sock.send(b"\xc0" + RESERVED.to_bytes(4, "big") + b"\x08dcid1234\x04scid" + bytes(1200))
        answer = Buffer(data=sock.recv(2000))
    assert answer.pull_uint8() & 0x80
    assert answer.pull_uint32() == 0
    assert answer.pull_bytes(answer.pull_uint8()) == b"scid"
    assert answer.pull_bytes(answer.pull_uint8()) == b"dcid1234"
    versions = set()
    while not answer.eof():
        versions.add(answer.pull_uint32())
    assert versions >= {V1, V2}
    # and one that nobody knows, so that clients learn to live with that
    assert any(version & 0x0F0F0F0F == RESERVED for version in versions)
    assert proxy.stats()["quic_version"] == 1


# proofs of address: RFC 9000, section 8.1


@pytest.mark.parametrize("version", [V1, V2])
def test_always_retry(world, version):
    _, proxy = world.start(echo, arguments=("--unproven-handshakes", "0"))
    client = connected(proxy, supported_versions=[version], initial_rtt=PATIENCE)
    assert client.quic._retry_source_connection_id is not None
    assert proxy.stats()["retries_sent"] == 1
    client.close()


def test_retry_under_load_only(world):
    """While two strangers are in mid-handshake, a third has to prove its address, unless it brings
    a token from an earlier connection."""
    _, proxy = world.start(echo, workers=1, arguments=("--unproven-handshakes", "2"))
    client = connected(proxy)
    assert client.quic._retry_source_connection_id is None
    client.wait(lambda: client.tokens)
    token = client.tokens[0]
    client.close()
    proxy.wait_idle()

    strangers = [only_greeted(proxy) for _ in range(2)]
    proxy.wait_stats(lambda s: s["connections"] == 2)
    third = connected(proxy, initial_rtt=PATIENCE)
    assert third.quic._retry_source_connection_id is not None
    returned = connected(proxy, token=token)
    assert returned.quic._retry_source_connection_id is None
    stale = connected(proxy, token=token[:1] + bytes(len(token) - 1), initial_rtt=PATIENCE)
    assert stale.quic._retry_source_connection_id is not None
    assert proxy.stats()["retries_sent"] == 2

    for client in strangers:
        client.wait_connected()
        echoes(client)
        assert client.quic._retry_source_connection_id is None
    for client in (*strangers, third, returned, stale):
        client.close()


def test_a_false_proof_is_refused(world):
    _, proxy = world.start(echo)
    client = only_greeted(proxy, token=b"\xb7" + bytes(80))
    client.wait(lambda: client.terminated)
    assert client.terminated.error_code == INVALID_TOKEN
    proxy.wait_log("conn.refused", fault="false_proof")
    assert proxy.stats()["false_proof"] == 1


def test_too_many_handshakes(world):
    _, proxy = world.start(echo, workers=1, arguments=("--max-handshakes", "2"))
    bystander = Traveller(proxy.port)
    slow = [only_greeted(proxy) for _ in range(2)]
    proxy.wait_stats(lambda s: s["connections"] == 3)
    refused = only_greeted(proxy)
    refused.wait(lambda: refused.terminated)
    assert refused.terminated.error_code == CONNECTION_REFUSED
    proxy.wait_log("conn.refused", fault="too_many_handshakes")
    assert proxy.stats()["too_many_handshakes"] == 1
    echoes(bystander)
    for client in slow:
        client.wait_connected()
    slow += [bystander, connected(proxy)]
    for client in slow:
        client.close()


# what outlives a connection


def resumed(proxy, ticket):
    client = connected(proxy, session_ticket=ticket)
    was_resumed, worker = client.connected.session_resumed, client.quic._peer_cid.cid[WORKER]
    client.close()
    return was_resumed, worker


def test_every_worker_takes_the_tickets_of_all(world):
    _, proxy = world.start(echo, workers=2)
    client = connected(proxy)
    client.wait(lambda: client.tickets)
    ticket = client.tickets[0]
    assert not client.connected.session_resumed
    client.close()
    workers = set()
    for count in range(1, 65):  # the kernel chooses
        was_resumed, worker = resumed(proxy, ticket)
        assert was_resumed
        workers.add(worker)
        if len(workers) == 2:
            break
    assert workers == {0, 1}
    assert proxy.stats()["handshakes_resumed"] == count


def restarted(world, proxy, app, arguments):
    """As after a crash: no goodbye. The new one listens where the old one did."""
    world.proxies.remove(proxy)
    proxy.kill()
    return world.proxy(app, listen=f"127.0.0.1:{proxy.port}", arguments=arguments)


def secret_file(directory):
    path = os.path.join(directory, "secret")
    with open(path, "wb") as file:
        file.write(os.urandom(32))
    return path


@pytest.mark.parametrize("kept", [True, False])
def test_a_secret_survives_a_restart(world, directory, kept):
    """With it tickets go on, and who was connected is told that this is over."""
    arguments = ("--secret", secret_file(directory)) if kept else ()
    app = world.app(echo)
    old = world.proxy(app, arguments=arguments)
    client = connected(old)
    client.wait(lambda: client.tickets)
    new = restarted(world, old, app, arguments)
    assert resumed(new, client.tickets[0])[0] == kept

    token = client.quic._peer_cid.stateless_reset_token
    ends = []
    client.received = lambda data: ends.append(data[-RESET_TOKEN_LEN:])
    client.quic.send_ping(1)
    client.flush()
    new.wait_stats(lambda s: s["resets_sent"] >= 1)
    if kept:
        client.wait(lambda: token in ends)
    else:
        client.wait(lambda: ends)
        client.step()
        assert token not in ends
    client.vanish()


def test_a_secret_that_is_too_short(world, directory):
    from test_program import run
    path = os.path.join(directory, "secret")
    with open(path, "wb") as file:
        file.write(b"guess me")
    code, _, error = run("--cert", "auto", "--app", "unix:/a", "--listen", "127.0.0.1:0",
                         "--secret", path)
    assert code == 1
    assert path in error and "too short" in error


# keys: RFC 9001, section 6


def test_the_client_updates_its_keys(world):
    _, proxy = world.start(echo)
    client = Traveller(proxy.port)
    session = client.session()
    assert session.wait_response() == 200
    for phase in (1, 0, 1):
        stream = session.open(data=b"before ")
        client.quic.request_key_update()
        client.send(stream, b"after", end=True)
        client.wait(lambda: stream.done)
        assert bytes(stream.data) == b"before after"
        client.settle()  # in the new phase, or it could not be read
        assert client.key_phase == phase
    client.close()
