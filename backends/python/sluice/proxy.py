"""The proxy as a child process: found, started with the right options, and never left behind."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("sluice")

_PR_SET_PDEATHSIG = 1


class ProxyError(Exception):
    """The proxy could not be found or started, or it ended by itself."""


@dataclass(frozen=True)
class ProxyOptions:
    """How to start the proxy. Without cert and key it makes a certificate of its own, for development."""

    listen: str
    cert: str = "auto"
    key: str | None = None
    workers: int | None = None
    admin: str | None = None
    program: str | None = None

    def arguments(self, app: str) -> list[str]:
        arguments = ["--listen", self.listen, "--cert", self.cert]
        if self.key is not None:
            arguments += ["--key", self.key]
        arguments += ["--app", app]
        if self.workers is not None:
            arguments += ["--workers", str(self.workers)]
        if self.admin is not None:
            arguments += ["--admin", self.admin]
        return arguments


def find(program: str | None = None) -> str:
    """The proxy's program: the one given, $SLUICE, `sluice` in PATH, or a source checkout's build. Raises ProxyError."""
    for origin, name in (("", program), ("$SLUICE is ", os.environ.get("SLUICE"))):
        if name:
            found = shutil.which(name)
            if found is None:
                raise ProxyError(f"{origin}{name}, which is not a program that can be run")
            return found
    found = shutil.which("sluice")
    if found is not None:
        return found
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for directory in (start, *start.parents):
            built = directory / "build" / "proxy" / "sluice"
            if (directory / "meson.build").exists() and os.access(built, os.X_OK):
                return str(built)
    raise ProxyError(
        "the proxy was not found: put `sluice` into PATH, set SLUICE to its path, or build it in a source checkout"
    )


def _die_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the proxy, so that it ends even if we are killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # we died before the line above
            os._exit(1)

    return before_exec


class Proxy:
    """The running child. Its log goes to our standard error as it is."""

    def __init__(self, program: str, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self._process = process

    @classmethod
    async def start(cls, options: ProxyOptions, app: str) -> Proxy:
        """Starts the proxy in front of the application that listens at app. Raises ProxyError."""
        program = find(options.program)
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *options.arguments(app),
                stdin=subprocess.DEVNULL,
                stdout=2,
                stderr=2,
                process_group=0,  # Ctrl-C is for us; we tell the proxy
                preexec_fn=_die_with_parent(),
            )
        except OSError as error:
            raise ProxyError(f"{program} could not be started: {error.strerror}") from None
        log.info("started the proxy %s (process %d)", program, process.pid)
        return cls(program, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> str:
        """Waits until the proxy has ended; says how."""
        code = await self._process.wait()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the proxy {self.program} ended {how}"

    def terminate(self) -> None:
        """Asks it to drain its sessions and end."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
