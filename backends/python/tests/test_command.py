"""python -m sluice as a process: what it says when something is wrong, signals, and the proxy as its child."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fake import WAIT, FakeSluice, run

PACKAGE = Path(__file__).parents[1]

APP = """
async def app(scope, receive, send):
    await send({"type": "webtransport.accept"})
    while (await receive())["type"] != "webtransport.disconnect":
        pass

number = 5
"""

# Plays the proxy: writes its arguments into a file, becomes ready, and waits for its end.
PROXY = """\
#!{python}
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("proxy: drained", file=sys.stderr, flush=True), os._exit(0)))
print("proxy: hello from its log", flush=True)
with open({notes!r} + ".new", "w") as f:
    json.dump({{"arguments": sys.argv[1:], "pid": os.getpid()}}, f)
os.rename({notes!r} + ".new", {notes!r})
{then}
while True:
    signal.pause()
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "hello.py").write_text(APP)
    (tmp_path / "broken.py").write_text("import no_such_thing\n")
    return tmp_path


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if k != "SLUICE"}
    env["PYTHONPATH"] = str(PACKAGE)
    env.update(changes)
    return env


def command(place, *arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "sluice", *arguments],
        cwd=place,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=WAIT,
    )


@contextlib.contextmanager
def started(place, *arguments, until="", **env):
    """The command, running; its standard error is read up to a line with `until`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sluice", *arguments],
        cwd=place,
        env=environment(**env),
        stderr=subprocess.PIPE,
        text=True,
    )
    process.log = ""
    try:
        while until not in process.log:
            line = process.stderr.readline()
            assert line, f"ended before {until!r}:\n{process.log}"
            process.log += line
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT)
        process.stderr.close()


def finished(process):
    """Waits for its end; everything it has said."""
    process.log += process.stderr.read()
    return process.wait(WAIT)


@pytest.mark.parametrize(
    "arguments, code, text",
    [
        ((), 2, "required"),
        (("hello:app",), 2, "one of the arguments --bind --listen is required"),
        (("hello", "--bind", "unix:s"), 2, "'hello' does not look like module:app"),
        (("nothing:app", "--bind", "unix:s"), 2, "there is no module 'nothing'"),
        (("hello.py:app", "--bind", "unix:s"), 2, "leave out .py"),
        (("hello:missing", "--bind", "unix:s"), 2, "module 'hello' has no 'missing'"),
        (("hello:number", "--bind", "unix:s"), 2, "hello:number is int, not an application"),
        (("broken:app", "--bind", "unix:s"), 1, "No module named 'no_such_thing'"),
        (("hello:app", "--bind", "s"), 2, "neither unix:PATH nor tcp:HOST:PORT"),
        (("hello:app", "--bind", "unix:s", "--cert", "auto"), 2, "--cert is for the proxy"),
        (("hello:app", "--bind", "unix:s", "--socket-mode", "9"), 2, "--socket-mode"),
        (("hello:app", "--bind", "unix:no/s"), 1, "the directory no does not exist"),
        (("hello:app", "--bind", "unix:hello.py"), 1, "not a socket"),
        (("hello:app", "--listen", "nowhere"), 2, "'nowhere' is not HOST:PORT"),
        (("hello:app", "--listen", ":1", "--cert", "c.pem"), 2, "--cert FILE needs --key FILE"),
        (("hello:app", "--listen", ":1", "--key", "k.pem"), 2, "--key needs --cert FILE"),
    ],
)
def test_what_is_wrong_is_said(place, arguments, code, text):
    done = command(place, *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    if "no_such_thing" not in text:  # that one is a bug in the application: its traceback is wanted
        assert "Traceback" not in done.stderr


def test_help_and_version(place):
    done = command(place, "--help")
    assert done.returncode == 0 and "--listen HOST:PORT" in done.stdout and "@sluice.handler" in done.stdout
    assert command(place, "--version").stdout.startswith("sluice")


def test_app_dir(place, tmp_path_factory):
    done = command(tmp_path_factory.mktemp("other"), "hello:number", "--bind", "unix:s", "--app-dir", str(place))
    assert "hello:number is int" in done.stderr


def test_address_in_use(place):
    with started(place, "hello:app", "--bind", "unix:s", until="waiting for sessions"):
        done = command(place, "hello:app", "--bind", "unix:s")
        assert done.returncode == 1 and "another process listens there already" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(place, number):
    async def play(process):
        import asyncio

        s = FakeSluice(*await asyncio.open_unix_connection(str(place / "s")))
        await s.accepted()
        process.send_signal(number)
        await s.expect("drain")
        await s.over()
        s.close()

    with started(place, "hello:app", "--bind", "unix:s", until="waiting for sessions") as process:
        run(play(process))
        assert finished(process) == 0
        assert "Traceback" not in process.log
    assert not (place / "s").exists()


# The proxy as a child.


def proxy(place, then="", name="sluice"):
    """A pretended proxy in a directory of its own; gives that and what it notes."""
    directory = place / "bin"
    directory.mkdir(exist_ok=True)
    program = directory / name
    notes = place / "notes.json"
    program.write_text(PROXY.format(python=sys.executable, notes=str(notes), then=textwrap.dedent(then)))
    program.chmod(0o755)
    return program, notes


def noted(notes):
    """What the pretended proxy wrote. It does so before it lets anybody connect, and before its end."""
    import json
    import time

    deadline = time.monotonic() + WAIT
    while not notes.exists():
        assert time.monotonic() < deadline
        os.sched_yield()
    return json.loads(notes.read_text())


def gone(pid):
    """Waits until no process has this id."""
    import time

    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # dead; whoever adopted it has not looked yet
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False


def test_child_gets_the_right_options_and_its_log_passes(place):
    program, notes = proxy(place)
    arguments = ("hello:app", "--listen", "localhost:4433", "--workers", "2", "--admin", "localhost:8080")
    with started(place, *arguments, until="hello from its log", SLUICE=str(program)) as process:
        got = noted(notes)["arguments"]
        app = got[got.index("--app") + 1]
        assert got == [
            "--listen", "localhost:4433", "--cert", "auto", "--app", app,
            "--workers", "2", "--admin", "localhost:8080",
        ]  # fmt: skip
        path = Path(app.removeprefix("unix:"))
        assert path.is_socket() and path.parent.stat().st_mode & 0o777 == 0o700

        async def play():
            import asyncio

            s = FakeSluice(*await asyncio.open_unix_connection(str(path)))
            await s.accepted()
            await s.over()
            s.close()

        run(play())
        process.terminate()
        assert finished(process) == 0
        assert "proxy: drained" in process.log
    assert not path.parent.exists()


def test_certificate_files_and_path(place):
    program, notes = proxy(place)
    path = f"{program.parent}:{os.environ['PATH']}"
    arguments = ("hello:app", "--listen", ":1", "--cert", "c.pem", "--key", "k.pem")
    with started(place, *arguments, until="hello from its log", PATH=path) as process:
        assert noted(notes)["arguments"][:6] == ["--listen", ":1", "--cert", "c.pem", "--key", "k.pem"]
        process.send_signal(signal.SIGINT)
        assert finished(process) == 0


def test_a_source_checkout_is_searched(place):
    program, notes = proxy(place)
    (place / "meson.build").touch()
    (place / "build" / "proxy").mkdir(parents=True)
    program.rename(place / "build" / "proxy" / "sluice")
    below = place / "some" / "where"
    below.mkdir(parents=True)
    arguments = ("hello:app", "--listen", ":1", "--app-dir", str(place))
    with started(below, *arguments, until="hello from its log", PATH="/nowhere") as process:
        process.terminate()
        assert finished(process) == 0


def test_no_proxy(place):
    done = command(place, "hello:app", "--listen", ":1", SLUICE="/no/such/sluice")
    assert done.returncode == 1 and "$SLUICE is /no/such/sluice" in done.stderr and "Traceback" not in done.stderr
    program, _ = proxy(place)
    program.write_text("#!/no/such/interpreter\n")
    done = command(place, "hello:app", "--listen", ":1", SLUICE=str(program))
    assert done.returncode == 1 and "could not be started" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "then, how",
    [
        ("print('proxy: no certificate', file=sys.stderr); sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
    ],
)
def test_parent_ends_with_the_child(place, then, how):
    program, _ = proxy(place, then)
    done = command(place, "hello:app", "--listen", ":1", SLUICE=str(program))
    assert done.returncode == 1 and f"ended {'by' if 'SIG' in how else 'with'} {how}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_child_ends_with_a_killed_parent(place):
    program, notes = proxy(place)
    with started(place, "hello:app", "--listen", ":1", until="hello from its log", SLUICE=str(program)) as process:
        pid = noted(notes)["pid"]
        process.kill()
        assert gone(pid)
        assert finished(process) == -signal.SIGKILL and "proxy: drained" in process.log


def test_a_child_that_does_not_end_is_killed(place):
    program, notes = proxy(place, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('proxy: stubborn', flush=True)")
    arguments = ("hello:app", "--listen", ":1", "--shutdown-timeout", "30")
    with started(place, *arguments, until="stubborn", SLUICE=str(program)) as process:
        pid = noted(notes)["pid"]
        process.terminate()
        while "stopping" not in process.log:
            process.log += process.stderr.readline()
        process.terminate()  # a second time: at once
        assert finished(process) == 0
        assert gone(pid)


def test_server_in_one_call(place):
    """The seed document's way."""
    program, notes = proxy(place)
    (place / "main.py").write_text(
        "import sluice\nfrom hello import app\n"
        "sluice.Server(app, host='127.0.0.1', port=8443, certfile='server.crt', keyfile='server.key').run()\n"
    )
    process = subprocess.Popen([sys.executable, "main.py"], cwd=place, env=environment(SLUICE=str(program)))
    try:
        got = noted(notes)
        assert got["arguments"][:6] == ["--listen", "127.0.0.1:8443", "--cert", "server.crt", "--key", "server.key"]
        process.terminate()
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
