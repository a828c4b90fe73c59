"""Frames: how one message looks on the socket.

A frame is a length (4 bytes, big-endian) and exactly one msgpack map with string keys. This module
turns messages into frames and bytes into messages, and knows nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

Message = dict[str, Any]

MAX_FRAME = 1 << 20
"""The longest map on the wire in bytes, unless the scope says otherwise."""

MAX_FIRST_FRAME = 16 << 20
"""The same before there is a scope."""

DATA_MARGIN = 1024
"""What a message may need around its data: data is at most the longest frame minus this."""


class ProtocolError(Exception):
    """What arrived is not the backend protocol."""


def encode(message: Mapping[str, Any], max_frame: int = MAX_FRAME) -> bytes:
    """The frame of one message. Raises ValueError if it is too long, TypeError if it cannot be packed."""
    if "data" in message:  # last in the map, so that a receiver in C finds the payload at the end
        message = {**{k: v for k, v in message.items() if k != "data"}, "data": message["data"]}
    body: bytes = msgpack.packb(message, use_bin_type=True)
    if len(body) > max_frame:
        raise ValueError(f"a message of {len(body)} bytes is longer than a frame may be ({max_frame})")
    return len(body).to_bytes(4, "big") + body


def unpack(body: bytes | bytearray | memoryview) -> Message:
    """The message inside one frame. Raises ProtocolError."""
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=False, use_list=True)
    except Exception as error:  # msgpack raises a handful of unrelated classes
        raise ProtocolError(f"a frame is not one msgpack value: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"a frame holds {type(message).__name__}, not a map")
    if not all(isinstance(key, str) for key in message):
        raise ProtocolError("a frame has a key that is not a string")
    if not isinstance(message.get("type"), str):
        raise ProtocolError('a frame has no "type"')
    return message


class Decoder:
    """Cuts a stream of bytes into messages. Holds at most one unfinished frame between calls."""

    def __init__(self, max_frame: int = MAX_FIRST_FRAME) -> None:
        self.max_frame = max_frame
        self._buffer = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether the bytes so far end inside a frame."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes. Raises ProtocolError."""
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= 4:
                length = int.from_bytes(self._buffer[at : at + 4], "big")
                if not 1 <= length <= self.max_frame:
                    raise ProtocolError(f"a frame says it is {length} bytes long, allowed are 1 to {self.max_frame}")
                if len(self._buffer) - at - 4 < length:
                    break
                with memoryview(self._buffer) as view:
                    message = unpack(view[at + 4 : at + 4 + length])
                at += 4 + length
                yield message
        finally:
            del self._buffer[:at]
