"""Measures Sluice with a C application against the limit: the front with an echo inside the same
process.

    bench.py                    everything, five rounds (make bench)
    bench.py --quick            one short round
    bench.py --path             1 GB each way over a path of 50 ms with loss, one round
    bench.py --bridge           plain services behind a bridge, against the application
    bench.py --only echo        some scenarios only (may be repeated)
    bench.py --json FILE        the medians for programs, too

One round runs each scenario once on the limit and once on Sluice, right after each other, so that a
machine that is slow for a while is slow for both. What is printed are medians over the rounds; of the
ratios, too, which are made within a round. Only ratios mean something on another machine.

What other programs take from the processors meanwhile is measured, too, and told at the end. Pairs of
runs that they disturbed by more than DISTURBED are made again as long as there is time, and the least
disturbed one counts.

CPU time is what the kernel has counted for the server's threads (and the application's) while a run
went on. Memory is resident memory, before and with so many idle sessions.
"""

import argparse
import atexit
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN_TIMEOUT_S = 120
DISTURBED = 0.05  # of all processors


@dataclasses.dataclass
class Scenario:
    name: str
    what: str
    load: str  # arguments of load
    quick: str
    per_gb: bool = False  # CPU seconds per GB are worth a line
    loss: float | None = None  # through tests/bench/path, with so many packets of 100 lost each way


SCENARIOS = [
    Scenario("echo", "echo, one stream", "echo bytes=512M", "echo bytes=128M", True),
    Scenario("echo100", "echo, 100 streams of 10 sessions",
             "echo sessions=10 streams=10 bytes=512M", "echo sessions=10 streams=10 bytes=128M", True),
    Scenario("upload", "upload, one stream", "upload bytes=512M", "upload bytes=128M", True),
    Scenario("download", "download, one stream", "download bytes=512M", "download bytes=128M", True),
    Scenario("datagrams", "datagram echo, 1,000 B, 64 in flight",
             "datagrams size=1000 count=200000", "datagrams size=1000 count=50000", True),
    Scenario("latency", "ping-pong, 64 B", "latency count=20000", "latency count=5000"),
]

# Where loss decides, one connection is slow whoever serves it: hence many.
PATH_SCENARIOS = [
    Scenario("path-upload", "upload, 50 ms, 1 % loss, 100 sessions", "upload sessions=100 bytes=1000M",
             "upload sessions=100 bytes=100M", loss=1),
    Scenario("path-download", "download, 50 ms, 1 % loss, 100 sessions",
             "download sessions=100 bytes=1000M", "download sessions=100 bytes=100M", loss=1),
    Scenario("far-upload", "upload, 50 ms, one stream", "upload bytes=256M", "upload bytes=64M", loss=0),
    Scenario("far-download", "download, 50 ms, one stream", "download bytes=256M",
             "download bytes=64M", loss=0),
]


@dataclasses.dataclass
class Place:
    processors: list
    priority: int  # real-time, or 0

    def take(self):
        """In a child, before it becomes a program."""
        os.sched_setaffinity(0, self.processors)
        if self.priority:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self.priority))


class Processors:
    """Who runs where. The server and the load each have a processor of their own; the application
    has one if there is a third, and otherwise goes wherever there is time."""

    def __init__(self, pin, realtime=False):
        mine = sorted(os.sched_getaffinity(0))
        self.pinned = pin and len(mine) >= 2
        self.realtime = realtime
        # The one that sleeps most goes first when it wakes up, as it does with normal priorities.
        self.server = Place(mine[:1] if self.pinned else mine, realtime * 1)
        self.load = Place(mine[1:2] if self.pinned else mine, realtime * 1)
        self.app = Place(mine[2:3] if self.pinned and len(mine) >= 3 else mine, realtime * 2)


def start(command, place, **options):
    """Popen in that place, with its standard output as text."""
    return subprocess.Popen([str(part) for part in command], text=True, stdout=subprocess.PIPE,
                            preexec_fn=place.take, **options)


def cpu_ns(pid):
    """What the threads of a process have run, in nanoseconds."""
    return sum(int((thread / "schedstat").read_text().split()[0])
               for thread in pathlib.Path(f"/proc/{pid}/task").iterdir())


def busy_s():
    """Seconds that all processors were busy, with whatever."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


class Side:
    server = app = None

    def kill(self):
        for process in (self.server, self.app):
            if process and process.poll() is None:
                process.kill()


class Limit(Side):
    name = "limit"

    def __init__(self, build, where):
        atexit.register(self.kill)
        self.server = start([build / "tests/bench/limit", "127.0.0.1:0"], where.server,
                            stdin=subprocess.PIPE)
        self.port = int(self.server.stdout.readline().split("port=")[1])
        self.pids = {"server": self.server.pid}

    def stop(self):
        self.server.stdin.close()
        return self.server.wait(30)


class Sluice(Side):
    """With an application behind it."""
    name = "sluice"

    def __init__(self, build, where):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-bench-")
        self.app, backend = self._backend(build, where)
        self.log = open(f"{self.folder.name}/log", "w+")
        atexit.register(self.kill)  # whatever happens, nobody is left behind
        self.server = start([build / "proxy/sluice", *backend], where.server, stderr=self.log)
        self.port = self._wait_for_port()
        self.pids = {"server": self.server.pid, "app": self.app.pid}

    def _backend(self, build, where):
        """What is started, and the arguments that lead to it."""
        address = f"unix:{self.folder.name}/app.sock"
        app = start([build / "tests/bench/app", address], where.app)
        app.stdout.readline()
        return app, ["--listen", "127.0.0.1:0", "--cert", "auto", "--workers", 1, "--app", address]

    def _wait_for_port(self):
        for _ in range(1000):
            found = re.search(r"event=listening.* port=(\d+)",
                              pathlib.Path(self.log.name).read_text())
            if found:
                return int(found[1])
            if self.server.poll() is not None:
                break
            time.sleep(0.01)
        raise SystemExit("bench: sluice did not start:\n" + pathlib.Path(self.log.name).read_text())

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        status = self.server.wait(30)
        self.app.send_signal(signal.SIGTERM)
        status = status or self.app.wait(30)
        self.folder.cleanup()
        return status


class Bridge(Sluice):
    """With plain services behind it."""
    name = "bridge"

    def _backend(self, build, where):
        service = start([build / "tests/bench/service"], where.app)
        ports = dict(re.findall(r"(\w+)=(\d+)", service.stdout.readline()))
        backends = {name: {"kind": "bridge", "addresses": [f"tcp:127.0.0.1:{ports[name]}"],
                           "datagrams": [f"udp:127.0.0.1:{ports['udp']}"]}
                    for name in ("echo", "sink", "source")}
        routes = [{"path": f"/{name}", "backend": name} for name in backends]
        config = pathlib.Path(self.folder.name) / "sluice.yaml"
        config.write_text(json.dumps({"listeners": [{"address": "127.0.0.1:0"}],
                                      "certificates": [{"cert": "auto"}], "workers": 1,
                                      "backends": backends, "routes": routes}))
        return service, ["--config", config]


@contextlib.contextmanager
def path_to(build, where, server, loss, seed):
    """The port of a path to the server; the same seed loses the same packets."""
    path = start([build / "tests/bench/path", f"127.0.0.1:{server.port}", "delay_ms=25",
                  f"loss_percent={loss}", f"seed={seed}"], where.load)
    try:
        yield int(path.stdout.readline().split("port=")[1])
    finally:
        path.terminate()
        path.communicate()


def run_load(build, where, server, words, port=None):
    """One run of load: its figures, and the CPU seconds that each process of the server spent."""
    before = {name: cpu_ns(pid) for name, pid in server.pids.items()}
    busy, ours, began = busy_s(), os.times(), time.monotonic()
    load = start([build / "tests/bench/load", f"127.0.0.1:{port or server.port}", *words.split()],
                 where.load, stderr=subprocess.PIPE)
    try:
        out, problem = load.communicate(timeout=RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        load.kill()
        raise SystemExit(f"bench: load {words} on {server.name} did not end in {RUN_TIMEOUT_S} s")
    if load.returncode != 0:
        raise SystemExit(f"bench: load {words} on {server.name} failed: {problem}")
    result = json.loads(out)
    result["cpu_s"] = {name: (cpu_ns(pid) - before[name]) / 1e9 for name, pid in server.pids.items()}
    after = os.times()  # with the load, which has ended
    ours = sum(after[:4]) - sum(ours[:4]) + sum(result["cpu_s"].values())
    result["others"] = max(0, (busy_s() - busy - ours) / (time.monotonic() - began) / os.cpu_count())
    return result


def figures(scenario, result):
    """What is compared, by name: (value, unit, whether more is better)."""
    out = {}
    if "mb_per_s" in result:
        out[scenario.what] = (result["mb_per_s"], "MB/s", True)
    if "per_s" in result:
        out[scenario.what] = (result["per_s"], "/s", True)
        out["  lost"] = (100 * result["loss"], "%", False)
    if "p50_us" in result:
        out[scenario.what + ", p50"] = (result["p50_us"], "us", False)
        out[scenario.what + ", p99"] = (result["p99_us"], "us", False)
    if scenario.per_gb:
        cpu = result["cpu_s"]
        gb = result["bytes"] / 1e9
        out["  CPU per GB"] = (sum(cpu.values()) / gb, "s", False)
        if "app" in cpu:
            out["  of which proxy"] = (cpu["server"] / gb, "s", False)
            out["  of which backend"] = (cpu["app"] / gb, "s", False)
    return out


def run_pair(build, where, scenario, sides, words, seed):
    """One result of each side, and how much others disturbed the more disturbed one."""
    results = []
    for side in sides:
        began = time.monotonic()
        if scenario.loss is None:
            results.append(run_load(build, where, side, words))
        else:
            with path_to(build, where, side, scenario.loss, seed) as port:
                results.append(run_load(build, where, side, words, port))
        if where.realtime:  # the others' turn
            time.sleep(2 * (time.monotonic() - began))
    return results, max(result["others"] for result in results)


def measure(build, where, kinds, scenarios, rounds, quick, budget_s):
    """{scenario: {figure: {side: [values]}}} of all rounds, and what others took in each pair."""
    began, taken, others = time.monotonic(), {}, []
    sides = [kind(build, where) for kind in kinds]
    for number in range(rounds):
        if number and time.monotonic() - began > budget_s:
            print(f"(time is up after {number} of {rounds} rounds)")
            break
        for scenario in scenarios:
            words = scenario.quick if quick else scenario.load
            results, taken_by_others = run_pair(build, where, scenario, sides, words, number + 1)
            may_repeat = not quick and not where.realtime
            while (taken_by_others > DISTURBED and may_repeat
                   and time.monotonic() - began < budget_s / 2):
                again = run_pair(build, where, scenario, sides, words, number + 1)
                if again[1] < taken_by_others:
                    results, taken_by_others = again
            others.append(taken_by_others)
            for side, result in zip(sides, results):
                for name, figure in figures(scenario, result).items():
                    row = taken.setdefault(scenario.name, {}).setdefault(name, {"unit": figure[1]})
                    row.setdefault(side.name, []).append(figure[0])
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    for side in sides:
        if side.stop() != 0:
            raise SystemExit(f"bench: {side.name} did not end in good order")
    return taken, others


@contextlib.contextmanager
def idle_sessions(build, where, server, count):
    load = start([build / "tests/bench/load", f"127.0.0.1:{server.port}", "idle",
                  f"sessions={count}"], where.load, stdin=subprocess.PIPE)
    if load.stdout.readline() != "ready\n":
        raise SystemExit("bench: the idle sessions were not accepted")
    yield
    load.communicate("\n", timeout=RUN_TIMEOUT_S)


def measure_memory(build, where, sessions):
    """Resident bytes per idle session of each process, on processes that are fresh."""
    rows = {}
    for kind in (Limit, Sluice):
        side = kind(build, where)
        # The first ones use up what is free, and what is made once.
        with idle_sessions(build, where, side, 200):
            before = {name: rss_bytes(pid) for name, pid in side.pids.items()}
            with idle_sessions(build, where, side, sessions):
                rows[side.name] = {name: (rss_bytes(pid) - before[name]) / sessions
                                   for name, pid in side.pids.items()}
        side.stop()
    return rows


def ratio_of(row, names):
    """Median of the rounds' ratios."""
    pairs = [s / l for l, s in zip(*(row[name] for name in names)) if l]
    return statistics.median(pairs) if pairs else None


def show(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def print_table(taken, memory, sessions, names):
    print(f"\n| {'':38} | {names[0]:>12} | {names[1]:>12} | ratio |")
    print(f"|{'-' * 40}|{'-' * 13}:|{'-' * 13}:|{'-' * 6}:|")

    def line(name, unit, limit, sluice, ratio):
        cells = [f"{show(v)} {unit}" if v is not None else "" for v in (limit, sluice)]
        last = f"{ratio:.2f}" if ratio is not None else ""
        print(f"| {name:38} | {cells[0]:>12} | {cells[1]:>12} | {last:>5} |")

    for rows in taken.values():
        for name, row in rows.items():
            base, other = (statistics.median(row[s]) if s in row else None for s in names)
            line(name, row["unit"], base, other, ratio_of(row, names) if base else None)
    if memory:
        limit, sluice = memory["limit"]["server"] / 1024, memory["sluice"]["server"] / 1024
        line(f"memory per idle session, of {sessions:,}", "KiB", limit, sluice, sluice / limit)
        line("  application", "KiB", None, memory["sluice"]["app"] / 1024, None)


def describe_machine(where):
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"{os.cpu_count()} processors ({model[1] if model else platform.machine()}), "
          f"Linux {platform.release().split('-')[0]}, "
          f"{'server and load pinned to one each' if where.pinned else 'nothing pinned'}"
          f"{', real-time priority' if where.realtime else ''}; "
          f"load average {os.getloadavg()[0]:.1f} at the beginning")


def main():
    parser = argparse.ArgumentParser(description="Measures Sluice against the limit.")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-bench")
    parser.add_argument("--rounds", type=int, help="5, or 1 with --path")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--path", action="store_true", help="over a path of 50 ms, with and without loss")
    parser.add_argument("--bridge", action="store_true",
                        help="plain services behind a bridge, against the application")
    parser.add_argument("--only", action="append",
                        choices=[s.name for s in SCENARIOS + PATH_SCENARIOS] + ["memory"])
    parser.add_argument("--sessions", type=int, default=1000, help="idle ones, for memory")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel place processes")
    parser.add_argument("--realtime", action="store_true",
                        help="on a machine that others use, as root: real-time priority, with pauses")
    parser.add_argument("--budget", type=float, default=200, help="seconds; no round begins later")
    parser.add_argument("--json", type=pathlib.Path, help="write all values to this file, too")
    options = parser.parse_args()
    build, where = options.build.resolve(), Processors(not options.no_pin, options.realtime)
    chosen = [s for s in (PATH_SCENARIOS if options.path else SCENARIOS)
              if not options.only or s.name in options.only]
    kinds = (Sluice, Bridge) if options.bridge else (Limit, Sluice)
    rounds = options.rounds or (1 if options.quick or options.path else 5)
    describe_machine(where)
    taken, others = {}, []
    if chosen:
        taken, others = measure(build, where, kinds, chosen, rounds, options.quick, options.budget)
    memory = None
    if "memory" in (options.only or ["memory"]) and not (options.path or options.bridge):
        memory = measure_memory(build, where, options.sessions)
    sys.stderr.flush()
    print_table(taken, memory, options.sessions, [kind.name for kind in kinds])
    if others and not options.path:  # the path is one of the others
        print(f"\nOther programs took {100 * statistics.median(others):.0f} % of the processors "
              f"meanwhile (median; the most {100 * max(others):.0f} %). Above some percent, only the "
              "lines of CPU and memory mean something.")
    if options.json:
        options.json.write_text(json.dumps({"scenarios": taken, "memory": memory}, indent=1))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nbench: interrupted")
