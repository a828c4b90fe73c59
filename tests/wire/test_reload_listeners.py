"""Listeners that a reload adds and removes, while their clients and those of others go on."""

import os
import socket

import pytest

from support.quicclient import Client
from support.visits import check_alive, end, opened

APP = "backends: {app: {addresses: 'unix:DIR/app.sock'}}\nroutes: [{backend: app}]\n"
CONNECTION_REFUSED = 0x2


def text(*addresses):
    return APP + "listeners:\n" + "".join(f"  - {{address: '{a}'}}\n" for a in addresses)


ONE, TWO = text("127.0.0.1:0"), text("127.0.0.1:0", "127.0.0.1:0")


def ports(proxy, count, start=0):
    """Of the listeners opened since, when there are so many."""
    proxy.wait_lines(count, "listening", has="port", start=start)
    return [int(line["port"]) for line in proxy.find("listening", has="port", start=start)]


def descriptors(proxy):
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


def bind(port):
    """Alone."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    return sock


def free_port():
    with bind(0) as sock:
        return sock.getsockname()[1]


def is_refused(port):
    client = Client(port, wait=False)
    client.wait(lambda: client.connected or client.terminated)
    refused = client.terminated and client.terminated.error_code == CONNECTION_REFUSED
    client.close()
    return refused


def reload(world, proxy, wanted):
    start = len(proxy.events)
    assert world.reload(proxy, wanted)["event"] == "reloaded"
    return start


def ends_well(world, app, proxy, port):
    end(*opened(app, proxy, client=Client(port)))


@pytest.mark.parametrize("workers", [1, 2])
def test_one_can_be_added(world, workers):
    app = world.app()
    proxy = world.configured(ONE, workers=workers)
    here = opened(app, proxy)
    start = reload(world, proxy, TWO)
    (port,) = ports(proxy, 1, start)
    assert port != proxy.port and not proxy.find("reload.ignored")
    for _ in range(4):  # so that each worker has some
        ends_well(world, app, proxy, port)
        ends_well(world, app, proxy, proxy.port)
    check_alive(*here, b"from before")
    end(*here)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_is_removed_keeps_its_clients_and_closes_after_the_last(world, workers):
    app = world.app()
    proxy = world.configured(TWO, workers=workers)
    _, port = ports(proxy, 2)
    theirs = [opened(app, proxy, client=Client(port)) for _ in range(4)]
    here = opened(app, proxy)
    reload(world, proxy, ONE)
    assert proxy.wait_log("listener.retired")["port"] == str(port)
    assert is_refused(port)
    assert proxy.wait_log("conn.refused", fault="listener_removed")
    assert proxy.stats()["listener_removed"] == 1
    ends_well(world, app, proxy, proxy.port)
    for its in theirs:
        check_alive(*its, b"still here")
    for its in theirs[1:]:
        end(*its)
    assert not proxy.find("listener.closed")
    check_alive(*theirs[0], b"the last one")
    end(*theirs[0])
    proxy.wait_log("listener.closed")
    free = bind(port)
    failed = world.reload(proxy, text("127.0.0.1:0", f"127.0.0.1:{port}"))
    assert failed["event"] == "reload.failed"
    assert f"127.0.0.1:{port}" in failed["reason"] and "in use" in failed["reason"]
    check_alive(*here, b"nothing has changed")
    free.close()
    reload(world, proxy, text("127.0.0.1:0", f"127.0.0.1:{port}"))
    ends_well(world, app, proxy, port)
    check_alive(*here, b"from before")
    end(*here)


def test_one_that_nobody_uses_closes_at_once(world):
    proxy = world.configured(TWO, workers=2)
    _, port = ports(proxy, 2)
    reload(world, proxy, ONE)
    proxy.wait_log("listener.closed")
    bind(port).close()


def test_one_that_was_removed_can_come_back(world):
    app = world.app()
    proxy = world.configured(TWO, workers=2)
    _, port = ports(proxy, 2)
    theirs = opened(app, proxy, client=Client(port))
    reload(world, proxy, ONE)
    assert is_refused(port)
    start = reload(world, proxy, TWO)
    assert proxy.find("listener.back", start=start) and not ports(proxy, 0, start)
    ends_well(world, app, proxy, port)
    check_alive(*theirs, b"all the time")
    end(*theirs)
    ends_well(world, app, proxy, port)
    assert not proxy.find("listener.closed")


def test_a_faulty_one_changes_nothing(world):
    """What was opened before the fault was found is closed again."""
    app = world.app()
    proxy = world.configured(ONE)
    port = free_port()
    count = descriptors(proxy)
    failed = world.reload(proxy, text("127.0.0.1:0", f"127.0.0.1:{port}", "192.0.2.1:1"))
    assert failed["event"] == "reload.failed" and "192.0.2.1:1" in failed["reason"]
    bind(port).close()
    failed = world.reload(proxy, text(f"127.0.0.1:{port}") + "certificates: [{cert: /none}]\n")
    assert failed["event"] == "reload.failed" and "/none" in failed["reason"]
    bind(port).close()
    assert descriptors(proxy) == count
    ends_well(world, app, proxy, proxy.port)


def test_a_drain_ends_clients_of_removed_ones(world):
    app = world.app()
    proxy = world.configured(TWO + "drain_timeout: 2s\n", workers=2)
    _, port = ports(proxy, 2)
    client, asked, session = opened(app, proxy, client=Client(port))
    reload(world, proxy, ONE)
    proxy.terminate()
    session.wait("webtransport.drain")
    check_alive(client, asked, session, b"the last words")
    end(client, asked, session)
    proxy.join()


def test_the_admin_page_tells_where_to_go_now(world):
    app = world.app()
    proxy = world.configured(ONE)
    port = free_port()
    reload(world, proxy, text(f"127.0.0.1:{port}"))
    assert f'"port": {port}'.encode() in proxy.get("/certificate.json")[1]
    ends_well(world, app, proxy, port)
    proxy.wait_log("listener.closed")


def test_coming_and_going_leaves_nothing(world):
    app = world.app()
    proxy = world.configured(ONE, workers=2)
    here = opened(app, proxy)
    count = descriptors(proxy)
    for i in range(int(os.environ.get("REPEAT", "5"))):
        start = reload(world, proxy, TWO)
        (port,) = ports(proxy, 1, start)
        theirs = opened(app, proxy, client=Client(port))
        start = reload(world, proxy, ONE)
        check_alive(*theirs, b"there %d" % i)
        check_alive(*here, b"here %d" % i)
        end(*theirs)
        proxy.wait_log("listener.closed", start=start)
        ends_well(world, app, proxy, proxy.port)
    end(*here)
    proxy.wait_idle()
    assert descriptors(proxy) <= count
