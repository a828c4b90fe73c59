"""Reloads under load: nobody who is there loses anything, nobody who comes is sent away."""

import json
import os
import random

from crowd import Crowd, come, echoed, leave
from support.certificates import write_certificate
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


def configuration(number):
    """Certificates have another file each time; of three applications two are there, and one is
    new to those who come; /stay comes and goes, and other routes with it."""
    app = "abc"[number % 3]
    backends = "".join(f"  {name}: {{addresses: 'unix:DIR/{name}.sock'}}\n"
                       for name in "abc" if name != "abc"[(number + 1) % 3])
    extra = "".join(f"  - {{path: /extra/{i}, backend: {app}}}\n" for i in range(number % 7))
    stays = f"  - {{path: /stay, backend: {app}}}\n" if number % 2 == 0 else ""
    return (f"backends:\n{backends}routes:\n{stays}{extra}  - {{path: /visit, backend: {app}}}\n"
            f"max_streams: {50 + number}\n"
            f"certificates: [{{cert: DIR/{number}/cert.pem, key: DIR/{number}/key.pem}}]\n")


def broken(number):
    return [
        configuration(number)[:-20],
        configuration(number).replace("path: /visit, backend: ", "path: /visit, backend: no"),
        configuration(number).replace("/key.pem", "/none.pem"),
        configuration(number).replace("max_streams: ", "max_streams: many"),
    ][number // 3 % 4]


def test_nobody_is_lost_and_nobody_refused(world, directory):
    apps = [world.app(echo, name=f"{name}.sock") for name in "abc"]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    hashes = []
    for i in range(ROUNDS + 1):
        os.mkdir(os.path.join(directory, str(i)))
        hashes.append(write_certificate(os.path.join(directory, str(i)), 10)[2])
    proxy = world.configured(configuration(0), workers=2)
    files = descriptors(proxy)
    crowd = Crowd()
    for i in range(STAYERS):
        crowd.add(f"stayer {i}", stay, proxy)
    crowd.wait_round()  # /stay is not always there
    for i in range(COMERS):
        crowd.add(f"comer {i}", come_and_go, proxy)
    for i in range(1, ROUNDS + 1):
        if i % 3 == 0:
            assert world.reload(proxy, broken(i))["event"] == "reload.failed"
        else:
            assert world.reload(proxy, configuration(i))["event"] == "reloaded", proxy.log(3)
            assert proxy.find("certificate", hash=hashes[i])
        if chance.random() < 0.5:
            crowd.wait_round()
        crowd.check()
    crowd.wait_round()
    last = max(i for i in range(1, ROUNDS + 1) if i % 3)
    crowd.stop()
    proxy.wait_idle()
    visits = sum(crowd.done[f"comer {i}"] for i in range(COMERS))
    counted = proxy.stats()
    assert counted["sessions_refused"] == 0
    assert counted["handshakes_completed"] == counted["sessions_accepted"] == visits + STAYERS
    assert not proxy.find("conn.refused") and not proxy.find("session.refused")
    assert len(proxy.find("reload.failed")) == ROUNDS // 3
    assert len(proxy.find("session.closed", by="client")) == visits + STAYERS
    # What nobody has any more is gone: two workers, two applications.
    known = {f"unix:{directory}/{name}.sock" for name in "abc"
             if name != "abc"[(last + 1) % 3]}
    proxy.wait_stats(lambda _: {row["address"] for row in
                                json.loads(proxy.get("/stats")[1])["backends"]} == known)
    proxy.wait_stats(lambda _: descriptors(proxy) <= files)
    for app in apps:
        assert not app.failures
