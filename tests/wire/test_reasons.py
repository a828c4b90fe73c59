"""Why it failed: for each reason one line of the log, and one counter.

The table of faults is proxy/base/fault.h. Each row of it is either played here, or belongs to a test
that says so (ELSEWHERE).
"""

import os
import re
import socket
import ssl

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.tls import SignatureAlgorithm

from support.proxy import ROOT
from support.rawclient import (DATA, RawClient, connect_headers, frame, headers_frame,
                               request_headers)
from support.scene import ended

WEBTRANSPORT, DATAGRAMS = (0x2B603742, 1), (0x33, 1)
LINE = re.compile(r'    X\((\w+), "(\w+)", (\w+),\s*\\?\s*"(.*?)"\)', re.S)


def faults():
    """{name: (reach, sentence)}"""
    with open(os.path.join(ROOT, "proxy/base/fault.h"), encoding="utf-8") as header:
        rows = LINE.findall(header.read())
    return {name: (reach, sentence) for _, name, reach, sentence in rows if name != "none"}


FAULTS = faults()


class Strange(RawClient):
    """A client whose TLS is not as it should be."""

    def __init__(self, port, alpn=("h3",), signatures=None, verify=False, **options):
        self.alpn, self.signatures, self.verify = alpn, signatures, verify
        super().__init__(port, **options)

    def _make_quic(self, configuration):
        configuration.alpn_protocols = list(self.alpn)
        if self.verify:
            configuration.verify_mode = ssl.CERT_REQUIRED
        quic = super()._make_quic(configuration)
        if self.signatures:
            begin = quic._initialize

            def begin_with_them(peer_cid):
                begin(peer_cid)
                quic.tls._signature_algorithms = self.signatures
            quic._initialize = begin_with_them
        return quic


class Play:
    """One proxy, one application, and the client that fails."""

    def __init__(self, world, arguments):
        self.app = world.app()
        self.proxy = world.proxy(self.app, workers=1, arguments=arguments)
        self.clients = []
        self.silent = []  # nothing of these is moved

    def client(self, kind=RawClient, **options):
        client = kind(self.proxy.port, **options)
        self.clients.append(client)
        return client

    def greeted(self, settings=(DATAGRAMS, WEBTRANSPORT), **options):
        client = self.client(**options)
        client.hello(settings)
        client.settle()
        return client

    def asked(self, **options):
        """(client, CONNECT stream, the application's end), not answered yet."""
        client = self.greeted(**options)
        stream = client.connect()
        client.wait(lambda: not self.app.sessions.empty())
        return client, stream, self.app.session()

    def opened(self, **options):
        client, stream, session = self.asked(**options)
        session.accept()
        assert stream.wait_status() == 200
        return client, stream, session

    def wait_log(self, event, fault):
        """Meanwhile packets move."""
        def found():
            for client in self.clients:
                client.step()
            return self.proxy.find(event, fault=fault)
        return (self.clients[0] if self.clients else Waiting()).wait(found)[0]

    def close(self):
        for client in self.clients + self.silent:
            client.close()


class Waiting(RawClient):
    """No client at all, for those who fail without one."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.terminated = None

    def _step(self, longest):
        import time  # pylint: disable=import-outside-toplevel
        time.sleep(min(longest, 0.02))


# connections


def unknown_version(play):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", play.proxy.port))
        sock.send(b"\xc0\x0a\x0a\x0a\x0a\x08dcid1234\x04scid" + bytes(1200))
        assert sock.recv(2000)


def no_common_signature(play):
    client = play.client(Strange, wait=False, signatures=[SignatureAlgorithm.ED448])
    client.wait(lambda: client.terminated)


def certificate_not_trusted(play):
    client = play.client(Strange, wait=False, verify=True)
    client.wait(lambda: client.terminated)


def other_alpn(play):
    client = play.client(Strange, wait=False, alpn=("h3-29",))
    client.wait(lambda: client.terminated)


def too_much_data(play):
    client, asked, session = play.opened()
    session.pause()
    stream = client.wt_stream(asked.stream_id)
    client.settle()
    client.quic._remote_max_data = 1 << 40
    client.quic._streams[stream.stream_id].max_stream_data_remote = 1 << 40
    stream.send(bytes(1 << 23))
    client.wait(lambda: client.terminated)
    session.resume()


def somebody_elses_stream(play):
    client = play.greeted()
    client.quic._is_client = False  # so that it writes on a stream of the server's
    client.quic.send_stream_data(3 + 4 * 10, b"x")
    client.quic._is_client = True
    client.wait(lambda: client.terminated)


def too_many_streams(play):
    client = play.greeted()
    client.quic._remote_max_streams_uni = 1 << 20
    client.quic.send_stream_data(2 + 4 * 100_000, b"x")
    client.wait(lambda: client.terminated)


def silence(play):
    play.greeted()


def half_a_handshake(play):
    play.silent.append(RawClient(play.proxy.port, wait=False))
    play.silent[0].flush()


def client_closes_with_an_error(play):
    client = play.greeted()
    client.quic.close(error_code=0x102, reason_phrase="so there")
    client.wait(lambda: client.terminated)


def data_before_headers(play):
    client = play.greeted()
    client.raw_stream(frame(DATA, b"x"))
    client.wait_terminated()


def settings_twice(play):
    client = play.client()
    client.hello((DATAGRAMS, DATAGRAMS))
    client.wait_terminated()


def no_settings(play):
    play.client().wait_terminated()


def impossible_session(play):
    client = play.greeted()
    client.raw_stream(encode_uint_var(0x54) + encode_uint_var(3), unidirectional=True)
    client.wait_terminated()


def empty_datagram(play):
    client = play.greeted()
    client.quic.send_datagram_frame(b"")
    client.wait_terminated()


# requests and sessions


def refused(settings=(DATAGRAMS, WEBTRANSPORT), **options):
    def deed(play):
        client = play.greeted(settings, **options)
        stream = client.connect()
        client.wait(lambda: stream.done)
    return deed


def answered(*more, status, path=b"/", protocol=b"webtransport"):
    def deed(play):
        client = play.greeted()
        assert client.connect(path, protocol, more).wait_status() == status
    return deed


def get(play):
    client = play.greeted()
    assert client.raw_stream(headers_frame(request_headers()), end=True).wait_status() == 404


def not_https(play):
    client = play.greeted()
    headers = [(name, b"http" if name == b":scheme" else value)
               for name, value in connect_headers()]
    stream = client.raw_stream(headers_frame(headers))
    client.wait(lambda: stream.done)


def second_session(play):
    client, _, _ = play.opened()
    second = client.connect()
    client.wait(lambda: second.done)


def bad_capsule(play):
    client, stream, _ = play.opened()
    stream.capsule(0x2843, b"xy", end=True)
    client.wait(lambda: stream.done)


def falling_limit(play):
    limits = tuple((kind, 100) for kind in (0x2B61, 0x2B64, 0x2B65))
    client, stream, _ = play.opened(settings=(DATAGRAMS, (0x2C7CF000, 1), *limits))
    stream.capsule(0x190B4D3F, encode_uint_var(99))
    client.wait(lambda: stream.done)


def reset(play):
    client, stream, _ = play.opened()
    stream.reset(0x10C)
    client.settle()


def close_without_answer(play):
    client, stream, session = play.opened()
    session.send("webtransport.close", code=3)
    client.wait(lambda: stream.ended)


def gives_up(play):
    client, stream, _ = play.asked()
    stream.send(end=True)
    client.settle()


def two_sessions(play):
    play.opened()
    answered(status=503)(play)


def stop_with_a_session(play):
    client, stream, _ = play.opened()
    play.proxy.terminate()
    client.wait(lambda: stream.done)
    stream.send(end=True)


# applications


def no_application(play):
    play.app.stop()
    answered(status=502)(play)


def hangs_up(play):
    client, stream, session = play.opened()
    session.close()
    client.wait(lambda: stream.ended)
    stream.send(end=True)


def hangs_up_before_its_answer(play):
    _, stream, session = play.asked()
    session.close()
    assert stream.wait_status() == 502


def says_nothing(play):
    _, stream, _ = play.asked()
    assert stream.wait_status() == 504


def breaks_the_protocol(play):
    _, stream, session = play.asked()
    session.raw(b"\0\0\0\1\x80")
    assert stream.wait_status() == 502


def bad_command(play):
    client, _, session = play.opened()
    session.send("webtransport.nonsense")
    client.settle()


def says_no(play):
    _, stream, session = play.asked()
    session.send("webtransport.reject", status=401)
    assert stream.wait_status() == 401


CONN_REFUSED, CONN_CLOSED = "conn.refused", "conn.closed"
REQUEST, REFUSED, CLOSED = "request.refused", "session.refused", "session.closed"

# fault, event, arguments of the proxy, what is done, and other fields of the line
PLAYS = [
    ("quic_version", CONN_REFUSED, [], unknown_version, {"version": "0x0a0a0a0a"}),
    ("tls", CONN_REFUSED, [], no_common_signature, {"text": re.compile("[a-z]")}),
    ("tls_by_client", CONN_REFUSED, [], certificate_not_trusted,
     {"text": re.compile("(?i)certificate"), "by": "peer"}),
    ("no_h3", CONN_REFUSED, [], other_alpn, {}),
    ("quic", CONN_CLOSED, [], somebody_elses_stream, {"text": re.compile("STREAM_STATE")}),
    ("quic_flow_control", CONN_CLOSED, [], too_much_data, {}),
    ("quic_streams", CONN_CLOSED, [], too_many_streams, {}),
    ("idle", CONN_CLOSED, ["--idle-timeout", "1s"], silence, {}),
    ("handshake_timeout", CONN_REFUSED, ["--handshake-timeout", "300ms"], half_a_handshake, {}),
    ("peer_closed", CONN_CLOSED, [], client_closes_with_an_error,
     {"text": "so there", "code": 0x102, "by": "peer"}),
    ("h3_protocol", CONN_CLOSED, [], data_before_headers, {}),
    ("h3_settings", CONN_CLOSED, [], settings_twice, {}),
    ("h3_no_settings", CONN_CLOSED, ["--settings-timeout", "300ms"], no_settings, {}),
    ("h3_session_id", CONN_CLOSED, [], impossible_session, {}),
    ("h3_datagram", CONN_CLOSED, [], empty_datagram, {}),
    ("no_webtransport", REFUSED, [], refused(()), {}),
    ("no_datagrams", REFUSED, [], refused((WEBTRANSPORT,)), {"draft": "draft02"}),
    ("no_quic_datagrams", REFUSED, [], refused(max_datagram_frame_size=None), {}),
    ("not_webtransport", REQUEST, [], get, {"status": 404, "method": "GET"}),
    ("not_webtransport", REQUEST, [], answered(status=501, protocol=b"websocket"),
     {"status": 501, "protocol": "websocket"}),
    ("malformed_request", REQUEST, [], not_https, {}),
    ("headers_too_large", REQUEST, ["--max-header", "1K"],
     answered((b"x", bytes(2000).replace(b"\0", b"x")), status=431), {"status": 431}),
    ("host", REFUSED, ["--host", "example.org"], answered(status=421),
     {"status": 421, "host": "localhost"}),
    ("origin", REFUSED, ["--origin", "https://a.example"],
     answered((b"origin", b"https://b.example"), status=403),
     {"status": 403, "origin": "https://b.example"}),
    ("no_origin", REFUSED, ["--require-origin"], answered(status=403), {"status": 403}),
    ("second_session", REFUSED, [], second_session, {}),
    ("capsule", CLOSED, [], bad_capsule, {"by": "proxy"}),
    ("flow_control", CLOSED, [], falling_limit, {"by": "proxy"}),
    ("session_reset", CLOSED, [], reset, {"by": "client"}),
    ("close_timeout", CLOSED, ["--close-timeout", "300ms"], close_without_answer,
     {"by": "app", "code": 3, "clean": "no"}),
    ("withdrawn", REFUSED, [], gives_up, {"by": "client", "path": "/"}),
    ("too_many_sessions", REFUSED, ["--max-sessions", "1"], two_sessions, {"status": 503}),
    ("shutdown", CLOSED, ["--drain-timeout", "0"], stop_with_a_session, {"by": "proxy"}),
    ("backend_connect", REFUSED, [], no_application,
     {"status": 502, "detail": re.compile("No such file|Connection refused")}),
    ("backend_lost", CLOSED, [], hangs_up, {"by": "proxy", "detail": re.compile("app.sock")}),
    ("backend_lost", REFUSED, [], hangs_up_before_its_answer, {"status": 502}),
    ("backend_accept_timeout", REFUSED, ["--accept-timeout", "300ms"], says_nothing,
     {"status": 504}),
    ("backend_protocol", REFUSED, [], breaks_the_protocol,
     {"status": 502, "detail": re.compile("type")}),
    ("backend_command", "backend.error", [], bad_command, {"count": 1}),
    ("rejected", REFUSED, [], says_no, {"by": "app", "status": 401}),
]

# Those that need more than a client and a command line to happen.
ELSEWHERE = {
    "peer_reset": "tests/mem/test_conn.c",
    "memory_connection": "tests/mem/test_memory.c",
    "memory_stream": "tests/mem/test_memory.c",
    "memory_session": "tests/mem/test_relay.c",
    "memory_frame": "tests/mem/test_frames.c",
    "false_proof": "tests/wire/test_quic_handshake.py",
    "too_many_handshakes": "tests/wire/test_quic_handshake.py",
    "too_many_connections": "tests/wire/test_limits.py",
    "listener_handshakes": "tests/wire/test_limits.py",
    "listener_connections": "tests/wire/test_limits.py",
    "listener_removed": "tests/wire/test_reload_listeners.py",
    "listener_connection_rate": "tests/wire/test_limits.py",
    "route_session_rate": "tests/wire/test_limits.py",
    "client_connections": "tests/wire/test_clients.py",
    "client_connection_rate": "tests/wire/test_clients.py",
    "client_sessions": "tests/wire/test_clients.py",
    "client_session_rate": "tests/wire/test_clients.py",
    "no_route": "tests/wire/test_routes.py",
    "draining": "tests/unit/test_gate.c",
    "after_close": "tests/wire/test_raw_ends.py",
    "backend_connect_timeout": "tests/unit/test_dial.c",
    "backend_tls": "tests/unit/test_pipe_tls.c",
    "backend_full": "tests/unit/test_upstream.c",
    "backend_stalled": "tests/wire/test_stuck_readers.py",
}


def stream_of_an_ended_session(play):
    client, asked, session = play.opened()
    asked.close()
    assert ended(client, session)["type"] == "webtransport.disconnect"
    client.wt_stream(asked.stream_id, b"late")
    client.settle()


def half_a_stream_header(play):
    client = play.greeted()
    client.raw_stream(b"\x40", unidirectional=True, end=True)
    client.settle()


def two_early_streams(play):
    client = play.greeted()
    for _ in range(2):
        client.wt_stream(0, b"early", unidirectional=True)
    client.settle()


# What happens to a stream is counted, and no line of the log.
COUNTED = [
    ("session_gone", [], stream_of_an_ended_session),
    ("stream_header", [], half_a_stream_header),
    ("too_many_early", ["--early-streams", "1"], two_early_streams),
]


@pytest.mark.parametrize("fault, arguments, deed", COUNTED, ids=[row[0] for row in COUNTED])
def test_what_happens_to_a_stream_is_counted(world, fault, arguments, deed):
    play = Play(world, arguments)
    deed(play)
    play.clients[0].wait(lambda: play.proxy.stats()[fault] == 1)
    assert not [line for line in play.proxy.events if line.get("fault") == fault]
    play.close()


@pytest.mark.parametrize("fault, event, arguments, deed, fields", PLAYS,
                         ids=[f"{row[0]}-{row[3].__name__}" for row in PLAYS])
def test_the_reason_is_told_and_counted_once(world, fault, event, arguments, deed, fields):
    play = Play(world, arguments)
    deed(play)
    line = play.wait_log(event, fault)
    assert line["why"] == FAULTS[fault][1]
    for key, want in fields.items():
        found = line.get(key, "")
        assert want.search(found) if isinstance(want, re.Pattern) else found == str(want), line
    if event != "backend.error":
        assert "127.0.0.1:" in line.get("client", line.get("remote", "")), line
    if deed is not stop_with_a_session:
        assert play.proxy.stats()[fault] == 1
    play.close()
    if deed is stop_with_a_session:
        play.proxy.join()
    # Of a session, and of a connection, no second line says that it has ended.
    ends = [e for e in play.proxy.events if e.get("fault") == fault and e["event"] == event]
    assert len(ends) == 1, ends


def test_a_flood_of_refusals_is_counted_and_not_written(world):
    _, proxy = world.start(arguments=["--host", "example.org"], workers=1)
    client = RawClient(proxy.port)
    client.hello()
    for _ in range(60):
        stream = client.connect()
        assert stream.wait_status() == 421
    assert proxy.stats()["host"] == 60
    client.close()
    proxy.wait_idle()
    proxy.stop()  # all of the log is there
    written = proxy.find("session.refused", fault="host")
    told = len(written) + sum(int(line.get("left_out", 0)) for line in written)
    assert len(written) < 60
    rest = sum(int(line["count"]) for line in proxy.find("left_out", fault="host"))
    assert told + rest == 60


def test_every_reason_has_its_test():
    here = {row[0] for row in PLAYS + COUNTED}
    assert here | set(ELSEWHERE) == set(FAULTS)
    for name, path in ELSEWHERE.items():
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        assert f"FAULT_{name.upper()}" in text or f'"{name}"' in text, (name, path)


def test_operators_find_every_reason():
    with open(os.path.join(ROOT, "docs/operations.md"), encoding="utf-8") as page:
        found = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", page.read(), re.M)
    assert found == [(name, reach.lower(), sentence) for name, (reach, sentence) in FAULTS.items()]
