"""The stage of test_stuck_*.py: an application of many kinds of sessions (apps/stuck.py), a client of
many kinds (stress.c), and what is measured between them: the proxy's memory, and how a bystander on
the same worker fares beside trouble."""

import json
import os
import queue
import statistics
import subprocess
import sys
import threading

from .proxy import BUILD, ROOT

TIMEOUT = 40
SOAK = os.environ.get("SOAK") == "1"
SANITIZED = "asan" in BUILD or "tsan" in BUILD  # resident memory then means nothing
MIB = 1 << 20
STILL = 5  # looks at the statistics that must be the same


class Spoken:
    """A process that is spoken with in lines."""

    def __init__(self, command, env=()):
        self.process = subprocess.Popen(command, env={**os.environ, **dict(env)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, timeout=TIMEOUT):
        try:
            return self.lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.process.args}: no word within {timeout} s") from None

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


APPS = {
    "text": [sys.executable, os.path.join(ROOT, "tests/wire/apps/stuck.py")],
    "python": [sys.executable, os.path.join(ROOT, "tests/wire/apps/library.py")],
    "c": [os.path.join(BUILD, "tests/wire/library")],
}
LIBRARY = os.path.join(ROOT, "backends/python")


class App(Spoken):
    """kind: written from the protocol's text, or with one of the libraries."""

    def __init__(self, kind, path):
        self.address = f"unix:{path}"
        super().__init__([*APPS[kind], self.address], {"PYTHONPATH": LIBRARY})
        assert self.line() == "listening"

    def told(self):
        line = self.line()
        assert line is not None, "the application has ended"
        return json.loads(line)


class PlainService(Spoken):
    """apps/service.py: "work" or "echo"."""

    def __init__(self, kind, path=None):
        super().__init__([sys.executable, os.path.join(ROOT, "tests/wire/apps/service.py"), kind,
                          *([f"unix:{path}"] if path else [])])
        word, self.address = self.line().split()
        assert word == "listening"


class Client(Spoken):
    def __init__(self, proxy, path, scenario, **options):
        super().__init__([os.path.join(BUILD, "tests/wire/stress"), f"{proxy.host}:{proxy.port}",
                          path, scenario, *(f"{name}={value}" for name, value in options.items())])

    def expect(self, word, timeout=TIMEOUT):
        """The next line, which must begin with word; its `name=number` fields."""
        line = self.line(timeout)
        assert line is not None, f"{self.process.args}: ended with {self.process.wait()}"
        assert line.split()[0] == word, f"{self.process.args}: expected {word}, got {line}"
        return {name: int(number) for name, _, number in
                (part.partition("=") for part in line.split()[1:])}

    def end(self):
        """Closes its sessions in good order."""
        self.say("end")
        while (line := self.line()) is not None and not line.startswith("closed"):
            pass
        assert self.process.wait(TIMEOUT) == 0, self.process.args
        return {name: int(number) for name, _, number in
                (part.partition("=") for part in line.split()[1:])}


class Bystander(Client):
    """Works in rounds. way: "down", "up" or "echo"."""

    def __init__(self, proxy, way="down", path="/work", **options):
        super().__init__(proxy, path, "work", **options)
        self.way = way
        self.expect("ready")

    def round(self):
        """MB/s of one round."""
        self.say(self.way)
        done = self.expect("round")
        return done["bytes"] / done["us"]


class Share:
    """What a bystander gets with trouble beside it and without, in turns, so that a machine that is
    slow for a while is slow for both. begin() makes the trouble, end() ends it. How much of it is
    a matter for make soak; elsewhere the bystander has to come to the end of its rounds."""

    TURNS, TURNS_IN_DOUBT = (3, 9) if SOAK else (1, 1)

    def __init__(self, bystander):
        self.bystander = bystander
        self.alone, self.beside = [], []

    def _turn(self, begin, end):
        self.alone.append(self.bystander.round())
        begin()
        self.beside.append(self.bystander.round())
        end()

    @property
    def ratio(self):
        return statistics.median(b / a for a, b in zip(self.alone, self.beside))

    def measure(self, begin, end, least):
        """least: half of the bystander's fair share, as a ratio to what it has alone."""
        while len(self.alone) < self.TURNS or (self.ratio < least and
                                               len(self.alone) < self.TURNS_IN_DOUBT):
            self._turn(begin, end)
        print(f"bystander: {statistics.median(self.beside):.1f} MB/s beside the trouble, "
              f"{statistics.median(self.alone):.1f} without: {self.ratio:.2f}, "
              f"at least {least:.2f} is due")
        if SOAK:
            assert self.ratio >= least, (self.alone, self.beside)


class Memory:
    """The proxy's resident memory: what it was at its peak since, over what it is now."""

    def __init__(self, proxy):
        self.proxy = proxy
        with open(f"/proc/{proxy.process.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")  # forget the peak
        self.before = self.now("VmRSS")

    def now(self, name):
        with open(f"/proc/{self.proxy.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def check(self, allowed):
        grown = self.now("VmHWM") - self.before
        print(f"memory: {self.before / MIB:.1f} MiB before, {grown / MIB:.1f} more at its peak, "
              + ("sanitizers take most of it" if SANITIZED
                 else f"{allowed / MIB:.1f} are allowed"))
        if not SANITIZED:
            assert grown <= allowed


class Stage:
    """One proxy with one worker, its application, and clients, which are ended with it."""

    def __init__(self, world):
        self.world = world
        self.app = self.proxy = None
        self.clients = []

    def start(self, *arguments, app="text"):
        self.app = App(app, os.path.join(self.world.directory, "stuck.sock"))
        self.proxy = self.world.proxy(self.app.address, workers=1, arguments=arguments)
        return self.proxy

    def start_bridge(self, kind, *arguments, workers=1, unix=False):
        """The same before a plain service."""
        self.app = PlainService(kind, os.path.join(self.world.directory, "plain.sock") if unix else None)
        self.proxy = self.world.bridge(self.app.address, workers=workers, arguments=arguments)
        return self.proxy

    def start_client(self, path, scenario, **options):
        client = Client(self.proxy, path, scenario, **options)
        self.clients.append(client)
        return client

    def client(self, path, scenario, **options):
        """The same; its sessions are accepted."""
        client = self.start_client(path, scenario, **options)
        client.expect("ready")
        return client

    def bystander(self, way="down", **options):
        """See Bystander."""
        client = Bystander(self.proxy, way, **options)
        self.clients.append(client)
        client.round()  # warm
        return client

    def wait_still(self):
        """Until no packet and no frame moves any more; returns the statistics."""
        names = ("packets_received", "packets_sent", "frames_received", "frames_sent")
        last, same = None, 0

        def is_still(stats):
            nonlocal last, same
            now = [stats[name] for name in names]
            last, same = now, same + 1 if now == last else 0
            return same == STILL
        return self.proxy.wait_stats(is_still)

    def lost(self, client):
        """The code with which the other side closed a client's only session; the client is ended."""
        code = client.expect("lost")["code"]
        self.end(client)
        return code

    def end(self, client):
        self.clients.remove(client)
        return client.end()

    def stop(self, good):
        for client in self.clients:
            if good:
                client.end()
            else:
                client.kill()
        if good and self.proxy:
            self.proxy.wait_idle()
        if self.app:
            self.app.kill()
