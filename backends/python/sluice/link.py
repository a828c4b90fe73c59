"""A link: the connection that carries one session between Sluice and the application.

It owns the socket and everything that the two ways of writing applications share: frames in and
out, which stream halves are open, credit, corking, and how much is read ahead. What Sluice says
goes up to a Receiver (the session API or the ASGI adapter); both come down by calling methods here.

Reading ahead. There is one socket for everything, credit included, so it cannot simply be left
unread while the application is busy:

- Up to `receive_buffer` bytes wait here for the application; then the socket is left alone, and
  the client is slowed down by flow control. This is the normal case.
- If the application meanwhile waits for something that only the socket can bring (credit for a
  send, data of another stream), reading goes on piece by piece, with growing pauses between the
  pieces, until what it waits for arrives: up to `receive_limit` bytes.
- At `receive_limit` reading stops. If a send waits for credit then and nothing is taken from the
  queue for `stall_timeout` seconds, neither side can move: the session is closed. An application
  that sends as much as it receives does not come near it, as long as the credit that Sluice gives
  (1 MiB a stream) is more than what waits in the sockets between the two (some 200 kB).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .answer import check_answer, check_code
from .checks import check, check_scope, number_in
from .frame import DATA_MARGIN, MAX_FRAME, Decoder, Message, ProtocolError, encode

log = logging.getLogger("sluice")

MESSAGE_COST = 256
"""What a waiting message counts on top of its bytes, so that empty messages are bounded too."""

CORK_BYTES = 64 * 1024
"""More than this is written at once instead of at the end of the turn."""

MAX_NUMBER = (1 << 53) - 1


@dataclass(frozen=True)
class Limits:
    """What one session may hold, how long things may take, and the code when it is closed for that."""

    receive_buffer: int = 1 << 20
    receive_limit: int = 16 << 20
    stall_timeout: float = 60.0
    linger_timeout: float = 15.0
    error_code: int = 500


@dataclass(frozen=True)
class CloseInfo:
    """How a session ended. `by` is "client", "app", "proxy" or "network"; code is None where there is none."""

    code: int | None = None
    reason: str = ""
    clean: bool = False
    by: str = "proxy"


class SessionClosed(OSError):
    """The session is over, so this cannot be done any more. `info` says how it ended, once known."""

    def __init__(self, info: CloseInfo | None) -> None:
        self.info = info
        if info is None:
            super().__init__("the session was closed by this application")
        else:
            code = "" if info.code is None else f", code {info.code}"
            super().__init__(f"the session was ended by the {info.by}{code}" + (f": {info.reason}" if info.reason else ""))


class Receiver(Protocol):
    """Whoever hears what Sluice says on a link."""

    def message(self, message: Message) -> None:
        """One message, checked, in order. The last one is webtransport.disconnect. Must not raise."""


class StreamState:
    """What a link knows of one stream while at least one of its halves is open."""

    __slots__ = ("id", "limit", "sent", "announced", "readable", "writable", "lock", "waiter")

    def __init__(self, stream_id: int, limit: int, *, readable: bool, writable: bool, announced: bool) -> None:
        self.id = stream_id
        self.limit = limit
        self.sent = 0
        self.announced = announced  # Sluice knows of it
        self.readable = readable
        self.writable = writable
        self.lock = asyncio.Lock()  # one send at a time: a long one may be cut in pieces
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


def is_ours(stream_id: int) -> bool:
    """Whether the application opens streams with such an id."""
    return stream_id & 1 == 1


def is_uni(stream_id: int) -> bool:
    return stream_id & 2 == 2


@dataclass
class _Reading:
    """How far the socket is read ahead of the application (see the top of this file)."""

    queued: int = 0
    taken: int = 0
    waiting: int = 0
    senders: int = 0
    paused: bool = False
    delay: float = 0.001
    piece: asyncio.TimerHandle | None = None
    stall: asyncio.TimerHandle | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Link(asyncio.Protocol):
    """One connection from Sluice. `on_session` is called once, when the scope has arrived."""

    def __init__(
        self,
        on_session: Callable[[Link], Receiver],
        limits: Limits | None = None,
        on_lost: Callable[[Link], None] | None = None,
    ) -> None:
        self.scope: Message = {}
        self.accepted = False
        self.ending = False  # we have said reject, close or abort
        self.disconnected: CloseInfo | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self.max_frame = MAX_FRAME

        self._loop = asyncio.get_running_loop()
        self._on_session = on_session
        self._on_lost = on_lost
        self._limits = limits or Limits()
        self._receiver: Receiver | None = None
        self._discarding = False
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

        self._streams: dict[int, StreamState] = {}
        self._next = [0, 1, 2, 3]  # per kind of stream: the id that comes next
        self._stream_window = 0
        self._limit = 0
        self._sent = 0
        self._blocked: dict[int, StreamState] = {}

        self._out: list[bytes] = []
        self._out_bytes = 0
        self._cork: asyncio.Handle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = _Reading()

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._handle(message)
        except ProtocolError as error:
            log.error("session %s: Sluice does not speak the backend protocol: %s", self.name, error)
            self._end(CloseInfo(reason=str(error)))
            self.drop()
            return
        self._review_reading()

    def eof_received(self) -> bool:
        if self.scope and self.disconnected is None:
            log.warning("session %s: the connection to Sluice was lost", self.name)
            self._end(CloseInfo(reason="the connection to Sluice was lost", by="network"))
        self._flush()
        return False  # closes

    def connection_lost(self, error: Exception | None) -> None:
        if self.scope and self.disconnected is None:
            log.warning("session %s: the connection to Sluice was lost: %s", self.name, error or "closed")
            self._end(CloseInfo(reason="the connection to Sluice was lost", by="network"))
        self._transport = None
        self._writable.set()
        r = self._reading
        for timer in (r.piece, r.stall, *r.timers):
            if timer is not None:
                timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def drop(self) -> None:
        """Cuts the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # What Sluice says.

    @property
    def name(self) -> str:
        """The session's name in Sluice's log."""
        try:
            return str(self.scope["extensions"]["sluice"]["session"])
        except (KeyError, TypeError):
            return "?"

    @property
    def over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.ending or self.disconnected is not None

    def _handle(self, message: Message) -> None:
        if not self.scope:
            self._start(message)
            return
        if self.disconnected is not None:
            raise ProtocolError(f"{message['type']} after webtransport.disconnect")
        if not check(message):
            return  # a newer Sluice may say more than we know
        kind = message["type"]
        if kind == "webtransport.credit":
            self._credit(message.get("stream_id"), message["limit"])
            return
        if kind == "webtransport.disconnect":
            self._end(
                CloseInfo(message.get("code"), message["reason"], message["clean"], message["by"]),
                message,
            )
            return
        if kind.startswith("webtransport.stream.") and not self._stream_message(kind, message):
            return
        if kind == "webtransport.error":
            self._error(message)
        self._tell(message)

    def _start(self, scope: Message) -> None:
        check_scope(scope)
        self.scope = scope
        extensions = scope.setdefault("extensions", {})
        self._stream_window = number_in(extensions, "webtransport", "stream_window", 1 << 53)
        self._limit = number_in(extensions, "webtransport", "session_window", 1 << 53)
        self.max_frame = max(number_in(extensions, "sluice", "max_frame", MAX_FRAME), 2 * DATA_MARGIN)
        self._decoder.max_frame = self.max_frame
        self._receiver = self._on_session(self)

    def _stream_message(self, kind: str, message: Message) -> bool:
        """Keeps the stream's state. False if the message is for a half that has ended."""
        stream_id = message["stream_id"]
        state = self._streams.get(stream_id)
        if kind == "webtransport.stream.receive":
            if state is None and not is_ours(stream_id) and stream_id >= self._next[stream_id & 3]:
                state = self._add(stream_id, announced=True)
            if state is None or not state.readable:
                return False
            if message["stream_ended"]:
                self._over(state, readable=False)
        elif kind == "webtransport.stream.reset":
            message.setdefault("code", None)
            if state is None or not state.readable:
                return False
            self._over(state, readable=False)
        elif kind == "webtransport.stream.stop":
            message.setdefault("code", None)
            if state is not None:
                self._over(state, writable=False)
        return True

    def _error(self, message: Message) -> None:
        log.warning(
            "session %s: Sluice refused what the application sent: %s (%s)",
            self.name,
            message["message"],
            message["code"],
        )
        state = self._streams.get(message.get("stream_id", -1))
        if state is not None and message["code"] == "too_many_streams":
            self._over(state, readable=False, writable=False)

    def _end(self, info: CloseInfo, message: Message | None = None) -> None:
        """The session is over: everything that waits is told so."""
        if self.disconnected is not None:
            return
        self.disconnected = info
        for state in list(self._streams.values()):
            state.wake()
        self._streams.clear()
        self._blocked.clear()
        self._writable.set()
        if message is None:
            message = {
                "type": "webtransport.disconnect",
                "code": info.code,
                "reason": info.reason,
                "clean": info.clean,
                "by": info.by,
            }
        message.setdefault("code", None)
        self._tell(message)

    def _tell(self, message: Message) -> None:
        if self._receiver is not None and not self._discarding:
            self._receiver.message(message)

    # What the application says.

    def command(self, message: Mapping[str, Any]) -> None:
        """Sends a message with the others of this turn. Raises SessionClosed when the session is over."""
        if self.over:
            raise SessionClosed(self.disconnected)
        self._write(encode(message, self.max_frame))

    def accept(self, message: Mapping[str, Any]) -> None:
        if self.accepted:
            raise RuntimeError("the session has been accepted already")
        check_answer(message, self.scope.get("subprotocols", []))
        self.command(message)
        self.accepted = True

    def finish(self, message: Mapping[str, Any]) -> None:
        """Says reject, close or abort: the last thing that can be said. Silent when the session is over already."""
        if self.over:
            return
        if message["type"] == "webtransport.reject" and self.accepted:
            raise RuntimeError("an accepted session cannot be rejected any more: close it")
        check_answer(message, [])
        self.command(message)
        self.ending = True
        for state in list(self._streams.values()):
            state.wake()
        self._reading.timers.append(self._loop.call_later(self._limits.linger_timeout, self.drop))

    def leave(self, *, code: int, reason: str, status: int, after_delivery: bool = False) -> None:
        """The application is done with the session: ends it if nobody has, then waits for Sluice to hang up."""
        if not self.over:
            if not self.accepted:
                self.finish({"type": "webtransport.reject", "status": status})
            else:
                close: Message = {"type": "webtransport.close", "code": code, "reason": reason}
                if after_delivery:
                    close["after_delivery"] = True
                self.finish(close)
        self._discarding = True
        self._reading.queued = 0
        self._review_reading()

    def ask_to_finish(self, deadline_ms: int) -> None:
        """The application's process shuts down: tells the client, and the application as Sluice would."""
        if not self.over and self.accepted:
            self.command({"type": "webtransport.drain"})
            self._tell({"type": "webtransport.drain", "reason": "shutdown", "deadline_ms": deadline_ms})

    def need_accepted(self, kind: str) -> None:
        if not self.accepted and not self.over:
            raise RuntimeError(f"{kind} before webtransport.accept")

    async def flow(self) -> None:
        """Waits while the socket has more to write than it should."""
        if self._out_bytes >= CORK_BYTES:
            self._flush()
            await asyncio.sleep(0)  # whoever sends without end lets the others run now and then
        if not self._writable.is_set():
            with self.waiting():
                await self._writable.wait()

    def open(self, uni: bool) -> int:
        """Opens the next stream of this kind and returns its id."""
        stream_id = self._next[3 if uni else 1]
        self.need_accepted("opening a stream")
        self.command({"type": "webtransport.stream.send", "stream_id": stream_id, "data": b""})
        self._add(stream_id, announced=True)
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, end: bool = False, confirm: bool = False) -> bool:
        """Sends bytes on a stream; waits for credit of that stream and of the session, nothing else.

        False if the half has ended (the client has stopped it, or it was ended or reset here before).
        Raises ValueError for an id that this application cannot send on.
        """
        self.need_accepted("webtransport.stream.send")
        if self.over:
            raise SessionClosed(self.disconnected)
        state = self._sendable(stream_id)
        if state is None:
            return False
        async with state.lock:
            if not await self._send_all(state, memoryview(data), end, confirm):
                return False
        await self.flow()
        return True

    async def _send_all(self, state: StreamState, rest: memoryview, end: bool, confirm: bool) -> bool:
        while True:
            if self.over:
                raise SessionClosed(self.disconnected)
            if not state.writable:
                return False
            room = min(state.limit - state.sent, self._limit - self._sent, self.max_frame - DATA_MARGIN)
            size = min(len(rest), max(room, 0))
            last = size == len(rest)
            if size or last or not state.announced:
                message: Message = {"type": "webtransport.stream.send", "stream_id": state.id}
                if end and last:
                    message["end_stream"] = True
                if confirm and last:
                    message["confirm"] = True
                message["data"] = bytes(rest[:size])
                self.command(message)
                state.announced = True
                state.sent += size
                self._sent += size
                rest = rest[size:]
            if last:
                if end:
                    self._over(state, writable=False)
                return True
            if size:
                await self.flow()
            else:
                await self._wait_for_credit(state)

    async def _wait_for_credit(self, state: StreamState) -> None:
        state.waiter = self._loop.create_future()
        self._blocked[state.id] = state
        try:
            with self.waiting(sender=True):
                await state.waiter
        finally:
            state.waiter = None
            self._blocked.pop(state.id, None)

    def reset(self, stream_id: int, code: int = 0) -> None:
        """Gives up sending on a stream; legal after its end too."""
        if not (is_ours(stream_id) or not is_uni(stream_id)):
            raise ValueError(f"stream {stream_id} is the client's and unidirectional: there is nothing to reset, stop it")
        self._half("webtransport.stream.reset", stream_id, code)
        state = self._streams.get(stream_id)
        if state is not None:
            self._over(state, writable=False)

    def stop(self, stream_id: int, code: int = 0) -> None:
        """Asks the client to send no more on a stream; what still arrives is dropped."""
        if is_ours(stream_id) and is_uni(stream_id):
            raise ValueError(f"stream {stream_id} is unidirectional and this application's: there is nothing to stop")
        self._half("webtransport.stream.stop", stream_id, code)
        state = self._streams.get(stream_id)
        if state is not None:
            self._over(state, readable=False)

    def priority(self, stream_id: int, send_order: int) -> None:
        """Streams with a higher number are sent first."""
        if not is_ours(stream_id) and is_uni(stream_id):
            raise ValueError(f"stream {stream_id} is the client's and unidirectional: it has no priority here")
        if abs(send_order) > MAX_NUMBER:
            raise ValueError(f"send_order {send_order} is beyond 2^53")
        self._need_opened("webtransport.stream.priority", stream_id)
        self.command({"type": "webtransport.stream.priority", "stream_id": stream_id, "send_order": send_order})

    def _half(self, kind: str, stream_id: int, code: int) -> None:
        self._need_opened(kind, stream_id)
        check_code(code)
        self.command({"type": kind, "stream_id": stream_id, "code": code})

    def _need_opened(self, kind: str, stream_id: int) -> None:
        self.need_accepted(kind)
        if not 0 <= stream_id < self._next[stream_id & 3]:
            raise ValueError(f"stream {stream_id} has not been opened")

    def is_open(self, stream_id: int) -> tuple[bool, bool]:
        """Whether the receiving and the sending half of a stream are open."""
        state = self._streams.get(stream_id)
        return (state.readable, state.writable) if state is not None else (False, False)

    # Streams.

    def _add(self, stream_id: int, announced: bool) -> StreamState:
        ours, uni = is_ours(stream_id), is_uni(stream_id)
        state = StreamState(
            stream_id,
            self._stream_window,
            readable=not (ours and uni),
            writable=ours or not uni,
            announced=announced,
        )
        self._streams[stream_id] = state
        self._next[stream_id & 3] = stream_id + 4
        return state

    def _sendable(self, stream_id: int) -> StreamState | None:
        if not is_ours(stream_id) and is_uni(stream_id):
            raise ValueError(f"stream {stream_id} is the client's and unidirectional: it can only be read")
        state = self._streams.get(stream_id)
        following = self._next[stream_id & 3]
        if state is None and stream_id >= following:
            if not is_ours(stream_id):
                raise ValueError(f"stream {stream_id} has not been opened by the client")
            if stream_id > following:
                raise ValueError(f"stream {stream_id} cannot be opened: the next one of its kind is {following}")
            state = self._add(stream_id, announced=False)
        return state if state is not None and state.writable else None

    def _over(self, state: StreamState, *, readable: bool = True, writable: bool = True) -> None:
        state.readable = state.readable and readable
        state.writable = state.writable and writable
        state.wake()
        if not state.readable and not state.writable:
            self._streams.pop(state.id, None)

    def _credit(self, stream_id: int | None, limit: int) -> None:
        self._reading.delay = 0.001
        if stream_id is not None:
            state = self._streams.get(stream_id)
            if state is not None and limit > state.limit:
                state.limit = limit
                state.wake()
        elif limit > self._limit:
            self._limit = limit
            for state in self._blocked.values():
                if state.limit > state.sent:
                    state.wake()

    # Writing: one write per turn of the loop.

    def _write(self, frame: bytes) -> None:
        if self._transport is None:
            return
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._cork is None:
            self._cork = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._cork is not None:
            self._cork.cancel()
            self._cork = None
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    # Reading ahead.

    def held(self, size: int) -> None:
        """The receiver keeps this many bytes for the application."""
        self._reading.queued += size

    def took(self, size: int) -> None:
        """The application has taken this many of them."""
        r = self._reading
        r.queued = max(r.queued - size, 0)
        r.taken += size
        if r.paused:
            self._review_reading()

    @contextmanager
    def waiting(self, sender: bool = False) -> Iterator[None]:
        """Around every wait for something that only the socket can bring."""
        r = self._reading
        r.waiting += 1
        r.senders += sender
        self._review_reading()
        try:
            yield
        finally:
            r.waiting -= 1
            r.senders -= sender

    def _review_reading(self) -> None:
        r, limits = self._reading, self._limits
        if self._transport is None or self._transport.is_closing():
            return
        if self._discarding or r.queued < limits.receive_buffer:
            r.delay = 0.001
            self._pause(False)
            return
        self._pause(True)
        if r.queued < limits.receive_limit:
            if r.waiting and r.piece is None:
                r.piece = self._loop.call_later(r.delay, self._read_piece)
                r.delay = min(r.delay * 2, 0.25)
        elif r.senders and r.stall is None:
            r.stall = self._loop.call_later(limits.stall_timeout, self._stalled, r.taken)

    def _pause(self, pause: bool) -> None:
        r = self._reading
        if pause != r.paused and self._transport is not None:
            r.paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        if not pause and r.piece is not None:
            r.piece.cancel()
            r.piece = None

    def _read_piece(self) -> None:
        self._reading.piece = None
        if self._reading.waiting:
            self._pause(False)  # the next data_received looks again
        else:
            self._review_reading()

    def _stalled(self, taken: int) -> None:
        r = self._reading
        r.stall = None
        if r.queued < self._limits.receive_limit or not r.senders or self.over:
            return
        if r.taken != taken:
            self._review_reading()
            return
        log.warning(
            "session %s: a send has waited for credit for %g seconds while %d bytes were not taken: closing it",
            self.name,
            self._limits.stall_timeout,
            r.queued,
        )
        reason = "the application and the client wait for each other"
        self.leave(code=self._limits.error_code, reason=reason, status=500)
