"""The streams of one link: which ids have been used, and which halves are still open. Calls nobody."""

from __future__ import annotations

import asyncio


def is_ours(stream_id: int) -> bool:
    """Whether the application opens streams with such an id."""
    return stream_id & 1 == 1


def is_uni(stream_id: int) -> bool:
    return stream_id & 2 == 2


class StreamState:
    """One stream while at least one of its halves is open."""

    __slots__ = ("id", "readable", "writable", "announced", "limit", "sent", "lock", "waiter", "received", "taken", "granted")

    def __init__(self, stream_id: int, *, window: int, receive_window: int, announced: bool) -> None:
        ours, uni = is_ours(stream_id), is_uni(stream_id)
        self.id = stream_id
        self.readable = not (ours and uni)
        self.writable = ours or not uni
        self.announced = announced  # Sluice knows of it
        # What we send: how much we have, and how much we may.
        self.limit = window
        self.sent = 0
        self.lock = asyncio.Lock()  # one send at a time: a long one may be cut in pieces
        self.waiter: asyncio.Future[None] | None = None
        # What we receive: how much has come, how much the application has taken, how much may come.
        self.received = 0
        self.taken = 0
        self.granted = receive_window

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Streams:
    """All of them. `window` is what may be sent on a new stream, `receive_window` what may be received."""

    def __init__(self, receive_window: int) -> None:
        self.window = 0
        self.receive_window = receive_window
        self.open: dict[int, StreamState] = {}
        self._next = [0, 1, 2, 3]  # per kind of stream: the id that comes next

    def get(self, stream_id: int) -> StreamState | None:
        """None once both halves have ended."""
        return self.open.get(stream_id)

    def next_id(self, uni: bool) -> int:
        """The id of the next stream that the application opens."""
        return self._next[3 if uni else 1]

    def was_opened(self, stream_id: int) -> bool:
        return 0 <= stream_id < self._next[stream_id & 3]

    def add(self, stream_id: int, *, announced: bool) -> StreamState:
        state = StreamState(stream_id, window=self.window, receive_window=self.receive_window, announced=announced)
        self.open[stream_id] = state
        self._next[stream_id & 3] = stream_id + 4
        return state

    def receiving(self, stream_id: int) -> StreamState | None:
        """The stream that Sluice has data of; the client may have opened it by that. None if that half has ended."""
        state = self.open.get(stream_id)
        if state is None and not is_ours(stream_id) and stream_id >= self._next[stream_id & 3]:
            state = self.add(stream_id, announced=True)
        return state if state is not None and state.readable else None

    def sending(self, stream_id: int) -> StreamState | None:
        """The stream to send on; the next id opens it. None if that half has ended.

        Raises ValueError for an id that this application cannot send on.
        """
        if not is_ours(stream_id) and is_uni(stream_id):
            raise ValueError(f"stream {stream_id} is the client's and unidirectional: it can only be read")
        state = self.open.get(stream_id)
        following = self._next[stream_id & 3]
        if state is None and stream_id >= following:
            if not is_ours(stream_id):
                raise ValueError(f"stream {stream_id} has not been opened by the client")
            if stream_id > following:
                raise ValueError(f"stream {stream_id} cannot be opened: the next one of its kind is {following}")
            state = self.add(stream_id, announced=False)
        return state if state is not None and state.writable else None

    def end(self, state: StreamState, *, readable: bool = True, writable: bool = True) -> None:
        """A half has ended: the one that is False."""
        state.readable = state.readable and readable
        state.writable = state.writable and writable
        state.wake()
        if not state.readable and not state.writable:
            self.open.pop(state.id, None)

    def clear(self) -> None:
        """The session is over: whoever waits is woken."""
        states = list(self.open.values())
        self.open.clear()
        for state in states:
            state.wake()
