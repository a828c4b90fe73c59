"""A QUIC connection on which every byte of HTTP/3 is the test's own.

Nothing is sent unless the test says so: no control stream, no SETTINGS. Frames and header blocks
are written here by hand (static table not used, no Huffman coding), so that they can be wrong.
"""

import pylsqpack
from aioquic.buffer import Buffer, BufferReadError, encode_uint_var
from aioquic.quic import events as quic_events

from support.quicclient import Client, capsule, close_capsule

DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
CONTROL, ENCODER, DECODER = 0, 2, 3
WEBTRANSPORT_SETTINGS = ((0x33, 1), (0x2B603742, 1))


def frame(kind, payload=b""):
    return encode_uint_var(kind) + encode_uint_var(len(payload)) + payload


def settings_frame(pairs=WEBTRANSPORT_SETTINGS):
    return frame(SETTINGS, b"".join(encode_uint_var(k) + encode_uint_var(v) for k, v in pairs))


def _integer(value, prefix_bits, flags):
    """RFC 9204, section 4.1.1"""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([flags | value])
    out = bytearray([flags | most])
    value -= most
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def header_block(headers):
    lines = b"".join(_integer(len(name), 3, 0x20) + name + _integer(len(value), 7, 0) + value
                     for name, value in headers)
    return b"\0\0" + lines


def headers_frame(headers):
    return frame(HEADERS, header_block(headers))


def connect_headers(path=b"/", protocol=b"webtransport", more=()):
    return [(b":method", b"CONNECT"), (b":scheme", b"https"), (b":authority", b"localhost"),
            (b":path", path), (b":protocol", protocol), *more]


def request_headers(method=b"GET", path=b"/", more=()):
    return [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"),
            (b":path", path), *more]


class RawStream:
    """All that came on a stream, and how each direction ended."""

    def __init__(self, client, stream_id):
        self.client = client
        self.stream_id = stream_id
        self.data = bytearray()
        self.ended = False
        self.reset_code = None
        self.stop_code = None

    def send(self, data=b"", end=False):
        self.client.quic.send_stream_data(self.stream_id, data, end)
        return self

    def reset(self, code):
        self.client.quic.reset_stream(self.stream_id, code)

    def stop(self, code):
        self.client.quic.stop_stream(self.stream_id, code)

    @property
    def done(self):
        return self.ended or self.reset_code is not None

    def frames(self):
        """[(type, payload)] of the whole frames that came."""
        buf, found = Buffer(data=bytes(self.data)), []
        try:
            while not buf.eof():
                kind = buf.pull_uint_var()
                found.append((kind, buf.pull_bytes(buf.pull_uint_var())))
        except BufferReadError:
            pass
        return found

    def headers(self):
        for kind, payload in self.frames():
            if kind == HEADERS:
                decoder = pylsqpack.Decoder(0, 0)
                return decoder.feed_header(self.stream_id, payload)[1]
        return None

    @property
    def status(self):
        headers = self.headers()
        return None if headers is None else int(dict(headers)[b":status"])

    def body(self):
        return b"".join(payload for kind, payload in self.frames() if kind == DATA)

    def wait_status(self):
        self.client.wait(lambda: self.status is not None or self.reset_code is not None
                         or self.client.terminated)
        return self.status

    def wait_refused(self, code):
        """As malformed, and nothing else. True if the connection goes on: nghttp3 closes it from 1.11
        on where it finds the mistake itself."""
        client = self.client
        client.wait(lambda: client.terminated
                    or (self.reset_code is not None and self.stop_code is not None))
        if client.terminated:
            assert client.terminated.error_code == code
            return False
        assert (self.reset_code, self.stop_code, self.status) == (code, code, None)
        return True

    # a CONNECT stream

    def capsules(self):
        """[(type, payload)] of the whole capsules that came."""
        buf, found = Buffer(data=self.body()), []
        try:
            while not buf.eof():
                kind = buf.pull_uint_var()
                found.append((kind, buf.pull_bytes(buf.pull_uint_var())))
        except BufferReadError:
            pass
        return found

    def numbers(self, kind):
        """What the capsules of this type said."""
        return [Buffer(data=payload).pull_uint_var()
                for got, payload in self.capsules() if got == kind]

    def capsule(self, kind, value=b"", end=False):
        return self.send(frame(DATA, capsule(kind, value)), end)

    def close(self, code=0, reason=b""):
        return self.send(frame(DATA, close_capsule(code, reason)), end=True)

    def datagram(self, data):
        self.client.quic.send_datagram_frame(encode_uint_var(self.stream_id // 4) + data)


class RawClient(Client):
    def __init__(self, port, **options):
        self.got = {}
        self.datagrams = []
        super().__init__(port, **options)

    def _handle(self, event):
        if isinstance(event, quic_events.ProtocolNegotiated):
            return
        if isinstance(event, quic_events.StreamDataReceived):
            stream = self.at(event.stream_id)
            stream.data += event.data
            stream.ended = stream.ended or event.end_stream
        elif isinstance(event, quic_events.StreamReset):
            self.at(event.stream_id).reset_code = event.error_code
        elif isinstance(event, quic_events.StopSendingReceived):
            self.at(event.stream_id).stop_code = event.error_code
        elif isinstance(event, quic_events.DatagramFrameReceived):
            self.datagrams.append(event.data)
        else:
            super()._handle(event)

    def at(self, stream_id):
        if stream_id not in self.got:
            self.got[stream_id] = RawStream(self, stream_id)
        return self.got[stream_id]

    def raw_stream(self, data=b"", unidirectional=False, end=False):
        stream = self.at(self.quic.get_next_available_stream_id(is_unidirectional=unidirectional))
        stream.send(data, end)
        return stream

    def wt_stream(self, session_id, data=b"", unidirectional=False, end=False):
        kind = encode_uint_var(0x54 if unidirectional else 0x41)
        return self.raw_stream(kind + encode_uint_var(session_id) + data, unidirectional, end)

    def may_open(self, unidirectional=False):
        """The server allows one more stream of this kind. (A blocked stream's data wait for that, but
        aioquic sends its reset at once, which is a STREAM_LIMIT_ERROR.)"""
        limit = (self.quic._remote_max_streams_uni if unidirectional
                 else self.quic._remote_max_streams_bidi)
        return self.quic.get_next_available_stream_id(unidirectional) // 4 < limit

    def wait_sent(self, stream):
        """Until all of a stream has left: a reset takes what has not with it, and nobody counts that."""
        sender = self.quic._streams[stream.stream_id].sender  # pylint: disable=protected-access
        self.wait(lambda: sender.highest_offset == sender._buffer_stop)

    def hello(self, settings=WEBTRANSPORT_SETTINGS):
        """Control stream with SETTINGS; no QPACK streams, which are optional."""
        return self.raw_stream(bytes([CONTROL]) + settings_frame(settings), unidirectional=True)

    def connect(self, path=b"/", protocol=b"webtransport", more=()):
        return self.raw_stream(headers_frame(connect_headers(path, protocol, more)))

    def wait_terminated(self):
        """The code with which the server closed the connection."""
        self.wait(lambda: self.terminated)
        return self.terminated.error_code
