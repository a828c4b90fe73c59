"""kill -9 of one of three application processes under load: only its own sessions end."""

import collections
import os

import pytest
from support.appprocess import AppProcess, name_of
from support.quicclient import Client

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SESSIONS = 12
CHUNK = 4000
LOST = (1, "the application closed its connection without ending the session")
QUICK = ("--rest-first", "20ms", "--rest-last", "100ms", "--slow-start", "0")


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
        """Everything has come back, as it was."""
        self.client.wait(lambda: len(self.stream.data) >= len(self.sent))
        assert self.stream.data == self.sent
        assert not self.session.closed and self.stream.reset_code is None

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
    """Until there is exactly what belongs to these guests: one descriptor each."""
    sessions = len(guests)

    def is_so(stats):
        for guest in guests:
            guest.client.step()  # acknowledges
        return (stats["sessions"] == stats["links"] == stats["connections"] == sessions and
                stats["streams"] == sessions and stats["sessions_waiting"] == 0 and
                stats["receive_bytes"] == stats["send_bytes"] == 0 and
                files(proxy) - idle_files == sessions)
    proxy.wait_stats(is_so)


def play(proxy, killed, guests, idle_files):
    """One round. Returns the guests of the next one."""
    hit = [guest for guest in guests if guest.app == killed.name]
    others = [guest for guest in guests if guest.app != killed.name]
    assert len(hit) == SESSIONS // 3
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
    ends = proxy.find("session.closed", start=before)
    assert [end["address"] for end in ends] == [killed.address] * len(hit)
    assert {(end["by"], end["code"], end["fault"]) for end in ends} == \
        {("proxy", "1", "backend_lost")}

    killed.start()
    proxy.wait_log("backend.up", start=before, address=killed.address)
    left = {app: SESSIONS // 3 for app in {guest.app for guest in others}}
    stay = []
    for guest in others + new:
        if left[guest.app]:
            left[guest.app] -= 1
            stay.append(guest)
        else:
            guest.leave()
    settle(proxy, stay, idle_files)
    back = [Guest(proxy) for _ in range(SESSIONS - len(stay))]
    assert {guest.app for guest in back} == {killed.name}
    return stay + back


def test_who_is_killed_takes_only_its_own_sessions_along(world, apps):
    proxy = world.proxy(apps[0].address, workers=1,
                        arguments=["--app", apps[1].address, "--app", apps[2].address, *QUICK,
                                   *(word for what in ("connections", "connection-rate", "sessions",
                                                       "session-rate")
                                     for word in (f"--client-{what}", "unlimited"))])
    proxy.gauges()
    idle_files = files(proxy)
    guests = [Guest(proxy) for _ in range(SESSIONS)]
    assert set(collections.Counter(guest.app for guest in guests).values()) == {SESSIONS // 3}
    for i in range(ROUNDS):
        guests = play(proxy, apps[i % 3], guests, idle_files)
    print(f"{ROUNDS} rounds, {ROUNDS * SESSIONS // 3} sessions lost, "
          f"{sum(len(guest.sent) for guest in guests)} bytes echoed to those who are left")
    for guest in guests:
        guest.leave()
    settle(proxy, [], idle_files)
    proxy.stop()
