"""The session API: a WebTransport session as an object, its streams as readers and writers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from .answer import headers_of
from .frame import Message
from .link import MESSAGE_COST, CloseInfo, Link, SessionClosed, is_ours, is_uni

log = logging.getLogger("sluice")

T = TypeVar("T")
Header = tuple[bytes | str, bytes | str]

DATAGRAMS_KEPT = 256
"""Received datagrams that wait for the application; the oldest are dropped."""


class StreamError(Exception):
    """One stream ended before its end; the session goes on. `code` is the client's, or None."""

    def __init__(self, text: str, code: int | None) -> None:
        super().__init__(f"{text} (code {code})" if code is not None else text)
        self.code = code


class StreamReset(StreamError):
    """The client gave up sending: what it sent is incomplete."""


class StreamStopped(StreamError):
    """The client does not want any more of what is sent on this stream."""


@dataclass(frozen=True)
class Drain:
    """A request to finish. `reason` is "client" or "shutdown"."""

    reason: str
    deadline_ms: int | None


class Stream:
    """One stream. Iterate over it or read() it; write() and end() it.

    Use it with `async with`, or end, reset or stop what you opened or were given: a stream that is
    forgotten half open is reset when Python collects it.
    """

    def __init__(self, session: Session, stream_id: int) -> None:
        self.session = session
        self.id = stream_id
        self._link = session._link
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._received_all = not self.readable
        self._read_error: StreamError | None = None
        self._write_error: StreamError | None = None
        self._ended = not self.writable
        self._gave_up = False
        self._confirmed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        kind = "unidirectional" if is_uni(self.id) else "bidirectional"
        return f"<sluice.Stream {self.id}, {kind}, opened by {'the application' if is_ours(self.id) else 'the client'}>"

    @property
    def readable(self) -> bool:
        """Whether this kind of stream can be read: not if this side opened it unidirectional."""
        return not (is_ours(self.id) and is_uni(self.id))

    @property
    def writable(self) -> bool:
        """Whether this kind of stream can be written: not if the client opened it unidirectional."""
        return is_ours(self.id) or not is_uni(self.id)

    # Reading.

    async def read(self, n: int = -1) -> bytes:
        """Up to n bytes, as soon as there are any; without n everything up to the end. b"" is the end.

        Raises StreamReset if the client gave up, SessionClosed if the session ended.
        """
        if n == 0:
            return b""
        if n > 0:
            await self._fill()
            return self._take(n)
        parts = []
        while await self._fill():
            parts.append(self._take(self._size))
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """Exactly n bytes. Raises asyncio.IncompleteReadError if the stream ends before."""
        parts: list[bytes] = []
        missing = n
        while missing:
            if not await self._fill():
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            part = self._take(missing)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes, as they arrived."""
        if not await self._fill():
            raise StopAsyncIteration
        return self._take(len(self._chunks[0]))

    async def _fill(self) -> bool:
        """Waits until there are bytes. False at the end."""
        if not self.readable:
            raise ValueError(f"{self!r} cannot be read")
        while not self._chunks:
            if self._read_error is not None:
                raise self._read_error
            if self._received_all:
                return False
            if self._link.disconnected is not None:
                raise SessionClosed(self._link.disconnected)
            if self._reader is not None:
                raise RuntimeError(f"two tasks read {self!r} at the same time")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                with self._link.waiting():
                    await self._reader
            finally:
                self._reader = None
        return True

    def _take(self, n: int) -> bytes:
        if not self._chunks:
            return b""
        parts = []
        left = n
        while left and self._chunks:
            chunk = self._chunks.popleft()
            if len(chunk) > left:
                self._chunks.appendleft(chunk[left:])
                chunk = chunk[:left]
            else:
                self._link.took(MESSAGE_COST)
            parts.append(chunk)
            left -= len(chunk)
        self._size -= n - left
        self._link.took(n - left)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def stop(self, code: int = 0) -> None:
        """Asks the client to send no more; what it has sent is dropped."""
        self._drop_unread()
        if not self._received_all:
            self._received_all = True
            self._wake_reader()
            if not self._link.over:
                self._link.stop(self.id, code)

    # Writing.

    async def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Sends bytes; returns when there was credit for all of them, which is this stream's back-pressure.

        Raises StreamStopped if the client wants no more, SessionClosed if the session ended.
        """
        if data:
            await self._send(data, end=False, confirm=False)

    async def end(self, data: bytes | bytearray | memoryview | str = b"", *, confirm: bool = False) -> None:
        """Sends the last bytes and the end. With confirm it returns when the client has acknowledged everything."""
        if confirm:
            self._confirmed = asyncio.get_running_loop().create_future()
            self.session._confirming[self.id] = self
        try:
            await self._send(data, end=True, confirm=confirm)
        except BaseException:
            self.session._confirming.pop(self.id, None)
            raise
        self._ended = True
        if self._confirmed is not None:
            with self._link.waiting():
                await self._confirmed

    async def _send(self, data: bytes | bytearray | memoryview | str, *, end: bool, confirm: bool) -> None:
        if not self.writable:
            raise ValueError(f"{self!r} cannot be written")
        if self._ended and self._write_error is None:
            raise ValueError(f"{self!r} has been ended or reset")
        raw = data.encode() if isinstance(data, str) else data
        if self._write_error is not None or not await self._link.send(self.id, bytes(raw), end=end, confirm=confirm):
            raise self._write_error or StreamStopped("the stream cannot be written any more", None)

    def reset(self, code: int = 0) -> None:
        """Gives up sending: the client sees an error with this code. Legal after end() too, until all has arrived."""
        if not self.writable:
            raise ValueError(f"{self!r} cannot be written")
        if self._write_error is None and not self._gave_up and not self._link.over:
            self._ended = self._gave_up = True
            self._link.reset(self.id, code)

    def priority(self, send_order: int) -> None:
        """Streams with a higher number are sent first, as with sendOrder in the browser."""
        self._link.priority(self.id, send_order)

    # As a context, and when forgotten.

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends what is open; after an exception resets it, so that the client does not take a part for the whole."""
        if self._link.over:
            return
        if not self._received_all:
            self.stop()
        if not self._ended and self._write_error is None:
            if error is None:
                await self.end()
            else:
                self.reset()

    def __del__(self) -> None:
        session = getattr(self, "session", None)
        if session is None or session._link.disconnected is not None:
            return
        try:  # the collector may run in any thread
            session._loop.call_soon_threadsafe(_forget, session._link, self.id, self._size + MESSAGE_COST * len(self._chunks))
        except RuntimeError:
            pass  # the loop is closed

    # From the session.

    def _receive(self, message: Message) -> None:
        data: bytes = message["data"]
        if data:
            self._chunks.append(data)
            self._size += len(data)
            self._link.held(len(data) + MESSAGE_COST)
        if message["stream_ended"]:
            self._received_all = True
        self._wake_reader()

    def _was_reset(self, code: int | None) -> None:
        self._read_error = StreamReset("the client reset the stream", code)
        self._received_all = True
        self._wake_reader()

    def _was_stopped(self, code: int | None) -> None:
        self._write_error = StreamStopped("the client stopped the stream", code)
        self._confirm(self._write_error)

    def _session_over(self, info: CloseInfo) -> None:
        self._wake_reader()
        self._confirm(SessionClosed(info))

    def _confirm(self, error: Exception | None = None) -> None:
        self.session._confirming.pop(self.id, None)
        if self._confirmed is not None and not self._confirmed.done():
            if error is None:
                self._confirmed.set_result(None)
            else:
                self._confirmed.set_exception(error)
                self._confirmed.exception()  # nobody may be waiting yet

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _drop_unread(self) -> None:
        self._link.took(self._size + MESSAGE_COST * len(self._chunks))
        self._chunks.clear()
        self._size = 0


def _forget(link: Link, stream_id: int, unread: int) -> None:
    """Cleans up after a stream that nobody holds any more."""
    link.took(unread)
    if link.over:
        return
    readable, writable = link.is_open(stream_id)
    if readable:
        link.stop(stream_id)
    if writable:
        log.warning("session %s: stream %d was forgotten before it was ended; it is reset", link.name, stream_id)
        link.reset(stream_id)


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
        self, *, status: int = 200, headers: Iterable[Header] = (), subprotocol: str | None = None
    ) -> None:
        """Lets the client in."""
        message: Message = {"type": "webtransport.accept", "status": status}
        listed = headers_of(headers)
        if listed:
            message["headers"] = listed
        if subprotocol is not None:
            message["subprotocol"] = subprotocol
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
        self._link.took(MESSAGE_COST)
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
                return  # forgotten by the application; it has been stopped
            stream = self._streams[stream_id] = Stream(self, stream_id)
            self._seen[stream_id & 3] = stream_id + 4
            self._incoming.items.append(stream)
            self._link.held(MESSAGE_COST)
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
