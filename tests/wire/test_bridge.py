"""Streams joined to connections of services that know nothing of WebTransport: what the end of a half
on one side is on the other, and what a client hears when it cannot be joined."""

import hashlib
import random
import socket

import pytest

from support.quicclient import from_wire, to_wire
from support.service import (FULL, REFUSED, RESET, TIMED_OUT, UNREACHABLE, UNSUPPORTED, codes)

TWO = pytest.mark.parametrize("kind", ["tcp", "unix"])
MUCH = random.Random(7).randbytes(1 << 20)
SOME = MUCH[:300_000]
FEW = MUCH[:30_000]  # fit into any window
SMALL = 4096  # of a service's socket


# --- ends of halves ---


@TWO
def test_a_service_that_answers_only_after_the_end(bridge, kind):
    """Half-close from the client to the service."""
    service = bridge.service(kind)
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    client.send(stream, MUCH)
    client.wait(lambda: len(peer.pull().data) == len(MUCH))
    assert not peer.ended and not stream.data
    client.send(stream, b"!", end=True)
    client.wait(lambda: peer.pull().ended)
    digest = hashlib.sha256(peer.data).digest()
    assert peer.data == MUCH + b"!"
    peer.send(client, MUCH[::-1] + digest)
    assert not stream.ended
    peer.close()
    client.wait(lambda: stream.ended)
    assert stream.data == MUCH[::-1] + digest
    bridge.wait_streams(client, 0)


@TWO
def test_a_client_that_goes_on_after_the_services_end(bridge, kind):
    """Half-close from the service to the client."""
    service = bridge.service(kind)
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    peer.send(client, SOME)
    peer.shut()
    client.wait(lambda: stream.ended)
    assert stream.data == SOME
    for _ in range(3):
        peer.data.clear()
        client.send(stream, SOME)
        client.wait(lambda: len(peer.pull().data) == len(SOME))
        assert peer.data == SOME and not peer.ended
    client.send(stream, b"", end=True)
    client.wait(lambda: peer.pull().ended)
    bridge.wait_streams(client, 0)
    assert codes(stream) == (None, None)


@TWO
def test_both_ends_at_once_and_nothing_else(bridge, kind):
    service = bridge.service(kind)
    bridge.start(service)
    client, session = bridge.session()
    stream = session.open(end=True)
    peer = service.accept(client)
    peer.close()
    client.wait(lambda: stream.ended)
    assert stream.data == b""
    bridge.wait_streams(client, 0)


def test_a_reset_by_the_client_resets_the_connection(bridge):
    service = bridge.service()
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    client.reset(stream, to_wire(77))
    bridge.wait_reset(client, peer)
    bridge.wait_codes(client, stream, RESET, None)
    bridge.wait_streams(client, 0)


def test_a_reset_by_the_client_closes_a_unix_socket(bridge):
    service = bridge.service("unix")
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    client.reset(stream, to_wire(77))
    client.wait(lambda: peer.pull().ended)
    with pytest.raises(BrokenPipeError):
        peer.push(b"anybody?")
    bridge.wait_codes(client, stream, RESET, None)
    bridge.wait_streams(client, 0)


def test_a_reset_while_the_service_does_not_read(bridge):
    """What the client sent ahead is given up, too."""
    service = bridge.service(room=SMALL)
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    bridge.fill(client, stream)
    client.reset(stream, to_wire(0))
    client.wait(lambda: bridge.proxy.stats()["receive_bytes"] == 0)
    bridge.wait_reset(client, peer)
    bridge.wait_streams(client, 0)


def test_a_client_that_wants_no_more(bridge):
    """What the service still writes is thrown away; what the client writes arrives as before."""
    service = bridge.service()
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    peer.send(client, SOME)
    client.wait(lambda: len(stream.data) == len(SOME))
    client.stop(stream, to_wire(5))
    client.wait(lambda: stream.reset_code is not None)
    assert from_wire(stream.reset_code) == 5
    peer.send(client, MUCH * 8)
    assert stream.data == SOME
    client.send(stream, SOME, end=True)
    client.wait(lambda: peer.pull().ended)
    assert peer.data == SOME
    assert stream.stop_code is None
    peer.close()
    bridge.wait_streams(client, 0)


def test_a_unix_service_hears_that_the_client_wants_no_more(bridge):
    service = bridge.service("unix")
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    client.stop(stream, to_wire(5))
    client.wait(lambda: stream.reset_code is not None)
    with pytest.raises(BrokenPipeError):
        while True:
            peer.push(SOME)
            client.step()
    client.send(stream, SOME, end=True)
    client.wait(lambda: peer.pull().ended)
    assert peer.data == SOME
    peer.close()
    bridge.wait_streams(client, 0)


@pytest.mark.parametrize("first", ["end", "stop"])
def test_ended_and_stopped_is_over(bridge, first):
    """The service still has all, though it writes on and never reads to the end."""
    service = bridge.service()
    bridge.start(service, linger_timeout="200ms")
    client, _, stream, peer = bridge.joined(service)
    if first == "stop":
        client.stop(stream, to_wire(5))
        client.wait(lambda: stream.reset_code is not None)
    client.send(stream, FEW, end=True)
    if first == "end":
        client.wait(lambda: len(peer.pull().data) > 0)
        client.stop(stream, to_wire(5))
    bridge.wait_streams(client, 0)
    client.wait(lambda: peer.pull().ended)
    assert peer.data == FEW
    client.wait(lambda: bridge.proxy.stats()["links"] == 0)  # in linger_timeout, for nobody ends it


def test_a_reset_by_the_service(bridge):
    service = bridge.service()
    bridge.start(service)
    client, session, stream, peer = bridge.joined(service)
    peer.reset()
    bridge.wait_codes(client, stream, RESET, RESET)
    bridge.wait_streams(client, 0)
    assert not session.ended and session.closed is None
    again = session.open(data=b"again", end=True)
    peer = service.accept(client)
    client.wait(lambda: peer.pull().ended)
    assert peer.data == b"again"
    peer.close()
    client.wait(lambda: again.ended)


def test_a_reset_by_the_service_after_the_clients_end(bridge):
    service = bridge.service()
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    client.send(stream, b"all", end=True)
    client.wait(lambda: peer.pull().ended)
    peer.reset()
    bridge.wait_codes(client, stream, RESET, None)
    bridge.wait_streams(client, 0)


def goes_on_until_stopped(client, stream):
    def is_stopped():
        if stream.stop_code is None:
            client.send(stream, b"more")
        return stream.stop_code is not None
    client.wait(is_stopped)


@TWO
def test_a_service_that_answers_and_closes_early(bridge, kind):
    """It reads no more: the client is told so when it sends more, and the answer has arrived whole."""
    service = bridge.service(kind)
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    peer.send(client, SOME)
    peer.close()
    client.wait(lambda: stream.ended)
    goes_on_until_stopped(client, stream)
    assert stream.data == SOME
    assert codes(stream) == (None, RESET)
    bridge.wait_streams(client, 0)


@TWO
def test_an_answer_that_waits_for_the_client_survives_the_services_close(bridge, kind):
    """Sluice has not read all of it when it learns that nobody reads any more."""
    service = bridge.service(kind)
    bridge.start(service, route={"app_stream_window": 16384})
    client, _, stream, peer = bridge.joined(service)
    assert peer.push(FEW) == len(FEW)
    peer.close()
    for _ in range(3):
        client.send(stream, b"more")
        client.flush()  # and hears nothing yet
    goes_on_until_stopped(client, stream)
    client.wait(lambda: stream.ended)
    assert stream.data == FEW
    assert codes(stream) == (None, RESET)
    bridge.wait_streams(client, 0)


def test_a_service_that_stops_reading_and_goes_on_writing(bridge):
    service = bridge.service("unix")
    bridge.start(service)
    client, _, stream, peer = bridge.joined(service)
    peer.sock.shutdown(socket.SHUT_RD)
    client.send(stream, b"more")
    client.wait(lambda: codes(stream) == (None, RESET))
    peer.send(client, MUCH)
    peer.close()
    client.wait(lambda: stream.ended)
    assert stream.data == MUCH
    bridge.wait_streams(client, 0)


@TWO
def test_a_unidirectional_stream_only_writes(bridge, kind):
    """Whatever a service answers is thrown away, and does not make it wait."""
    service = bridge.service(kind)
    bridge.start(service)
    client, session = bridge.session()
    stream = session.open(unidirectional=True, data=SOME)
    peer = service.accept(client)
    if kind == "tcp":
        peer.send(client, MUCH * 4)
    else:
        with pytest.raises(BrokenPipeError):
            while True:
                peer.push(SOME)
                client.step()
    client.send(stream, b"!", end=True)
    client.wait(lambda: peer.pull().ended)
    assert peer.data == SOME + b"!"
    peer.close()
    bridge.wait_streams(client, 0)
    assert session.streams == [] and stream.stop_code is None


def test_ends_of_unidirectional_streams(bridge):
    service = bridge.service()
    bridge.start(service)
    client, session = bridge.session()
    first = session.open(unidirectional=True, data=b"a")
    peer = service.accept(client)
    client.reset(first, to_wire(3))
    bridge.wait_reset(client, peer)
    second = session.open(unidirectional=True, data=b"a")
    peer = service.accept(client)
    client.wait(lambda: peer.pull().data)
    peer.reset()
    bridge.wait_codes(client, second, None, RESET)
    bridge.wait_streams(client, 0)


# --- streams that cannot be joined ---


def told(bridge, code, data=b"anybody?", others=0):
    """New streams get this code. others: streams that are there."""
    client, session = bridge.session()
    streams = [session.open(data=data), session.open(data=data, end=True)]
    uni = session.open(unidirectional=True, data=data)
    bridge.wait_codes(client, streams[0], code, code)
    client.wait(lambda: codes(streams[1])[0] == code)
    bridge.wait_codes(client, uni, None, code)
    bridge.wait_streams(client, others)
    assert session.closed is None and not session.ended
    return client


@TWO
def test_nobody_listens(bridge, kind):
    service = bridge.service(kind)
    bridge.start(service)
    service.stop()
    told(bridge, REFUSED)
    line = bridge.proxy.wait_log("stream.failed", fault="backend_connect")
    assert line["address"] == service.address


def test_a_path_where_nothing_is(bridge):
    bridge.start("unix:DIR/nothing.sock")
    told(bridge, REFUSED)


def test_no_way_to_the_service(bridge):
    bridge.start("tcp:255.255.255.255:9")  # nobody connects to the broadcast address
    told(bridge, UNREACHABLE)


@pytest.mark.parametrize("name", [f"{'x' * 64}.invalid", f"a..{'x' * 9}.invalid"])
def test_a_name_without_addresses_stands_in_the_log(bridge, name):
    """Names that cannot be, so that no server need be asked, nor waited for."""
    bridge.start(f"tcp:{name}:9")
    told(bridge, UNREACHABLE)
    bridge.proxy.wait_log("backend.name_failed", backend="service", name=name)
    assert bridge.proxy.wait_log("stream.failed")["detail"].startswith(f"{name}: ")


def test_a_service_that_takes_no_connection_in_time(bridge):
    service = bridge.service("unix", backlog=0)
    bridge.start(service, connect_timeout="100ms")
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(service.address.partition(":")[2])
    told(bridge, TIMED_OUT)
    waiting.close()


@TWO
def test_no_room_and_no_queue(bridge, kind):
    service = bridge.service(kind)
    bridge.start(service, workers=1, max_address_sessions=1, queue=0)
    client, session, stream, peer = bridge.joined(service)
    told(bridge, FULL, others=1)
    client.send(stream, b"", end=True)
    client.wait(lambda: peer.pull().ended)
    peer.close()
    client.wait(lambda: stream.ended)
    session.open(data=b"room")
    assert client.wait(lambda: service.accept(client).pull())


def test_no_room_in_time(bridge):
    service = bridge.service()
    bridge.start(service, workers=1, max_address_sessions=1, queue_timeout="100ms")
    client, *_ = bridge.joined(service)
    told(bridge, FULL, others=1)
    client.close()


def test_streams_wait_for_room_in_turn(bridge):
    """What they have sent meanwhile waits with them, within their windows."""
    service = bridge.service()
    bridge.start(service, workers=1, max_address_sessions=1, queue_timeout="1h")
    client, session, stream, peer = bridge.joined(service)
    waiting = [session.open(data=SOME[:1000 + i], end=True) for i in range(3)]
    client.settle()
    client.wait(lambda: bridge.proxy.stats()["receive_bytes"] == 3003)
    client.reset(stream, to_wire(0))
    for i, stream in enumerate(waiting):
        peer = service.accept(client)
        client.wait(lambda p=peer: p.pull().ended)
        assert peer.data == SOME[:1000 + i]
        assert service.poll() is None
        peer.send(client, b"%d" % i)
        peer.close()
        client.wait(lambda s=stream: s.ended)
        assert stream.data == b"%d" % i


def test_one_that_waits_is_given_up(bridge):
    service = bridge.service()
    bridge.start(service, workers=1, max_address_sessions=1, queue_timeout="1h")
    client, session, first, peer = bridge.joined(service)
    waiting = session.open(data=SOME)
    client.settle()
    client.reset(waiting, to_wire(0))
    bridge.wait_codes(client, waiting, RESET, None)
    waiting = session.open(data=SOME)
    client.settle()
    client.stop(waiting, to_wire(9))
    client.wait(lambda: waiting.reset_code is not None)
    client.reset(waiting, to_wire(0))
    bridge.wait_streams(client, 1)
    client.send(first, b"!", end=True)
    client.wait(lambda: peer.pull().ended)
    peer.close()
    bridge.wait_streams(client, 0)
    assert service.poll() is None


def test_no_service_for_streams(bridge):
    bridge.start(bridge.datagram_service())
    told(bridge, UNSUPPORTED)


# --- several addresses ---


def addresses_of(services, client, count):
    """How many connections each of them gets, of so many."""
    peers = [[] for _ in services]

    def all_there():
        for service, mine in zip(services, peers):
            peer = service.poll()
            if peer:
                mine.append(peer)
        return sum(map(len, peers)) == count
    client.wait(all_there)
    return [len(mine) for mine in peers]


@pytest.mark.parametrize("balance", ["least-sessions", "round-robin"])
def test_the_streams_of_one_session_are_spread(bridge, balance):
    services = [bridge.service(), bridge.service("unix")]
    bridge.start(services, workers=1, balance=balance)
    client, session = bridge.session()
    for _ in range(10):
        session.open(data=b"?")
    assert addresses_of(services, client, 10) == [5, 5]


def test_the_streams_of_one_client_may_stay_together(bridge):
    services = [bridge.service() for _ in range(3)]
    bridge.start(services, workers=1, balance="hash")
    client, session = bridge.session()
    for _ in range(9):
        session.open(data=b"?")
    assert sorted(addresses_of(services, client, 9)) == [0, 0, 9]


def test_another_address_is_tried_when_one_refuses(bridge):
    services = [bridge.service(), bridge.service()]
    bridge.start(services, workers=1, rest_first="1h", rest_last="1h")
    services[0].stop()
    client, session = bridge.session()
    for _ in range(6):
        session.open(data=b"?")
    assert addresses_of(services[1:], client, 6) == [6]
    bridge.proxy.wait_log("stream.failed", address=services[0].address, fault="backend_connect")
