"""Bugs that other servers had with real clients and that no test elsewhere here would notice. The whole
list, and where the others are tested, is in tests/README.md."""

import datetime
import pathlib
import re

import pytest
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic import connection as quic_connection
from aioquic.quic import events as quic_events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.quicclient import CAPSULE_DRAIN, capsule, close_capsule
from support.rawclient import DATA, RawClient, connect_headers, frame, headers_frame
from support.scene import cleared, ended, next_of, received, scene_of_module, told

GONE = 0x170D7B68
GREASE_CAPSULE = 0x29 * 100 + 0x17
MAX_DATAGRAM_FRAME_SIZE, RESET_STREAM_AT, RESET_STREAM_AT_OLD = 0x20, 0x1D, 0x17F7586D2CB571

shared = scene_of_module("--close-timeout", "10s")
scene = cleared("shared")


def record_events(client):
    """The list of all events of QUIC from now on."""
    seen, handle = [], client._handle

    def record(event):
        seen.append(event)
        handle(event)
    client._handle = record
    return seen


# before the session


def test_a_long_chain_of_certificates_arrives(world):
    """More than a server may send to an address that it does not know yet."""
    certificate, key, count = make_chain(world.directory)
    app = world.app()
    proxy = world.proxy(app, arguments=["--cert", certificate, "--key", key])
    client = RawClient(proxy.port)
    client.hello()
    assert 1 + len(client.quic.tls._peer_certificate_chain) == count
    asked = client.connect()
    client.flush()
    session = app.session()
    session.accept()
    assert asked.wait_status() == 200
    client.close()


def make_chain(folder):
    """(file of certificates, file of the key, how many): 5 of 3 kB each."""
    now = datetime.datetime.now(datetime.timezone.utc)
    issuer, issuer_key, chain = None, None, []
    for i in range(5):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost" if i == 4 else f"ca {i}")])
        names = [x509.DNSName("localhost")] + [x509.DNSName("x" * 60 + f".{n}.test") for n in range(40)]
        chain.append(
            x509.CertificateBuilder().subject_name(name).issuer_name(issuer or name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=10))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=i < 4, path_length=None), critical=True)
            .sign(issuer_key or key, hashes.SHA256()))
        issuer, issuer_key = name, key
    pem = serialization.Encoding.PEM
    with open(f"{folder}/chain.pem", "wb") as out:
        out.write(b"".join(c.public_bytes(pem) for c in reversed(chain)))
    with open(f"{folder}/key.pem", "wb") as out:
        out.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return out.name.replace("key", "chain"), out.name, len(chain)


def test_transport_parameters_fit_the_settings(scene, monkeypatch):
    """Datagrams are announced in both places. RESET_STREAM_AT has an old code that Safari looks for and a
    new one; who has one has to have both, and none if it cannot read the frame."""
    told_by_server = {}
    pull = quic_connection.pull_quic_transport_parameters

    def read(buf):
        start = buf.tell()
        while not buf.eof():
            name = buf.pull_uint_var()
            told_by_server[name] = buf.pull_bytes(buf.pull_uint_var())
        buf.seek(start)
        return pull(buf)
    monkeypatch.setattr(quic_connection, "pull_quic_transport_parameters", read)
    scene.connect()
    size = Buffer(data=told_by_server[MAX_DATAGRAM_FRAME_SIZE]).pull_uint_var()
    assert size >= 1200
    assert (RESET_STREAM_AT in told_by_server) == (RESET_STREAM_AT_OLD in told_by_server)


@pytest.mark.parametrize("streams", [0, 2])
def test_who_allows_too_few_streams_for_settings_is_told(scene, streams):
    """RFC 9114, section 6.2, has each side allow three at once. To wait for more leaves both waiting."""
    with pytest.raises(ConnectionError):
        scene.connect(hello=False, max_streams=streams)
    scene.proxy.wait_log("conn.refused", text="HTTP/3 needs three unidirectional streams")


def test_what_comes_in_one_piece_with_the_request_is_read(scene):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(connect_headers())
                              + frame(DATA, capsule(GREASE_CAPSULE, b"abc") + capsule(0, b"datagram"))
                              + frame(DATA, capsule(CAPSULE_DRAIN)))
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    kinds = set()
    while not kinds >= {"webtransport.datagram.receive", "webtransport.drain"}:
        kinds.add(next_of(client, session)["type"])


# the answer


def test_the_answer_comes_before_all_that_the_application_sends(scene):
    client = scene.connect()
    events = record_events(client)
    asked = client.connect()
    session = scene.session_of(client)
    session.send_all(("webtransport.accept", {}),
                     ("webtransport.datagram.send", {"data": b"d"}),
                     ("webtransport.stream.send", {"stream_id": 3, "data": b"u"}),
                     ("webtransport.stream.send", {"stream_id": 1, "data": b"b"}))
    client.wait(lambda: client.datagrams and client.at(1).data and client.at(15).data)
    order = [("datagram" if isinstance(e, quic_events.DatagramFrameReceived) else e.stream_id)
             for e in events
             if isinstance(e, (quic_events.DatagramFrameReceived, quic_events.StreamDataReceived))]
    of_session = [name for name in order if name not in (3, 7, 11)]  # those are HTTP/3's own
    assert of_session[0] == asked.stream_id
    assert set(of_session) == {asked.stream_id, "datagram", 1, 15}


# streams


def test_an_empty_stream_of_the_applications_ends_after_its_header(scene):
    """Firefox closes the connection if header and end come as one and there are no data."""
    client, asked, session = scene.open()
    events = record_events(client)
    session.stream_send(3, end=True)
    client.wait(lambda: client.at(15).ended)
    pieces = [(e.data, e.end_stream) for e in events
              if isinstance(e, quic_events.StreamDataReceived) and e.stream_id == 15]
    header = b"\x40\x54" + encode_uint_var(asked.stream_id)
    assert pieces[0] == (header, False)
    assert b"".join(data for data, _ in pieces) == header


def test_the_end_of_an_answer_does_not_stop_the_question(scene):
    client, asked, session = scene.open()
    streams = [client.wt_stream(asked.stream_id, b"begin,") for _ in range(20)]
    for i, stream in enumerate(streams):
        told(client, session, "webtransport.stream.receive", stream_id=4 * i)
        session.stream_send(4 * i, b"answer", end=True)
        client.wait(lambda: stream.ended)  # pylint: disable=W0640
    client.settle()
    assert [s.stop_code for s in streams] == [None] * 20
    for i, stream in enumerate(streams):
        stream.send(b"end", end=True)
        assert received(client, session, 4 * i) == b"end"


# the end


def test_nobody_is_stopped_before_our_close_is_answered(scene):
    """STOP_SENDING for the CONNECT stream may overtake the close, and then its code is lost."""
    client, asked, session = scene.open()
    stream = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=0)
    session.send("webtransport.close", code=6, reason="enough")
    client.wait(lambda: asked.ended)
    client.settle()
    assert (asked.stop_code, stream.stop_code, stream.reset_code) == (None, None, None)
    asked.send(end=True)
    last = ended(client, session)
    assert (last["code"], last["clean"], last["by"]) == (6, True, "app")


def test_a_second_close_of_the_applications_is_not_said(scene):
    client, asked, session = scene.open()
    session.send_all(("webtransport.close", {"code": 6, "reason": "first"}),
                     ("webtransport.close", {"code": 7, "reason": "second"}))
    client.wait(lambda: asked.ended)
    assert [payload for kind, payload in asked.frames() if kind == DATA] == [close_capsule(6, b"first")]
    asked.send(end=True)
    assert ended(client, session)["code"] == 6


@pytest.mark.parametrize("first", ["application", "client"])
def test_resets_that_tell_of_a_sessions_end_meet_our_close(scene, first):
    """They are no codes of an application's, and nothing waits for them."""
    client = scene.connect()
    for _ in range(10):
        asked, session = scene.serves(client)
        streams = [client.wt_stream(asked.stream_id, b"x") for _ in range(4)]
        for i in range(4):
            told(client, session, "webtransport.stream.receive", stream_id=4 * i + 4)
            session.stream_send(4 * i + 4, b"y" * 5000)
        if first == "application":
            session.send("webtransport.close", code=6, reason="")
        for stream in streams:
            stream.reset(GONE)
            stream.stop(GONE)
        if first == "client":
            told(client, session, "webtransport.stream.reset", stream_id=4)
            session.send("webtransport.close", code=6, reason="")
            client.wait(lambda: asked.ended)  # pylint: disable=W0640
        asked.send(end=True)
        last = ended(client, session)
        assert last["type"] == "webtransport.disconnect" and last["by"] in ("app", "client")
        codes = {m["code"] for m in session.seen
                 if m and m["type"] in ("webtransport.stream.reset", "webtransport.stream.stop")}
        assert codes <= {None}
        client.wait(lambda: asked.done)  # pylint: disable=W0640


def test_datagrams_after_the_clients_close_go_nowhere(scene):
    client, asked, session = scene.open()
    asked.close(7, b"bye")
    client.flush()
    for _ in range(50):
        asked.datagram(b"late")
        client.flush()
    assert ended(client, session)["type"] == "webtransport.disconnect"  # is the last of all
    scene.serves(client)
    asked.datagram(b"later")
    client.settle()


def test_datagrams_of_a_session_end_with_it(scene):
    client, asked, session = scene.open()
    session.send_all(*[("webtransport.datagram.send", {"data": b"x" * 1000})] * 200,
                     ("webtransport.close", {"code": 6, "reason": ""}))
    client.wait(lambda: asked.ended)
    asked.send(end=True)
    ended(client, session)
    client.settle()
    before = len(client.datagrams)
    scene.serves(client)
    client.settle()
    assert len(client.datagrams) == before


@pytest.mark.parametrize("kind", [0x190B4D3D, 0x190B4D3F, 0x190B4D40, 0x190B4D41, 0x190B4D43, 0x190B4D44])
def test_credit_of_sessions_means_nothing_unless_both_announced_it(scene, kind):
    """A client that announced none says that nothing may be sent, and is sent it all the same."""
    client, asked, session = scene.open()
    asked.capsule(kind, b"\0")
    stream = client.wt_stream(asked.stream_id, b"ping", end=True)
    assert received(client, session, 0) == b"ping"
    session.stream_send(0, b"pong", end=True)
    session.stream_send(1, b"bidi", end=True)
    session.stream_send(3, b"uni", end=True)
    client.wait(lambda: stream.ended and client.at(1).ended and client.at(15).ended)
    assert stream.data == b"pong"


def test_capsules_of_another_dialect_end_nothing(scene):
    """One implementation has ids of its own for close and drain, and ends its stream after them."""
    client, asked, session = scene.open()
    asked.send(frame(DATA, capsule(0x190B4D46)))
    asked.send(frame(DATA, capsule(0x190B4D45, b"\x07bye")), end=True)
    last = ended(client, session)
    assert (last["code"], last["reason"], last["clean"], last["by"]) == (0, "", True, "client")
    assert not [m for m in session.seen if m and m["type"] == "webtransport.drain"]


def test_the_list_names_tests_that_exist():
    tests = pathlib.Path(__file__).resolve().parents[1]
    names = set(re.findall(r"`((?:test_)?[a-z0-9]+_[a-z0-9_]+)`", (tests / "README.md").read_text()))
    assert len(names) > 50
    sources = "".join(path.read_text() for kind in ("wire/*.py", "mem/*.c", "unit/*.c")
                      for path in tests.glob(kind))
    missing = [name for name in sorted(names)
               if not re.search(rf"\b(def|static void) {name}\(", sources)]
    assert not missing
