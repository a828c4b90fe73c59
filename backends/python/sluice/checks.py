"""What Sluice sends is checked once, where it comes in, so that nothing after it needs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .frame import Message, ProtocolError

_REQUIRED: dict[str, tuple[tuple[str, type, Any], ...]] = {
    # field, type, what it is when absent (... = must be there)
    "webtransport.stream.receive": (("stream_id", int, ...), ("data", bytes, b""), ("stream_ended", bool, False)),
    "webtransport.stream.reset": (("stream_id", int, ...),),
    "webtransport.stream.stop": (("stream_id", int, ...),),
    "webtransport.stream.delivered": (("stream_id", int, ...),),
    "webtransport.credit": (("limit", int, ...),),
    "webtransport.datagram.receive": (("data", bytes, b""),),
    "webtransport.datagram.limit": (("max_size", int, ...),),
    "webtransport.drain": (),
    "webtransport.disconnect": (("reason", str, ""), ("clean", bool, False), ("by", str, "proxy")),
    "webtransport.error": (("code", str, ""), ("message", str, "")),
}


def check(message: Message) -> bool:
    """Fills in what is absent. False for a type that is not known here; raises ProtocolError for a wrong field."""
    rows = _REQUIRED.get(message["type"])
    if rows is None:
        return False
    for name, kind, default in rows:
        value = message.get(name)
        if value is None and default is not ...:
            message[name] = default
        elif kind is int and _is_number(value):
            continue
        elif kind is int or not isinstance(value, kind):
            raise ProtocolError(f"{message['type']}: {name} is {type(value).__name__}, expected {kind.__name__}")
    for name in ("code", "stream_id"):  # optional numbers
        value = message.get(name)
        if value is None or message["type"] == "webtransport.error":
            continue
        if not _is_number(value):
            raise ProtocolError(f"{message['type']}: {name} is not an unsigned integer")
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_scope(scope: Message) -> None:
    """Raises ProtocolError unless the first frame is a scope."""
    if scope["type"] != "webtransport":
        raise ProtocolError(f"the first frame is {scope['type']!r}, not a scope")
    headers = scope.get("headers", [])
    if not isinstance(headers, list) or not all(
        isinstance(h, list) and len(h) == 2 and isinstance(h[0], bytes) and isinstance(h[1], bytes) for h in headers
    ):
        raise ProtocolError("scope: headers are not a list of [name, value]")
    if not isinstance(scope.get("extensions", {}), dict):
        raise ProtocolError("scope: extensions is not a map")


def number_in(extensions: Mapping[str, Any], group: str, name: str, default: int) -> int:
    values = extensions.get(group)
    value = values.get(name) if isinstance(values, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
