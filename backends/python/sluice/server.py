"""The server: listens, runs the application once per session, and ends in order.

It owns the listening socket, the sessions' tasks, the lifespan, and, if it is asked to be the whole
thing, the proxy as a child process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from . import listen
from .asgi import AsgiApp, AsgiSession, Lifespan, scope_for
from .link import Limits, Link, Receiver, SessionClosed
from .proxy import Proxy, ProxyError, ProxyOptions
from .session import Session, SessionApp

log = logging.getLogger("sluice")

HANG_UP_TIMEOUT = 2.0
"""How long Sluice has to answer the closes of a shutdown."""


class Server:
    """Runs an application.

    With `bind` it waits for a proxy that runs elsewhere: `bind="unix:/run/app.sock"` or `"tcp:HOST:PORT"`.
    With `port` it starts the proxy itself; without certfile and keyfile the proxy makes a certificate for development.

    app is an ASGI application or a function marked with `@sluice.handler`.
    When it returns, its session is closed with close_code; when it raises, with error_code.
    A client may send receive_window bytes ahead of the application on each stream, receive_limit on all streams.
    """

    def __init__(
        self,
        app: AsgiApp | SessionApp,
        *,
        bind: str | None = None,
        socket_mode: int = 0o660,
        host: str = "",
        port: int | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        admin: str | None = None,
        workers: int | None = None,
        program: str | None = None,
        close_code: int = 0,
        error_code: int = 500,
        shutdown_timeout: float = 10.0,
        receive_window: int = Limits.receive_window,
        receive_limit: int = Limits.receive_limit,
    ) -> None:
        if (bind is None) == (port is None):
            raise ValueError("say either where the proxy finds the application (bind) or what the proxy listens on (port)")
        if (certfile is None) != (keyfile is None):
            raise ValueError("a certificate needs its key: give both certfile and keyfile, or neither")
        if not 1 <= receive_window <= receive_limit:
            raise ValueError(f"receive_window must be from 1 to receive_limit, which is {receive_limit}")
        self.app = app
        self.address: listen.Address | None = listen.parse(bind) if bind is not None else None
        self.proxy: Proxy | None = None
        self._socket_mode = socket_mode
        self._options: ProxyOptions | None = None
        if port is not None:
            self._options = ProxyOptions(
                listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                cert=os.fspath(certfile) if certfile is not None else "auto",
                key=os.fspath(keyfile) if keyfile is not None else None,
                workers=workers,
                admin=admin,
                program=program,
            )
        self._close_code = close_code
        self._error_code = error_code
        self._shutdown_timeout = shutdown_timeout
        self._limits = Limits(receive_window, receive_limit, error_code=error_code)
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lifespan: Lifespan | None = None
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM. Raises ListenError, ProxyError or LifespanFailed if it cannot."""
        _raise_file_limit()
        asyncio.run(self.serve())

    def stop(self) -> None:
        """Asks serve() to end: no new sessions, running ones are asked to finish. A second time: at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def started(self) -> None:
        """Waits until serve() takes sessions."""
        await self._started.wait()

    async def serve(self) -> None:
        """run() inside a running loop."""
        directory = None
        address, mode = self.address, self._socket_mode
        if address is None:
            directory = tempfile.mkdtemp(prefix="sluice-")
            address, mode = listen.Address(path=os.path.join(directory, "app.sock")), 0o600
        try:
            listener = listen.Listener(address, mode)
            self.address = listener.address
            try:
                with _Signals(self.stop):
                    await self._serve(listener)
            finally:
                listener.close()
        finally:
            if directory is not None:
                self.address = None
                shutil.rmtree(directory, ignore_errors=True)

    async def _serve(self, listener: listen.Listener) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(self.app, SessionApp):
            self._lifespan = Lifespan(self.app)
            await self._lifespan.startup()
        try:
            if listener.address.path is not None:
                server = await loop.create_unix_server(self._new_link, sock=listener.socket, backlog=listen.BACKLOG)
            else:
                server = await loop.create_server(self._new_link, sock=listener.socket, backlog=listen.BACKLOG)
            try:
                await self._until_stopped(server, listener.address)
            finally:
                server.close()
                await self._cut()
        finally:
            if self._lifespan is not None:
                await self._lifespan.shutdown()

    async def _until_stopped(self, server: asyncio.Server, address: listen.Address) -> None:
        if self._options is not None:
            await self._with_proxy(self._options, address)
            return
        log.info("waiting for sessions on %s", address)
        self._started.set()
        await self._stopping.wait()
        server.close()
        log.info("stopping; %d sessions have %g seconds to finish", len(self._tasks), self._shutdown_timeout)
        for link in list(self._links):
            link.ask_to_finish(int(self._shutdown_timeout * 1000))
        await self._idle(self._shutdown_timeout)

    async def _with_proxy(self, options: ProxyOptions, address: listen.Address) -> None:
        self.proxy = await Proxy.start(options, str(address))
        self._started.set()
        ended = asyncio.create_task(self.proxy.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise ProxyError(f"{ended.result()}; if it wrote something above, that says why")
            log.info("stopping")
            self.proxy.terminate()  # it asks its sessions, and so ours, to finish
            await self._first(ended, self._shutdown_timeout)
            if not ended.done():
                await self._cut()
                await self._first(ended, HANG_UP_TIMEOUT)
        finally:
            stopping.cancel()
            self.proxy.kill()
            await ended

    async def _idle(self, timeout: float) -> None:
        """Waits until no session is left, at most this long."""
        waits = self._everything()
        if waits:
            await self._first(asyncio.ensure_future(asyncio.wait(waits)), timeout, cancel=True)

    def _everything(self) -> list[asyncio.Future[None]]:
        return [*self._tasks, *(link.lost for link in self._links)]

    async def _first(self, future: asyncio.Future[Any], timeout: float, cancel: bool = False) -> None:
        """Waits for one thing, at most this long and not when stop() was called twice."""
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait((future, hurry), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            if cancel:
                future.cancel()

    async def _cut(self) -> None:
        """Ends every session now."""
        for link in list(self._links):
            if link.scope:
                link.leave(code=self._close_code, reason="the application is shutting down", status=503)
            else:
                link.drop()
        for task in list(self._tasks):
            task.cancel()
        waits = self._everything()
        if waits:
            await asyncio.wait(waits, timeout=HANG_UP_TIMEOUT)
        for link in list(self._links):
            link.drop()

    # Sessions.

    def _new_link(self) -> Link:
        link = Link(self._new_session, self._limits, self._links.discard)
        self._links.add(link)
        return link

    def _new_session(self, link: Link) -> Receiver:
        receiver: Session | AsgiSession
        if isinstance(self.app, SessionApp):
            receiver = Session(link)
            work: Awaitable[Any] = self.app.run(receiver)
        else:
            receiver = AsgiSession(link)
            state = self._lifespan.state if self._lifespan is not None else None
            work = self.app(scope_for(link, state), receiver.receive, receiver.send)
        task = asyncio.get_running_loop().create_task(self._run(link, work), name=f"session {link.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return receiver

    async def _run(self, link: Link, work: Awaitable[Any]) -> None:
        """One session: the application, and what is said when it is through."""
        log.debug("session %s: %s from %s", link.name, link.scope.get("path"), link.scope.get("client"))
        try:
            await work
        except SessionClosed:
            pass  # it noticed the end of the session, by an exception that it need not catch
        except asyncio.CancelledError:
            link.leave(code=self._close_code, reason="the application is shutting down", status=503)
            raise
        except Exception:
            log.exception("session %s: the application failed", link.name)
            link.leave(code=self._error_code, reason="the application failed", status=500)
        if not link.over and not link.accepted:
            log.warning("session %s: the application returned without accept or reject: rejected with 403", link.name)
        link.leave(code=self._close_code, reason="", status=403, after_delivery=True)
        log.debug("session %s: the application is through with it: %s", link.name, link.disconnected or "closed here")


class _Signals:
    """SIGINT and SIGTERM stop the server while this is entered; nothing outside the main thread."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._signals = (signal.SIGINT, signal.SIGTERM)
        self._active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._active:
            for number in self._signals:
                asyncio.get_running_loop().add_signal_handler(number, self._stop)

    def __exit__(self, *_: object) -> None:
        if self._active:
            for number in self._signals:
                asyncio.get_running_loop().remove_signal_handler(number)


def _raise_file_limit() -> None:
    """Every session is a file descriptor, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            pass
