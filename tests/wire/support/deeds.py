"""What a client does that it must not: SETTINGS, the control stream, CONNECT. See test_raw_rules.py."""

from dataclasses import dataclass, field

from aioquic.buffer import encode_uint_var

from support.rawclient import (CONTROL, DATA, ENCODER, GOAWAY, HEADERS, SETTINGS,
                               WEBTRANSPORT_SETTINGS, RawStream, connect_headers, frame,
                               header_block, headers_frame, request_headers, settings_frame)

GREASE = 0x1F * 7 + 0x21
STREAMS = 100  # what the proxy allows


@dataclass
class Case:
    """Who has broken a rule, and what the answer can be seen on."""
    client: object
    asked: RawStream = None    # the request or CONNECT stream
    session: object = None     # the application's end
    streams: list = field(default_factory=list)
    serves: bool = True        # whether this connection is good for another session


DEEDS = {}


def does(what, hasty=False):
    """hasty: at a proxy that does not wait long for SETTINGS and sessions."""
    def keep(function):
        assert what not in DEEDS
        DEEDS[what] = (function, hasty)
        return function
    return keep


def accepted(scene, **options):
    return Case(*scene.open(**options))


# SETTINGS and the control stream


def silent(scene):
    """A client that has said nothing yet."""
    return scene.connect(hello=False)


def with_control(scene, data):
    client = silent(scene)
    client.raw_stream(bytes([CONTROL]) + data, unidirectional=True)
    return Case(client)


@does("sends SETTINGS after the CONNECT")
def _(scene):
    client = silent(scene)
    asked = client.connect()
    client.settle()
    assert scene.no_session()
    client.hello()
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    return Case(client, asked, session)


@does("never sends SETTINGS", hasty=True)
def _(scene):
    client = silent(scene)
    client.connect()
    return Case(client)


@does("sends another frame before SETTINGS")
def _(scene):
    return with_control(scene, frame(GREASE, b"x") + settings_frame())


@does("sends SETTINGS twice")
def _(scene):
    return with_control(scene, settings_frame() + settings_frame())


@does("sends SETTINGS on a request stream")
def _(scene):
    client = scene.connect()
    client.raw_stream(settings_frame())
    return Case(client)


@does("sends a setting twice")
def _(scene):
    return with_control(scene, settings_frame((*WEBTRANSPORT_SETTINGS, (0x33, 1))))


@does("sends a setting of HTTP/2")
def _(scene):
    return with_control(scene, settings_frame((*WEBTRANSPORT_SETTINGS, (0x02, 0))))


@does("sends 2 where only 0 and 1 are legal")
def _(scene):
    return with_control(scene, settings_frame(((0x33, 1), (0x2B603742, 2))))


@does("sends half a setting")
def _(scene):
    return with_control(scene, frame(SETTINGS, b"\x33\x01\x33"))


@does("sends more than 64 settings")
def _(scene):
    return with_control(scene, settings_frame([(GREASE + 0x1F * i, i) for i in range(65)]))


@does("sends settings, frames and streams that nobody knows")
def _(scene):
    client = silent(scene)
    client.raw_stream(encode_uint_var(GREASE) + b"x" * 5000, unidirectional=True)
    control = client.hello(((GREASE, 77), *WEBTRANSPORT_SETTINGS))
    control.send(frame(GREASE, b"x" * 3000))
    asked = client.raw_stream(frame(GREASE, b"z") + headers_frame(connect_headers())
                              + frame(GREASE, b"y" * 4000) + frame(DATA))
    session = scene.session_of(client)
    session.accept()
    assert asked.wait_status() == 200
    return Case(client, asked, session)


@does("does not enable HTTP datagrams")
def _(scene):
    client = silent(scene)
    client.hello(((0x2B603742, 1),))
    return Case(client, client.connect(), serves=False)


@does("does not enable QUIC datagrams")
def _(scene):
    client = scene.connect(hello=False, max_datagram_frame_size=None)
    client.hello()
    return Case(client, client.connect(), serves=False)


@does("opens a second control stream")
def _(scene):
    case = accepted(scene)
    case.client.raw_stream(bytes([CONTROL]), unidirectional=True)
    return case


@does("ends its control stream")
def _(scene):
    case = accepted(scene)
    case.client.at(2).send(end=True)
    return case


@does("resets its control stream")
def _(scene):
    case = accepted(scene)
    case.client.at(2).reset(0x100)
    return case


@does("stops the server's control stream")
def _(scene):
    case = accepted(scene)
    case.client.at(3).stop(0x100)
    return case


@does("opens a push stream")
def _(scene):
    case = accepted(scene)
    case.client.raw_stream(b"\x01\x00", unidirectional=True)
    return case


@does("cancels a push that was never promised")
def _(scene):
    case = accepted(scene)
    case.client.at(2).send(frame(0x03, b"\0"))
    return case


@does("raises the id of its GOAWAY")
def _(scene):
    case = accepted(scene)
    case.client.at(2).send(frame(GOAWAY, b"\0") + frame(GOAWAY, b"\4"))
    return case


@does("sends a GOAWAY of two numbers")
def _(scene):
    case = accepted(scene)
    case.client.at(2).send(frame(GOAWAY, b"\0\0"))
    return case


# CONNECT


def asks(scene, headers, end=False):
    client = scene.connect()
    return Case(client, client.raw_stream(headers_frame(headers), end=end))


def without(name):
    return [header for header in connect_headers() if header[0] != name]


@does("sends an ordinary request")
def _(scene):
    return asks(scene, request_headers(), end=True)


@does("sends a CONNECT without :protocol")
def _(scene):
    return asks(scene, [(b":method", b"CONNECT"), (b":authority", b"localhost:22")])


@does("names another :protocol")
def _(scene):
    return asks(scene, connect_headers(protocol=b"websocket"))


@does("sends larger headers than allowed")
def _(scene):
    return asks(scene, connect_headers(more=[(b"x", b"y" * 4096)]))


@does("leaves out :scheme")
def _(scene):
    return asks(scene, without(b":scheme"))


@does("says http instead of https")
def _(scene):
    return asks(scene, [(b":scheme", b"http"), *without(b":scheme")])


@does("leaves out :path")
def _(scene):
    return asks(scene, without(b":path"))


@does("asks for no path of a URL")
def _(scene):
    return asks(scene, connect_headers(path=b"*"))


@does("leaves out :authority")
def _(scene):
    return asks(scene, [*without(b":authority"), (b"host", b"localhost")])


@does("puts a user into :authority")
def _(scene):
    return asks(scene, [(b":authority", b"user@localhost"), *without(b":authority")])


@does("sends :protocol twice")
def _(scene):
    return asks(scene, [*connect_headers(), (b":protocol", b"webtransport")])


@does("sends a pseudo-header that nobody knows")
def _(scene):
    return asks(scene, [(b":unknown", b"x"), *connect_headers()])


@does("sends a header in capitals")
def _(scene):
    return asks(scene, connect_headers(more=[(b"Origin", b"https://example.org")]))


@does("ends the stream with the headers")
def _(scene):
    client = scene.connect()
    asked = client.raw_stream(headers_frame(connect_headers()), end=True)
    client.wait(lambda: asked.reset_code is not None)
    asked.stop_code = asked.reset_code  # nothing is left to be stopped
    return Case(client, asked)


@does("asks for a second session without flow control of sessions")
def _(scene):
    client, _, _ = scene.open()
    return Case(client, client.connect(), serves=False)


@does("sends headers that cannot be decoded")
def _(scene):
    client = scene.connect()
    client.raw_stream(frame(HEADERS, b"\xff" * 40))
    client.raw_stream(bytes([ENCODER]), unidirectional=True)
    return Case(client)


@does("sends trailers")
def _(scene):
    case = accepted(scene)
    case.asked.send(frame(HEADERS, header_block([(b"trailer", b"x")])))
    return case


@does("sends DATA before the headers")
def _(scene):
    client = scene.connect()
    client.raw_stream(frame(DATA, b"x"))
    return Case(client)


@does("resets requests before their headers are whole")
def _(scene):
    case = accepted(scene)
    whole = headers_frame(connect_headers())
    for cut in (0, 1, 2, 5, 30):
        begun = []
        for _ in range(STREAMS // 2):
            case.client.wait(case.client.may_open)
            begun.append(case.client.raw_stream(whole[:cut]))
        case.client.settle()
        for asked in begun:
            asked.reset(0x10C)
        case.client.wait(lambda: all(a.reset_code is not None or a.data for a in begun))  # pylint: disable=W0640
    return case


@does("sends a malformed priority")
def _(scene):
    client = scene.connect()
    asked = client.connect(more=[(b"priority", b"u=9, i=?7, =;")])
    session = scene.session_of(client)
    assert [b"priority", b"u=9, i=?7, =;"] in session.scope["headers"]
    session.accept()
    assert asked.wait_status() == 200
    return Case(client, asked, session)
