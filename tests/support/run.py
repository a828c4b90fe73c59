"""The one test runner: builds, runs suites, adds up their results.

    run.py                  every suite once (make test)
    run.py unit wire        some suites only (make test SUITE="unit wire")
    run.py --soak           the long loops (make soak)
    run.py --list           the suites there are

Every suite ends in JUnit XML or in results counted here, and the last line printed is the sum:
`N passed, N failed`, with `, N skipped` only when something was skipped, each with its reason. The
exit status is 0 only if nothing failed and every suite that was asked for had results.

What tests may rely on, through the environment:
    SLUICE_BUILD    the build folder whose programs they test (absolute)
    SLUICE_WORKERS  how many workers the proxy under test has
    SEEDS, REPEAT   how many seeds or repeats a loop test does (few in make test)
    ROUNDS          how often tests/chaos does its worst (few in make test, 50 in make chaos)
    SOAK            1 in make soak, absent otherwise
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "build-results"
WIRE_TOOLS = ROOT / "build/wire"
DEBIAN_PYTHON = pathlib.Path("/usr/bin/python3")  # sees the modules that Debian's packages bring
PYTHON = DEBIAN_PYTHON if DEBIAN_PYTHON.exists() else pathlib.Path(sys.executable)
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))

SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
# name: (options of meson setup, compiler). Tests run what clang made, users what gcc made, so that
# both compilers see all of the code on every run.
BUILDS = {
    "build": ([], "gcc"),
    "build-asan": (["-Dsanitize=address"], "clang"),
    "build-tsan": (["-Dsanitize=thread"], "clang"),
    "build-fuzz": (["-Dsanitize=address", "-Dfuzz=true", "-Db_lundef=false"], "clang"),
}


@dataclasses.dataclass
class Suite:
    name: str
    kind: str  # lint, meson, pytest, interop or fuzz
    what: str  # the meson suite, or the pytest folder
    build: str = ""
    env: dict = dataclasses.field(default_factory=dict)


TEST = [
    Suite("lint", "lint", "tests/lint"),
    Suite("lint-rules", "pytest", "tests/lint"),
    Suite("unit", "meson", "unit", "build-asan"),
    Suite("mem", "meson", "mem", "build-asan"),
    Suite("python", "pytest", "backends/python/tests", "build"),
    Suite("wire", "pytest", "tests/wire", "build"),
    Suite("chaos", "pytest", "tests/chaos", "build-asan"),  # which knows of each byte that leaks
    Suite("interop", "interop", "tests/interop", "build"),
]
SOAK = [
    Suite("lint", "lint", "tests/lint"),
    Suite("lint-rules", "pytest", "tests/lint"),
    Suite("unit", "meson", "unit", "build-asan"),
    Suite("mem", "meson", "mem", "build-asan"),
    Suite("unit-tsan", "meson", "unit", "build-tsan"),
    Suite("mem-tsan", "meson", "mem", "build-tsan"),
    Suite("python", "pytest", "backends/python/tests", "build-asan"),
    Suite("wire", "pytest", "tests/wire", "build-asan"),
    Suite("chaos", "pytest", "tests/chaos", "build-asan", {"ROUNDS": "50"}),
    Suite("interop", "interop", "tests/interop", "build-asan"),
    Suite("wire-tsan", "pytest", "tests/wire", "build-tsan", {"SLUICE_WORKERS": "2"}),
    Suite("fuzz", "fuzz", "tests/fuzz", "build-fuzz"),
    Suite("container", "pytest", "tests/container"),
]
# Only by name: what make test does not install.
MORE = [
    Suite("services", "pytest", "tests/services", "build"),
    Suite("examples", "pytest", "tests/examples", "build"),
]


# What tests measure, of what was promised: pytest's record_property("figure", cells with tabs).
FIGURES = ["what", "workers", "promised", "measured"]


@dataclasses.dataclass
class Result:
    name: str
    state: str  # passed, failed or skipped
    text: str = ""
    figures: list = dataclasses.field(default_factory=list)  # rows of FIGURES, for people


def say(*words):
    print(*words, flush=True)


class Progress:
    """Counts results while a suite runs: in place on a terminal, a line now and then elsewhere."""

    def __init__(self, suite):
        self.suite, self.count, self.told = suite, 0, time.monotonic()

    def step(self):
        self.count += 1
        if sys.stdout.isatty():
            print(f"\r[{self.suite}] {self.count} done", end="", flush=True)
        elif time.monotonic() - self.told > 20:
            self.told = time.monotonic()
            say(f"[{self.suite}] {self.count} done")

    def end(self):
        if sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)


def run_watched(suite, command, env, pattern, cwd=ROOT):
    """Runs command, counting output lines that match pattern. Returns (exit status, output)."""
    progress, lines = Progress(suite.name), []
    log = open(OUT / f"{suite.name}.log", "w", buffering=1)
    # A process group of its own, so that an interrupted run leaves no browser or proxy behind.
    child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                             errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    try:
        for line in child.stdout:
            lines.append(line)
            log.write(line)
            if pattern.search(line):
                progress.step()
                if re.search(r" (FAILED|ERROR|FAIL|TIMEOUT)\b", line):
                    progress.end()
                    say(f"[{suite.name}] {line.rstrip()}")
        child.wait()
    finally:
        progress.end()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()
        log.close()
    return child.returncode, "".join(lines)


def read_junit(path):
    """The results in a JUnit file; an element for a case that neither failed nor was skipped passed."""
    results = []
    for case in xml.parse(path).getroot().iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        bad = [e for e in case if e.tag in ("failure", "error")]
        skip = case.find("skipped")
        if bad:
            words = [e.text or e.get("message") or "" for e in bad]
            words += [tail(e.text, 40) for tag in ("system-out", "system-err")
                      for e in case.iter(tag) if e.text]
            results.append(Result(name, "failed", "\n".join(words)))
        elif skip is not None:
            results.append(Result(name, "skipped", skip.get("message") or (skip.text or "").strip()))
        else:
            results.append(Result(name, "passed"))
        results[-1].figures += [p.get("value").split("\t") for p in case.iter("property")
                                if p.get("name") == "figure"]
    return results


def tail(text, lines=60):
    kept = text.rstrip().splitlines()
    return "\n".join(kept[-lines:])


# lint prints its own results, one a line: "ok NAME" or "not ok NAME", findings indented below.
def run_lint(suite, env):
    results = []
    status, output = run_watched(suite, [PYTHON, ROOT / suite.what / "lint.py"], env,
                                 re.compile(r"^(not )?ok "))
    for line in output.splitlines():
        found = re.match(r"(ok|not ok|skip) ([^:]*)(?:: (.*))?", line)
        if found:
            state = {"ok": "passed", "not ok": "failed", "skip": "skipped"}[found[1]]
            results.append(Result(found[2], state, found[3] or ""))
        elif line.startswith("  warning: "):
            say(f"[{suite.name}]{line[1:]}")
        elif results and results[-1].state == "failed":
            results[-1].text += line.strip() + "\n"
    if status != 0 and not any(r.state == "failed" for r in results):
        results.append(Result("lint.py", "failed", tail(output)))
    return results


def read_meson_log(path):
    """Each test program of a meson run: {name: (verdict, output)}."""
    programs = {}
    for line in path.read_text(errors="replace").splitlines():
        entry = json.loads(line)
        output = entry.get("stdout", "") + entry.get("stderr", "")
        programs[entry["name"]] = (entry["result"], output)
    return programs


def run_meson(suite, env):
    logs = ROOT / suite.build / "meson-logs"
    base = f"suite-{suite.name}"
    for old in logs.glob(f"{base}.*"):
        old.unlink()
    patience = "60" if "SOAK" in env else "4"  # times meson's 30 seconds for each program
    status, output = run_watched(
        suite, ["meson", "test", "-C", suite.build, "--no-rebuild", "--suite", suite.what,
                "--timeout-multiplier", patience, "--logbase", base], env,
        re.compile(r"^ *\d+/\d+ "))
    log = logs / f"{base}.json"
    if not log.exists():
        return [Result("meson test", "failed", tail(output))] if status else []
    results = read_junit(logs / f"{base}.junit.xml")
    # A program that crashed, leaked or timed out has printed "ok" lines only; its own verdict counts.
    for name, (verdict, words) in read_meson_log(log).items():
        program = name.rpartition(" / ")[2].split(":")[-1].strip()
        if verdict in ("OK", "EXPECTEDFAIL"):
            continue
        cases = [r for r in results if program in r.name]
        if verdict == "SKIP" and any(r.state == "skipped" for r in cases):
            continue
        failed = [r for r in cases if r.state == "failed"]
        if failed:
            failed[0].text += "\n" + tail(words)
        else:
            results.append(Result(program, "failed", f"ended with {verdict}\n{tail(words)}"))
    return results


def python_for(suite):
    """The wire tests have packages of their own, see tests/wire/setup.sh."""
    return WIRE_TOOLS / "venv/bin/python" if uses_wire(suite) else PYTHON


def run_pytest(suite, env):
    folder, report = ROOT / suite.what, OUT / f"{suite.name}.xml"
    if not any(folder.glob("**/test_*.py")):
        return []
    marks = [] if "SOAK" in env else ["-m", "not soak"]
    status, output = run_watched(
        suite, [python_for(suite), "-m", "pytest", "-v", "--no-header", "--tb=short", "-p",
                "no:cacheprovider", "-o", "junit_logging=all", *marks, f"--junitxml={report}", folder], env,
        re.compile(r" (PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)"))
    results = read_junit(report) if report.exists() else []
    if status not in (0, 5) and not any(r.state == "failed" for r in results):
        results.append(Result("pytest", "failed", f"ended with status {status}\n{tail(output)}"))
    return results


def run_interop(suite, env):
    """Some clients that others wrote; all of them: make interop."""
    report = OUT / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    status, output = run_watched(
        suite, [python_for(suite), ROOT / suite.what / "run.py", "--quick", "--junit", report], env,
        re.compile(r"\.\.\.$"))
    results = read_junit(report) if report.exists() else []
    if status != 0 and not any(r.state == "failed" for r in results):
        results.append(Result("run.py", "failed", f"ended with status {status}\n{tail(output)}"))
    return results


def run_fuzz(suite, env):
    """Each target for FUZZ_SECONDS from the inputs that corpus_NAME.py writes; a crash leaves its
    input in OUT."""
    results = []
    targets = sorted(p for p in (ROOT / suite.build / "tests/fuzz").glob("fuzz_*")
                     if p.is_file() and os.access(p, os.X_OK))
    for target in targets:
        corpus = OUT / f"corpus-{target.name}"
        corpus.mkdir(exist_ok=True)
        writer = ROOT / suite.what / f"{target.name.replace('fuzz_', 'corpus_')}.py"
        if writer.exists():
            subprocess.run([PYTHON, writer, corpus], check=True, env=env)
        status, output = run_watched(
            suite, [target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-max_len=4096",
                    f"-artifact_prefix={OUT}/{target.name}-", corpus], env, re.compile("^#"))
        results.append(Result(target.name, "passed") if status == 0
                       else Result(target.name, "failed", tail(output)))
    return results


RUN = {"lint": run_lint, "meson": run_meson, "pytest": run_pytest, "interop": run_interop,
       "fuzz": run_fuzz}


def prepare_build(folder):
    options, compiler = BUILDS[folder]
    env = dict(os.environ)
    if folder != "build":  # whoever sets CC for the normal build keeps it
        env["CC"] = compiler
    return subprocess.run(["bash", ROOT / "tests/support/build.sh", folder, *options],
                          env=env).returncode == 0


def uses_wire(suite):
    return suite.what in ("tests/wire", "tests/chaos", "tests/interop", "tests/services", "tests/examples",
                          "tests/container")


def prepare_wire():
    """The browser driver and the independent client."""
    done = subprocess.run(["sh", ROOT / "tests/wire/setup.sh", WIRE_TOOLS])
    return done.returncode == 0


def suite_env(suite, soak):
    env = {**os.environ, **{k: os.environ.get(k, v) for k, v in SANITIZERS.items()}, **suite.env}
    if suite.build:
        env["SLUICE_BUILD"] = str(ROOT / suite.build)
    if soak:
        env.update({"SOAK": "1", "SEEDS": env.get("SEEDS", "100"), "REPEAT": env.get("REPEAT", "60")})
    env["NODE_PATH"] = str(WIRE_TOOLS / "browser/node_modules")
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(ROOT / "backends/python"), env.get("PYTHONPATH"))))
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return env


def run_suite(suite, soak):
    if suite.build and not prepare_build(suite.build):
        return [Result("build", "failed", f"{suite.build} could not be built")]
    if uses_wire(suite) and not prepare_wire():
        return [Result("setup", "failed", "what the wire tests need could not be installed")]
    say(f"[{suite.name}] running...")
    return RUN[suite.kind](suite, suite_env(suite, soak))


def print_figures(results):
    rows = [row for r in results for row in r.figures]
    if not rows:
        return
    widths = [max(len(row[i]) for row in [FIGURES, *rows]) for i in range(len(FIGURES))]
    for row in [FIGURES, ["-" * width for width in widths], *rows]:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def report(suite, results, seconds):
    for r in results:
        if r.state == "failed":
            say(f"\n[{suite.name}] FAILED {r.name}")
            if r.text.strip():
                say("\n".join("    " + line for line in r.text.strip().splitlines()))
        elif r.state == "skipped":
            say(f"[{suite.name}] skipped {r.name}: {r.text or 'no reason given'}")
    print_figures(results)
    count = {s: sum(r.state == s for r in results) for s in ("passed", "failed", "skipped")}
    say(f"[{suite.name}] passed: {count['passed']}, failed: {count['failed']}, "
        f"skipped: {count['skipped']} ({seconds:.0f} s)")
    return count


def repeat_failures(failures):
    """Last before the sum, so that whoever sees only the end of a log learns which and why."""
    for suite, result in failures[:5]:
        why = [line for line in result.text.splitlines() if re.match(r"\s*(E\s|\S*Error|not ok)", line)]
        say(f"FAILED [{suite.name}] {result.name}")
        for line in (why or result.text.splitlines())[:8]:
            say(f"    {line.strip()[:300]}")


def choose(suites, names):
    known = [s.name for s in suites + MORE]
    unknown = [n for n in names if n not in known]
    if unknown:
        sys.exit(f"run: there is no suite {', '.join(unknown)}; there are: {', '.join(known)}.")
    return [s for s in suites + MORE if s.name in names] if names else suites


def main():
    parser = argparse.ArgumentParser(description="Runs the tests and adds up the results.")
    parser.add_argument("--soak", action="store_true", help="the long loops")
    parser.add_argument("--list", action="store_true", help="print the suites and stop")
    parser.add_argument("suites", nargs="*", help="suites to run; all of them by default")
    options = parser.parse_args()
    suites = choose(SOAK if options.soak else TEST, options.suites)
    if options.list:
        say("\n".join(s.name for s in suites))
        return 0

    OUT.mkdir(exist_ok=True)
    total = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    began = time.monotonic()
    if "build" not in [s.build for s in suites] and not options.suites:
        prepare_build("build")
    for suite in suites:
        start = time.monotonic()
        results = run_suite(suite, options.soak)
        if not results:
            results = [Result("no results", "failed", "the suite ran nothing")]
        failures += [(suite, r) for r in results if r.state == "failed"]
        for state, n in report(suite, results, time.monotonic() - start).items():
            total[state] += n
    repeat_failures(failures)
    say(f"took {time.monotonic() - began:.0f} s; logs are in {OUT.name}/")
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    say(f"{total['passed']} passed, {total['failed']} failed{skipped}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the suite that runs, too
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nrun: interrupted")
