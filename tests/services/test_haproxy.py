"""HAProxy, whose the PROXY protocol is: it understands what Sluice tells with it."""

import pytest
from servers import curl


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_it_learns_who_the_client_is(haproxy, tunnel, version):
    way = tunnel(source="127.0.0.2", addresses=haproxy.address, proxy_protocol=version)
    told = curl(way.port, "/some/path").decode().split(" ")
    assert told[:4] == [*map(str, way.source), "127.0.0.1", str(way.proxy.port)]
    session = way.proxy.wait_log("session.opened")["session"]
    if version == "v2":
        assert told[4] == "localhost"  # the host that the client asked for
        assert session in told[5]
    else:
        assert told[4:] == ["", ""]
    haproxy.wait_log("/some/path " + " ".join(word or "-" for word in told))
