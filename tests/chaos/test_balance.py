"""Balancing, through real proxies: three applications of different speed, and one that leaves.

What a policy promises is checked at each single choice: each worker has counts of its own, and a
client sees in its connection id which one it is at. Clients come one after the other, so that what
has ended has ended for everybody.
"""

import collections
import contextlib
import json
import os
import socket

import pytest
from support.appprocess import AppProcess, name_of
from support.quicclient import Client

ROUNDS = int(os.environ.get("ROUNDS", "3"))
ARRIVALS, KEYS, LEAVERS = 40 + 10 * ROUNDS, 6 + 2 * ROUNDS, max(1, ROUNDS // 3)
LASTS = {"one": 10, "two": 20, "three": 40}  # so many arrivals: its speed
WORKER = 4  # where a connection id says it
OPTIONS = ("--rest-first", "20ms", "--rest-last", "100ms", "--slow-start", "0",
           *(word for what in ("connections", "connection-rate", "sessions", "session-rate")
             for word in (f"--client-{what}", "unlimited")))


@pytest.fixture
def apps(directory):
    three = {name: AppProcess(directory, name) for name in LASTS}
    yield three
    for app in three.values():
        app.kill()


class Visit:
    def __init__(self, client, **options):
        self.client = client
        self.session = client.session(**options)
        assert self.session.wait_response() == 200
        self.app = name_of(self.session)
        self.worker = client.quic._peer_cid.cid[WORKER]  # pylint: disable=protected-access

    def leave(self):
        self.session.close()
        self.client.wait(lambda: self.session.ended)
        self.client.close()


def rows(proxy):
    return {row["address"]: row for row in json.loads(proxy.get("/stats")[1])["backends"]}


# sessions that last differently


class Counts:
    """Sessions alive and ever given, by worker and application."""

    def __init__(self, workers):
        self.alive = [collections.Counter({name: 0 for name in LASTS}) for _ in range(workers)]
        self.given = [collections.Counter({name: 0 for name in LASTS}) for _ in range(workers)]
        self.apart = 0  # the most that those alive differed by, in one worker

    def come(self, visit):
        self.alive[visit.worker][visit.app] += 1
        self.given[visit.worker][visit.app] += 1

    def note(self):
        self.apart = max(self.apart, *(spread(alive) for alive in self.alive))

    def all(self):
        """Given, by application."""
        return " : ".join(str(sum(given[name] for given in self.given)) for name in LASTS)


def spread(numbers):
    return max(numbers.values()) - min(numbers.values())


def is_fewest(visit, counts):
    return counts.alive[visit.worker][visit.app] == min(counts.alive[visit.worker].values())


def is_in_turn(visit, counts):
    return counts.given[visit.worker][visit.app] == min(counts.given[visit.worker].values())


def is_not_the_fullest(visit, counts):
    """Two were drawn; the one with the most of all three has lost against any other."""
    alive = counts.alive[visit.worker]
    return any(alive[visit.app] <= alive[name] for name in LASTS if name != visit.app)


PROMISES = {  # policy: what it promises, and whether a choice was as promised
    "least-sessions": ("each session goes where its worker has the fewest", is_fewest),
    "round-robin": ("numbers that a worker gave differ by 1 at most", is_in_turn),
    "random-two": ("no session goes where its worker has the most", is_not_the_fullest),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("policy", PROMISES)
def test_applications_of_different_speed(world, apps, figure, policy, workers):
    promise, is_kept = PROMISES[policy]
    proxy = world.proxy(apps["one"].address, workers=workers, arguments=[
        "--app", apps["two"].address, "--app", apps["three"].address, "--balance", policy,
        *OPTIONS])
    counts, due, kept = Counts(workers), collections.defaultdict(list), 0

    def is_settled():
        now = rows(proxy)
        return all(now[app.address]["sessions"] == sum(alive[name] for alive in counts.alive)
                   for name, app in apps.items())

    for arrival in range(ARRIVALS):
        leaving = due.pop(arrival, ())
        for visit in leaving:
            visit.leave()
            counts.alive[visit.worker][visit.app] -= 1
        if leaving:
            proxy.wait_stats(lambda _: is_settled())
        visit = Visit(Client(proxy.port))
        kept += is_kept(visit, counts)
        counts.come(visit)
        counts.note()
        due[arrival + LASTS[visit.app]].append(visit)
    for leaving in due.values():
        for visit in leaving:
            visit.leave()
    figure(f"{policy}, speeds 4 : 2 : 1", workers, promise,
           f"kept by {kept} of {ARRIVALS}; given {counts.all()}, alive differed by up to "
           f"{counts.apart}")
    assert kept == ARRIVALS


# one that leaves


class ClientAt(Client):
    """A client at another address of this machine."""

    def __init__(self, port, source):
        self.source = source
        super().__init__(port)

    def _open_socket(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.source, 0))
        sock.connect(self.peer)
        sock.setblocking(False)
        return sock


def visit_by(kind, proxy, key):
    if kind == "client":
        return Visit(ClientAt(proxy.port, f"127.0.0.{1 + key}"))
    options = {"path": {"path": f"/{key}"},
               "header": {"headers": [(b"x-key", b"%d" % key)]},
               "cookie": {"headers": [(b"cookie", b"a=b; key=%d; c=d" % key)]}}
    return Visit(Client(proxy.port), **options[kind])


NAMES = {"client": "", "path": "", "header": ", hash_name: X-Key", "cookie": ", hash_name: key"}


def configuration(kind, apps):
    addresses = ", ".join(f"'{app.address}'" for app in apps)
    return (f"backends: {{app: {{addresses: [{addresses}], balance: hash, hash_by: {kind}"
            f"{NAMES[kind]}}}}}\nroutes: [{{backend: app}}]\n")


def where(kind, proxy):
    """The application that each key gets."""
    found = {}
    with contextlib.ExitStack() as visits:
        for key in range(KEYS):
            visit = visit_by(kind, proxy, key)
            visits.callback(visit.leave)
            found[key] = visit.app
    return found


def check_moved(before, now, gone):
    """Nobody's keys but its own have moved; returns how many that were."""
    own = {key for key, app in before.items() if app == gone}
    assert gone not in now.values()
    assert {key for key in before if now[key] != before[key]} == own
    return len(own)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", NAMES)
def test_hash_moves_only_the_keys_of_one_that_leaves(world, apps, figure, kind, workers):
    proxy = world.configured(configuration(kind, apps.values()), workers=workers,
                             arguments=OPTIONS)
    before = where(kind, proxy)
    assert where(kind, proxy) == before
    moved = []
    for gone in list(apps.values())[:LEAVERS]:
        gone.kill()
        moved.append(check_moved(before, where(kind, proxy), gone.name))
        gone.start()
        proxy.wait_stats(lambda _: rows(proxy)[gone.address]["up"] == workers)
        assert where(kind, proxy) == before  # they come back
    leaver = apps["one"]  # by the configuration, too
    rest = [app for app in apps.values() if app is not leaver]
    assert world.reload(proxy, configuration(kind, rest))["event"] == "reloaded"
    assert check_moved(before, where(kind, proxy), leaver.name) == moved[0]
    assert world.reload(proxy, configuration(kind, apps.values()))["event"] == "reloaded"
    assert where(kind, proxy) == before
    figure(f"hash by {kind}, one leaves", workers, "only its own keys move, about a third",
           f"of {KEYS} keys {' / '.join(str(n) for n in moved)} move, which were its own; "
           "0 others; all come back")
