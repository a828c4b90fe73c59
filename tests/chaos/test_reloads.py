"""Reloads under load: nobody who is there loses anything, nobody who comes is sent away."""

import json
import os
import random

import pytest

from crowd import Crowd, come, echoed, leave
from support.certificates import write_certificate
from support.quicclient import Client
from support.rawapp import echo

ROUNDS = max(12, 2 * int(os.environ.get("ROUNDS", "3")))
STAYERS, COMERS = 6, 3


def stay(crowd, name, proxy):
    client, session = come(proxy, "/stay")
    while not crowd.stopping.is_set():
        echoed(client, session, name.encode() * 2000)
        crowd.worked(name)
    leave(client, session)


def come_and_go(crowd, name, proxy):
    while not crowd.stopping.is_set():
        client, session = come(proxy, "/visit")
        echoed(client, session, name.encode() * 500)
        leave(client, session)
        crowd.worked(name)


def descriptors(proxy):
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


def has_second(number):
    return number % 4 > 1


def configuration(number):
    """Certificates have another file each time; of three applications two are there, and one is
    new to those who come; /stay comes and goes, and other routes and a second listener with it."""
    app = "abc"[number % 3]
    backends = "".join(f"  {name}: {{addresses: 'unix:DIR/{name}.sock'}}\n"
                       for name in "abc" if name != "abc"[(number + 1) % 3])
    extra = "".join(f"  - {{path: /extra/{i}, backend: {app}}}\n" for i in range(number % 7))
    listeners = ", ".join(["{address: '127.0.0.1:0'}"] * (1 + has_second(number)))
    stays = f"  - {{path: /stay, backend: {app}}}\n" if number % 2 == 0 else ""
    return (f"backends:\n{backends}routes:\n{stays}{extra}  - {{path: /visit, backend: {app}}}\n"
            f"max_streams: {50 + number}\n"
            f"listeners: [{listeners}]\n"
            f"certificates: [{{cert: DIR/{number}/cert.pem, key: DIR/{number}/key.pem}}]\n")


def broken(number):
    return [
        configuration(number)[:-20],
        configuration(number).replace("path: /visit, backend: ", "path: /visit, backend: no"),
        configuration(number).replace("/key.pem", "/none.pem"),
        configuration(number).replace("max_streams: ", "max_streams: many"),
    ][number // 3 % 4]


def write_certificates(directory, number):
    """Those that configuration(number) has; returns the hash."""
    folder = os.path.join(directory, str(number))
    os.mkdir(folder)
    return write_certificate(folder, 10)[2]


def status(proxy, path, second):
    """What a newcomer is answered there, and the certificate it is shown; at the second listener,
    the one opened last, or the first."""
    port = int(proxy.find("listening", has="port")[-1]["port"]) if second else proxy.port
    with Client(port) as client:
        shown = client.quic.tls._peer_certificate  # pylint: disable=protected-access
        session = client.session(path)
        answer = session.wait_response()
        if answer == 200:
            leave(client, session)
        return answer, shown.fingerprint(shown.signature_hash_algorithm).hex()


def has_extra(number):
    return number % 7 > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_is_lost_and_nobody_refused(world, directory, figure, workers):
    apps = [world.app(echo, name=f"{name}.sock") for name in "abc"]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    hashes = [write_certificates(directory, i) for i in range(ROUNDS + 1)]
    proxy = world.configured(configuration(0), workers=workers, arguments=[
        word for what in ("connections", "connection-rate", "sessions", "session-rate")
        for word in (f"--client-{what}", "unlimited")])
    files = descriptors(proxy)
    crowd = Crowd()
    for i in range(STAYERS):
        crowd.add(f"stayer {i}", stay, proxy)
    crowd.wait_round()  # /stay is not always there
    for i in range(COMERS):
        crowd.add(f"comer {i}", come_and_go, proxy)
    last, faulty, looks, found = 0, 0, 0, 0
    for i in range(1, ROUNDS + 1):
        if i % 3 == 0:
            assert world.reload(proxy, broken(i))["event"] == "reload.failed"
            faulty += 1
        else:
            assert world.reload(proxy, configuration(i))["event"] == "reloaded", proxy.log(3)
            assert proxy.find("certificate", hash=hashes[i])
            last = i
        # What was read last holds, a faulty one or not.
        assert status(proxy, "/extra/0", has_second(last)) == \
            (200 if has_extra(last) else 404, hashes[last])
        looks, found = looks + 1, found + has_extra(last)
        if chance.random() < 0.5:
            crowd.wait_round()
        crowd.check()
    crowd.wait_round()
    crowd.stop()
    proxy.wait_idle()
    visits = sum(crowd.done[f"comer {i}"] for i in range(COMERS))
    counted = proxy.stats()
    # Each handshake that was begun was completed, and each session that was asked for has its
    # answer, which is no refusal but for routes that are not there.
    assert counted["connections_accepted"] == counted["handshakes_completed"] == \
        visits + STAYERS + looks
    assert counted["sessions_accepted"] == visits + STAYERS + found
    assert counted["sessions_refused"] == counted["no_route"] == looks - found
    # What nobody has any more is gone: two workers, two applications.
    known = {f"unix:{directory}/{name}.sock" for name in "abc"
             if name != "abc"[(last + 1) % 3]}
    proxy.wait_stats(lambda _: {row["address"] for row in
                                json.loads(proxy.get("/stats")[1])["backends"]} == known)
    proxy.wait_stats(lambda _: descriptors(proxy) <= files + workers * has_second(last))
    proxy.stop()  # all of the log is there
    assert not proxy.find("conn.refused")
    assert len(proxy.find("reload.failed")) == faulty
    assert len(proxy.find("session.closed", by="client")) == len(proxy.find("session.closed")) == \
        visits + STAYERS + found
    for app in apps:
        assert not app.failures
    figure(f"{ROUNDS} reloads, {faulty} faulty", workers, "no session lost, no handshake refused",
           f"{visits + looks} handshakes and {STAYERS} sessions that stayed: "
           f"0 refused, 0 lost")
