"""The command line: python -m sluice module:app ..."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from .asgi import LifespanFailed
from .link import Limits
from .listen import ListenError, parse, split_host_port
from .proxy import ProxyError
from .server import Server

DESCRIPTION = """\
Runs a WebTransport application: an ASGI application, or a function marked with @sluice.handler.

Either behind a proxy that runs elsewhere:
  python -m sluice module:app --bind unix:/run/app.sock
  sluice --listen :4433 --cert server.crt --key server.key --app unix:/run/app.sock

or with the proxy as a child, which is all that development needs:
  python -m sluice module:app --listen localhost:4433
"""

EPILOG = """\
The proxy is looked for in $SLUICE, in PATH, and in build/proxy of a source checkout.
SIGTERM and Ctrl-C end it in order: no new sessions, running ones are asked to finish; a second one ends it at once.
Exit codes: 0 stopped as asked, 1 could not start or the proxy ended, 2 wrong use.
"""


class UsageError(Exception):
    """The command line asks for something that is not there."""


def _mode(text: str) -> int:
    """An octal number of permissions. argparse turns the ValueError into its message."""
    mode = int(text, 8)
    if not 0 <= mode <= 0o777:
        raise ValueError
    return mode


_mode.__name__ = "permissions in octal"  # argparse: invalid ... value: '9'


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sluice",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110),
    )
    p.add_argument("app", metavar="module:app", help="where the application is: a module and a name in it")
    p.add_argument("--version", action="version", version=f"sluice (Python library) {__version__}")
    where = p.add_argument_group("where (one of the two)").add_mutually_exclusive_group(required=True)
    where.add_argument("--bind", metavar="ADDRESS", help="unix:PATH or tcp:HOST:PORT, where the proxy finds the application")
    where.add_argument("--listen", metavar="HOST:PORT", help="start the proxy too, and let it listen here (UDP); :PORT is every address")
    bind = p.add_argument_group("with --bind")
    bind.add_argument("--socket-mode", metavar="OCTAL", type=_mode, default="660", help="permissions of the Unix socket (default: 660)")
    listen = p.add_argument_group("with --listen")
    listen.add_argument("--cert", metavar="auto|FILE", help="certificate in PEM; auto (the default) makes one for development")
    listen.add_argument("--key", metavar="FILE", help="the certificate's private key in PEM")
    listen.add_argument("--workers", metavar="N", type=int, help="threads of the proxy (default: its own choice)")
    listen.add_argument("--admin", metavar="ADDRESS", help="the proxy's admin listener, HOST:PORT or unix:PATH: health, certificate hash, demo page")
    rest = p.add_argument_group("sessions and logs")
    rest.add_argument("--app-dir", metavar="DIR", default="", help="where to look for the module (default: the current directory)")
    rest.add_argument("--close-code", metavar="CODE", type=int, default=0, help="closes a session when the application returns (default: 0)")
    rest.add_argument("--error-code", metavar="CODE", type=int, default=500, help="closes a session when the application raises (default: 500)")
    rest.add_argument("--receive-window", metavar="BYTES", type=int, default=Limits.receive_window, help="what a client may send ahead of the application on one stream (default: %(default)s)")
    rest.add_argument("--receive-limit", metavar="BYTES", type=int, default=Limits.receive_limit, help="the same on all streams of a session together (default: %(default)s)")
    rest.add_argument("--shutdown-timeout", metavar="SECONDS", type=float, default=10.0, help="what sessions get to finish (default: 10)")
    rest.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return p


def load(text: str, directory: str = "") -> Any:
    """The object that module:name stands for. Raises UsageError."""
    module_name, colon, path = text.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{text!r} does not look like module:app")
    directory = os.path.abspath(directory)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (module_name == missing or module_name.startswith(missing + ".")):
            hint = ": leave out .py" if module_name.endswith(".py") else ""
            raise UsageError(f"there is no module {module_name!r} in {directory} or in Python's path{hint}") from None
        raise
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"module {module_name!r} has no {path!r}") from None
    if not callable(found):
        raise UsageError(f"{text} is {type(found).__name__}, not an application")
    return found


def server(arguments: argparse.Namespace) -> Server:
    """The server that the arguments ask for. Raises UsageError."""
    host, port, cert = "", None, arguments.cert or "auto"
    try:
        if arguments.bind is not None:
            parse(arguments.bind)
            for name in ("cert", "key", "workers", "admin"):
                if getattr(arguments, name) is not None:
                    raise UsageError(f"--{name} is for the proxy: it needs --listen")
        else:
            host, port = split_host_port(arguments.listen)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if cert == "auto" and arguments.key is not None:
        raise UsageError("--key needs --cert FILE")
    if cert != "auto" and arguments.key is None:
        raise UsageError("--cert FILE needs --key FILE")
    if not 1 <= arguments.receive_window <= arguments.receive_limit:
        raise UsageError(f"--receive-window must be from 1 to --receive-limit, which is {arguments.receive_limit}")
    return Server(
        load(arguments.app, arguments.app_dir),
        bind=arguments.bind,
        socket_mode=arguments.socket_mode,
        host=host,
        port=port,
        certfile=None if cert == "auto" else cert,
        keyfile=arguments.key,
        admin=arguments.admin,
        workers=arguments.workers,
        close_code=arguments.close_code,
        error_code=arguments.error_code,
        shutdown_timeout=arguments.shutdown_timeout,
        receive_window=arguments.receive_window,
        receive_limit=arguments.receive_limit,
    )


def main(argv: Sequence[str] | None = None) -> int:
    p = parser()
    arguments = p.parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        server(arguments).run()
    except UsageError as error:
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 2
    except (ListenError, ProxyError, LifespanFailed) as error:
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
