"""nginx: it learns the client's address from the PROXY protocol, and serves on a Unix socket."""

import hashlib

import pages
import pytest
from servers import curl, program, run, until

CLIENT = "127.0.0.2"  # which is not where the proxy's connections come from


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_access_log_has_the_clients_address(nginx, tunnel, version):
    way = tunnel(source=CLIENT, addresses=nginx.address, proxy_protocol=version)
    assert curl(way.port, "/file") == nginx.content
    seen = nginx.wait_access("GET /file HTTP/1.1")
    address, port = way.source
    assert seen[:4] == [address, str(port)] * 2
    assert seen[4:6] == ["127.0.0.1", str(way.proxy.port)]  # where the client thought to be
    assert seen[-2:] == ["200", str(len(nginx.content))]


def test_each_stream_tells_the_address_of_its_own_client(nginx, bridge, tunnel):
    proxy = bridge(addresses=nginx.address, proxy_protocol="v2")
    ways = [tunnel(source=source, proxy=proxy) for source in ("127.0.0.3", "127.0.0.4")]
    for number, way in enumerate(ways * 3):
        assert len(curl(way.port, f"/file?{number}", "--range", "0-9")) == 10
        assert nginx.wait_access(f"GET /file?{number} HTTP/1.1")[0] == way.source[0]


def test_the_header_comes_before_tls(nginx, tunnel):
    way = tunnel(source=CLIENT, addresses=nginx.tls_address, proxy_protocol="v2", tls=True,
                 tls_ca=nginx.certificate, tls_name=nginx.tls_name)
    assert curl(way.port, "/file") == nginx.content
    seen = nginx.wait_access("GET /file HTTP/1.1")
    assert (seen[0], seen[1]) == (way.source[0], str(way.source[1]))
    assert seen[6] in ("TLSv1.2", "TLSv1.3") and seen[7] == nginx.tls_name


@pytest.mark.parametrize("wrong", [{"tls_name": "another.example"}, {"tls_ca": None}])
def test_nothing_is_sent_to_one_with_another_certificate(nginx, tunnel, wrong):
    keys = {"tls": True, "tls_ca": nginx.certificate, "tls_name": nginx.tls_name, **wrong}
    way = tunnel(addresses=nginx.tls_address, proxy_protocol="v2",
                 **{key: value for key, value in keys.items() if value})
    run(program("curl"), "-sS", "--noproxy", "*", f"http://127.0.0.1:{way.port}/file", status=None)
    assert way.wait_codes() == {6}
    assert nginx.accesses() == []


def test_without_the_header_nginx_refuses(nginx, tunnel):
    """So the tests above see what Sluice has sent."""
    way = tunnel(addresses=nginx.address)
    run(program("curl"), "-sS", "--noproxy", "*", f"http://127.0.0.1:{way.port}/file", status=None)
    nginx.wait_log("broken header")


def test_program_gets_a_file_from_a_unix_socket(nginx, tunnel):
    way = tunnel(addresses=nginx.unix_address)
    assert curl(way.port, "/file") == nginx.content
    assert nginx.wait_access("GET /file HTTP/1.1")[0] == "unix:"


def test_page_gets_a_file_from_a_unix_socket(nginx, bridge, browser):
    result = pages.run(browser, """
        const stream = await session.open();
        await stream.write('GET /file HTTP/1.1\\r\\nHost: service\\r\\nConnection: close\\r\\n\\r\\n');
        const head = [];
        for (let line; (line = await stream.readLine()) !== '';) head.push(line);
        const body = await stream.readAll();
        return { status: head[0], length: body.length, hash: await wire.sha256(body) };
    """, bridge(addresses=nginx.unix_address))
    assert result == {"status": "HTTP/1.1 200 OK", "length": len(nginx.content),
                      "hash": hashlib.sha256(nginx.content).hexdigest()}
    assert nginx.wait_access("GET /file HTTP/1.1")[-2:] == ["200", str(len(nginx.content))]


def test_page_leaves_in_the_middle_of_many_downloads(nginx, bridge, browser):
    """The session ends with them, and nothing of them stays (which `world` looks at)."""
    pages.run(browser, """
        const streams = await Promise.all(Array.from({ length: args.count }, () => session.open()));
        await Promise.all(streams.map(async (stream) => {
          await stream.write('GET /file HTTP/1.1\\r\\nHost: service\\r\\n\\r\\n');
          await stream.readExactly(10000);
        }));
    """, bridge(addresses=nginx.unix_address), count=20)
    lines = until(lambda: len(found := nginx.accesses()) == 20 and found, "nginx logs all of them")
    assert any(int(line[-1]) < len(nginx.content) for line in lines), lines
