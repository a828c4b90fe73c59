"""What one client address may have, and how fast: the clients are all at 127.0.0.1, but for one."""

from support.quicclient import Client
from support.scene import ended, scene_with_options

REFUSED = 2  # RFC 9000, section 20.1: CONNECTION_REFUSED
EXCESSIVE_LOAD = 0x107

scene, options = scene_with_options(workers=1, close_timeout="1h")


def refused(scene):
    """The client cannot connect; the code with which it was refused."""
    client = Client(scene.proxy.port, wait=False)
    client.wait(lambda: client.connected or client.terminated)
    client.wait(lambda: client.terminated)
    client.close()
    return client.terminated.error_code


def serves_others(scene):
    """Another address of this machine is another client; and nothing ends that is there."""
    scene.serves(scene.connect(host="::1"))
    scene.serves_the_bystander()


@options("--client-connections", "3", "--listen", ":0")
def test_connections_at_once(scene):
    first, _ = scene.connect(), scene.connect()
    assert scene.proxy.stats()["retries_sent"] == 0
    assert refused(scene) == REFUSED
    stats = scene.proxy.stats()
    assert stats["client_connections"] == 1 and stats["connections"] == 3
    assert stats["retries_sent"] >= 1  # it had to prove that it is the client, who may ask twice
    line = scene.proxy.wait_log("conn.refused", fault="client_connections")
    assert line["remote"].startswith("127.0.0.1:")
    serves_others(scene)
    first.close()
    scene.clients.remove(first)
    scene.wait_stats(lambda s: s["connections"] == 3)
    scene.serves(scene.connect())


@options("--client-connections", "2", "--unproven-handshakes", "0")
def test_proven_clients_are_counted_at_once(scene):
    scene.connect()
    assert refused(scene) == REFUSED
    assert scene.proxy.stats()["client_connections"] == 1


@options("--client-connections", "2")
def test_two_handshakes_for_the_last_place(scene):
    """Neither has proven its address when it comes: the second to do so is told."""
    clients = [Client(scene.proxy.port, wait=False) for _ in range(2)]
    for client in clients:
        client.flush()
    scene.clients.extend(clients)

    def settled():
        for client in clients:
            client.step()
        return all(c.connected or c.terminated for c in clients) and any(
            c.terminated for c in clients)

    scene.client.wait(settled)
    assert [c.terminated.error_code for c in clients if c.terminated] == [EXCESSIVE_LOAD]
    assert scene.proxy.stats()["client_connections"] == 1


@options("--client-sessions", "2", "--listen", ":0")
def test_sessions_at_once(scene):
    other = scene.connect()
    second, session = scene.serves(other)
    client = scene.connect()
    assert client.connect().wait_status() == 429
    assert scene.proxy.stats()["client_sessions"] == 1
    scene.proxy.wait_log("session.refused", fault="client_sessions")
    serves_others(scene)
    second.close()
    assert ended(other, session)["by"] == "client"
    session.close()
    scene.wait_stats(lambda s: s["sessions"] == 2)
    scene.serves(client)


FORWARDED = ("--forwarded", "x-forwarded-for", "--client-sessions", "2", "--trusted-proxy")


def asked_for(scene, address):
    """The status of a session that a proxy asks for in this client's name."""
    client = scene.connect()
    asked = client.connect(more=[(b"x-forwarded-for", address)])
    client.wait(lambda: asked.status or not scene.app.sessions.empty())
    if asked.status:
        return asked.status
    scene.session_of(client).accept()
    return asked.wait_status()


@options(*FORWARDED, "127.0.0.0/8")
def test_sessions_of_clients_behind_a_trusted_proxy(scene):
    assert [asked_for(scene, b"192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert scene.proxy.stats()["client_sessions"] == 1
    assert asked_for(scene, b"192.0.2.2") == 200
    assert asked_for(scene, b"2001:db8::1") == 200
    assert asked_for(scene, b"2001:db8::2") == 200
    assert asked_for(scene, b"2001:db8::3") == 429  # of the same network


@options(*FORWARDED, "10.0.0.0/8")
def test_sessions_of_clients_that_anybody_else_names(scene):
    assert asked_for(scene, b"192.0.2.1") == 200
    assert asked_for(scene, b"192.0.2.2") == 429  # the bystander has one, too


@options("--client-connection-rate", "1", "--listen", ":0")
def test_connections_in_a_short_time(scene):
    """Five at once, of which the bystander was one; then one in a second."""
    codes = []
    for _ in range(50):
        client = Client(scene.proxy.port, wait=False)
        client.wait(lambda: client.connected or client.terminated)  # pylint: disable=W0640
        client.close()
        if client.terminated:
            codes.append(client.terminated.error_code)
            break
    assert codes == [REFUSED]
    assert scene.proxy.stats()["client_connection_rate"] == 1
    serves_others(scene)


@options("--client-session-rate", "1", "--listen", ":0")
def test_sessions_in_a_short_time(scene):
    for _ in range(50):
        client = scene.connect()
        asked = client.connect()
        client.wait(lambda: asked.status or not scene.app.sessions.empty())  # pylint: disable=W0640
        if asked.status:
            break
        scene.session_of(client).accept()
    assert asked.status == 429
    assert scene.proxy.stats()["client_session_rate"] == 1
    serves_others(scene)
