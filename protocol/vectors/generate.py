#!/usr/bin/env python3
"""Writes the golden vectors of the backend protocol: bytes and what they mean.

    generate.py            writes the .json files next to this script
    generate.py --check    says whether they are up to date
    generate.py --listing  prints the echo session's bytes for protocol/README.md

The definitions below are meant to be read. Python's own types stand for msgpack's: bytes is bin, str
is str, Raw is bytes that are put in as they are. Needs nothing but Python.
"""

import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
MAX_FRAME = 1 << 20
WT = "webtransport"


class Raw(bytes):
    """Encoded msgpack, to say something in a form that pack() would not choose."""


# ---- msgpack, the shortest form of everything ----


def sized(n, fix, fix_limit, forms):
    """The header of something of length n: one byte up to fix_limit, else the first form that fits."""
    if n < fix_limit:
        return bytes([fix | n])
    for first, fmt, limit in forms:
        if n < limit:
            return bytes([first]) + struct.pack(fmt, n)
    raise ValueError(n)


def pack_int(n):
    if n < 0:
        for first, fmt, limit in (
            (None, ">b", 32), (0xD0, ">b", 1 << 7), (0xD1, ">h", 1 << 15),
            (0xD2, ">i", 1 << 31), (0xD3, ">q", 1 << 63),
        ):  # fmt: skip
            if -n <= limit:
                return (b"" if first is None else bytes([first])) + struct.pack(fmt, n)
    forms = ((0xCC, ">B", 1 << 8), (0xCD, ">H", 1 << 16), (0xCE, ">I", 1 << 32), (0xCF, ">Q", 1 << 64))
    return sized(n, 0, 128, forms)


def pack(value):
    if isinstance(value, Raw):
        return bytes(value)
    if value is None:
        return b"\xc0"
    if value is False or value is True:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return pack_int(value)
    if isinstance(value, str):
        data = value.encode()
        forms = ((0xD9, ">B", 1 << 8), (0xDA, ">H", 1 << 16), (0xDB, ">I", 1 << 32))
        return sized(len(data), 0xA0, 32, forms) + data
    if isinstance(value, bytes):
        forms = ((0xC4, ">B", 1 << 8), (0xC5, ">H", 1 << 16), (0xC6, ">I", 1 << 32))
        return sized(len(value), 0, 0, forms) + value
    if isinstance(value, list):
        head = sized(len(value), 0x90, 16, ((0xDC, ">H", 1 << 16), (0xDD, ">I", 1 << 32)))
        return head + b"".join(map(pack, value))
    if isinstance(value, dict):
        head = sized(len(value), 0x80, 16, ((0xDE, ">H", 1 << 16), (0xDF, ">I", 1 << 32)))
        return head + b"".join(pack(k) + pack(v) for k, v in value.items())
    raise TypeError(value)


def frame(body):
    return struct.pack(">I", len(body)) + body


def to_json(value):
    """bytes become {"hex": ...}; JSON knows the rest."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    return value


# ---- messages ----

SCOPE = {
    "type": WT,
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "3",
    "scheme": "https",
    "path": "/chat/ä",
    "raw_path": b"/chat/%C3%A4",
    "query_string": b"room=1",
    "root_path": "",
    "headers": [
        [b"host", b"example.org:4433"],
        [b"origin", b"https://example.org"],
        [b"cookie", b"a=1"],
        [b"cookie", b"b=2"],
    ],
    "server": ["192.0.2.1", 4433],
    "client": ["2001:db8::2", 50123],
    "session_id": 0,
    "subprotocols": ["chat.v2", "chat.v1"],
    "extensions": {
        "tls": {
            "server_cert": None,
            "client_cert_chain": [],
            "client_cert_name": None,
            "client_cert_error": None,
            "tls_version": 0x0304,
            "cipher_suite": 0x1301,
        },
        "webtransport": {
            "max_datagram_size": 1200,
            "stream_window": 262144,
            "session_window": 1048576,
            "max_pending_streams": 100,
            "connect_protocol": "webtransport",
        },
        "sluice": {
            "protocol": 1,
            "session": "5d0f-17",
            "draft": "draft15",
            "max_frame": 1048576,
            "route": "default",
        },
    },
}
PLAIN_SCOPE = {
    **SCOPE,
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [[b"host", b"localhost:4433"]],
    "server": ["127.0.0.1", 4433],
    "client": ["127.0.0.1", 50123],
    "subprotocols": [],
}

# name, map
FROM_SLUICE = [
    ("scope", SCOPE),
    ("scope without subprotocols", PLAIN_SCOPE),
    ("scope, client not known", {**PLAIN_SCOPE, "client": None}),
    ("stream opened, no data yet", {"type": f"{WT}.stream.receive", "stream_id": 0, "stream_ended": False, "data": b""}),
    ("stream data", {"type": f"{WT}.stream.receive", "stream_id": 4, "stream_ended": False, "data": b"hello"}),
    ("stream data and end", {"type": f"{WT}.stream.receive", "stream_id": 2, "stream_ended": True, "data": b"\x00\xff"}),
    ("stream end alone", {"type": f"{WT}.stream.receive", "stream_id": 9, "stream_ended": True, "data": b""}),
    ("delivered", {"type": f"{WT}.stream.delivered", "stream_id": 3}),
    ("reset", {"type": f"{WT}.stream.reset", "stream_id": 8, "code": 42}),
    ("reset without a code", {"type": f"{WT}.stream.reset", "stream_id": 8, "code": None}),
    ("stop", {"type": f"{WT}.stream.stop", "stream_id": 3, "code": 4294967295}),
    ("stop without a code", {"type": f"{WT}.stream.stop", "stream_id": 3, "code": None}),
    ("credit of a stream", {"type": f"{WT}.credit", "stream_id": 4, "limit": 524288}),
    ("credit of the session", {"type": f"{WT}.credit", "limit": 4294967296}),
    ("datagram", {"type": f"{WT}.datagram.receive", "data": b"ping"}),
    ("empty datagram", {"type": f"{WT}.datagram.receive", "data": b""}),
    ("datagram limit", {"type": f"{WT}.datagram.limit", "max_size": 1350}),
    ("drain by the client", {"type": f"{WT}.drain", "reason": "client"}),
    ("drain at shutdown", {"type": f"{WT}.drain", "reason": "shutdown", "deadline_ms": 30000}),
    ("closed by the client", {"type": f"{WT}.disconnect", "code": 4000, "reason": "bye ✓", "clean": True, "by": "client"}),
    ("closed by a FIN", {"type": f"{WT}.disconnect", "code": 0, "reason": "", "clean": True, "by": "client"}),
    ("rejected", {"type": f"{WT}.disconnect", "code": None, "reason": "", "clean": True, "by": "app"}),
    ("lost", {"type": f"{WT}.disconnect", "code": None, "reason": "", "clean": False, "by": "network"}),
    ("error", {"type": f"{WT}.error", "code": "unknown_type", "message": "type: not a message that an application may send"}),
    ("error about a stream, with a count", {"type": f"{WT}.error", "code": "no_such_half", "message": "stream_id: no", "stream_id": 2, "count": 17}),
]  # fmt: skip

# name, map
FROM_APP = [
    ("accept", {"type": f"{WT}.accept"}),
    ("accept with everything", {
        "type": f"{WT}.accept",
        "status": 202,
        "headers": [[b"set-cookie", b"a=1"], [b"set-cookie", b"b=2"], [b"x-latin", b"\xe4"]],
        "subprotocol": "chat.v2",
        "receive_window": 65536,
    }),
    ("reject", {"type": f"{WT}.reject"}),
    ("reject with everything", {
        "type": f"{WT}.reject",
        "status": 404,
        "headers": [[b"content-type", b"text/plain"]],
        "body": b"no such room\n",
    }),
    ("send", {"type": f"{WT}.stream.send", "stream_id": 0, "data": b"hello"}),
    ("send, as Sluice's own library encodes it", {"type": f"{WT}.stream.send", "stream_id": 0, "end_stream": False, "data": b"hello"}),
    ("send and end", {"type": f"{WT}.stream.send", "stream_id": 1, "end_stream": True, "data": b"bye"}),
    ("send, end and ask for delivered", {"type": f"{WT}.stream.send", "stream_id": 3, "confirm": True, "end_stream": True, "data": b""}),
    ("open with nothing", {"type": f"{WT}.stream.send", "stream_id": 5}),
    ("send 300 bytes", {"type": f"{WT}.stream.send", "stream_id": 4, "end_stream": False, "data": bytes(range(150)) * 2}),
    ("reset", {"type": f"{WT}.stream.reset", "stream_id": 4, "code": 7}),
    ("reset without a code", {"type": f"{WT}.stream.reset", "stream_id": 4}),
    ("stop", {"type": f"{WT}.stream.stop", "stream_id": 0, "code": 4294967295}),
    ("stop, code nil", {"type": f"{WT}.stream.stop", "stream_id": 0, "code": None}),
    ("credit of a stream", {"type": f"{WT}.credit", "stream_id": 2, "limit": 131072}),
    ("credit of the session", {"type": f"{WT}.credit", "limit": 9007199254740991}),
    ("priority", {"type": f"{WT}.stream.priority", "stream_id": 1, "send_order": 10}),
    ("negative priority", {"type": f"{WT}.stream.priority", "stream_id": 1, "send_order": -9007199254740991}),
    ("datagram", {"type": f"{WT}.datagram.send", "data": b"pong"}),
    ("empty datagram", {"type": f"{WT}.datagram.send", "data": b""}),
    ("datagram without data", {"type": f"{WT}.datagram.send"}),
    ("drain", {"type": f"{WT}.drain"}),
    ("close", {"type": f"{WT}.close"}),
    ("close with everything", {"type": f"{WT}.close", "code": 4000, "reason": "that is all", "after_delivery": True}),
    ("close with the longest reason", {"type": f"{WT}.close", "code": 0, "reason": "ä" * 512}),
    ("abort", {"type": f"{WT}.abort"}),
]  # fmt: skip


def odd(*fields):
    """A map whose keys and values are encoded by hand."""
    return Raw(bytes([0x80 | len(fields)]) + b"".join(pack(k) + pack(v) for k, v in fields))


SEND = ("type", f"{WT}.stream.send")

# Legal, though not as a library would encode it. name, from, body, meaning
ODD = [
    ("data before the other fields", "app", odd(("data", b"x"), ("stream_id", 0), SEND),
     {"type": f"{WT}.stream.send", "stream_id": 0, "data": b"x"}),
    ("str where bytes are wanted", "app", odd(SEND, ("stream_id", 0), ("data", "ä")),
     {"type": f"{WT}.stream.send", "stream_id": 0, "data": "ä".encode()}),
    ("str in headers", "app", odd(("type", f"{WT}.accept"), ("headers", [["x-name", "value"]])),
     {"type": f"{WT}.accept", "status": 200, "headers": [[b"x-name", b"value"]]}),
    ("nil is absent", "app", odd(SEND, ("stream_id", 0), ("end_stream", None), ("data", None)),
     {"type": f"{WT}.stream.send", "stream_id": 0}),
    ("an id as uint64", "app", odd(SEND, ("stream_id", Raw(b"\xcf" + bytes(7) + b"\x04"))),
     {"type": f"{WT}.stream.send", "stream_id": 4}),
    ("an id as int8", "app", odd(SEND, ("stream_id", Raw(b"\xd0\x04"))),
     {"type": f"{WT}.stream.send", "stream_id": 4}),
    ("the longest forms", "app",
     Raw(b"\xdf\0\0\0\2" + b"\xdb\0\0\0\4type" + b"\xdb\0\0\0\x12webtransport.abort" + b"\xd9\1k\xc0"),
     {"type": f"{WT}.abort"}),
    ("unknown keys", "app", odd(("type", f"{WT}.abort"), ("later", {"a": [1, Raw(b"\xca\x40\x20\0\0")]}), ("ext", Raw(b"\xd4\1\2"))),
     {"type": f"{WT}.abort"}),
    ("unknown keys from Sluice", "sluice", odd(("type", f"{WT}.stream.delivered"), ("rtt", 20), ("stream_id", 3)),
     {"type": f"{WT}.stream.delivered", "stream_id": 3}),
    ("unknown keys in the scope", "sluice", pack({**PLAIN_SCOPE, "state": {}, "extensions": {**SCOPE["extensions"], "later": {"x": 1}}}),
     PLAIN_SCOPE),
]  # fmt: skip


def deep(n):
    """{"type": abort, "k": [[...]]}: n containers within each other, the map counted."""
    return odd(("type", f"{WT}.abort"), ("k", Raw(b"\x91" * (n - 1) + b"\xc0")))


def nils(n):
    return Raw(b"\xdd" + struct.pack(">I", n))


def accept(*headers):
    return pack({"type": f"{WT}.accept", "headers": list(headers)})


ABORT = ("type", f"{WT}.abort")
CLOSE = ("type", f"{WT}.close")

# All from the application. name, body, code, field. A body may be (bytes, byte, times): then so many
# bytes follow.
MALFORMED = [
    ("a number", b"\x05", "not_a_map", ""),
    ("nil", b"\xc0", "not_a_map", ""),
    ("an array", pack([1, 2]), "not_a_map", ""),
    ("text", b"GET / HTTP/1.1\r\n\r\n", "not_a_map", ""),
    ("c1", b"\xc1", "bad_encoding", ""),
    ("c1 as a value", odd(ABORT, ("k", Raw(b"\xc1"))), "bad_encoding", ""),
    ("cut off", pack({"type": f"{WT}.abort"})[:-1], "bad_encoding", ""),
    ("a map without its values", b"\x81\xa4type", "bad_encoding", ""),
    ("bytes after the map", pack({"type": f"{WT}.abort"}) + b"\xc0", "bad_encoding", ""),
    ("two maps", pack({"type": f"{WT}.abort"}) * 2, "bad_encoding", ""),
    ("bin that claims 4 GiB", b"\x81\xa1k\xc6\xff\xff\xff\xff", "bad_encoding", ""),
    ("str that claims 4 GiB", b"\x81\xa1k\xdb\xff\xff\xff\xff", "bad_encoding", ""),
    ("nested 9 deep", deep(9), "too_deep", ""),
    ("nested 1,000 deep", deep(1000), "too_deep", ""),
    ("array that claims 16 million elements", b"\x81\xa1k\xdd\x01\x00\x00\x00", "too_many_elements", ""),
    ("map that claims 4 billion pairs", b"\xdf\xff\xff\xff\xff", "too_many_elements", ""),
    ("1,025 elements", (odd(ABORT, ("k", nils(1021))), 0xC0, 1021), "too_many_elements", ""),
    ("a megabyte of nils", (odd(ABORT, ("k", nils(1048000))), 0xC0, 1048000), "too_many_elements", ""),
    ("65 keys", pack({"type": f"{WT}.abort", **{f"k{i}": 0 for i in range(64)}}), "too_many_elements", ""),
    ("a number as key", Raw(b"\x81\x01\x02"), "bad_key", ""),
    ("a bin as key", Raw(b"\x81\xc4\x04type" + pack(f"{WT}.abort")), "bad_key", ""),
    ("a key twice", odd(ABORT, ABORT), "duplicate_key", ""),
    ("an unknown key twice", odd(ABORT, ("k", 1), ("k", 2)), "duplicate_key", ""),
    ("no type", pack({}), "missing_field", "type"),
    ("type nil", pack({"type": None}), "missing_field", "type"),
    ("type a number", pack({"type": 1}), "wrong_type", "type"),
    ("type as bin", pack({"type": b"webtransport.abort"}), "wrong_type", "type"),
    ("type not UTF-8", Raw(b"\x81\xa4type\xa1\xff"), "bad_utf8", "type"),
    ("send without an id", pack({"type": f"{WT}.stream.send", "data": b""}), "missing_field", "stream_id"),
    ("reset without an id", pack({"type": f"{WT}.stream.reset"}), "missing_field", "stream_id"),
    ("stop without an id", pack({"type": f"{WT}.stream.stop"}), "missing_field", "stream_id"),
    ("priority without an order", pack({"type": f"{WT}.stream.priority", "stream_id": 1}), "missing_field", "send_order"),
    ("credit without a limit", pack({"type": f"{WT}.credit", "stream_id": 0}), "missing_field", "limit"),
    ("an id as text", odd(SEND, ("stream_id", "0")), "wrong_type", "stream_id"),
    ("an id as float", odd(SEND, ("stream_id", Raw(b"\xca\0\0\0\0"))), "wrong_type", "stream_id"),
    ("a negative id", odd(SEND, ("stream_id", -4)), "out_of_range", "stream_id"),
    ("an id of 2^53", odd(SEND, ("stream_id", 1 << 53)), "out_of_range", "stream_id"),
    ("data a number", odd(SEND, ("stream_id", 0), ("data", 1)), "wrong_type", "data"),
    ("data an array", odd(SEND, ("stream_id", 0), ("data", [1, 2])), "wrong_type", "data"),
    ("end_stream a number", odd(SEND, ("stream_id", 0), ("end_stream", 1)), "wrong_type", "end_stream"),
    ("confirm a text", odd(SEND, ("stream_id", 0), ("confirm", "yes")), "wrong_type", "confirm"),
    ("a code of 33 bits", odd(CLOSE, ("code", 1 << 32)), "out_of_range", "code"),
    ("a negative code", odd(CLOSE, ("code", -1)), "out_of_range", "code"),
    ("a reason of 1,025 bytes", odd(CLOSE, ("reason", "x" * 1025)), "out_of_range", "reason"),
    ("a reason that is not UTF-8", odd(CLOSE, ("reason", Raw(b"\xa2\xc3\x28"))), "bad_utf8", "reason"),
    ("a reason with a surrogate", odd(CLOSE, ("reason", Raw(b"\xa3\xed\xa0\x80"))), "bad_utf8", "reason"),
    ("a reason as bin", odd(CLOSE, ("reason", b"bye")), "wrong_type", "reason"),
    ("accept with 199", pack({"type": f"{WT}.accept", "status": 199}), "out_of_range", "status"),
    ("accept with 403", pack({"type": f"{WT}.accept", "status": 403}), "out_of_range", "status"),
    ("reject with 200", pack({"type": f"{WT}.reject", "status": 200}), "out_of_range", "status"),
    ("reject with 600", pack({"type": f"{WT}.reject", "status": 600}), "out_of_range", "status"),
    ("a body of 65,537 bytes", (odd(("type", f"{WT}.reject"), ("body", Raw(b"\xc6\0\1\0\1"))), 0x20, 65537), "out_of_range", "body"),
    ("headers a map", pack({"type": f"{WT}.accept", "headers": {"a": "b"}}), "wrong_type", "headers"),
    ("a header alone", accept([b"name"]), "wrong_type", "headers"),
    ("a header of three", accept([b"name", b"value", b"more"]), "wrong_type", "headers"),
    ("a header's value a number", accept([b"name", 1]), "wrong_type", "headers"),
    ("an empty header name", accept([b"", b"v"]), "bad_header", "headers"),
    ("an upper-case header name", accept([b"X-Name", b"v"]), "bad_header", "headers"),
    ("a blank in a header name", accept([b"x name", b"v"]), "bad_header", "headers"),
    ("a pseudo-header", accept([b":status", b"200"]), "bad_header", "headers"),
    ("connection", accept([b"connection", b"close"]), "bad_header", "headers"),
    ("keep-alive", accept([b"keep-alive", b"5"]), "bad_header", "headers"),
    ("proxy-connection", accept([b"proxy-connection", b"close"]), "bad_header", "headers"),
    ("transfer-encoding", accept([b"transfer-encoding", b"chunked"]), "bad_header", "headers"),
    ("upgrade", accept([b"upgrade", b"h2c"]), "bad_header", "headers"),
    ("te", accept([b"te", b"trailers"]), "bad_header", "headers"),
    ("content-length", accept([b"content-length", b"0"]), "bad_header", "headers"),
    ("a line break in a header value", accept([b"x", b"a\r\nb: c"]), "bad_header", "headers"),
    ("NUL in a header value", accept([b"x", b"a\x00"]), "bad_header", "headers"),
    ("a header value that begins with a blank", accept([b"x", b" a"]), "bad_header", "headers"),
    ("an offer that is no text", pack({"type": f"{WT}.accept", "subprotocol": 1}), "wrong_type", "subprotocol"),
    ("a negative window", pack({"type": f"{WT}.accept", "receive_window": -1}), "out_of_range", "receive_window"),
]  # fmt: skip

# Whole frames that cannot be read at all. name, bytes
BAD_LENGTH = [
    ("length 0", b"\x00\x00\x00\x00"),
    ("one byte more than max_frame", struct.pack(">I", MAX_FRAME + 1) + b"\x80"),
    ("the largest length", b"\xff\xff\xff\xff"),
    ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n"),
]

# Good frames that say what an application cannot say: class b in a session that is open.
UNKNOWN = [
    ("a type that nobody knows", {"type": f"{WT}.later", "x": 1}),
    ("an empty type", {"type": ""}),
    ("a type of another protocol", {"type": "websocket.send", "text": "hello"}),
    ("a type that only Sluice sends", {"type": f"{WT}.stream.receive", "stream_id": 0, "data": b"x"}),
    ("the scope, sent back", {"type": WT}),
]

ECHO = [
    ("sluice", "the scope", PLAIN_SCOPE),
    ("app", "accept", {"type": f"{WT}.accept"}),
    ("sluice", "the client's first bidirectional stream, with its end", {
        "type": f"{WT}.stream.receive", "stream_id": 0, "stream_ended": True, "data": b"hello"}),
    ("app", "the echo, with its end", {
        "type": f"{WT}.stream.send", "stream_id": 0, "end_stream": True, "data": b"hello"}),
    ("sluice", "a datagram", {"type": f"{WT}.datagram.receive", "data": b"ping"}),
    ("app", "its echo", {"type": f"{WT}.datagram.send", "data": b"ping"}),
    ("sluice", "the client has closed", {
        "type": f"{WT}.disconnect", "code": 0, "reason": "", "clean": True, "by": "client"}),
]  # fmt: skip

# What a field means that the application leaves out.
DEFAULTS = {
    f"{WT}.accept": {"status": 200, "headers": []},
    f"{WT}.reject": {"status": 403, "headers": [], "body": b""},
    f"{WT}.stream.send": {"end_stream": False, "confirm": False, "data": b""},
    f"{WT}.stream.reset": {"code": 0},
    f"{WT}.stream.stop": {"code": 0},
    f"{WT}.datagram.send": {"data": b""},
    f"{WT}.close": {"code": 0, "reason": "", "after_delivery": False},
}


def meaning(sender, message):
    present = {k: v for k, v in message.items() if v is not None}
    if sender == "sluice":
        return message
    return {"type": message["type"], **DEFAULTS.get(message["type"], {}), **present}


# ---- files ----


def vector(name, sender, body, **rest):
    repeat = {}
    if isinstance(body, tuple):
        body, byte, times = body
        repeat = {"append": {"hex": f"{byte:02x}", "times": times}}
        length = len(body) + times
    else:
        length = len(body)
    wire = struct.pack(">I", length) + bytes(body)
    return {"name": name, "from": sender, "frame": wire.hex(), **repeat, **rest}


def good(name, sender, message):
    """The meaning stands there only where it differs from what is in the frame."""
    means = meaning(sender, message)
    more = {} if means == message else {"meaning": to_json(means)}
    return vector(name, sender, pack(message), message=to_json(message), **more)


def messages():
    for name, message in FROM_SLUICE:
        yield good(name, "sluice", message)
    for name, message in FROM_APP:
        yield good(name, "app", message)
    for name, sender, body, means in ODD:
        yield vector(name, sender, body, meaning=to_json(meaning(sender, means)))


def malformed():
    for name, wire in BAD_LENGTH:
        error = {"class": "c", "code": "bad_length", "field": ""}
        yield {"name": name, "from": "app", "frame": wire.hex(), "error": error}
    for name, body, code, field in MALFORMED:
        yield vector(name, "app", body, error={"class": "c", "code": code, "field": field})
    for name, message in UNKNOWN:
        error = {"class": "b", "code": "unknown_type", "field": "type"}
        yield vector(name, "app", pack(message), error=error)


def echo():
    for sender, name, message in ECHO:
        yield good(name, sender, message)


FILES = {"messages.json": messages, "malformed.json": malformed, "echo.json": echo}


def text_of(name):
    """One vector a line, so that a change shows as a change of its line."""
    lines = ",\n".join(json.dumps(v, ensure_ascii=False) for v in FILES[name]())
    return f'{{"protocol": 1, "max_frame": {MAX_FRAME}, "vectors": [\n{lines}\n]}}\n'


def chunks(value, indent):
    """(bytes, indent, what it is) of an encoded value, a container's header apart."""
    if isinstance(value, dict):
        rest = [c for k, v in value.items() for c in pair(k, v, indent + 1)]
        return [(pack(value)[: 1 if len(value) < 16 else 3], indent, f"a map of {len(value)}"), *rest]
    if isinstance(value, list) and value:
        rest = [c for v in value for c in chunks(v, indent + 1)]
        return [(pack(value)[:1], indent, f"an array of {len(value)}"), *rest]
    shown = f'bin "{value.decode()}"' if isinstance(value, bytes) else json.dumps(value)
    return [(pack(value), indent, shown)]


def pair(key, value, indent):
    first, *rest = chunks(value, indent)
    return [(pack(key) + first[0], indent, f'"{key}": {first[2]}'), *rest]


def listing():
    for sender, name, message in ECHO:
        arrow = "Sluice → application" if sender == "sluice" else "application → Sluice"
        body = pack(message)
        print(f"# {arrow}: {name}")
        lines = [(struct.pack(">I", len(body)), 0, f"length {len(body)}"), *chunks(message, 0)]
        for data, indent, what in lines:
            rows = [data[i : i + 16] for i in range(0, len(data), 16)]
            for row in rows[:-1]:
                print(row.hex(" "))
            print(f"{rows[-1].hex(' '):<48}  {'  ' * indent}{what}")
        print()


def main():
    if sys.argv[1:] == ["--listing"]:
        return listing()
    stale = [n for n in FILES if not (HERE / n).is_file() or (HERE / n).read_text() != text_of(n)]
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"not up to date: {', '.join(stale)}" if stale else 0)
    for name in FILES:
        (HERE / name).write_text(text_of(name))


if __name__ == "__main__":
    main()
