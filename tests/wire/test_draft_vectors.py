"""Bytes as the drafts have them and as clients send them, against the real binary.

The codecs alone are in tests/unit/test_draft_vectors.c.
"""

import pylsqpack
import pytest
from aioquic.buffer import Buffer
from aioquic.quic import connection as quic_connection

from support.rawclient import DATA, HEADERS, frame, headers_frame, request_headers
from support.scene import cleared, ended, next_of, received, scene_of_module, told

CHROME = (
    "0140960000d7cf50106578616d706c652e636f6d3a3434333351052f6563686f27023a70726f746f636f6c0c77656274"
    "72616e73706f727427177365632d7765627472616e73706f72742d68747470332d6472616674303201315f4b13687474"
    "70733a2f2f6578616d706c652e636f6d270f77742d617661696c61626c652d70726f746f636f6c7310226d6f712d3030"
    "222c20226563686f22")
SAFARI = (
    "0140640000cfd750106578616d706c652e636f6d3a3434333351052f6563686f27023a70726f746f636f6c0c77656274"
    "72616e73706f72745f4b1368747470733a2f2f6578616d706c652e636f6d270f77742d617661696c61626c652d70726f"
    "746f636f6c7300")
GO = ("0138000050106578616d706c652e636f6d3a34343333cf51052f6563686fd727023a70726f746f636f6c0f77656274"
      "72616e73706f72742d6833")
ANSWER = ("013d0000d927157365632d7765627472616e73706f72742d68747470332d64726166740764726166743032270477"
          "742d70726f746f636f6c06226563686f22")
GREASE_CAPSULE = "0003404000"
CLIENT_SETTINGS = {
    "Chrome": "00041901800100000680004000074064330180ffd27701ab60374201",
    "Chrome 114": "00042501800100000680004000074064330180ffd27701ab60374201c000000108fab0e19b197a7b",
    "fails-components": "00042201800100000680004000074064330180ffd27701ab60374201c0000000c671706a10",
    "Firefox": "00041501800100000714ab6037420180ffd2770133010801",
    "Safari 26.4": "00042d017fff0740643301c000001d1e6bb27c00c0000000c671706a0194e9cd29016b61808000006b6440"
                   "646b654064",
    "webtransport-go 0.12": "0004073301ac7cf00001",
    "wtransport": "0004160100070008013301ab60374201c0000000c671706a01",
    "web-transport-quinn": "00041c0801330180ffd27701c0000000c671706a01ab60374301ab60374201",
    "aioquic": "0004100150000710080121013301ab60374201",
    "pywebtransport": "000423018001000006800100000710080133016b6180a000006b6440646b654064ac7cf00001",
    "proxygen": "000413080180ffd277013301ab6037420194e9cd2901",
}
BAD_SETTINGS = ["00040433013301", "0004020200", "000405ac7cf00002", "0004023302"]
SETTINGS_ERROR, ID_ERROR, DATAGRAM_ERROR = 0x109, 0x108, 0x33

shared = scene_of_module()
scene = cleared("shared")


def decode(frame_hex):
    """The headers of a HEADERS frame."""
    buf = Buffer(data=bytes.fromhex(frame_hex))
    assert buf.pull_uint_var() == HEADERS
    block = buf.pull_bytes(buf.pull_uint_var())
    assert buf.eof()
    return pylsqpack.Decoder(0, 0).feed_header(0, block)[1]


def says(client, settings_hex):
    client.raw_stream(bytes.fromhex(settings_hex), unidirectional=True)


@pytest.mark.parametrize("who, settings, token, offered, origin, more", [
    (CHROME, "Chrome", "webtransport", ["moq-00", "echo"], True, GREASE_CAPSULE),
    (CHROME, "Chrome 114", "webtransport", ["moq-00", "echo"], True, GREASE_CAPSULE),
    (CHROME, "fails-components", "webtransport", ["moq-00", "echo"], True, ""),
    (SAFARI, "Safari 26.4", "webtransport", [], True, ""),
    (GO, "webtransport-go 0.12", "webtransport-h3", [], False, "")],
    ids=["Chrome", "Chrome 114", "Chrome's as fails-components", "Safari", "Go"])
def test_requests_as_clients_send_them(scene, who, settings, token, offered, origin, more):
    client = scene.connect(hello=False)
    says(client, CLIENT_SETTINGS[settings])
    asked = client.raw_stream(bytes.fromhex(who + more))
    session = scene.session_of(client)
    scope = session.scope
    assert (scope["path"], scope["subprotocols"]) == ("/echo", offered)
    assert scope["extensions"]["webtransport"]["connect_protocol"] == token
    assert scope["headers"][0] == [b"host", b"example.com:4433"]
    assert ([b"origin", b"https://example.com"] in scope["headers"]) == origin
    received_headers = [[n, v] for n, v in decode(who) if not n.startswith(b":")]
    assert scope["headers"][1:] == received_headers
    session.accept(**({"subprotocol": "echo"} if offered else {}))
    assert asked.wait_status() == 200
    answer = dict(asked.headers())
    assert answer.get(b"wt-protocol") == (b'"echo"' if offered else None)
    stream = client.wt_stream(asked.stream_id, b"ping", end=True)
    assert received(client, session, 0) == b"ping"
    session.stream_send(0, b"pong", end=True)
    client.wait(lambda: stream.ended)


def test_answers_say_what_the_vectors_say():
    assert decode("01030000d9") == [(b":status", b"200")]
    assert decode("01030000db") == [(b":status", b"404")]
    assert decode(ANSWER) == [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02"),
                              (b"wt-protocol", b'"echo"')]


@pytest.mark.parametrize("who", CLIENT_SETTINGS)
def test_every_clients_settings_are_good_for_a_session(scene, who):
    client = scene.connect(hello=False)
    says(client, CLIENT_SETTINGS[who])
    scene.serves(client)


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_bad_settings(scene, settings):
    client = scene.connect(hello=False)
    says(client, settings)
    assert client.wait_terminated() == SETTINGS_ERROR


def session_at(scene, client, stream_id):
    """A session on the stream with this id: those before it are used up."""
    while client.quic.get_next_available_stream_id() < stream_id:
        plain = client.raw_stream(headers_frame(request_headers()), end=True)
        assert plain.wait_status() == 404
    asked = client.connect()
    assert asked.stream_id == stream_id
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    return asked, session


@pytest.mark.parametrize("session_id, bidi, uni", [
    (0, "404100", "405400"), (4, "404104", "405404"), (64, "40414040", "40544040"),
    (256, "40414100", "40544100"), (0, "c00000000000004180000000", "c00000000000005480000000")])
def test_streams_of_a_session(scene, session_id, bidi, uni):
    client = scene.connect()
    _, session = session_at(scene, client, session_id)
    client.raw_stream(bytes.fromhex(bidi) + b"bidi", end=True)
    assert received(client, session, 0) == b"bidi"
    client.raw_stream(bytes.fromhex(uni) + b"uni", unidirectional=True, end=True)
    assert received(client, session, 2) == b"uni"
    session.stream_send(0, b"", end=True)
    session.stream_send(1, b"b")
    session.stream_send(3, b"u")
    client.wait(lambda: client.at(1).data.endswith(b"b") and client.at(15).data.endswith(b"u"))
    if len(bidi) < 10:
        assert client.at(1).data == bytes.fromhex(bidi) + b"b"
        assert client.at(15).data == bytes.fromhex(uni) + b"u"


def test_an_impossible_session_id(scene):
    client, _, _ = scene.open()
    client.raw_stream(bytes.fromhex("404101"))
    assert client.wait_terminated() == ID_ERROR


@pytest.mark.parametrize("session_id, datagram, payload", [
    (0, "0068656c6c6f", b"hello"), (4, "0168656c6c6f", b"hello"), (256, "404078", b"x"),
    (0, "00", b"")])
def test_datagrams_of_a_session(scene, session_id, datagram, payload):
    client = scene.connect()
    _, session = session_at(scene, client, session_id)
    client.quic.send_datagram_frame(bytes.fromhex(datagram))
    assert told(client, session, "webtransport.datagram.receive")["data"] == payload
    session.send("webtransport.datagram.send", data=payload)
    client.wait(lambda: client.datagrams)
    assert client.datagrams == [bytes.fromhex(datagram)]


@pytest.mark.parametrize("datagram", ["d000000000000000", "40"])
def test_datagrams_that_are_none(scene, datagram):
    client, _, _ = scene.open()
    client.quic.send_datagram_frame(bytes.fromhex(datagram))
    assert client.wait_terminated() == DATAGRAM_ERROR


@pytest.mark.parametrize("goaway", ["0708fffffffffffffffc", "070104", "0708c000000000000008"])
def test_goaway_in_every_form(scene, goaway):
    client, asked, session = scene.open()
    client.at(2).send(bytes.fromhex(goaway))
    assert told(client, session, "webtransport.drain")["reason"] == "client"
    asked.close()


@pytest.mark.parametrize("kind", [64, 188, 312, 0x1F * 2**20 + 0x21])
def test_frames_that_are_only_there_to_be_skipped(scene, kind):
    """RFC 9114, section 7.2.8: on the control stream as on a CONNECT stream."""
    client, asked, session = scene.open()
    client.at(2).send(frame(kind, b"nothing") + bytes.fromhex("070104"))
    assert told(client, session, "webtransport.drain")["reason"] == "client"
    asked.send(frame(kind, b"nothing") + bytes.fromhex("000a68430700000007627965"))
    last = ended(client, session)
    assert (last["code"], last["reason"], last["clean"]) == (7, "bye", True)


@pytest.mark.parametrize("frames, code, reason", [
    ("000768430400000000", 0, ""),
    ("000a68430700000007627965", 7, "bye"),
    ("0009684306ffffffffc3a9", 2**32 - 1, "é"),
    ("0003684307" "000700000007627965", 7, "bye"),  # in two DATA frames
    ("0044086843440400000000" + "61" * 1024, 0, "a" * 1024)])
def test_closes(scene, frames, code, reason):
    client, asked, session = scene.open()
    asked.send(bytes.fromhex(frames))
    last = ended(client, session)
    assert (last["code"], last["reason"], last["clean"]) == (code, reason, True)
    client.wait(lambda: asked.ended)


@pytest.mark.parametrize("frames", ["0044096843440500000000" + "61" * 1025, "0006684303000000"])
def test_closes_that_are_none(scene, frames):
    client, asked, session = scene.open()
    asked.send(bytes.fromhex(frames))
    assert ended(client, session)["by"] == "proxy"
    client.wait(lambda: asked.reset_code == 0x10E)


def test_our_close_and_drain(scene):
    client, asked, session = scene.open()
    session.send_all(("webtransport.drain", {}),
                     ("webtransport.close", {"code": 7, "reason": "bye"}))
    client.wait(lambda: asked.ended)
    assert bytes(asked.data).endswith(bytes.fromhex("0005800078ae00" "000a68430700000007627965"))
    asked.send(end=True)
    assert ended(client, session)["clean"]


@pytest.mark.parametrize("frames", [
    "0003404000", "00051703616263",                                     # GREASE
    "000580ff37a200", "0009990b4d450407627965",                         # others' own
    "0009990b4d3d0480800000", "000d990b4d3d08ffffffffffffffff",         # flow control, which
    "0007990b4d3f024064", "0007990b4d40024064",                         # this client did not ask
    "000d990b4d3f08d000000000000000", "000d990b4d3f08d000000000000001",  # for
    "0006990b4d410100", "0006990b4d430100", "0006990b4d440100", "0008990b4d3e03044064"])
def test_capsules_that_are_read_over(scene, frames):
    client, asked, session = scene.open()
    asked.send(bytes.fromhex(frames + "0005800078ae00" + "000400026869"))
    kinds = set()
    while not kinds >= {"webtransport.drain", "webtransport.datagram.receive"}:
        kinds.add(next_of(client, session)["type"])
    asked.close()


@pytest.mark.parametrize("code, varint", [
    (0x0, "c00052e4a40fa8db"), (0x1, "c00052e4a40fa8dc"), (0x1D, "c00052e4a40fa8f8"),
    (0x1E, "c00052e4a40fa8fa"), (0xFF, "c00052e4a40fa9e2"), (0x100, "c00052e4a40fa9e3"),
    (0x7FFFFFFF, "c00052e52853ed1e"), (0xFFFFFFFF, "c00052e5ac983162")])
def test_codes_both_ways(scene, code, varint):
    wire = Buffer(data=bytes.fromhex(varint)).pull_uint_var()
    client, asked, session = scene.open()
    stream = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=0)
    session.send_all(("webtransport.stream.reset", {"stream_id": 0, "code": code}),
                     ("webtransport.stream.stop", {"stream_id": 0, "code": code}))
    client.wait(lambda: (stream.reset_code, stream.stop_code) == (wire, wire))
    other = client.wt_stream(asked.stream_id, b"x")
    told(client, session, "webtransport.stream.receive", stream_id=4)
    other.reset(wire)
    assert told(client, session, "webtransport.stream.reset", stream_id=4)["code"] == code
    other.stop(wire)
    assert told(client, session, "webtransport.stream.stop", stream_id=4)["code"] == code


def test_transport_parameters(scene, monkeypatch):
    """DATAGRAM frames of any size; RESET_STREAM_AT under both its numbers, or under none."""
    told_by_server = []
    pull = quic_connection.pull_quic_transport_parameters

    def read(buf):
        told_by_server.append(buf.data_slice(buf.tell(), buf.capacity))
        return pull(buf)
    monkeypatch.setattr(quic_connection, "pull_quic_transport_parameters", read)
    scene.connect()
    assert bytes.fromhex("20048000ffff") in told_by_server[0]
    buf, ids = Buffer(data=told_by_server[0]), {}
    while not buf.eof():
        name = buf.pull_uint_var()
        ids[name] = buf.pull_bytes(buf.pull_uint_var())
    assert (0x1D in ids) == (0x17F7586D2CB571 in ids)


def test_data_frames_are_the_only_way(scene):
    """What the server sends on the CONNECT stream is HEADERS and DATA, one capsule in each DATA."""
    client, asked, session = scene.open()
    session.send_all(("webtransport.drain", {}), ("webtransport.close", {"code": 1, "reason": ""}))
    client.wait(lambda: asked.ended)
    assert [kind for kind, _ in asked.frames()] == [HEADERS, DATA, DATA]
    asked.send(end=True)
    ended(client, session)
