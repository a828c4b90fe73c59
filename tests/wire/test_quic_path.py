"""The way between client and proxy: it moves, is narrow, is congested, or is somebody else's."""

import os
import socket

import pytest

from conftest import SOAK
from support.certificates import write_certificate
from support.rawapp import echo
from support.traveller import CE, ECT0, NOT_ECT, Traveller

MOVES = 100 if SOAK else 20
CHUNK = os.urandom(20000)
WORKER = 4  # where a connection id names its worker
STEERING = {"kernel": (), "forwarding": ("--no-steering",)}


@pytest.fixture(params=STEERING)
def two_workers(request, world):
    app, proxy = world.start(echo, workers=2, arguments=STEERING[request.param])
    proxy.steering = proxy.wait_log("steering")["by"]
    assert proxy.steering == request.param
    return app, proxy


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def begin(proxy, **options):
    client = Traveller(proxy.port, **options)
    session = client.session()
    assert session.wait_response() == 200
    return client, session


def echoed(client, stream, least):
    client.wait(lambda: len(stream.data) >= least or client.terminated)
    assert not client.terminated


def check_who_carried(proxy, client, stream):
    """Packets change hands in the kernel or between the workers, as it is set."""
    if proxy.steering == "kernel":
        assert proxy.stats()["packets_forwarded"] == 0
        return
    # The kernel's hash gives a moved client to the right worker in one case of two.
    for _ in range(64):
        if proxy.stats()["packets_forwarded"] > 0:
            return
        move_once(proxy, client, stream, "127.0.0.1", False)
    raise AssertionError("in 64 moves no packet came to the wrong worker")


def move_once(proxy, client, stream, source, new_id):
    before = proxy.stats()["paths_changed"]
    sent = len(stream.sent)
    stream.sent += CHUNK * 2
    client.send(stream, CHUNK)
    echoed(client, stream, sent + 1)  # the rest is on its way, and some of it gets lost
    client.move(source, new_id)
    client.send(stream, CHUNK)
    echoed(client, stream, len(stream.sent))
    # There are only so many connection ids (RFC 9000, section 5.1.1), so this move is to be over
    # before the next one begins.
    assert proxy.stats()["paths_changed"] > before
    client.settle()
    client.settle()  # the path has been challenged, and has answered


@pytest.mark.parametrize("change", ["port", "address", "port and connection id"])
def test_a_client_that_moves_loses_nothing(two_workers, change):
    app, proxy = two_workers
    client, session = begin(proxy)
    stream = session.open()
    stream.sent = bytearray()
    for i in range(MOVES):
        away = change == "address" and i % 2 == 0
        move_once(proxy, client, stream, "127.0.0.2" if away else "127.0.0.1", "id" in change)
    check_who_carried(proxy, client, stream)
    client.send(stream, b"", end=True)
    client.wait(lambda: stream.done)
    assert stream.data == stream.sent
    assert len(app.all) == 1 and proxy.stats()["sessions"] == 1
    client.close()


# ECN: RFC 9000, section 13.4


LISTEN = [("127.0.0.1:0", "127.0.0.1")]
if has_ipv6():
    LISTEN += [(":0", "127.0.0.1"), (":0", "::1")]


@pytest.mark.parametrize("listen, host", LISTEN)
def test_ecn_is_counted(world, listen, host):
    _, proxy = world.start(echo, listen=listen)
    client, _ = begin(proxy, host=host, ecn=ECT0)
    client.settle()
    told = client.marks_told
    assert told[0] > 0 and told[1:] == (0, 0)
    client.ecn = CE
    client.move()
    client.settle()
    client.settle()
    assert client.marks_told[0] >= told[0] and client.marks_told[2] > 0
    client.close()


@pytest.mark.parametrize("listen, host", LISTEN)
@pytest.mark.parametrize("reported", [True, False])
def test_ecn_is_marked_while_the_client_reports_it(world, listen, host, reported):
    _, proxy = world.start(echo, listen=listen)
    client, session = begin(proxy, host=host, reports_ecn=reported)
    assert client.seen[0][1] == ECT0
    stream = session.open()
    for _ in range(20):
        sent = len(stream.data)
        client.send(stream, b"x" * 1000)
        echoed(client, stream, sent + 1000)
    client.settle()
    assert client.seen[-1][1] == (ECT0 if reported else NOT_ECT)
    client.close()


# the size of packets: RFC 9000, section 14.3


def test_packets_grow_to_what_the_path_takes(world):
    _, proxy = world.start(echo)
    client, session = begin(proxy)
    stream = session.open()
    stream.sent = bytearray()

    def most_are_long():
        """Of those that bring a chunk back: one alone may be there to try the path."""
        del client.seen[:]
        stream.sent += CHUNK
        client.send(stream, CHUNK)
        echoed(client, stream, len(stream.sent))
        return sum(size > 1400 for size, _ in client.seen) >= 10

    client.wait(most_are_long)
    assert stream.data == stream.sent
    client.close()


def test_a_narrow_path_takes_what_it_takes(world):
    _, proxy = world.start(echo)
    client, session = begin(proxy, largest=1300)
    stream = session.open(data=CHUNK, end=True)
    client.wait(lambda: stream.done)
    assert bytes(stream.data) == CHUNK
    client.close()


@pytest.mark.parametrize("new_id", [True, False])
def test_a_client_that_moves_to_a_narrow_path(world, new_id):
    _, proxy = world.start(echo)
    client, session = begin(proxy)
    stream = session.open()
    client.wait(lambda: max(size for size, _ in client.seen) > 1400)
    client.settle()
    client.largest = 1300
    client.move("127.0.0.2", new_id)
    client.send(stream, CHUNK, end=True)
    client.wait(lambda: stream.done)
    assert bytes(stream.data) == CHUNK
    client.close()


# addresses of others: RFC 9000, section 8.1


def test_a_stranger_gets_no_more_than_three_times_what_it_sent(world, directory):
    names = [f"a-very-long-name-{i}.example" for i in range(200)]
    cert, key, _ = write_certificate(directory, 10, names)
    app = world.app(echo)
    proxy = world.proxy(app, arguments=("--cert", cert, "--key", key, "--handshake-timeout", "1s"))
    client = Traveller(proxy.port, wait=False)
    sent = 0
    for data, _ in client.quic.datagrams_to_send(now=0):
        client.sock.send(data)
        sent += len(data)
    client.received = lambda data: None
    proxy.wait_log("conn.refused", fault="handshake_timeout")
    client._receive()
    got = sum(size for size, _ in client.seen)
    assert 2 * sent < got <= 3 * sent
    client.vanish()
