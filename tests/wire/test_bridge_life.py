"""Joined streams when a session ends, when the program ends, and when there are many."""

import contextlib
import resource

import pytest
from conftest import REPEAT

from support.quicclient import to_wire
from support.service import FULL, RESET, codes

TWO = pytest.mark.parametrize("kind", ["tcp", "unix"])
FEW = bytes(range(250)) * 120  # fit into any window
SMALL = 4096  # of a service's socket
CLOSED = (0, "the server is shutting down")


# --- the session's end ---


@TWO
@pytest.mark.parametrize("how", ["closed", "connection"])
def test_what_was_ended_before_the_session_arrives(bridge, kind, how):
    """The service still gets all that the client said."""
    service = bridge.service(kind)
    bridge.start(service)
    client, session, stream, peer = bridge.joined(service)
    client.send(stream, FEW, end=True)
    uni = session.open(unidirectional=True, data=FEW, end=True)
    second = service.accept(client)
    client.wait(lambda: all_sent(client, stream) and all_sent(client, uni))
    if how == "closed":
        session.close(3, b"done")
        client.flush()
    else:
        client.close()
        client = bridge.connect()
    for each in (peer, second):
        client.wait(lambda p=each: p.pull().ended)
        assert each.data == FEW
        each.close()
    client.wait(lambda: bridge.proxy.stats()["links"] == 0)


def all_sent(client, stream):
    """Acknowledged, the end included."""
    known = client.quic._streams.get(stream.stream_id)  # pylint: disable=W0212
    return not known or known.sender.is_finished


@pytest.mark.parametrize("how", ["closed", "connection"])
def test_what_was_not_ended_is_reset_with_the_session(bridge, how):
    service = bridge.service()
    bridge.start(service)
    client, session, _, peer = bridge.joined(service)
    if how == "closed":
        session.close(3)
        client.flush()
    else:
        client.close()
        client = bridge.connect()
    bridge.wait_reset(client, peer)
    client.wait(lambda: bridge.proxy.stats()["links"] == 0)


def test_a_service_that_does_not_read_what_is_left(bridge):
    """It has linger_timeout for it."""
    service = bridge.service(room=SMALL)
    bridge.start(service, linger_timeout="100ms")
    client, session, stream, peer = bridge.joined(service)
    bridge.fill(client, stream)
    client.send(stream, b"", end=True)
    client.settle()
    session.close()
    client.wait(lambda: bridge.proxy.stats()["links"] == 0)
    bridge.wait_reset(client, peer)


# What the service has done when the client's end comes, and in what the client is.
BEFORE = ["accepted", "read", "answering", "ended", "reset", "gone"]
ENDS = ["close", "end", "connection", "vanish"]
IDLE = "3s"  # longer than a busy machine lets a test wait for its turn


def one_end(bridge, service, before, how):
    """A session that ends, with streams that have come to different points."""
    client, session = bridge.session()
    whole = session.open(data=FEW, end=True)
    session.open(data=FEW)
    session.open(unidirectional=True, data=FEW)
    client.flush()
    for _ in range(3 if before else 0):
        peer = service.accept(client)
        if before in ("read", "ended"):
            client.wait(lambda p=peer: len(p.pull().data) == len(FEW))
        if before == "answering":
            with contextlib.suppress(BrokenPipeError):  # of the unidirectional one
                peer.push(FEW * 10)
        if before == "ended":
            peer.shut()
        elif before == "reset":
            peer.reset()
        elif before == "gone":
            peer.close()
    if before == "ended":
        client.wait(lambda: whole.ended)
    if how == "close":
        session.close(7)
    elif how == "end":
        session.end()
    elif how == "connection":
        client.close()
    if how != "connection":
        client.flush()
    if how == "vanish":
        client.vanish()
    if how in ("connection", "vanish"):
        bridge.clients.remove(client)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_sessions_end_in_all_phases(bridge, kind):
    """Whoever vanishes is gone after the idle timeout."""
    service = bridge.service(kind, backlog=300)
    bridge.start(service, all_of_it={"idle_timeout": IDLE}, linger_timeout="300ms")
    for number in range(max(REPEAT, len(BEFORE) * len(ENDS))):
        one_end(bridge, service, BEFORE[number % len(BEFORE)],
                ENDS[number // len(BEFORE) % len(ENDS)])
    bridge.proxy.wait_stats(lambda s: s["sessions"] == s["streams"] == s["links"] == 0)


def test_sessions_end_before_anybody_has_taken_their_streams(bridge):
    service = bridge.service(backlog=300)
    bridge.start(service, all_of_it={"idle_timeout": IDLE}, linger_timeout="300ms")
    for number in range(max(REPEAT, 2 * len(ENDS))):
        one_end(bridge, service, None, ENDS[number % len(ENDS)])
    bridge.proxy.wait_stats(lambda s: s["sessions"] == s["streams"] == s["links"] == 0)


# --- the program's end, and other configurations ---


def test_streams_may_end_while_it_drains(bridge):
    service = bridge.service()
    proxy = bridge.start(service, arguments=("--drain-timeout", "1h"))
    client, session, stream, peer = bridge.joined(service)
    proxy.terminate()
    client.wait(lambda: session.drained)
    client.send(stream, FEW, end=True)
    client.wait(lambda: peer.pull().ended)
    later = session.open(data=b"later", end=True)
    second = service.accept(client)
    client.wait(lambda: second.pull().ended)
    for each in (peer, second):
        each.send(client, each.data)
        each.close()
    client.wait(lambda: stream.ended and later.ended)
    assert (stream.data, later.data) == (FEW, b"later")
    session.close()
    client.flush()
    proxy.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_who_stays_is_closed_in_time(bridge, workers):
    """What clients ended in time is delivered, what they did not is reset."""
    service = bridge.service()
    proxy = bridge.start(service, workers=workers, arguments=("--drain-timeout", "1s"))
    there = [bridge.joined(service) for _ in range(4)]
    ended = []
    for client, session, *_ in there:
        ended.append(session.open(data=FEW, end=True))
        peer = service.accept(client)
        client.wait(lambda p=peer: p.pull().ended)
        assert peer.data == FEW
    proxy.terminate()
    for client, session, _, peer in there:
        client.wait(lambda s=session: s.drained)
        client.wait(lambda s=session: s.closed)
        assert session.closed == CLOSED
        bridge.wait_reset(client, peer)
    proxy.join()


def test_a_client_that_does_not_answer_at_the_end(bridge):
    service = bridge.service(room=SMALL)
    proxy = bridge.start(service, arguments=("--drain-timeout", "1s"))
    client, session, stream, peer = bridge.joined(service)
    bridge.fill(client, stream)
    proxy.terminate()
    proxy.join()
    client.wait(lambda: session.closed)
    assert session.drained and session.closed == CLOSED


def test_streams_go_on_over_a_reload(bridge):
    """New sessions go to the new service, new streams of old sessions to the old one."""
    old, new = bridge.service(), bridge.service()
    bridge.start(old)
    client, session, stream, peer = bridge.joined(old)
    bridge.reload(new)
    other, _, _, second = bridge.joined(new)
    client.send(stream, FEW)
    client.wait(lambda: peer.pull().data == FEW)
    peer.send(client, FEW)
    client.wait(lambda: stream.data == FEW)
    session.open(data=b"another", end=True)
    third = old.accept(client)
    client.wait(lambda: third.pull().ended)
    third.close()
    assert old.poll() is None and new.poll() is None
    bridge.reload(new, connect_timeout="1s")
    second.send(other, b"still there")
    other.wait(lambda: any(s.data == b"still there" for s in other.streams.values()))
    client.send(stream, b"", end=True)
    client.wait(lambda: peer.pull().ended)
    peer.close()
    client.wait(lambda: stream.ended)


# --- many ---


@TWO
def test_a_hundred_streams_at_once_of_four_clients(bridge, kind):
    service = bridge.service(kind, backlog=200)
    bridge.start(service, workers=2)
    sessions = [bridge.session() for _ in range(4)]
    streams = {}
    for number in range(100):
        client, session = sessions[number % 4]
        words = b"%d:" % number + FEW[:5000]
        streams[number] = (client, session.open(data=words, end=True), words)

    def answered():
        service.poll()
        for peer in service.peers:
            if not peer.ended and peer.pull().ended:
                peer.push(peer.data)
                peer.close()
        return all(stream.done for _, stream, _ in streams.values())
    bridge.wait_with_all(answered)
    assert len(service.peers) == 100
    for _, stream, words in streams.values():
        assert stream.ended and stream.data == words


def test_the_limit_of_connections_follows_from_open_files(bridge):
    """Streams beyond it hear that all is full; others go on. No session gets all there are."""
    service = bridge.service(backlog=200)
    proxy = bridge.start(service, workers=1)
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (200, 200))
    bridge.reload(service, connect_timeout="4s")
    client, session = bridge.session()
    streams = [session.open(data=b"?") for _ in range(100)]
    peers = []

    def all_known():
        while peer := service.poll():
            peers.append(peer)
        return len(peers) + sum(codes(s) == (FULL, FULL) for s in streams) == 100
    client.wait(all_known)
    given = streams[:len(peers)]
    assert 10 <= len(given) <= 40 and all(codes(s) == (None, None) for s in given)
    client.wait(lambda: all(peer.pull().data for peer in peers))
    proxy.wait_log("stream.failed", detail="the limit of connections is reached")
    other, another = bridge.session()
    beside = another.open(data=b"me, too", end=True)
    peer = service.accept(other)
    other.wait(lambda: peer.pull().ended)
    peer.close()
    other.wait(lambda: beside.done)
    assert beside.ended
    for peer in peers:
        peer.reset()
    client.wait(lambda: all(codes(s) == (RESET, RESET) for s in given))
    stream = session.open(data=b"!", end=True)
    peer = service.accept(client)
    peer.close()
    client.wait(lambda: stream.done)
