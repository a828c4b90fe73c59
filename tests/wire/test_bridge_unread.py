"""Streams that a client leaves unread, while it goes on with others of the same session."""

import pytest


class Credit:
    """Streams of which the client says nothing more of what they may send."""

    def __init__(self, client):
        self.held = set()
        self._write = client.quic._write_stream_limits  # pylint: disable=protected-access
        client.quic._write_stream_limits = self._write_others  # pylint: disable=protected-access

    def _write_others(self, builder, space, stream):
        if stream.stream_id not in self.held:
            self._write(builder, space, stream)


def pair(client, session, service):
    stream = session.open(data=b"?")
    peer = service.accept(client)
    client.wait(lambda: peer.pull().data)
    return stream, peer


@pytest.fixture
def unread(bridge):
    """(client, session, service, streams, credit): streams that fill their windows and the session's."""
    service = bridge.service()
    bridge.start(service, route={"app_session_window": "64KiB", "app_stream_window": "16KiB"})
    client, session = bridge.session(max_stream_data=4096)
    credit = Credit(client)
    streams = [pair(client, session, service) for _ in range(6)]
    credit.held.update(stream.stream_id for stream, _ in streams)
    for _, peer in streams:
        peer.push(bytes(30_000))
    client.wait(lambda: bridge.proxy.stats()["send_bytes"] >= 65536)
    return client, session, service, streams, credit


def test_they_hold_up_no_others(bridge, unread):
    client, session, service, streams, credit = unread
    stream, peer = pair(client, session, service)
    much = bytes(range(256)) * 800
    peer.send(client, much)
    peer.close()
    client.wait(lambda: stream.ended)
    assert stream.data == much
    assert all(len(other.data) == 4096 for other, _ in streams)
    credit.held.clear()
    client.wait(lambda: all(len(other.data) == 30_000 for other, _ in streams))


def test_those_that_came_meanwhile_are_heard(bridge, unread):
    """Each by itself: none has to wait for what another does."""
    client, session, service, streams, credit = unread
    later = [pair(client, session, service) for _ in range(100)]
    credit.held.clear()
    client.wait(lambda: all(len(stream.data) == 30_000 for stream, _ in streams))
    client.wait(lambda: bridge.proxy.stats()["send_bytes"] == 0)
    for stream, peer in reversed(later):
        peer.push(b"!")
        client.wait(lambda: stream.data)  # pylint: disable=cell-var-from-loop
        assert stream.data == b"!"
