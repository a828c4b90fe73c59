"""Who the client is, when a proxy stands in front: the scope, and the header for the application."""

from support.scene import scene_with_options

CHAIN = b"203.0.113.5, 198.51.100.1, 127.0.0.2"

scene, options = scene_with_options()


def scope_of(scene, *headers):
    client = scene.connect()
    client.connect(more=headers)
    session = scene.session_of(client)
    return session.scope, client.sock.getsockname()


def values(scope, name):
    return [value for key, value in scope["headers"] if key == name]


@options("--forwarded", "x-forwarded-for", "--trusted-proxy", "127.0.0.0/8")
def test_a_trusted_proxy_is_believed(scene):
    scope, _ = scope_of(scene, (b"x-forwarded-for", CHAIN), (b"forwarded", b"for=192.0.2.1"))
    assert scope["client"] == ["198.51.100.1", 0]
    assert values(scope, b"x-forwarded-for") == [CHAIN + b", 127.0.0.1"]
    assert values(scope, b"forwarded") == [b"for=192.0.2.1"]


@options("--forwarded", "x-forwarded-for", "--trusted-proxy", "10.0.0.0/8")
def test_anybody_else_is_not(scene):
    scope, own = scope_of(scene, (b"x-forwarded-for", CHAIN), (b"x-forwarded-for", b"::1"))
    assert scope["client"] == list(own)
    assert values(scope, b"x-forwarded-for") == [b"127.0.0.1"]


@options("--forwarded", "forwarded", "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "::1")
def test_the_standard_header(scene):
    scope, _ = scope_of(scene, (b"forwarded", b'for="[2001:db8::7]:4711";proto=https'))
    assert scope["client"] == ["2001:db8::7", 4711]
    assert values(scope, b"forwarded") == [
        b'for="[2001:db8::7]:4711";proto=https, for=127.0.0.1;host="localhost";proto=https']


@options("--trusted-proxy", "127.0.0.1")
def test_without_a_header_to_read_nothing_is_believed(scene):
    scope, own = scope_of(scene, (b"x-forwarded-for", CHAIN))
    assert scope["client"] == list(own)
    assert values(scope, b"x-forwarded-for") == [CHAIN]
