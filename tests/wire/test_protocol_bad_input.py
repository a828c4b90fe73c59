"""Bad frames from an application over the real binary: the right answer for each class, and a second
session on the same worker goes on undisturbed. (tests/unit has a row for every rule; here are those
that touch sockets, memory and the client.)"""

import shutil
import struct
import tempfile

import msgpack
import pytest

from conftest import World
from support.quicclient import Client
from support.rawapp import frame


def raw_frame(body):
    return struct.pack(">I", len(body)) + body


def message(kind, **fields):
    return frame({"type": kind, **fields})


SEND = "webtransport.stream.send"
# name: (bytes, code of the error)
FATAL = {
    "length 0": (b"\0\0\0\0", "bad_length"),
    "huge length": (b"\xff\xff\xff\xff", "bad_length"),
    "length one over": (struct.pack(">I", (1 << 20) + 1), "bad_length"),
    "text on the socket": (b"GET / HTTP/1.1\r\n\r\n", "bad_length"),
    "garbage": (raw_frame(b"\xc1" * 100), "bad_encoding"),
    "not a map": (raw_frame(msgpack.packb([1, 2])), "not_a_map"),
    "an integer": (raw_frame(b"\x05"), "not_a_map"),
    "16 million elements": (raw_frame(b"\x81\xa4type\xdd\x00\xff\xff\xff"), None),
    "map of 4 billion": (raw_frame(b"\xdf\xff\xff\xff\xff"), None),
    "a megabyte of nils": (raw_frame(b"\x81\xa4data\xdc\xff\xff" + b"\xc0" * 65535), None),
    "depth 9": (raw_frame(b"\x81\xa4type" + b"\x91" * 9 + b"\xc0"), "too_deep"),
    "truncated": (raw_frame(message("webtransport.drain")[4:-1]), "bad_encoding"),
    "bytes after the map": (raw_frame(message("webtransport.drain")[4:] + b"\xc0"), None),
    "key not text": (raw_frame(msgpack.packb({"type": "webtransport.drain", 5: 6})), "bad_key"),
    "duplicate key": (raw_frame(b"\x82\xa4type\xa1x\xa4type\xa1y"), "duplicate_key"),
    "no type": (frame({"data": b"x"}), "missing_field"),
    "type not text": (frame({"type": 5}), "wrong_type"),
    "invalid UTF-8": (raw_frame(b"\x81\xa4type\xa2\xff\xfe"), None),
    "send without stream_id": (message(SEND, data=b"x"), "missing_field"),
    "stream_id is text": (message(SEND, stream_id="1", data=b"x"), "wrong_type"),
    "stream_id is negative": (message(SEND, stream_id=-1, data=b"x"), None),
    "stream_id is 2^53": (message(SEND, stream_id=2**53 + 1, data=b"x"), None),
    "data is a number": (message(SEND, stream_id=1, data=5), "wrong_type"),
    "end_stream is a number": (message(SEND, stream_id=1, end_stream=1), "wrong_type"),
    "id not next": (message(SEND, stream_id=5, data=b"x"), "bad_id"),
    "id of the client's never opened": (message(SEND, stream_id=400, data=b"x"), "bad_id"),
    "reset of a stream never opened": (message("webtransport.stream.reset", stream_id=1), "bad_id"),
    "second accept": (message("webtransport.accept"), "already_accepted"),
    "reject after accept": (message("webtransport.reject"), "already_accepted"),
    "code over 32 bits": (message("webtransport.close", code=2**32), "out_of_range"),
    "reason over 1024": (message("webtransport.close", reason="x" * 1025), "out_of_range"),
}
NOT_ACCEPTED = {
    "send before accept": (message(SEND, stream_id=1, data=b"x"), "not_accepted"),
    "datagram before accept": (message("webtransport.datagram.send", data=b"x"), "not_accepted"),
    "unknown type before accept": (message("my.own"), "not_accepted"),
    "accept with 404": (message("webtransport.accept", status=404), "out_of_range"),
    "reject with 200": (message("webtransport.reject", status=200), "out_of_range"),
    "subprotocol not offered": (message("webtransport.accept", subprotocol="x"),
                                "bad_subprotocol"),
    "upper-case header": (message("webtransport.accept", headers=[[b"X-A", b"1"]]), "bad_header"),
    "pseudo-header": (message("webtransport.accept", headers=[[b":status", b"200"]]),
                      "bad_header"),
    "connection header": (message("webtransport.accept", headers=[[b"connection", b"close"]]),
                          "bad_header"),
    "content-length": (message("webtransport.reject", headers=[[b"content-length", b"1"]]),
                       "bad_header"),
    "line break in a value": (message("webtransport.accept", headers=[[b"x", b"a\r\nb: c"]]),
                              "bad_header"),
    "headers not pairs": (message("webtransport.accept", headers=[[b"x"]]), "wrong_type"),
    "garbage before accept": (raw_frame(b"\xc1"), "bad_encoding"),
}
HARMLESS = {
    "unknown type": (message("my.own", anything=[1, {"a": None}]), "unknown_type"),
    "a message of ours": (message("webtransport.stream.receive", stream_id=0), "unknown_type"),
    "send on the client's uni stream": (message(SEND, stream_id=2, data=b"x"), "no_such_half"),
    "stop of an own uni stream": (message("webtransport.stream.stop", stream_id=3),
                                  "no_such_half"),
}


class Bystander:
    """A second session on the same worker, which must notice nothing."""

    def __init__(self, app, proxy):
        self.client = Client(proxy.port)
        self.asked = self.client.session("/bystander")
        self.client.flush()
        self.session = app.session()
        self.session.accept()
        assert self.asked.wait_response() == 200
        self.count = 0

    def check(self):
        stream = self.asked.open(data=b"ping", end=True)
        self.client.settle()
        assert self.session.read_stream(4 * self.count) == b"ping"
        self.session.stream_send(4 * self.count, b"pong", end=True)
        self.client.wait(lambda: stream.ended)
        assert stream.data == b"pong"
        self.count += 1

    def done(self):
        self.session.close()
        self.client.close()


def begin(app, proxy, accept=True):
    client = Client(proxy.port)
    asked = client.session()
    client.flush()
    session = app.session()
    if accept:
        session.accept()
        assert asked.wait_response() == 200
    return client, asked, session


def expect_error(session, code):
    error = session.wait("webtransport.error")
    assert error["message"], error
    if code is not None:
        assert error["code"] == code, error
    return error


@pytest.fixture(scope="module")
def shared():
    """One proxy and one bystander for all rows: it must survive every one of them."""
    directory = tempfile.mkdtemp(prefix="sluice-")
    world = World(directory)
    app, proxy = world.start(workers=1)
    bystander = Bystander(app, proxy)
    yield app, proxy, bystander
    bystander.check()
    bystander.done()
    try:
        proxy.wait_idle()
        proxy.stop()
    finally:
        proxy.kill()
        app.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("name", FATAL)
def test_fatal_after_accept(shared, name):
    app, proxy, bystander = shared
    data, code = FATAL[name]
    before = proxy.rss_kib()
    client, asked, session = begin(app, proxy)
    session.raw(data)
    expect_error(session, code)
    last = session.ended()
    assert (last["type"], last["by"]) == ("webtransport.disconnect", "proxy")
    client.wait(lambda: asked.ended or asked.reset_code is not None)
    assert asked.closed is not None and asked.closed[0] != 0
    session.close()
    client.close()
    bystander.check()
    assert proxy.rss_kib() - before < 8 * 1024


@pytest.mark.parametrize("name", NOT_ACCEPTED)
def test_fatal_before_accept(shared, name):
    app, proxy, bystander = shared
    data, code = NOT_ACCEPTED[name]
    client, asked, session = begin(app, proxy, accept=False)
    session.raw(data)
    expect_error(session, code)
    last = session.ended()
    assert (last["type"], last["by"]) == ("webtransport.disconnect", "proxy")
    assert asked.wait_response() == 502
    session.close()
    client.close()
    bystander.check()


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(shared, name):
    app, proxy, bystander = shared
    data, code = HARMLESS[name]
    client, asked, session = begin(app, proxy)
    asked.open(unidirectional=True, data=b"x")
    client.flush()
    session.wait("webtransport.stream.receive", stream_id=2)
    session.stream_send(3, b"before ")
    session.raw(data)
    expect_error(session, code)
    session.stream_send(3, b"after", end=True)
    client.wait(lambda: asked.streams and asked.streams[0].ended)
    assert asked.streams[0].data == b"before after"
    session.close()
    client.close()
    bystander.check()


def test_a_flood_of_harmless_mistakes_gets_few_answers(shared):
    app, proxy, bystander = shared
    client, asked, session = begin(app, proxy)
    session.raw(message("my.own") * 10000)
    session.send("webtransport.datagram.send", data=b"marker")
    client.wait(lambda: asked.datagrams == [b"marker"])
    session.send("webtransport.close")
    client.wait(lambda: asked.ended)
    asked.end()
    client.flush()
    session.ended()
    errors = [m for m in session.seen if m and m["type"] == "webtransport.error"]
    assert 1 <= len(errors) <= 100
    session.close()
    client.close()
    bystander.check()


def test_whole_frames_in_slices(shared):
    """The stream of frames may be cut anywhere."""
    app, proxy, bystander = shared
    client, asked, session = begin(app, proxy)
    frames = b"".join(message(SEND, stream_id=3, data=b"%d," % i) for i in range(20))
    for byte in frames:
        session.raw(bytes([byte]))
    session.stream_send(3, end=True)
    client.wait(lambda: asked.streams and asked.streams[0].ended)
    assert asked.streams[0].data == b"".join(b"%d," % i for i in range(20))
    session.close()
    client.close()
    bystander.check()


def test_an_application_that_ignores_credit_is_bounded(shared):
    """Far more than the windows for a client that does not read: the proxy stops reading the
    application's socket instead of growing."""
    app, proxy, bystander = shared
    client, asked, session = begin(app, proxy)
    before = proxy.rss_kib()
    window = session.scope["extensions"]["webtransport"]["session_window"]
    session.sock.setblocking(False)
    data = message(SEND, stream_id=3, data=b"x" * 60000)
    sent = 0
    # Nobody moves the client's packets, so nothing is acknowledged.
    try:
        while sent < (64 << 20):
            sent += session.sock.send(data[sent % len(data):])
            if sent % (20 * len(data)) == 0:
                bystander.check()
    except BlockingIOError:
        pass
    assert sent < window + (16 << 20)
    assert proxy.rss_kib() - before < (window >> 10) + (16 << 10)
    bystander.check()
    session.sock.setblocking(True)
    session.close()
    client.close()
