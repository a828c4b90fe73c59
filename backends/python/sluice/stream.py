"""One stream of the session API: a reader and a writer. Owns what has arrived on it and waits for the application."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING

from .frame import Message
from .halves import is_ours, is_uni
from .intake import JOINED
from .link import CloseInfo, Link, SessionClosed

if TYPE_CHECKING:
    from .session import Session

log = logging.getLogger("sluice")


class StreamError(Exception):
    """One stream ended before its end; the session goes on. `code` is the client's, or None."""

    def __init__(self, text: str, code: int | None) -> None:
        super().__init__(f"{text} (code {code})" if code is not None else text)
        self.code = code


class StreamReset(StreamError):
    """The client gave up sending: what it sent is incomplete, and what was not read yet is gone."""


class StreamStopped(StreamError):
    """The client does not want any more of what is sent on this stream."""


class _Unread:
    """Bytes that wait for the application, oldest first."""

    __slots__ = ("size", "_pieces", "_at")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[bytes] = deque()
        self._at = 0  # so much of the first piece is gone

    def add(self, data: bytes) -> None:
        if self._pieces and len(self._pieces[-1]) + len(data) <= JOINED:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)
        self.size += len(data)

    def put_back(self, data: bytes) -> None:
        if self._at:
            self._pieces[0] = self._pieces[0][self._at :]
            self._at = 0
        self._pieces.appendleft(data)
        self.size += len(data)

    def take(self, most: int) -> bytes:
        """At most so many bytes."""
        parts = []
        left = min(most, self.size)
        while left:
            parts.append(self.take_piece(left))
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_piece(self, most: int) -> bytes:
        """At most so many bytes of the oldest piece. There must be one."""
        piece = self._pieces[0]
        end = min(len(piece), self._at + most)
        part = piece[self._at : end]
        self._at = end
        if end == len(piece):
            self._pieces.popleft()
            self._at = 0
        self.size -= len(part)
        return part


class Stream:
    """One stream. Iterate over it or read() it; write() and end() it.

    Use it with `async with`, or end, reset or stop what you opened or were given: a stream that is
    forgotten half open is reset when Python collects it.
    """

    def __init__(self, session: Session, stream_id: int) -> None:
        self.session = session
        self.id = stream_id
        self._link = session._link
        self._unread = _Unread()
        self._uncredited = 0  # of the bytes unread, those for which there is no credit to give any more
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
        parts: list[bytes] = []
        try:
            while await self._fill():
                parts.append(self._take(self._unread.size))
        except asyncio.CancelledError:
            self._put_back(parts)
            raise
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """Exactly n bytes. Raises asyncio.IncompleteReadError if the stream ends before."""
        parts: list[bytes] = []
        missing = n
        try:
            while missing:
                if not await self._fill():
                    raise asyncio.IncompleteReadError(b"".join(parts), n)
                parts.append(self._take(missing))
                missing -= len(parts[-1])
        except asyncio.CancelledError:
            self._put_back(parts)
            raise
        return b"".join(parts)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes, as they arrived."""
        if not await self._fill():
            raise StopAsyncIteration
        data = self._unread.take_piece(self._unread.size)
        self._took(len(data))
        return data

    async def _fill(self) -> bool:
        """Waits until there are bytes. False at the end."""
        if not self.readable:
            raise ValueError(f"{self!r} cannot be read")
        while not self._unread.size:
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
        data = self._unread.take(n)
        self._took(len(data))
        return data

    def _took(self, n: int) -> None:
        """The client may send as many bytes more."""
        again = min(n, self._uncredited)
        self._uncredited -= again
        if n > again:
            self._link.took(self.id, n - again)

    def _put_back(self, parts: list[bytes]) -> None:
        """A read was cancelled: the next one finds what this one had taken. Credit was given for it already."""
        data = b"".join(parts)
        if data:
            self._unread.put_back(data)
            self._uncredited += len(data)

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
        if self.readable:
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
            session._loop.call_soon_threadsafe(_forget, session._link, self.id, self._unread.size - self._uncredited)
        except RuntimeError:
            pass  # the loop is closed

    # From the session.

    def _receive(self, message: Message) -> None:
        if message["data"]:
            self._unread.add(message["data"])
        if message["stream_ended"]:
            self._received_all = True
        self._wake_reader()

    def _was_reset(self, code: int | None) -> None:
        self._read_error = StreamReset("the client reset the stream", code)
        self._received_all = True
        self._drop_unread()
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
        self._took(self._unread.size)
        self._unread = _Unread()


def _forget(link: Link, stream_id: int, unread: int) -> None:
    """Cleans up after a stream that nobody holds any more."""
    if link.over:
        return
    readable, writable = link.is_open(stream_id)
    if readable:
        link.stop(stream_id)
    if writable:
        log.warning("session %s: stream %d was forgotten before it was ended; it is reset", link.name, stream_id)
        link.reset(stream_id)
    link.took(stream_id, unread)
