"""A session's datagrams and its UDP socket."""

import contextlib

import pytest

LARGEST = 1100  # fits into a packet


def ready(bridge, service, words=b"hello"):
    """(client, session, the address of the proxy's socket): one datagram has come."""
    client, session = bridge.session()
    session.datagram(words)
    data, whose = service.receive(client)
    assert data == words
    return client, session, whose


def test_there_and_back(bridge):
    """Every session has a socket of its own, also two of one client's address."""
    service = bridge.datagram_service()
    proxy = bridge.start(service)
    ends = [ready(bridge, service) for _ in range(3)]
    assert len({whose for *_, whose in ends}) == 3
    assert proxy.stats()["links"] == 3
    for i, (client, session, whose) in enumerate(ends):
        for words in (b"to %d" % i, b"", bytes(LARGEST)):
            session.datagram(words)
            assert service.receive(client) == (words, whose)
            service.sock.sendto(words + b"!", whose)
            client.wait(lambda s=session: s.datagrams)
            assert session.datagrams == [words + b"!"]
            session.datagrams.clear()


def test_an_empty_one_of_the_service(bridge):
    service = bridge.datagram_service()
    bridge.start(service)
    client, session, whose = ready(bridge, service)
    service.sock.sendto(b"", whose)
    client.wait(lambda: session.datagrams == [b""])


def test_no_others_are_heard(bridge):
    """The socket is connected: who is not the service cannot say anything."""
    service, other = bridge.datagram_service(), bridge.datagram_service()
    bridge.start(service)
    client, session, whose = ready(bridge, service)
    other.sock.sendto(b"listen to me", whose)
    service.sock.sendto(b"to me", whose)
    client.wait(lambda: session.datagrams)
    client.settle()
    assert session.datagrams == [b"to me"]


def test_one_that_is_too_large_is_dropped_and_counted(bridge):
    service = bridge.datagram_service()
    proxy = bridge.start(service)
    client, session, whose = ready(bridge, service)
    service.sock.sendto(bytes(60_000), whose)
    service.sock.sendto(b"small", whose)
    client.wait(lambda: session.datagrams)
    assert session.datagrams == [b"small"]
    assert proxy.stats()["datagrams_dropped"] == 1


def test_without_an_address_they_are_dropped_and_counted(bridge):
    service = bridge.service()
    proxy = bridge.start(service)
    client, session, *_ = bridge.joined(service)
    session.datagram(b"lost")
    client.wait(lambda: proxy.stats()["datagrams_dropped"] == 1)
    assert session.closed is None


def test_a_refusal_does_not_end_the_session(bridge):
    """Nobody listens: the log says it, datagrams are lost, streams go on, and so do later datagrams."""
    service, silent = bridge.service(), bridge.datagram_service()
    proxy = bridge.start([service, silent], rest_first="10ms", rest_last="10ms")
    silent.sock.close()
    client, session, stream, peer = bridge.joined(service)
    session.datagram(b"lost")
    client.flush()
    proxy.wait_log("datagrams.failed", address=silent.address, detail="Connection refused")
    client.wait(lambda: proxy.stats()["links"] == 1)
    client.send(stream, b"still here")
    client.wait(lambda: peer.pull().data == b"still here")
    silent.open(silent.port)

    def arrived():
        session.datagram(b"again")
        return silent.poll()
    assert client.wait(arrived)[0] == b"again"
    assert session.closed is None and not session.ended


def test_another_address_is_tried_when_one_refuses(bridge):
    silent, service = bridge.datagram_service(), bridge.datagram_service()
    bridge.start([silent, service], workers=1, rest_first="1h", rest_last="1h")
    silent.sock.close()
    client, session = bridge.session()

    def arrived():
        session.datagram(b"hello")
        return service.poll()
    _, whose = client.wait(arrived)
    service.sock.sendto(b"hello, too", whose)
    client.wait(lambda: session.datagrams)
    assert session.datagrams == [b"hello, too"]


@pytest.mark.parametrize("word", [b"", b"!"])
def test_an_idle_socket_is_let_go(bridge, word):
    """The next datagram gets another one, from another port."""
    service = bridge.datagram_service()
    proxy = bridge.start(service, datagram_idle_timeout="100ms")
    client, session, first = ready(bridge, service, word)
    client.wait(lambda: proxy.stats()["links"] == 0)
    service.sock.sendto(b"too late", first)
    for _ in range(20):  # until an answer is in time: this test may have been held up
        session.datagram(word)
        data, second = service.receive(client)
        assert data == word and second != first
        service.sock.sendto(b"in time", second)
        with contextlib.suppress(TimeoutError):
            client.wait(lambda: session.datagrams, timeout=1)
            break
    assert set(session.datagrams) == {b"in time"}


def test_a_session_closes_its_socket(bridge):
    service = bridge.datagram_service()
    proxy = bridge.start(service)
    client, session, whose = ready(bridge, service)
    session.close()
    client.wait(lambda: proxy.stats()["links"] == 0)
    service.sock.sendto(b"too late", whose)


def test_sessions_wait_for_room_at_an_address(bridge):
    """Their datagrams wait with them, the oldest of too many are dropped."""
    service = bridge.datagram_service()
    proxy = bridge.start(service, workers=1, max_address_sessions=1, queue_timeout="1h",
                         all_of_it={"datagram_queue": 3})
    client, session, whose = ready(bridge, service)
    other, waiting = bridge.session()
    for i in range(5):
        waiting.datagram(b"%d" % i)
    other.wait(lambda: proxy.stats()["datagrams_dropped"] == 2)
    session.close()
    client.flush()
    got = [service.receive(other) for _ in range(3)]
    assert [data for data, _ in got] == [b"2", b"3", b"4"]
    assert got[0][1] != whose


def test_many_of_many_sessions(bridge):
    """As they are, each to its own session."""
    service = bridge.datagram_service()
    bridge.start(service, workers=2)
    sessions = [bridge.session()[1] for _ in range(6)]
    sent = {i: {b"%d:%d" % (i, n) for n in range(20)} for i in range(6)}
    for i, session in enumerate(sessions):
        for words in sent[i]:
            session.datagram(words)

    def back():
        while (got := service.poll()):
            service.sock.sendto(*got)
        return all(len(s.datagrams) == 20 for s in sessions)
    bridge.wait_with_all(back)
    for i, session in enumerate(sessions):
        assert set(session.datagrams) == sent[i]
