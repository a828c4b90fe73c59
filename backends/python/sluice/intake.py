"""The intake: what has arrived and the application has not taken yet, of one session.

Bytes are bounded by credit. On each stream the client may be one window ahead of the application,
on all streams together as far as `limit`, and as the application takes, both are raised, a part of
the window at a time. What is beyond it stays with Sluice and the client. So a stream that nobody
reads costs one window, and the socket can always be read: credit for what we send comes on it too.

What has no bytes is not bounded by credit: streams that end as soon as they begin. They, and
messages in general, are counted as items. Beyond `_ITEMS_KEPT` the socket is left alone while the
application waits for nothing that comes on it; beyond `_ITEMS_MOST` the session is closed, which
only an application sees that takes some of what comes and never the rest.

Owns the numbers. Calls back the link: to send a credit, to pause reading, to close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .frame import ProtocolError
from .halves import StreamState

_ITEMS_KEPT = 4096
_ITEMS_MOST = 16384
"""For the default limit; with a larger one bytes may come in more pieces."""

JOINED = 8192
"""Pieces of a stream up to this size are joined while they wait, so that one byte does not cost a hundred."""

_LEAST = 1024
"""Less credit for the session than this is not worth a message."""

_EARLY = 16 << 20
"""What a Sluice may have written before it has seen the first credit of the session."""


class Intake:
    def __init__(
        self, limit: int, credit: Callable[[int | None, int], None], pause: Callable[[bool], None], burst: Callable[[], None]
    ) -> None:
        """credit(stream_id or None, limit) tells Sluice, pause(on) stops reading, burst() closes the session."""
        self.window = 0
        self.received = 0
        self.taken = 0
        self.granted = limit
        self.items = 0
        self.paused = False
        self._limit = limit
        self._items_kept = max(_ITEMS_KEPT, limit // 4096)
        self._items_most = max(_ITEMS_MOST, limit // 1024)
        self._waiting = 0
        self._closed = False
        self._credit = credit
        self._pause = pause
        self._burst = burst

    @property
    def unread(self) -> int:
        """Bytes that wait for the application."""
        return self.received - self.taken

    def begin(self, window: int) -> None:
        """The session has been accepted with this receive_window."""
        self.window = window
        self._credit(None, self.granted)

    def close(self) -> None:
        """The session is over: no more credit, nothing is bounded any more, and reading goes on to its end."""
        self._closed = True
        self._review()

    # Bytes.

    def arrived(self, state: StreamState | None, size: int) -> None:
        """Bytes of a stream have come. Without a state nobody wants them any more."""
        self.received += size
        if self.received > self.granted + _EARLY:
            raise ProtocolError(f"{self.received} bytes on all streams, {self.granted} were allowed")
        if state is None:
            self.taken += size
        else:
            state.received += size
            if state.received > state.granted:
                raise ProtocolError(f"{state.received} bytes on stream {state.id}, {state.granted} were allowed")
        self._credit_all()

    def took(self, state: StreamState | None, size: int) -> None:
        """The application has taken bytes, or they were dropped; without a state that stream needs no credit."""
        self.taken += size
        if self._closed:
            return
        if state is not None and state.readable:
            state.taken += size
            limit = state.taken + self.window
            if (limit - state.granted) * 4 >= self.window and limit > state.granted:
                state.granted = limit
                self._credit(state.id, limit)
        self._credit_all()

    def _credit_all(self) -> None:
        """An eighth of the limit at a time; or less, when streams that are not read leave little for the others."""
        limit = self.taken + self._limit
        owed = limit - self.granted
        worth = owed * 8 >= self._limit or (owed >= _LEAST and owed >= self.granted - self.received)
        if worth and not self._closed:
            self.granted = limit
            self._credit(None, limit)

    # Items.

    def keep(self) -> None:
        """Something waits for the application: a message, a stream."""
        self.items += 1
        if self.items >= self._items_kept:
            self._review()

    def release(self) -> None:
        """The application has taken it."""
        self.items -= 1
        if self.paused:
            self._review()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around every wait for something that only the socket can bring."""
        self._waiting += 1
        if self.paused:
            self._review()
        try:
            yield
        finally:
            self._waiting -= 1
            if self.items >= self._items_kept:
                self._review()

    def _review(self) -> None:
        if self.items > self._items_most and not self._closed:
            self._burst()
        most = self._items_kept // 2 if self.paused else self._items_kept
        paused = self.items >= most and not self._waiting and not self._closed
        if paused != self.paused:
            self.paused = paused
            self._pause(paused)
