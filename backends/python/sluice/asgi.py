"""The ASGI adapter: one session as scope, receive and send; and ASGI's lifespan.

WebTransport is not in the ASGI specification yet. The messages are those of the backend protocol,
with ASGI's habits on top: `webtransport.connect` comes first from receive, credit is hidden behind
`await send(...)`, and send raises OSError once the session is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .answer import headers_of
from .frame import Message
from .intake import JOINED
from .link import Link, SessionClosed

log = logging.getLogger("sluice")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[Any]]

DATAGRAMS_KEPT = 256
"""Received datagrams that wait for the application; the oldest are dropped."""

_A_DATAGRAM: Message = {"type": "webtransport.datagram.receive"}
"""Stands in the queue for the oldest datagram that is left."""


def scope_for(link: Link, state: Mapping[str, Any] | None) -> Message:
    """The ASGI scope: what Sluice sent, with tuples where ASGI has them."""
    scope = dict(link.scope)
    scope["headers"] = [(name, value) for name, value in scope.get("headers", [])]
    for name in ("server", "client"):
        address = scope.get(name)
        scope[name] = tuple(address) if address is not None else None
    if state is not None:
        scope["state"] = dict(state)
    return scope


class AsgiSession:
    """What stands behind the receive and the send of one session."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._queue: deque[Message] = deque([{"type": "webtransport.connect"}])
        self._arrived = asyncio.Event()
        self._disconnect: Message | None = None
        self._last: dict[int, Message] = {}  # of each stream the last data in the queue
        self._datagrams: deque[Message] = deque()

    def message(self, message: Message) -> None:
        """Receiver: one message from Sluice."""
        kind = message["type"]
        if kind == "webtransport.stream.receive":
            if _only_announces(message) or self._joined(message):
                return
            self._last[message["stream_id"]] = message
        elif kind == "webtransport.datagram.receive":
            self._datagrams.append(message)
            if len(self._datagrams) > DATAGRAMS_KEPT:
                self._datagrams.popleft()
                return
            message = _A_DATAGRAM
        self._queue.append(message)
        self._link.keep()
        self._arrived.set()

    def _joined(self, message: Message) -> bool:
        """Adds data to what waits of the same stream already, if both are small."""
        last = self._last.get(message["stream_id"])
        if last is None or len(last["data"]) + len(message["data"]) > JOINED:
            return False
        last["data"] += message["data"]
        last["stream_ended"] = message["stream_ended"]
        return True

    async def receive(self) -> Message:
        while not self._queue:
            if self._disconnect is not None:
                await asyncio.sleep(0)  # an application that does not stop asking must not stop the others
                return dict(self._disconnect)
            self._arrived.clear()
            with self._link.waiting():
                await self._arrived.wait()
        message = self._queue.popleft()
        kind = message["type"]
        if kind == "webtransport.connect":
            return message
        self._link.release()
        if kind == "webtransport.stream.receive":
            stream_id = message["stream_id"]
            if self._last.get(stream_id) is message:
                del self._last[stream_id]
            self._link.took(stream_id, len(message["data"]))
        elif kind == "webtransport.datagram.receive":
            message = self._datagrams.popleft()
        elif kind == "webtransport.disconnect":
            self._disconnect = message
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            raise ValueError(f"{kind!r} is not a message that a WebTransport application can send")
        if self._link.over:
            raise SessionClosed(self._link.disconnected)
        await handler(self._link, message)


def _only_announces(message: Message) -> bool:
    """Whether it says that a stream is open and nothing else. Applications written before this library echo every
    message that they receive, so they get none without data or end."""
    kind = message["type"]
    return kind == "webtransport.stream.receive" and not message["data"] and not message["stream_ended"]


def _field(message: Mapping[str, Any], name: str, kind: type, default: Any = ...) -> Any:
    value = message.get(name)
    if value is None:
        if default is ...:
            raise ValueError(f"{message['type']} needs {name!r}")
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{message['type']}: {name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _data(message: Mapping[str, Any], name: str = "data") -> bytes:
    value = message.get(name)
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{message['type']}: {name} must be bytes, not {type(value).__name__}")
    return bytes(value)


async def _accept(link: Link, message: Mapping[str, Any]) -> None:
    out: Message = {"type": "webtransport.accept", "status": _field(message, "status", int, 200)}
    if message.get("headers"):
        out["headers"] = headers_of(message["headers"])
    subprotocol = _field(message, "subprotocol", str, None)
    if subprotocol is not None:
        out["subprotocol"] = subprotocol
    window = _field(message, "receive_window", int, None)
    if window is not None:
        out["receive_window"] = window
    link.accept(out)


async def _reject(link: Link, message: Mapping[str, Any]) -> None:
    out: Message = {"type": "webtransport.reject", "status": _field(message, "status", int, 403)}
    if message.get("headers"):
        out["headers"] = headers_of(message["headers"])
    body = _data(message, "body")
    if body:
        out["body"] = body
    link.finish(out)


async def _stream_send(link: Link, message: Mapping[str, Any]) -> None:
    await link.send(
        _field(message, "stream_id", int),
        _data(message),
        end=_field(message, "end_stream", bool, False),
        confirm=_field(message, "confirm", bool, False),
    )


async def _stream_reset(link: Link, message: Mapping[str, Any]) -> None:
    link.reset(_field(message, "stream_id", int), _field(message, "code", int, 0))


async def _stream_stop(link: Link, message: Mapping[str, Any]) -> None:
    link.stop(_field(message, "stream_id", int), _field(message, "code", int, 0))


async def _stream_priority(link: Link, message: Mapping[str, Any]) -> None:
    link.priority(_field(message, "stream_id", int), _field(message, "send_order", int))


async def _datagram_send(link: Link, message: Mapping[str, Any]) -> None:
    link.need_accepted("webtransport.datagram.send")
    link.command({"type": "webtransport.datagram.send", "data": _data(message)})
    await link.flow()


async def _drain(link: Link, message: Mapping[str, Any]) -> None:
    link.need_accepted("webtransport.drain")
    link.command({"type": "webtransport.drain"})


async def _close(link: Link, message: Mapping[str, Any]) -> None:
    out: Message = {
        "type": "webtransport.close",
        "code": _field(message, "code", int, 0),
        "reason": _field(message, "reason", str, ""),
    }
    if _field(message, "after_delivery", bool, False):
        out["after_delivery"] = True
    link.finish(out)


async def _abort(link: Link, message: Mapping[str, Any]) -> None:
    link.finish({"type": "webtransport.abort"})


_HANDLERS: dict[str, Callable[[Link, Mapping[str, Any]], Awaitable[None]]] = {
    "webtransport.accept": _accept,
    "webtransport.reject": _reject,
    "webtransport.stream.send": _stream_send,
    "webtransport.stream.reset": _stream_reset,
    "webtransport.stream.stop": _stream_stop,
    "webtransport.stream.priority": _stream_priority,
    "webtransport.datagram.send": _datagram_send,
    "webtransport.drain": _drain,
    "webtransport.close": _close,
    "webtransport.abort": _abort,
}


class LifespanFailed(Exception):
    """The application said that it cannot start, or that it could not stop properly."""


class Lifespan:
    """Runs an application's startup and shutdown, if it knows ASGI's lifespan."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failed: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._state: dict[str, Any] = {}
        self.state: dict[str, Any] | None = None
        """What the application put into the state at startup; None if it does not know lifespan."""

    async def startup(self) -> None:
        """Raises LifespanFailed if the application says so."""
        self._task = asyncio.create_task(self._run(), name="lifespan")
        await self._events.put({"type": "lifespan.startup"})
        await self._started.wait()
        if self._failed is not None:
            raise LifespanFailed(f"the application could not start: {self._failed or 'it gave no reason'}")

    async def shutdown(self) -> None:
        if self._task is None or self.state is None or self._task.done():
            return
        await self._events.put({"type": "lifespan.shutdown"})
        await self._stopped.wait()
        if self._failed is not None:
            log.error("the application could not stop properly: %s", self._failed or "it gave no reason")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:
            if self.state is None and self._failed is None:
                log.debug("the application does not know lifespan: %r", error)
            else:
                log.exception("the application's lifespan ended with an error")
        finally:
            self._started.set()
            self._stopped.set()

    async def _send(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self.state = self._state
            self._started.set()
        elif kind == "lifespan.shutdown.complete":
            self._stopped.set()
        elif kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            self._failed = str(message.get("message", ""))
            self._started.set()
            self._stopped.set()
        else:
            raise ValueError(f"{kind!r} is not a lifespan message")
