"""What an answer or a close may say.

Sluice checks all of it too, but by then the session is lost. Here the mistake is raised where it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_CODE = 0xFFFFFFFF
MAX_REASON = 1024
MAX_BODY = 65536
MAX_NUMBER = (1 << 53) - 1

_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(rb"(?![ \t])[\t\x20-\x7e\x80-\xff]*(?<![ \t])")
_NOT_OURS = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"te",
    b"content-length",
}


def headers_of(headers: Iterable[Any]) -> list[list[bytes]]:
    """Headers as the wire wants them, from pairs of bytes or str. Raises ValueError for one that must not be sent."""
    listed = []
    for pair in headers:
        name, value = (part.encode() if isinstance(part, str) else bytes(part) for part in pair)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header: lower-case letters, digits and a few signs are")
        if name in _NOT_OURS:
            raise ValueError(f"the header {name.decode()} is the proxy's own")
        if value and not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name.decode()} has a value with control characters, or blanks around it")
        listed.append([name, value])
    return listed


def check_code(code: int) -> None:
    if not 0 <= code <= MAX_CODE:
        raise ValueError(f"code {code} is not between 0 and {MAX_CODE}")


def check_answer(message: Mapping[str, Any], offered: Sequence[str]) -> None:
    """Checks accept, reject, close or abort; offered are the client's subprotocols."""
    low, high = (200, 299) if message["type"] == "webtransport.accept" else (300, 599)
    if not low <= message.get("status", low) <= high:
        raise ValueError(f"{message['type']}: status {message['status']} is not between {low} and {high}")
    if len(message.get("body", b"")) > MAX_BODY:
        raise ValueError(f"{message['type']}: the body has {len(message['body'])} bytes, {MAX_BODY} are allowed")
    if len(message.get("reason", "").encode()) > MAX_REASON:
        raise ValueError(f"{message['type']}: the reason is longer than {MAX_REASON} bytes")
    check_code(message.get("code", 0))
    window = message.get("receive_window", 1)
    if not 1 <= window <= MAX_NUMBER:
        raise ValueError(f"receive_window {window} is not between 1 and {MAX_NUMBER}")
    subprotocol = message.get("subprotocol")
    if subprotocol is None:
        return
    if subprotocol not in offered:
        raise ValueError(f"subprotocol {subprotocol!r} was not offered by the client; it offers {list(offered)}")
    if any(name == b"wt-protocol" for name, _ in message.get("headers", [])):
        raise ValueError("give either a subprotocol or a header wt-protocol")
