"""kill -9 of one of three application processes under load: only its own sessions end."""

import collections
import json
import os

import pytest
from support.appprocess import AppProcess, name_of
from support.quicclient import Client

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SESSIONS = 24
CHUNK = 10000
LOST = (1, "the application closed its connection without ending the session")
OPTIONS = ("--rest-first", "20ms", "--rest-last", "100ms", "--slow-start", "0",
           *(word for what in ("connections", "connection-rate", "sessions", "session-rate")
             for word in (f"--client-{what}", "unlimited")))


class Guest:
    """A client with one session, on one stream of which it sends more and more."""

    def __init__(self, proxy):
        self.client = Client(proxy.port)
        self.session = self.client.session()
        assert self.session.wait_response() == 200
        self.app = name_of(self.session)
        self.sent = bytearray()
        self.stream = self.session.open()

    def send(self):
        """Does not wait for the echo: it is under way when something happens."""
        data = os.urandom(CHUNK)
        self.sent += data
        self.client.send(self.stream, data)
        self.client.flush()

    def check(self):
        """Everything has come back, as it was, and nothing else has happened."""
        self.client.wait(lambda: len(self.stream.data) >= len(self.sent))
        assert self.stream.data == self.sent
        assert not self.client.terminated and not self.session.drained and not self.session.closed
        assert self.session.reset_code is self.session.stop_code is None
        assert self.stream.reset_code is self.stream.stop_code is None and not self.stream.ended

    def check_lost(self):
        self.client.wait(lambda: self.session.closed)
        assert self.session.closed == LOST
        self.session.end()
        self.client.flush()
        self.client.close()

    def leave(self):
        self.check()
        self.session.close(0)
        self.client.wait(lambda: self.session.ended)
        self.client.close()


def files(proxy):
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


@pytest.fixture
def apps(directory):
    three = [AppProcess(directory, name) for name in ("one", "two", "three")]
    yield three
    for app in three:
        app.kill()


def settle(proxy, guests, idle_files):
    """Until there is exactly what belongs to these guests: one descriptor each, and no byte."""
    sessions = len(guests)

    def is_so(stats):
        for guest in guests:
            guest.client.step()  # acknowledges
        return (stats["sessions"] == stats["links"] == stats["connections"] == sessions and
                stats["streams"] == sessions and stats["sessions_waiting"] == 0 and
                stats["receive_bytes"] == stats["send_bytes"] == stats["datagrams"] == 0 and
                (sessions or stats["memory_bytes"] == 0) and
                files(proxy) - idle_files == sessions)
    proxy.wait_stats(is_so)


def come_back(proxy, killed, wanted, workers):
    """So many new guests, and more until one is at the application that is back: whoever has the
    fewest sessions gets the next one, in each worker."""
    guests = [Guest(proxy) for _ in range(wanted)]
    while killed.name not in [guest.app for guest in guests]:
        assert len(guests) <= wanted + 3 * workers
        guests.append(Guest(proxy))
    return guests


def is_back(proxy, app, workers):
    """In the opinion of each worker."""
    rows = {row["address"]: row for row in json.loads(proxy.get("/stats")[1])["backends"]}
    return rows[app.address]["up"] == workers


def play(proxy, killed, guests, idle_files, workers):
    """One round. Returns the guests of the next one, and how many were lost."""
    hit = [guest for guest in guests if guest.app == killed.name]
    others = [guest for guest in guests if guest.app != killed.name]
    assert hit and others
    before = len(proxy.events)
    for guest in guests:
        guest.send()
    killed.kill()
    for guest in others:
        guest.send()
    for guest in hit:
        guest.check_lost()
    new = [Guest(proxy) for _ in hit]  # at once, while it is away
    assert killed.name not in [guest.app for guest in new]
    for guest in new:
        guest.send()
    for guest in others + new:
        guest.check()
    settle(proxy, others + new, idle_files)
    proxy.wait_stats(lambda _: len(proxy.find("session.closed", start=before)) >= len(hit))
    ends = proxy.find("session.closed", start=before)
    assert [end["address"] for end in ends] == [killed.address] * len(hit)
    assert {(end["by"], end["code"], end["fault"]) for end in ends} == \
        {("proxy", "1", "backend_lost")}

    killed.start()
    proxy.wait_log("backend.down", start=before, address=killed.address)
    proxy.wait_stats(lambda _: is_back(proxy, killed, workers))
    left = {app: SESSIONS // 3 for app in {guest.app for guest in others}}
    stay = []
    for guest in others + new:
        if left[guest.app]:
            left[guest.app] -= 1
            stay.append(guest)
        else:
            guest.leave()
    settle(proxy, stay, idle_files)
    back = come_back(proxy, killed, SESSIONS - len(stay), workers)
    if workers == 1:
        assert {guest.app for guest in back} == {killed.name}
    return stay + back, len(hit)


@pytest.mark.parametrize("workers", [1, 2])
def test_who_is_killed_takes_only_its_own_sessions_along(world, apps, figure, workers):
    proxy = world.proxy(apps[0].address, workers=workers,
                        arguments=["--app", apps[1].address, "--app", apps[2].address, *OPTIONS])
    proxy.gauges()
    idle_files = files(proxy)
    guests = [Guest(proxy) for _ in range(SESSIONS)]
    if workers == 1:
        assert set(collections.Counter(guest.app for guest in guests).values()) == {SESSIONS // 3}
    lost = 0
    for i in range(ROUNDS):
        guests, more = play(proxy, apps[i % 3], guests, idle_files, workers)
        lost += more
    for guest in guests:
        guest.leave()
    settle(proxy, [], idle_files)
    proxy.stop()
    others = len(proxy.find("session.closed", by="client", code=0))
    assert len(proxy.find("session.closed", fault="backend_lost")) == lost
    assert len(proxy.find("session.closed")) == lost + others
    figure(f"kill -9 of one of three, {ROUNDS} times", workers,
           "its own sessions end, no other is touched, nothing leaks",
           f"{lost} of its own ended, {others} others well; "
           "0 descriptors, 0 bytes left")
