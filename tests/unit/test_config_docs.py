#!/usr/bin/env python3
"""What docs/ says of the configuration is what the table of keys says; each key has its test.

    test_config_docs.py CONFIG_DOCS            prints TAP
    test_config_docs.py --write CONFIG_DOCS    writes the files anew (make docs)
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
KEYS = ROOT / "proxy/config/keys.c"
EFFECTS = pathlib.Path(__file__).resolve().parent / "effects.txt"
WRITTEN = {"reference": "configuration.md", "schema": "sluice.schema.json"}

results = []


def report(name, failure):
    results.append(failure)
    print(f"{'not ok' if failure else 'ok'} {len(results)} - {name}")
    if failure:
        print(f"# {failure}")


def generate(program, what):
    return subprocess.run([program, what], capture_output=True, text=True, check=True).stdout


def matches(schema, value):
    """As much of JSON Schema as the written one uses."""
    if "anyOf" in schema:
        return any(matches(s, value) for s in schema["anyOf"])
    if "const" in schema:
        return value == schema["const"] and not isinstance(value, bool)
    if "enum" in schema:
        return value in schema["enum"]
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    if not isinstance(value, kinds[schema["type"]]) or \
            isinstance(value, bool) != (schema["type"] == "boolean"):
        return False
    if schema["type"] == "string":
        return bool(re.search(schema.get("pattern", ""), value))
    if schema["type"] == "integer":
        return schema["minimum"] <= value <= schema["maximum"]
    if schema["type"] == "array":
        return all(matches(schema["items"], v) for v in value)
    return True


def test_schema(schema):
    top = schema["properties"]
    for key, value, good in (("workers", "auto", True), ("workers", 4, True), ("workers", 0, False),
                             ("workers", "many", False), ("memory", "64MiB", True),
                             ("memory", 1 << 30, True), ("memory", "64 MB", False),
                             ("idle_timeout", "30s", True), ("idle_timeout", 30, False),
                             ("keep_alive", 0, True), ("offload", False, True),
                             ("offload", "no", False), ("log_level", "debug", True),
                             ("log_level", "loud", False), ("origins", ["https://a.b"], True),
                             ("origins", "https://a.b", True), ("origins", [1], False)):
        wrong = matches(top[key], value) != good
        report(f"schema {key} {value!r}", wrong and "the schema thinks otherwise")
    for section, key in (("listeners", "address"), ("certificates", "names"), ("routes", "path")):
        found = key in top[section]["items"]["properties"]
        report(f"schema {section} {key}", not found and "is not there")
    addresses = top["backends"]["additionalProperties"]["properties"]["addresses"]
    report("schema addresses", not matches(addresses, "unix:/a") or matches(addresses, "/a"))
    datagrams = top["backends"]["additionalProperties"]["properties"]["datagrams"]
    report("schema datagrams", not matches(datagrams, ["udp:host:53"]) or
           matches(datagrams, ["tcp:host:53"]))
    targets = top["routes"]["items"]["properties"]["targets"]
    report("schema targets", not matches(targets, {"a": "b"}) or matches(targets, ["a"]))


def keys_of(schema):
    """By their places; those that may stand at the top level, too, at their own."""
    top = schema["properties"]
    sections = {"backends": top["backends"]["additionalProperties"]} | {
        name: top[name]["items"] for name in ("listeners", "certificates", "routes")}
    inside = {name: set(element["properties"]) for name, element in sections.items()}
    shared = set.union(*inside.values()) - \
        {"max_sessions", "max_connections", "max_handshakes"}  # each of these is two keys
    return {f"{section}.{key}" for section, keys in inside.items() for key in keys} | \
        (set(top) - set(sections) - shared)


def find_test(text, test):
    """Why it does not show anything; None if it is there and runs each time."""
    found = re.search(rf"((?:^@.*\n(?:[ )].*\n)*)*)^(?:def|static void) {test}\(", text, re.M)
    if not found:
        return "is not there"
    is_rare = "mark.soak" in found[1] or re.search(r"^pytestmark = .*mark\.soak", text, re.M)
    return "runs in make soak only" if is_rare else None


def test_effects(schema):
    """Each key has a test that shows its effect, and that test is there."""
    told = {}
    for line in EFFECTS.read_text().splitlines():
        if line and not line.startswith("#"):
            key, file, test = line.split()
            told[key] = (file, test)
    for key in sorted(keys_of(schema) | set(told)):
        if key not in told:
            report(f"effect of {key}", f"has no line in {EFFECTS.name}")
            continue
        file, test = told[key]
        path = EFFECTS.parents[2] / file
        wrong = find_test(path.read_text(), test) if path.exists() else "is not there"
        if not re.match("tests/(unit|mem|wire)/", file):
            wrong = "is not among the tests that make test runs"
        report(f"effect of {key}", "there is no such key" if key not in keys_of(schema) else
               wrong and f"{file}: {test} {wrong}")


def keys_under(heading):
    """As they are called in EFFECTS."""
    sections = {"LISTENER": "listeners.", "CERTIFICATE": "certificates.", "BACKEND": "backends.",
                "ROUTE": "routes.", "ALL": ""}
    table = KEYS.read_text().split(f'HEADING("{heading}")')[1].split("HEADING(")[0]
    return {sections[place] + name: preset for row in table.split("\n    {KEY_")
            for place, name, preset in re.findall(r'^\w+, (\w+)\((\w+)\).*?\.preset = "(.*?)"', row,
                                                  re.S)}


def test_limits():
    """Operators find each limit with its default, what counts it, and a test that reaches it."""
    section = (DOCS / "operations.md").read_text().split("\n## Limits\n")[1].split("\n### ")[0]
    rows = {row[0]: row[1:] for row in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines() if line.startswith("| `"))}
    rows = {key.strip("`"): cells for key, cells in rows.items()}
    counters = "".join((ROOT / "proxy/base" / name).read_text() for name in ("fault.h", "stats.h"))
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests/wire").glob("test_*.py")))
    limits = keys_under("Limits")
    report("limits", len(limits) < 20 and "are not found in the table of keys")
    every = {key: preset for heading in ("Limits", "Several addresses of an application")
             for key, preset in keys_under(heading).items()}
    for key in sorted(set(limits) | set(rows)):
        if key not in rows:
            report(f"limit {key}", "has no row in docs/operations.md")
            continue
        default, answer, counted, shown = rows[key]
        wrong = [what for what, good in (
            ("no such key", key in every),
            (f"the default is {every.get(key)}", default == f"`{every.get(key)}`"),
            ("no answer", answer),
            ("no such counter", counted and all(
                re.search(rf'X\((\w+, )?"?{name}"?,', counters)
                for name in re.findall(r"`(\w+)`", counted))),
            ("no such test", re.search(rf"\ndef {shown.strip('`')}\(", tests))) if not good]
        report(f"limit {key}", ", ".join(wrong))


def main():
    write = sys.argv[1] == "--write"
    program = sys.argv[-1]
    for what, name in WRITTEN.items():
        made, path = generate(program, what), DOCS / name
        if write:
            path.write_text(made)
        else:
            stale = not path.exists() or path.read_text() != made
            report(name, stale and "is not what the table says: run make docs")
    if not write:
        schema = json.loads(generate(program, "schema"))
        test_schema(schema)
        test_effects(schema)
        test_limits()
        print(f"1..{len(results)}")
    return 1 if any(results) else 0


if __name__ == "__main__":
    sys.exit(main())
