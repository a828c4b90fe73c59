"""What stands before the first byte of a stream: the PROXY protocol's header, byte by byte; and by
which path a client chooses its service."""

import json
import socket
import struct

import pytest

from support.quicclient import Client

CHAIN = b"203.0.113.5, 198.51.100.1"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # the PROXY protocol, section 2.2


def first_bytes(bridge, service, data=b"GET", **options):
    """(client, all bytes of a stream's connection)."""
    client, session = bridge.session(**options)
    session.open(data=data, end=True)
    peer = service.accept(client)
    client.wait(lambda: peer.pull().ended)
    return client, bytes(peer.data)


def local_of(client):
    return client.sock.getsockname()


def parts(header):
    """Version 2: (what it says in its first two bytes, addresses and ports, {type of TLV: value}, rest)."""
    assert header[:12] == SIGNATURE
    command, family, length = struct.unpack("!BBH", header[12:16])
    body, rest = header[16:16 + length], header[16 + length:]
    assert len(body) == length
    size = {0x11: 4, 0x21: 16}[family]
    kind = {4: socket.AF_INET, 16: socket.AF_INET6}[size]
    client, server = (socket.inet_ntop(kind, body[i:i + size]) for i in (0, size))
    ports = struct.unpack("!HH", body[2 * size:2 * size + 4])
    tlvs, left = {}, body[2 * size + 4:]
    while left:
        what, length = struct.unpack("!BH", left[:3])
        assert what not in tlvs and len(left) >= 3 + length
        tlvs[what] = left[3:3 + length]
        left = left[3 + length:]
    return (command, family), (client, server, *ports), tlvs, rest


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_version_1(bridge, kind):
    service = bridge.service(kind)
    proxy = bridge.start(service, route={"proxy_protocol": "v1"})
    client, data = first_bytes(bridge, service)
    address, port = local_of(client)
    assert data == f"PROXY TCP4 {address} 127.0.0.1 {port} {proxy.port}\r\nGET".encode()


def test_version_2(bridge):
    service = bridge.service()
    proxy = bridge.start(service, route={"proxy_protocol": "v2"})
    client, session = bridge.session()
    ids = []
    for number in range(2):
        session.open(data=b"GET %d" % number, end=True)
        peer = service.accept(client)
        client.wait(lambda p=peer: p.pull().ended)
        first, addresses, tlvs, rest = parts(bytes(peer.data))
        assert first == (0x21, 0x11)  # a proxy speaks; TCP over IPv4
        address, port = local_of(client)
        assert addresses == (address, "127.0.0.1", port, proxy.port)
        assert set(tlvs) == {1, 2, 5}
        assert tlvs[1] == b"h3"
        assert tlvs[2] == b"localhost"
        assert rest == b"GET %d" % number
        ids.append(tlvs[5].decode())
    opened = proxy.wait_log("session.opened")["session"]
    assert ids == [f"{opened}-0", f"{opened}-1"]


@pytest.mark.parametrize("length, told", [(255, {1, 2, 5}), (256, {1, 5}), (600, {1, 5})])
def test_an_authority_that_is_longer_than_any_name_is_left_out(bridge, length, told):
    """HAProxy, for one, resets a connection that begins with one of 256 bytes."""
    service = bridge.service()
    bridge.start(service, route={"proxy_protocol": "v2"})
    client = bridge.connect()
    session = client.session(authority="a" * length + ":443")
    assert session.wait_response() == 200
    session.open(data=b"GET", end=True)
    peer = service.accept(client)
    client.wait(lambda: peer.pull().ended)
    _, _, tlvs, rest = parts(bytes(peer.data))
    assert set(tlvs) == told and rest == b"GET"


def test_over_ipv6(bridge):
    service = bridge.service()
    proxy = bridge.start(service, route={"proxy_protocol": "v2"},
                         all_of_it={"listeners": [{"address": "[::1]:0"}]})
    client, data = first_bytes(bridge, service, host="::1")
    first, addresses, _, rest = parts(data)
    assert first == (0x21, 0x21)
    assert addresses == ("::1", "::1", local_of(client)[1], proxy.port) and rest == b"GET"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "10.0.0.0/8"])
def test_a_client_behind_a_proxy(bridge, version, trusted):
    """Who a trusted proxy says that it is; others are not believed."""
    service = bridge.service()
    proxy = bridge.start(service, route={"proxy_protocol": version, "forwarded": "x-forwarded-for"},
                         all_of_it={"trusted_proxies": [trusted]})
    client, data = first_bytes(bridge, service, headers=[(b"x-forwarded-for", CHAIN)])
    believed = trusted.startswith("127")
    address, port = ("198.51.100.1", 0) if believed else local_of(client)
    if version == "v1":
        assert data == f"PROXY TCP4 {address} 127.0.0.1 {port} {proxy.port}\r\nGET".encode()
    else:
        _, addresses, _, rest = parts(data)
        assert addresses == (address, "127.0.0.1", port, proxy.port) and rest == b"GET"


def test_it_comes_although_the_client_says_nothing(bridge):
    """As for services that speak first."""
    service = bridge.service()
    bridge.start(service, route={"proxy_protocol": "v1"})
    client, session = bridge.session()
    stream = session.open()
    peer = service.accept(client)
    client.wait(lambda: peer.pull().data.endswith(b"\r\n"))
    peer.push(b"SSH-2.0-test\r\n")
    client.wait(lambda: stream.data == b"SSH-2.0-test\r\n")


def test_each_address_that_is_tried_gets_it(bridge):
    services = [bridge.service(), bridge.service()]
    bridge.start(services, workers=1, route={"proxy_protocol": "v1"})
    services[0].stop()
    _, data = first_bytes(bridge, services[1])
    assert data.startswith(b"PROXY TCP4 ") and data.endswith(b"\r\nGET")


# --- targets ---


def choice(bridge, path="/ssh/{name}"):
    """A proxy with two services under names."""
    services = {"one": bridge.service(), "two": bridge.service()}
    backends = {name: {"kind": "bridge", "addresses": s.address} for name, s in services.items()}
    routes = [{"path": path, "targets": {name: name for name in services}, "max_sessions": 2}]
    bridge.proxy = bridge.world.configured(
        f"backends: {json.dumps(backends)}\nroutes: {json.dumps(routes)}\n", workers=1)
    return services


def test_the_path_chooses_from_the_list(bridge):
    services = choice(bridge)
    for name, service in services.items():
        _, data = first_bytes(bridge, service, path=f"/ssh/{name}?{name}")
        assert data == b"GET"


@pytest.mark.parametrize("path", [
    "/ssh/three", "/ssh/", "/ssh", "/", "/ssh/one/", "/ssh/one/two", "/ssh/One", "/ssh/{name}",
    "/ssh/127.0.0.1:22", "/ssh/one%2ftwo", "/ssh/one%00", "/ssh//one", "/ssh/../ssh/one", "//ssh/one"])
def test_what_is_not_listed_is_not_there(bridge, path):
    services = choice(bridge)
    with Client(bridge.proxy.port) as client:
        session = client.session(path)
        assert session.wait_response() in (404, 400)
    assert not any(service.poll() for service in services.values())


def test_sessions_of_all_names_count_as_one(bridge):
    services = choice(bridge)
    bridge.joined(services["one"], path="/ssh/one")
    bridge.joined(services["two"], path="/ssh/two")
    client = bridge.connect()
    assert client.session("/ssh/one").wait_response() == 503
