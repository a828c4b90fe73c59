#!/usr/bin/env python3
"""The golden vectors against the C codec, and the README's bytes against the vectors.

    test_vectors.py PROTOCOL_DUMP

Prints TAP. Needs nothing but Python.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "protocol" / "vectors"
README = ROOT / "protocol" / "README.md"
sys.path.insert(0, str(VECTORS))
sys.dont_write_bytecode = True

import generate  # noqa: E402

results = []


def report(name, failure):
    results.append(failure)
    print(f"{'not ok' if failure else 'ok'} {len(results)} - {name}")
    if failure:
        print(f"# {failure}")


def load(name):
    return json.loads((VECTORS / name).read_text())["vectors"]


def wire_of(vector):
    append = vector.get("append", {"hex": "", "times": 0})
    return bytes.fromhex(vector["frame"]) + bytes.fromhex(append["hex"]) * append["times"]


def from_json(value):
    if isinstance(value, dict):
        if list(value) == ["hex"]:
            return bytes.fromhex(value["hex"])
        if list(value) == ["text"]:
            return bytes.fromhex(value["text"]).decode()
        return {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(v) for v in value]
    return value


def said(message):
    """A message without what means nothing: the C struct does not tell empty from absent."""
    return {k: v for k, v in message.items() if v not in (None, "", b"", []) and v is not False}


def dump(program, lines):
    run = subprocess.run([program], input="".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def kind_of(vector):
    means = vector.get("meaning") or vector.get("message") or {}
    return "scope" if means.get("type") == "webtransport" else vector["from"]


def check_message(vector, got):
    expected = from_json(vector.get("meaning", vector.get("message")))
    if "encoded" not in got:
        return f"refused: {got}"
    if kind_of(vector) == "scope":
        same = bytes.fromhex(got["encoded"]) == generate.pack(expected)
        return None if same else "the scope is not the same when encoded again"
    if said(from_json(got["message"])) != said(expected):
        return f"decoded as {from_json(got['message'])}, expected {expected}"
    exact = "message" in vector and vector["from"] == "sluice"
    if exact and got["encoded"] != wire_of(vector)[4:].hex():
        return f"encoded as {got['encoded']}"
    return None


def check_malformed(vector, got):
    error = vector["error"]
    if error["class"] == "b":
        return None if got == {"unknown": True} else f"{got}"
    expected = {"code": error["code"], "field": error["field"]}
    return None if got == expected else f"{got}, expected {expected}"


def check_length(vector):
    """What a reader must find before it reads on."""
    length = int.from_bytes(wire_of(vector)[:4], "big")
    return None if length == 0 or length > generate.MAX_FRAME else f"a length of {length} is legal"


def run_vectors(program, vectors, check):
    lines = []
    for vector in vectors:
        wire = wire_of(vector)
        assert int.from_bytes(wire[:4], "big") == len(wire) - 4, vector["name"]
        lines.append(f"{kind_of(vector)} {wire[4:].hex()}\n")
    for vector, got in zip(vectors, dump(program, lines), strict=True):
        report(f"{vector['from']}: {vector['name']}", check(vector, got))


def check_again(program, vectors):
    """What the codec encodes, it decodes to the same."""
    vectors = [v for v in vectors if kind_of(v) == "app"]
    first = dump(program, [f"app {wire_of(v)[4:].hex()}\n" for v in vectors])
    second = dump(program, [f"app {got['encoded']}\n" for got in first])
    for vector, a, b in zip(vectors, first, second, strict=True):
        report(f"round: {vector['name']}", None if a == b else f"{a} became {b}")


def check_readme(echo):
    blocks = re.findall(r"```hex\n(.*?)```", README.read_text(), re.S)
    rows = re.findall(r"^((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", "\n".join(blocks), re.M)
    shown = bytes.fromhex("".join(rows))
    return None if shown == b"".join(map(wire_of, echo)) else "the bytes differ"


def check_codes(malformed):
    """Every code that a vector expects stands in the README's table, with its class."""
    table = dict(re.findall(r"^\| `(\w+)` \| ([bc]) \|", README.read_text(), re.M))
    wrong = {(e["code"], e["class"]) for e in (v["error"] for v in malformed)} - set(table.items())
    return f"not in the table: {sorted(wrong)}" if wrong else None


def main():
    program = sys.argv[1]
    messages, malformed, echo = load("messages.json"), load("malformed.json"), load("echo.json")
    stale = [n for n in generate.FILES if (VECTORS / n).read_text() != generate.text_of(n)]
    report("the files are what generate.py writes", ", ".join(stale))
    run_vectors(program, messages + echo, check_message)
    check_again(program, messages)
    lengths = [v for v in malformed if v["error"]["code"] == "bad_length"]
    for vector in lengths:
        report(f"length: {vector['name']}", check_length(vector))
    run_vectors(program, [v for v in malformed if v not in lengths], check_malformed)
    report("the README shows the bytes of echo.json", check_readme(echo))
    report("the README's table has every code", check_codes(malformed))
    print(f"1..{len(results)}")
    sys.exit(any(results))


main()
