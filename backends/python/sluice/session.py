"""The session API: a WebTransport session as an object, its streams as readers and writers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from .answer import headers_of
from .frame import Message
from .halves import is_ours
from .link import CloseInfo, Link, SessionClosed
from .stream import Stream, StreamError, StreamStopped

log = logging.getLogger("sluice")

T = TypeVar("T")
Header = tuple[bytes | str, bytes | str]

DATAGRAMS_KEPT = 256
"""Received datagrams that wait for the application; the oldest are dropped."""


@dataclass(frozen=True)
class Drain:
    """A request to finish. `reason` is "client" or "shutdown"."""

    reason: str
    deadline_ms: int | None


class _Each(Generic[T]):
    """Asks again and again until the session is over."""

    def __init__(self, get: Callable[[], Awaitable[T]]) -> None:
        self._get = get

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._get()
        except SessionClosed:
            raise StopAsyncIteration from None


class _Inbox(Generic[T]):
    """What has arrived and waits for the application."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._arrived = asyncio.Event()
        self.items: deque[T] = deque()

    def wake(self) -> None:
        self._arrived.set()

    async def get(self) -> T:
        while not self.items:
            if self._link.over:
                raise SessionClosed(self._link.disconnected)
            self._arrived.clear()
            with self._link.waiting():
                await self._arrived.wait()
        return self.items.popleft()


class Session:
    """One WebTransport session. Answer it with accept() or reject() first."""

    def __init__(self, link: Link) -> None:
        self.scope: Message = link.scope
        self.datagrams_dropped = 0
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._streams: WeakValueDictionary[int, Stream] = WeakValueDictionary()
        self._confirming: dict[int, Stream] = {}  # keeps them alive until the answer
        self._seen = [0, 1, 2, 3]  # per kind of stream: the id that the client opens next
        self._incoming: _Inbox[Stream] = _Inbox(link)
        self._datagrams: _Inbox[bytes] = _Inbox(link)
        self._max_datagram = int(link.scope["extensions"].get("webtransport", {}).get("max_datagram_size", 0) or 0)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._drain: asyncio.Future[Drain] = self._loop.create_future()
        self._closed: asyncio.Future[CloseInfo] = self._loop.create_future()

    # What the client asked for.

    @property
    def path(self) -> str:
        return str(self.scope.get("path", ""))

    @property
    def query_string(self) -> bytes:
        return bytes(self.scope.get("query_string", b""))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The request's headers in their order, duplicates kept; names are lower case."""
        return [(name, value) for name, value in self.scope.get("headers", [])]

    @property
    def client(self) -> tuple[str, int] | None:
        address = self.scope.get("client")
        return (str(address[0]), int(address[1])) if address else None

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers; choose one of them in accept()."""
        return list(self.scope.get("subprotocols", []))

    # The answer.

    async def accept(
        self,
        *,
        status: int = 200,
        headers: Iterable[Header] = (),
        subprotocol: str | None = None,
        receive_window: int | None = None,
    ) -> None:
        """Lets the client in. It may send receive_window bytes on each stream ahead of what is read there."""
        message: Message = {"type": "webtransport.accept", "status": status}
        listed = headers_of(headers)
        if listed:
            message["headers"] = listed
        if subprotocol is not None:
            message["subprotocol"] = subprotocol
        if receive_window is not None:
            message["receive_window"] = receive_window
        self._link.accept(message)

    async def reject(self, status: int = 403, *, headers: Iterable[Header] = (), body: bytes | str = b"") -> None:
        """Refuses the client with an HTTP status."""
        message: Message = {"type": "webtransport.reject", "status": status}
        listed = headers_of(headers)
        if listed:
            message["headers"] = listed
        if body:
            message["body"] = body.encode() if isinstance(body, str) else body
        self._finish(message)

    # Streams and datagrams.

    @property
    def streams(self) -> _Each[Stream]:
        """`async for stream in session.streams`: the streams that the client opens, until the session ends."""
        return _Each(self.accept_stream)

    async def accept_stream(self) -> Stream:
        """The next stream that the client opened. Raises SessionClosed."""
        stream = await self._incoming.get()
        self._link.release()
        return stream

    async def open_bidi(self) -> Stream:
        """Opens a stream that both sides can write."""
        return self._open(uni=False)

    async def open_uni(self) -> Stream:
        """Opens a stream that only this side writes."""
        return self._open(uni=True)

    def _open(self, uni: bool) -> Stream:
        stream_id = self._link.open(uni)
        stream = self._streams[stream_id] = Stream(self, stream_id)
        return stream

    @property
    def datagrams(self) -> _Each[bytes]:
        """`async for data in session.datagrams`, until the session ends."""
        return _Each(self.receive_datagram)

    async def receive_datagram(self) -> bytes:
        """The next datagram; may be empty. Raises SessionClosed."""
        return await self._datagrams.get()

    async def send_datagram(self, data: bytes | str) -> None:
        """Sends one datagram. It may be lost, and is if it is longer than max_datagram_size."""
        self._link.need_accepted("send_datagram")
        raw = data.encode() if isinstance(data, str) else bytes(data)
        self._link.command({"type": "webtransport.datagram.send", "data": raw})
        await self._link.flow()

    @property
    def max_datagram_size(self) -> int:
        """How long a datagram can be now; changes with the path. 0 if Sluice did not say."""
        return self._max_datagram

    # Tasks.

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something beside the handler, one stream's echo for example, and cancels it when the handler is done.

        What it raises is logged and does not end the session; a stream's or the session's end is not even logged.
        """
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, (StreamError, SessionClosed)):
            log.error("session %s: a task of the application failed", self._link.name, exc_info=error)

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # The end.

    async def drain(self) -> None:
        """Asks the client to finish; nothing is closed by it."""
        self._link.need_accepted("drain")
        self._link.command({"type": "webtransport.drain"})

    async def draining(self) -> Drain:
        """Waits until the client or Sluice asks this side to finish."""
        return await asyncio.shield(self._drain)

    async def close(self, code: int = 0, reason: str = "", *, after_delivery: bool = False) -> None:
        """Ends the session; before accept() it refuses it with 403. Does not wait for what was written, unless
        after_delivery. Does nothing if the session is over already."""
        message: Message = {"type": "webtransport.close", "code": code, "reason": reason}
        if after_delivery:
            message["after_delivery"] = True
        self._finish(message)

    async def abort(self) -> None:
        """Ends the session at once, without a code: the client sees an error."""
        self._finish({"type": "webtransport.abort"})

    def _finish(self, message: Message) -> None:
        self._link.finish(message)
        self._incoming.wake()
        self._datagrams.wake()

    @property
    def closed(self) -> CloseInfo | None:
        """How the session ended, once it has."""
        return self._link.disconnected

    async def wait_closed(self) -> CloseInfo:
        """Waits for the end, whoever brings it."""
        with self._link.waiting():
            return await asyncio.shield(self._closed)

    # Receiver.

    def message(self, message: Message) -> None:
        kind = message["type"]
        if kind == "webtransport.stream.receive":
            self._stream_received(message)
        elif kind == "webtransport.datagram.receive":
            self._datagram_received(message["data"])
        elif kind == "webtransport.stream.reset":
            stream = self._streams.get(message["stream_id"])
            if stream is not None:
                stream._was_reset(message["code"])
        elif kind == "webtransport.stream.stop":
            stream = self._streams.get(message["stream_id"])
            if stream is not None:
                stream._was_stopped(message["code"])
        elif kind == "webtransport.stream.delivered":
            stream = self._streams.get(message["stream_id"])
            if stream is not None:
                stream._confirm()
        elif kind == "webtransport.datagram.limit":
            self._max_datagram = message["max_size"]
        elif kind == "webtransport.drain":
            if not self._drain.done():
                self._drain.set_result(Drain(str(message.get("reason", "client")), message.get("deadline_ms")))
        elif kind == "webtransport.error":
            self._refused(message)
        elif kind == "webtransport.disconnect":
            self._over()

    def _stream_received(self, message: Message) -> None:
        stream_id = message["stream_id"]
        stream = self._streams.get(stream_id)
        if stream is None:
            if is_ours(stream_id) or stream_id < self._seen[stream_id & 3]:
                self._link.took(stream_id, len(message["data"]))
                return  # forgotten by the application; it is being stopped
            stream = self._streams[stream_id] = Stream(self, stream_id)
            self._seen[stream_id & 3] = stream_id + 4
            self._incoming.items.append(stream)
            self._link.keep()
            self._incoming.wake()
        stream._receive(message)

    def _datagram_received(self, data: bytes) -> None:
        if len(self._datagrams.items) >= DATAGRAMS_KEPT:
            self._datagrams.items.popleft()
            self.datagrams_dropped += 1
        self._datagrams.items.append(data)
        self._datagrams.wake()

    def _refused(self, message: Message) -> None:
        stream = self._streams.get(message.get("stream_id", -1))
        if stream is not None and message["code"] == "too_many_streams":
            error = StreamStopped("too many streams wait for the client", None)
            stream._write_error = stream._read_error = error
            stream._received_all = True
            stream._wake_reader()
            stream._confirm(error)

    def _over(self) -> None:
        info = self._link.disconnected
        assert info is not None
        for stream in list(self._streams.values()):
            stream._session_over(info)
        self._incoming.wake()
        self._datagrams.wake()
        if not self._drain.done():
            self._drain.set_exception(SessionClosed(info))
            self._drain.exception()  # nobody may be waiting
        if not self._closed.done():
            self._closed.set_result(info)


SessionFunction = Callable[[Session], Coroutine[Any, Any, Any]]


class SessionApp:
    """An application written with the session API; `@sluice.handler` makes one."""

    def __init__(self, function: SessionFunction) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", "handler")
        self.__doc__ = function.__doc__

    def __call__(self, session: Session) -> Coroutine[Any, Any, Any]:
        return self.function(session)

    async def run(self, session: Session) -> None:
        """The handler, and then the end of the tasks that it started."""
        try:
            await self.function(session)
        finally:
            await session._cancel_tasks()


def handler(function: SessionFunction) -> SessionApp:
    """Marks `async def f(session)` as an application of the session API."""
    return SessionApp(function)
