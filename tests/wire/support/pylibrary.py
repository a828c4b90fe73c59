"""Runs an application of tests/wire/apps with `python -m sluice`."""

import os
import sys

from .proxy import BINARY, ROOT, Logged

WIRE = os.path.join(ROOT, "tests", "wire")


def python_sluice(app, *arguments):
    """app: "module:name". The process; its log is that of the library, or of the proxy it started."""
    path = os.pathsep.join([os.path.join(ROOT, "backends", "python"), os.path.join(WIRE, "apps")])
    return Logged([sys.executable, "-m", "sluice", app, *arguments],
                  env={**os.environ, "PYTHONPATH": path, "SLUICE": BINARY}, cwd=WIRE)


def stop(process, code=0):
    process.terminate()
    try:
        assert process.process.wait(30) == code, process.log()
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()
