"""Runs clients that others wrote against Sluice and an application, and prints who can do what.

    run.py                  every client (make interop)
    run.py --quick          those of make test
    run.py aioquic chromium some
    run.py --markdown       also writes the table into README.md, between its two markers

Needs build/proxy/sluice (or $SLUICE_BUILD/proxy/sluice) and what tests/wire/setup.sh installs. A client
that cannot be built or started is a failure. The last line is `N passed, N failed`: cells of the table
without those where the client has no such thing.
"""

import argparse
import dataclasses
import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/wire"))

# pylint: disable=wrong-import-position
from clients import CLIENTS, FEATURES
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.proxy import BINARY, Logged

OUT = ROOT / "build/wire/interop"  # what the clients' builds make
APP = HERE / "app.py"
CLIENT_SECONDS = 240
BUILD_SECONDS = 1200
MARKERS = ("<!-- interop: begin -->", "<!-- interop: end -->")


def say(*words):
    print(*words, flush=True)


@dataclasses.dataclass
class Cell:
    result: str  # pass, fail, none; refused: says that it cannot, as expected
    why: str = ""


@dataclasses.dataclass
class Row:
    """What one client did."""

    name: str
    package: str = ""
    version: str = ""
    cells: dict = dataclasses.field(default_factory=dict)
    output: str = ""

    @property
    def title(self):
        return f"{self.package} {self.version}" if self.version else self.name

    def count(self, *results):
        return sum(cell.result in results for cell in self.cells.values())


def make_certificate(folder):
    """A certificate that browsers take by its hash: ECDSA P-256, less than 14 days. (cert, key, hash)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost")] + [
        x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return folder / "cert.pem", folder / "key.pem", hashlib.sha256(der).hexdigest()


class Server:
    """The application and the proxy in front of it."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
        path = self.folder / "app.sock"
        self.certificate, key, self.hash = make_certificate(self.folder)
        self.app_log = open(self.folder / "app.log", "w+", encoding="utf-8")
        self.app = subprocess.Popen(
            [sys.executable, "-m", "sluice", "app:app", "--app-dir", HERE, "--bind", f"unix:{path}"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "backends/python")},
            stdin=subprocess.DEVNULL, stdout=self.app_log, stderr=subprocess.STDOUT)
        self._wait_app(path)
        self.proxy = Logged([BINARY, "--listen", ":0", "--cert", str(self.certificate), "--key", str(key),
                             "--app", f"unix:{path}", "--log-level", "debug"])
        self.port = int(self.proxy.wait_log("listening", has="port", timeout=30)["port"])

    def _wait_app(self, path):
        end = time.monotonic() + 30
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                return
            except OSError:
                if self.app.poll() is not None or time.monotonic() > end:
                    self.app.kill()
                    sys.exit(f"interop: the application did not start; its log is {self.app_log.name}")
                time.sleep(0.02)

    @property
    def arguments(self):
        return ["--url", f"https://localhost:{self.port}/interop", "--ca", str(self.certificate),
                "--hash", self.hash]

    def log_since(self, line):
        return "\n".join(self.proxy.lines[line:])

    def stop(self):
        """What went wrong with either, or nothing."""
        wrong = ""
        try:
            self.proxy.stop()
        except AssertionError as error:
            wrong = str(error)
        self.app.send_signal(signal.SIGTERM)
        self.app.wait(20)
        self.app_log.seek(0)
        text = self.app_log.read()
        if "Traceback" in text:
            wrong += "\nthe application:\n" + text[-4000:]
        self.app_log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return wrong


def run_bounded(command, cwd, seconds, env):
    """(exit status or None if it was too slow or is not there, output and errors), in a process group."""
    try:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                                 errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 start_new_session=True)
    except OSError as error:
        return None, "", f"{command[0]}: {error.strerror}"
    timer = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
    timer.start()
    try:
        out, errors = child.communicate()
    finally:
        timer.cancel()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return child.returncode, out, errors


def filled(words, out):
    return [str(word).format(out=out, python=sys.executable) for word in words]


def build(client):
    """Why it could not be built, or nothing."""
    out = OUT / client.name
    out.mkdir(parents=True, exist_ok=True)
    for command in client.build:
        status, text, errors = run_bounded(filled(command, out), HERE / client.folder, BUILD_SECONDS,
                                           os.environ)
        if status != 0:
            needs = f" (needs {client.needs})" if client.needs else ""
            return f"could not be built{needs}: " + (errors or text).strip()[-1500:]
    return ""


def read_lines(row, output):
    """What the client printed."""
    for line in output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if not isinstance(told, dict):
            continue
        if "version" in told:
            row.version = str(told["version"]).removeprefix("v")
        if told.get("feature") in FEATURES and told.get("result") in ("pass", "fail", "none"):
            row.cells[told["feature"]] = Cell(told["result"], " ".join(str(told.get("why") or "").split()))


def accept_refusal(client, row):
    """A client that says as expected why it cannot use this server has done all that it can."""
    cell = row.cells["connect"]
    if cell.result == "fail" and re.search(client.refuses, cell.why):
        row.cells = {"connect": Cell("refused", f'it says "{cell.why}": {client.because}')}


def run_client(client, server):
    row = Row(client.name, client.package or client.name)
    wrong = build(client)
    if wrong:
        row.cells["connect"] = Cell("fail", wrong)
        return row
    before = len(server.proxy.lines)
    command = filled(client.command, OUT / client.name) + server.arguments
    status, output, errors = run_bounded(command, HERE / client.folder, CLIENT_SECONDS, os.environ)
    read_lines(row, output)
    for feature in FEATURES:
        if feature not in row.cells:
            said = errors.strip().splitlines()[-1:] or ["nothing"]
            row.cells[feature] = Cell("fail", f"no result (status {status}); it said: {said[0]}")
    if client.refuses:
        accept_refusal(client, row)
    if row.count("fail"):
        row.output = f"{output}{errors}\nlog of sluice:\n{server.log_since(before)}"
    return row


# --- what is printed and written ---


def remarks(rows):
    """{(result, why): {title: the features that it is about}}."""
    found = {}
    for feature in FEATURES:
        for row in rows:
            cell = row.cells.get(feature)
            if cell and cell.why:
                found.setdefault((cell.result, cell.why), {}).setdefault(row.title, []).append(feature)
    return found


def shown(row, feature):
    return row.cells[feature].result if feature in row.cells else "-"


def print_table(rows):
    names = [feature.split("_") for feature in FEATURES]
    heads = [["", *names[i]][-2:] for i in range(len(names))]
    widths = [max(len(word) for word in [*head, "pass"]) for head in heads]
    widths[0] = len("refused")
    first = max(len(row.title) for row in rows)

    def line(head, words):
        say("  ".join([head.ljust(first)] + [w.ljust(n) for w, n in zip(words, widths)]).rstrip())

    line("", [head[0] for head in heads])
    line("", [head[1] for head in heads])
    for row in rows:
        line(row.title, [shown(row, feature) for feature in FEATURES])
    say()
    for (result, why), about in remarks(rows).items():
        features = ", ".join(dict.fromkeys(f for some in about.values() for f in some))
        say(textwrap.fill(f"{', '.join(about)}: {features}: {result}: {why}", 118,
                          subsequent_indent="    ", break_long_words=False))


def markdown(rows):
    notes = list(remarks(rows).items())
    numbers = {(title, feature): i for i, (_, about) in enumerate(notes, 1)
               for title, features in about.items() for feature in features}
    words = {"pass": "✓", "fail": "**fails**", "none": "–", "refused": "refuses", "-": ""}
    lines = ["| | " + " | ".join(row.title for row in rows) + " |",
             "|---|" + ":---:|" * len(rows)]
    for feature, text in FEATURES.items():
        cells = []
        for row in rows:
            number = numbers.get((row.title, feature))
            cells.append(words[shown(row, feature)] + (f" ({number})" if number else ""))
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    lines.append("")
    for i, ((_, why), _) in enumerate(notes, 1):
        lines.append(f"{i}. {why}")
    return "\n".join(lines)


def write_markdown(path, rows):
    text = path.read_text(encoding="utf-8")
    begin, end = (text.find(marker) for marker in MARKERS)
    if begin < 0 or end < begin:
        sys.exit(f"interop: {path} has no place for the table: {MARKERS[0]} and {MARKERS[1]}")
    text = text[:begin + len(MARKERS[0])] + "\n" + markdown(rows) + "\n" + text[end:]
    path.write_text(text, encoding="utf-8")


def write_junit(path, rows, wrong):
    suite = xml.Element("testsuite", name="interop")
    for row in rows:
        for feature, cell in row.cells.items():
            if cell.result == "none":
                continue
            case = xml.SubElement(suite, "testcase", classname=row.name, name=feature)
            if cell.result == "fail":
                printable = re.sub(r"[^\n\t\x20-\ud7ff]", "?", row.output[-6000:])
                xml.SubElement(case, "failure", message=cell.why).text = f"{cell.why}\n{printable}"
    case = xml.SubElement(suite, "testcase", classname="sluice", name="ends well")
    if wrong:
        xml.SubElement(case, "failure", message="does not").text = wrong
    xml.ElementTree(suite).write(path)


def choose(names, quick):
    known = [client.name for client in CLIENTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"interop: there is no client {', '.join(unknown)}; there are: {', '.join(known)}.")
    return [c for c in CLIENTS if (c.name in names if names else c.quick or not quick)]


def run_all(clients):
    """(rows, what went wrong with the server)."""
    server, rows = Server(), []
    try:
        for client in clients:
            say(f"{client.name}...")
            rows.append(run_client(client, server))
            say(f"{rows[-1].title}: {rows[-1].count('pass', 'refused')} passed, "
                f"{rows[-1].count('fail')} failed")
    finally:
        wrong = server.stop()
    return rows, wrong


def main():
    parser = argparse.ArgumentParser(description="Runs other people's clients against Sluice.")
    parser.add_argument("--quick", action="store_true", help="only the clients of make test")
    parser.add_argument("--markdown", nargs="?", const=ROOT / "README.md", type=pathlib.Path,
                        metavar="FILE", help="write the table into FILE (README.md), between its markers")
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    parser.add_argument("--verbose", action="store_true", help="show what failing clients and the proxy said")
    parser.add_argument("clients", nargs="*", help="clients to run; all of them by default")
    options = parser.parse_args()
    rows, wrong = run_all(choose(options.clients, options.quick))
    say()
    print_table(rows)
    if options.verbose:
        for row in rows:
            if row.output:
                say(f"\n=== {row.title}\n{row.output}")
    if wrong:
        say(f"\nthe server did not end well: {wrong}")
    if options.markdown:
        write_markdown(options.markdown, rows)
    if options.junit:
        write_junit(options.junit, rows, wrong)
    passed = sum(row.count("pass", "refused") for row in rows) + (not wrong)
    failed = sum(row.count("fail") for row in rows) + bool(wrong)
    say(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterop: interrupted")
