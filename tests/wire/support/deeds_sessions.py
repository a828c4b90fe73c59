"""What a client does that it must not: session ids, streams, datagrams, capsules. See
test_raw_rules.py."""

from aioquic.buffer import encode_uint_var

from support.deeds import GREASE, STREAMS, Case, accepted, does
from support.quicclient import CAPSULE_CLOSE, CAPSULE_DRAIN, capsule, close_capsule
from support.rawclient import DATA, frame, headers_frame, request_headers
from support.scene import ended, told

GREASE_CAPSULE = 0x29 * 100 + 0x17


# sessions and streams


@does("opens a stream for the session 1")
def _(scene):
    case = accepted(scene)
    case.client.wt_stream(1, b"x")
    return case


@does("opens a unidirectional stream for the session 2")
def _(scene):
    case = accepted(scene)
    case.client.wt_stream(2, b"x", unidirectional=True)
    return case


@does("opens a stream for the session 2^62-1")
def _(scene):
    case = accepted(scene)
    case.client.wt_stream(2**62 - 1, b"x")
    return case


def strays(case, session_id):
    case.streams = [case.client.wt_stream(session_id, b"x", unidirectional=bool(i & 1))
                    for i in range(4)]
    return case


@does("opens streams for a session that never comes", hasty=True)
def _(scene):
    return strays(accepted(scene), 4000)


@does("opens a stream for an ordinary request", hasty=True)
def _(scene):
    case = accepted(scene)
    plain = case.client.raw_stream(headers_frame(request_headers()), end=True)
    assert plain.wait_status() == 404
    return strays(case, plain.stream_id)


@does("opens a stream for a session that was refused")
def _(scene):
    client = scene.connect()
    asked = client.connect()
    scene.session_of(client).send("webtransport.reject", status=404)
    assert asked.wait_status() == 404
    return strays(Case(client), asked.stream_id)


@does("opens a stream for a session that is over")
def _(scene):
    client, asked, session = scene.open()
    asked.close()
    ended(client, session)
    return strays(Case(client), asked.stream_id)


@does("sends WT_STREAM after other frames")
def _(scene):
    case = accepted(scene)
    case.client.raw_stream(frame(GREASE, b"x") + b"\x40\x41\x00data")
    return case


@does("sends WT_STREAM on the CONNECT stream")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(DATA, capsule(GREASE_CAPSULE)) + b"\x40\x41\x00\x41\x41\x41\x41")
    return case


@does("sends WT_STREAM on the control stream")
def _(scene):
    case = accepted(scene)
    case.client.at(2).send(b"\x40\x41\x00")
    return case


@does("ends a stream inside its header")
def _(scene):
    case = accepted(scene)
    case.streams = [case.client.raw_stream(bytes.fromhex(begun), end=True)
                    for begun in ("40", "4041", "404140", "c000000000")]
    return case


@does("resets a stream inside its header")
def _(scene):
    case = accepted(scene)
    case.streams = [case.client.raw_stream(bytes.fromhex(begun))
                    for begun in ("40", "4041", "404140", "c000000000")]
    case.client.settle()
    for stream in case.streams:
        stream.reset(0x10C)
    return case


@does("resets and stops streams with codes that are no application's")
def _(scene):
    case = accepted(scene)
    for code in (0, 0x10C, 0x52E4A40FA8DA, 0x52E4A40FA8F9, 0x52E5AC983163, 2**62 - 1):
        stream = case.client.wt_stream(case.asked.stream_id, b"x")
        message = told(case.client, case.session, "webtransport.stream.receive")
        stream.reset(code)
        assert told(case.client, case.session, "webtransport.stream.reset",
                    stream_id=message["stream_id"])["code"] is None
        stream.stop(code)
        assert told(case.client, case.session, "webtransport.stream.stop",
                    stream_id=message["stream_id"])["code"] is None
    return case


@does("opens and resets streams without pause")
def _(scene):
    case = accepted(scene)
    for _ in range(30):
        for _ in range(STREAMS // 5):
            case.client.wait(case.client.may_open)
            stream = case.client.wt_stream(case.asked.stream_id, b"x")
            stream.reset(0x10C)
            stream.stop(0x10C)
        case.client.settle()
    return case


@does("opens more streams than allowed")
def _(scene):
    case = accepted(scene)
    quic = case.client.quic
    quic._remote_max_streams_bidi = 2**60
    for _ in range(STREAMS + 1):
        case.client.wt_stream(case.asked.stream_id)
    return case


@does("sends more on a stream than allowed")
def _(scene):
    case = accepted(scene)
    case.session.pause()
    quic = case.client.quic
    quic._remote_max_data = 2**60
    stream = case.client.wt_stream(case.asked.stream_id)
    quic._streams[stream.stream_id].max_stream_data_remote = 2**60
    stream.send(b"x" * (4 << 20))
    case.client.wait(lambda: case.client.terminated)
    case.session.resume()
    return case


@does("sends an empty DATAGRAM frame")
def _(scene):
    case = accepted(scene)
    case.client.quic.send_datagram_frame(b"")
    return case


@does("sends half a session id in a datagram")
def _(scene):
    case = accepted(scene)
    case.client.quic.send_datagram_frame(b"\x40")
    return case


@does("sends a datagram for a session beyond 2^62")
def _(scene):
    case = accepted(scene)
    case.client.quic.send_datagram_frame(bytes.fromhex("d000000000000000"))
    return case


@does("sends datagrams for sessions that are not there")
def _(scene):
    case = accepted(scene)
    for i in range(200):
        case.client.quic.send_datagram_frame(encode_uint_var(1000 + i) + b"x" * 500)
    return case


# capsules


def unanswered(scene):
    client = scene.connect()
    asked = client.connect()
    return Case(client, asked, scene.session_of(client))


@does("drains before the session is accepted")
def _(scene):
    case = unanswered(scene)
    case.asked.capsule(CAPSULE_DRAIN)
    case.client.settle()
    case.session.accept()
    assert case.asked.wait_status() == 200
    assert told(case.client, case.session, "webtransport.drain")["reason"] == "client"
    return case


@does("closes before the session is accepted")
def _(scene):
    case = unanswered(scene)
    case.asked.close(7, b"changed my mind")
    return case


@does("sends capsules byte by byte")
def _(scene):
    case = accepted(scene)
    for byte in frame(DATA, capsule(0, b"by capsule") + capsule(GREASE_CAPSULE, b"abc")):
        case.asked.send(bytes([byte]))
        case.client.flush()
    told(case.client, case.session, "webtransport.datagram.receive", data=b"by capsule")
    return case


@does("sends capsules that nobody knows, and GREASE")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(DATA, capsule(GREASE_CAPSULE) + capsule(0x17, b"abc")
                          + capsule(0xFF37A2) + capsule(0x190B4D45, b"\x07bye")
                          + capsule(2**62 - 1, b"x" * 5000)))
    return case


@does("sends an unknown capsule of 4 MB")
def _(scene):
    case = accepted(scene)
    before = scene.proxy.rss_kib()
    data = capsule(GREASE_CAPSULE, b"x" * (4 << 20)) + capsule(0, b"behind it")
    for i in range(0, len(data), 65536):
        case.asked.send(frame(DATA, data[i:i + 65536]))
        case.client.settle()
    told(case.client, case.session, "webtransport.datagram.receive", data=b"behind it")
    assert scene.proxy.rss_kib() - before < 4096
    return case


@does("sends an unknown capsule without end")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(DATA, encode_uint_var(GREASE_CAPSULE) + encode_uint_var(2**62 - 1)))
    for _ in range(10):
        case.asked.send(frame(DATA, b"x" * 65536))
        case.client.settle()
    return case


@does("sends a DATAGRAM capsule of 30 kB")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(DATA, capsule(0, b"x" * 30000) + capsule(0, b"small")))
    assert told(case.client, case.session, "webtransport.datagram.receive")["data"] == b"small"
    return case


@does("drains 20,000 times")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(DATA, capsule(CAPSULE_DRAIN) * 20000))
    return case


@does("sends a capsule outside of DATA")
def _(scene):
    case = accepted(scene)
    case.asked.send(close_capsule(1, b"nobody reads this"))
    return case


def closes(scene, data, end=False):
    case = accepted(scene)
    case.asked.send(frame(DATA, data), end)
    return case


@does("closes with a code of three bytes")
def _(scene):
    return closes(scene, capsule(CAPSULE_CLOSE, b"\0\0\0"))


@does("closes with a reason of 1,025 bytes")
def _(scene):
    return closes(scene, close_capsule(1, b"r" * 1025))


@does("closes with a reason of 2^40 bytes")
def _(scene):
    """Nothing of it needs to come: its length says enough."""
    return closes(scene, encode_uint_var(CAPSULE_CLOSE) + encode_uint_var(2**40))


@does("closes with a reason that is no UTF-8")
def _(scene):
    return closes(scene, close_capsule(1, b"caf\xe9"))


@does("drains with a value")
def _(scene):
    return closes(scene, capsule(CAPSULE_DRAIN, b"x"))


@does("ends the stream inside a capsule")
def _(scene):
    return closes(scene, close_capsule(1, b"bye")[:-1], end=True)


@does("sends a capsule after the close")
def _(scene):
    return closes(scene, close_capsule(1, b"bye") + capsule(GREASE_CAPSULE))


@does("resets the CONNECT stream")
def _(scene):
    case = accepted(scene)
    case.asked.reset(0x10C)
    return case


@does("stops the CONNECT stream")
def _(scene):
    case = accepted(scene)
    case.asked.stop(0x10C)
    return case


@does("resets and stops the CONNECT stream in one packet")
def _(scene):
    case = accepted(scene)
    case.asked.reset(0x10C)
    case.asked.stop(0x10C)
    return case
