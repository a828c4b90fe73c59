"""A link: the connection that carries one session between Sluice and the application.

It owns the socket and everything that the two ways of writing applications share: frames in and
out, which stream halves are open, credit in both directions, and corking. What Sluice says goes up
to a Receiver (the session API or the ASGI adapter); both come down by calling methods here.

Nothing here waits for anything but what it must: a send for credit of its own stream and of the
session. The socket is read as it comes, for credit comes on it; what may come is bounded by the
credit that we give (intake.py).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from .answer import MAX_NUMBER, check_answer, check_code
from .checks import check, check_scope, number_in
from .frame import DATA_MARGIN, MAX_FRAME, Decoder, Message, ProtocolError, encode
from .halves import Streams, StreamState, is_ours, is_uni
from .intake import Intake

log = logging.getLogger("sluice")

CORK_BYTES = 64 * 1024
"""More than this is written at once instead of at the end of the turn."""


@dataclass(frozen=True)
class Limits:
    """What a client may send ahead of the application (on one stream, on all of them), how long Sluice has to hang
    up, and the code when a session is closed because more waits than that."""

    receive_window: int = 256 << 10
    receive_limit: int = 16 << 20
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

        self._streams = Streams(self._limits.receive_window)
        self._intake = Intake(self._limits.receive_limit, self._grant, self._pause, self._burst)
        self._limit = 0  # bytes that may be sent on all streams together, and that have been
        self._sent = 0
        self._line: dict[int, StreamState] = {}  # streams that wait for the session's credit; the first is next
        self._linger: asyncio.TimerHandle | None = None

        self._out: list[bytes] = []
        self._out_bytes = 0
        self._cork: asyncio.Handle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

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
        if self._linger is not None:
            self._linger.cancel()
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
        if self.ending and kind in ("webtransport.stream.receive", "webtransport.datagram.receive"):
            return  # it was on its way; the application has closed the session
        if kind.startswith("webtransport.stream.") and not self._stream_message(kind, message):
            return
        if kind == "webtransport.error":
            self._error(message)
        self._tell(message)

    def _start(self, scope: Message) -> None:
        check_scope(scope)
        self.scope = scope
        extensions = scope.setdefault("extensions", {})
        self._streams.window = number_in(extensions, "webtransport", "stream_window", 1 << 53)
        self._limit = number_in(extensions, "webtransport", "session_window", 1 << 53)
        self.max_frame = max(number_in(extensions, "sluice", "max_frame", MAX_FRAME), 2 * DATA_MARGIN)
        self._decoder.max_frame = self.max_frame
        self._receiver = self._on_session(self)

    def _stream_message(self, kind: str, message: Message) -> bool:
        """Keeps the stream's state. False if the message is for a half that has ended."""
        stream_id = message["stream_id"]
        if kind == "webtransport.stream.receive":
            state = self._streams.receiving(stream_id)
            self._intake.arrived(state, len(message["data"]))
            if state is None:
                return False
            if message["stream_ended"]:
                self._streams.end(state, readable=False)
            return True
        state = self._streams.get(stream_id)
        if kind == "webtransport.stream.reset":
            message.setdefault("code", None)
            if state is None or not state.readable:
                return False
            self._streams.end(state, readable=False)
        elif kind == "webtransport.stream.stop":
            message.setdefault("code", None)
            if state is not None:
                self._streams.end(state, writable=False)
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
            self._streams.end(state, readable=False, writable=False)

    def _end(self, info: CloseInfo, message: Message | None = None) -> None:
        """The session is over: everything that waits is told so."""
        if self.disconnected is not None:
            return
        self.disconnected = info
        self._streams.clear()
        self._writable.set()
        self._intake.close()
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
        """Says accept, and how much the client may send: receive_window on each stream if the message has it."""
        if self.accepted:
            raise RuntimeError("the session has been accepted already")
        window = message.get("receive_window", self._limits.receive_window)
        message = {**message, "receive_window": window}
        check_answer(message, self.scope.get("subprotocols", []))
        self.command(message)
        self.accepted = True
        self._streams.receive_window = window
        self._intake.begin(window)

    def finish(self, message: Mapping[str, Any]) -> None:
        """Says reject, close or abort: the last thing that can be said. Silent when the session is over already."""
        if self.over:
            return
        if message["type"] == "webtransport.reject" and self.accepted:
            raise RuntimeError("an accepted session cannot be rejected any more: close it")
        check_answer(message, [])
        self.command(message)
        self.ending = True
        for state in self._streams.open.values():
            state.wake()
        self._intake.close()
        self._linger = self._loop.call_later(self._limits.linger_timeout, self.drop)

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
        self._intake.close()

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
        stream_id = self._streams.next_id(uni)
        self.need_accepted("opening a stream")
        self.command({"type": "webtransport.stream.send", "stream_id": stream_id, "data": b""})
        self._streams.add(stream_id, announced=True)
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, end: bool = False, confirm: bool = False) -> bool:
        """Sends bytes on a stream; waits for credit of that stream and of the session, nothing else.

        False if the half has ended (the client has stopped it, or it was ended or reset here before).
        Raises ValueError for an id that this application cannot send on.
        """
        self.need_accepted("webtransport.stream.send")
        if self.over:
            raise SessionClosed(self.disconnected)
        state = self._streams.sending(stream_id)
        if state is None:
            return False
        async with state.lock:
            if not await self._send_all(state, memoryview(data), end, confirm):
                return False
        await self.flow()
        return True

    async def _send_all(self, state: StreamState, rest: memoryview, end: bool, confirm: bool) -> bool:
        try:
            while True:
                if self.over:
                    raise SessionClosed(self.disconnected)
                if not state.writable:
                    return False
                size = min(len(rest), self._room(state), self.max_frame - DATA_MARGIN)
                last = size == len(rest)
                if size or last or not state.announced:
                    self._send_piece(state, bytes(rest[:size]), end and last, confirm and last)
                    rest = rest[size:]
                if last:
                    if end:
                        self._streams.end(state, writable=False)
                    return True
                if size:
                    await self.flow()
                else:
                    await self._wait_for_credit(state)
        finally:
            self._leave_line(state)

    def _send_piece(self, state: StreamState, data: bytes, end: bool, confirm: bool) -> None:
        message: Message = {"type": "webtransport.stream.send", "stream_id": state.id}
        if end:
            message["end_stream"] = True
        if confirm:
            message["confirm"] = True
        message["data"] = data
        self.command(message)
        state.announced = True
        state.sent += len(data)
        self._sent += len(data)
        if data:
            self._leave_line(state)

    def _room(self, state: StreamState) -> int:
        """What may be sent on a stream now: nothing while others wait longer for the session's credit."""
        if self._line and next(iter(self._line)) != state.id:
            return 0
        return max(min(state.limit - state.sent, self._limit - self._sent), 0)

    async def _wait_for_credit(self, state: StreamState) -> None:
        """Until there may be more room; a stream with credit of its own stands in line for the session's."""
        if state.limit > state.sent:
            self._line.setdefault(state.id, state)
        state.waiter = self._loop.create_future()
        try:
            with self.waiting():
                await state.waiter
        finally:
            state.waiter = None

    def _leave_line(self, state: StreamState) -> None:
        if self._line.pop(state.id, None) is not None:
            self._wake_first()

    def _wake_first(self) -> None:
        if self._line and self._limit > self._sent:
            next(iter(self._line.values())).wake()

    def reset(self, stream_id: int, code: int = 0) -> None:
        """Gives up sending on a stream; legal after its end too."""
        if not (is_ours(stream_id) or not is_uni(stream_id)):
            raise ValueError(f"stream {stream_id} is the client's and unidirectional: there is nothing to reset, stop it")
        self._half("webtransport.stream.reset", stream_id, code)
        state = self._streams.get(stream_id)
        if state is not None:
            self._streams.end(state, writable=False)

    def stop(self, stream_id: int, code: int = 0) -> None:
        """Asks the client to send no more on a stream; what still arrives is dropped."""
        if is_ours(stream_id) and is_uni(stream_id):
            raise ValueError(f"stream {stream_id} is unidirectional and this application's: there is nothing to stop")
        self._half("webtransport.stream.stop", stream_id, code)
        state = self._streams.get(stream_id)
        if state is not None:
            self._streams.end(state, readable=False)

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
        if not self._streams.was_opened(stream_id):
            raise ValueError(f"stream {stream_id} has not been opened")

    def is_open(self, stream_id: int) -> tuple[bool, bool]:
        """Whether the receiving and the sending half of a stream are open."""
        state = self._streams.get(stream_id)
        return (state.readable, state.writable) if state is not None else (False, False)

    def _credit(self, stream_id: int | None, limit: int) -> None:
        if stream_id is not None:
            state = self._streams.get(stream_id)
            if state is not None and limit > state.limit:
                state.limit = limit
                state.wake()
        elif limit > self._limit:
            self._limit = limit
            self._wake_first()

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

    # What the client may send.

    def took(self, stream_id: int, size: int) -> None:
        """The application has taken (or dropped) so many bytes of a stream: the client may send as many more."""
        self._intake.took(self._streams.get(stream_id), size)

    def keep(self) -> None:
        """One thing more waits for the application: a message, or a stream that it has not accepted."""
        self._intake.keep()

    def release(self) -> None:
        """The application has taken one of them."""
        self._intake.release()

    def waiting(self) -> AbstractContextManager[None]:
        """Around every wait for something that only the socket can bring."""
        return self._intake.waiting()

    def _grant(self, stream_id: int | None, limit: int) -> None:
        message: Message = {"type": "webtransport.credit", "limit": limit}
        if stream_id is not None:
            message["stream_id"] = stream_id
        self.command(message)

    def _pause(self, paused: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _burst(self) -> None:
        log.warning("session %s: the application leaves too much of what the client sends: closing it", self.name)
        reason = "the application is too slow"
        self.finish({"type": "webtransport.close", "code": self._limits.error_code, "reason": reason})
