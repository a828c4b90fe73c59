"""What the server announces to whom, and what it makes of what a client announces."""

import pytest
from aioquic.buffer import Buffer

from support.rawclient import SETTINGS, RawClient
from support.scene import cleared, scene_of_module

SERVER_CONTROL = 3  # the first unidirectional stream of the server's
GREASE = 0x3A3A     # RFC 8701
PROFILE_A = {0x01: 4096, 0x07: 100, 0x08: 1, 0x33: 1, 0xFFD277: 1, 0x2B603742: 1, 0xC671706A: 1}
DRAFT15 = {0x2C7CF000: 1, 0x2B61: 131072, 0x2B64: 1000, 0x2B65: 1000}

shared = scene_of_module()
scene = cleared("shared")


def announced(client):
    """The server's SETTINGS."""
    control = client.at(SERVER_CONTROL)

    def whole():
        buf = Buffer(data=bytes(control.data))
        if buf.capacity < 3:
            return None
        assert (buf.pull_uint_var(), buf.pull_uint_var()) == (0, SETTINGS)
        length = buf.pull_uint_var()
        return buf.pull_bytes(length) if buf.capacity - buf.tell() >= length else None

    buf, pairs = Buffer(data=client.wait(whole)), []
    while not buf.eof():
        pairs.append((buf.pull_uint_var(), buf.pull_uint_var()))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_who_looks_like_safari_hears_of_nothing_newer_than_draft_07(scene):
    client = scene.connect(extensions=[(GREASE, b"")])
    assert announced(client) == PROFILE_A
    scene.serves(client)


@pytest.mark.parametrize("extensions", [[], [(0x1234, b"")]])
def test_all_others_hear_of_draft_15(scene, extensions):
    client = scene.connect(extensions=extensions)
    assert announced(client) == PROFILE_A | DRAFT15
    scene.serves(client)


def test_one_session_for_each_connection_needs_no_limits(world):
    _, proxy = world.start(arguments=("--connection-sessions", "1"))
    client = RawClient(proxy.port)
    client.hello()
    assert announced(client) == PROFILE_A | {0x2C7CF000: 1}
    client.close()


@pytest.mark.parametrize("more, answer, told", [
    ([], [], []),
    ([(b"sec-webtransport-http3-draft02", b"1")], [], [b"draft02"]),
    ([(b"sec-webtransport-http3-draft02", b"1")], [[b"x", b"y"]], [b"draft02"]),
    ([(b"sec-webtransport-http3-draft02", b"1")], [[b"sec-webtransport-http3-draft", b"mine"]],
     [b"mine"]),
])
def test_who_names_draft_02_is_told_of_it(scene, more, answer, told):
    client = scene.connect()
    asked = client.connect(more=more)
    scene.session_of(client).accept(headers=answer)
    assert asked.wait_status() == 200
    headers = asked.headers()
    assert [value for name, value in headers if name == b"sec-webtransport-http3-draft"] == told
    assert all(tuple(line) in headers for line in answer)


def test_the_log_names_the_dialect(scene):
    client = scene.connect(hello=False)
    client.hello(settings=((0x33, 1), (0x2C7CF000, 1)))
    asked = client.connect(protocol=b"webtransport-h3")
    scene.session_of(client).accept()
    assert asked.wait_status() == 200
    scene.proxy.wait_log("session.opened", draft="draft15")
