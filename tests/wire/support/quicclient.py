"""A WebTransport client that can send what browsers do not: any header, any capsule, any order.

Independent of the project's code: QUIC and HTTP/3 are aioquic's, streams, datagrams and capsules of
WebTransport are here. Synchronous: nothing happens but inside wait(), which moves packets until its
condition holds. One Client is one QUIC connection.
"""

import select
import socket
import ssl
import time

from aioquic.buffer import Buffer, BufferReadError, encode_uint_var
from aioquic.h3 import events as h3_events
from aioquic.h3.connection import H3Connection
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion

TIMEOUT = 40
PATIENCE = 10.0  # initial_rtt of a client that does not ask twice because an answer is late

CAPSULE_CLOSE = 0x2843
CAPSULE_DRAIN = 0x78AE
H3_NO_ERROR = 0x100
H3_DATAGRAM_ERROR = 0x33
H3_MESSAGE_ERROR = 0x10E
H3_ID_ERROR = 0x108
H3_REQUEST_REJECTED = 0x10B
WT_SESSION_GONE = 0x170D7B68
WT_FIRST = 0x52E4A40FA8DB
WT_LAST = 0x52E5AC983162


def to_wire(code):
    """draft-ietf-webtrans-http3, section 4.4"""
    return WT_FIRST + code + code // 0x1E


def from_wire(code):
    """The application's code, or None for a code that is none."""
    if not WT_FIRST <= code <= WT_LAST or (code - 0x21) % 0x1F == 0:
        return None
    shifted = code - WT_FIRST
    return shifted - shifted // 0x1F


def capsule(kind, value=b""):
    return encode_uint_var(kind) + encode_uint_var(len(value)) + value


def close_capsule(code, reason=b""):
    return capsule(CAPSULE_CLOSE, code.to_bytes(4, "big") + reason)


class _H3(H3Connection):
    def __init__(self, quic, settings):
        self.own_settings = settings
        super().__init__(quic, enable_webtransport=True)

    def _get_local_settings(self):
        settings = super()._get_local_settings()
        settings.update(self.own_settings)
        return {key: value for key, value in settings.items() if value is not None}


class _Quic(QuicConnection):
    """With extensions of the caller's in its ClientHello."""

    def __init__(self, extensions, **options):
        super().__init__(**options)
        self.extensions = extensions

    def _initialize(self, peer_cid):
        super()._initialize(peer_cid)
        self.tls.handshake_extensions += self.extensions


class Stream:
    """What has been received on one stream, and how it ended."""

    def __init__(self, stream_id, unidirectional):
        self.stream_id = stream_id
        self.unidirectional = unidirectional
        self.session_id = None
        self.prefix = b""
        self.data = bytearray()
        self.ended = False
        self.reset_code = None  # QUIC's, as it came
        self.stop_code = None

    @property
    def done(self):
        return self.ended or self.reset_code is not None


class Request:
    """An HTTP/3 request and what came back."""

    def __init__(self, stream_id):
        self.stream_id = stream_id
        self.headers = None
        self.body = bytearray()
        self.ended = False
        self.reset_code = None
        self.stop_code = None

    @property
    def status(self):
        return None if self.headers is None else int(dict(self.headers)[b":status"])


class Session(Request):
    """A Request that is a WebTransport session."""

    def __init__(self, client, stream_id):
        super().__init__(stream_id)
        self.client = client
        self.datagrams = []
        self.streams = []  # those that the server opened
        self.capsules = []

    def parse_capsules(self):
        while True:
            buf = Buffer(data=bytes(self.body))
            try:
                kind = buf.pull_uint_var()
                value = buf.pull_bytes(buf.pull_uint_var())
            except BufferReadError:
                return
            del self.body[:buf.tell()]
            self.capsules.append((kind, value))

    @property
    def closed(self):
        """(code, reason) of the close capsule, or None."""
        for kind, value in self.capsules:
            if kind == CAPSULE_CLOSE:
                return int.from_bytes(value[:4], "big"), value[4:].decode()
        return None

    @property
    def drained(self):
        return any(kind == CAPSULE_DRAIN for kind, _ in self.capsules)

    def open(self, unidirectional=False, data=b"", end=False):
        return self.client.open_stream(self.stream_id, unidirectional, data, end)

    def datagram(self, data):
        self.client.quic.send_datagram_frame(encode_uint_var(self.stream_id // 4) + data)

    def capsule(self, data, end=False):
        self.client.h3.send_data(self.stream_id, data, end)

    def close(self, code=0, reason=b""):
        self.capsule(close_capsule(code, reason), end=True)

    def end(self):
        """FIN without a close capsule."""
        self.client.quic.send_stream_data(self.stream_id, b"", end_stream=True)

    def wait_response(self):
        self.client.wait(lambda: self.headers is not None or self.reset_code is not None
                         or self.client.terminated)
        return self.status


class Client:
    def __init__(self, port, host="127.0.0.1", settings=None, server_name="localhost",
                 idle_timeout=60.0, max_streams=None, extensions=(), wait=True, **options):
        options.setdefault("supported_versions", [QuicProtocolVersion.VERSION_1])
        options = {"max_datagram_frame_size": 65536, "max_data": 1 << 24,
                   "max_stream_data": 1 << 22, **options}
        configuration = QuicConfiguration(
            alpn_protocols=["h3"], is_client=True, verify_mode=ssl.CERT_NONE,
            server_name=server_name, idle_timeout=idle_timeout, **options)
        self.peer = (host, port)
        self.extensions = list(extensions)
        self.sock = self._open_socket()
        self.quic = self._make_quic(configuration)
        if max_streams is not None:  # what the server may open at once
            for limit in (self.quic._local_max_streams_bidi, self.quic._local_max_streams_uni):
                limit.value = limit.sent = max_streams  # or it never tells a higher one
        self.h3 = None
        self.settings = settings or {}
        self.connected = False
        self.terminated = None
        self.requests = {}
        self.streams = {}
        self.quic.connect(self.peer, now=time.monotonic())
        if wait:
            self.wait_connected()

    def _open_socket(self):
        family = socket.AF_INET6 if ":" in self.peer[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.connect(self.peer)
        sock.setblocking(False)
        return sock

    def _make_quic(self, configuration):
        return _Quic(self.extensions, configuration=configuration)

    def wait_connected(self):
        self.wait(lambda: self.connected or self.terminated)
        if self.terminated:
            raise ConnectionError(f"handshake failed: {self.terminated}")

    # moving packets

    def _send(self):
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic()):
            try:
                self.sock.send(data)
            except (BlockingIOError, ConnectionRefusedError):
                pass

    def flush(self):
        """Sends all that congestion control allows. What is only paced has to go, too, for the test may
        now wait for what comes of it, and meanwhile nobody moves the packets."""
        self._send()
        while self.quic._pacing_at is not None and self.quic._close_event is None:
            time.sleep(max(0, self.quic._pacing_at - time.monotonic()))
            self._send()

    def _receive(self):
        for _ in range(64):
            try:
                data = self.sock.recv(65536)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self.quic.receive_datagram(data, self.peer, now=time.monotonic())

    def _step(self, longest):
        self._send()
        timer = self.quic.get_timer()
        now = time.monotonic()
        pause = longest if timer is None else min(longest, max(0, timer - now))
        readable, _, _ = select.select([self.sock], [], [], pause)
        if readable:
            self._receive()
        elif timer is not None and time.monotonic() >= timer:
            self.quic.handle_timer(now=time.monotonic())
        while (event := self.quic.next_event()) is not None:
            self._handle(event)
        # The event of that comes three probe timeouts later, which may be long: a test that has not moved
        # packets for seconds has measured a round trip of seconds.
        self.terminated = self.terminated or self.quic._close_event
        self._send()

    def wait(self, condition, timeout=TIMEOUT):
        """Moves packets until condition() is true; returns its value."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the condition did not come true; connection "
                                   + (f"terminated: {self.terminated}" if self.terminated
                                      else "is up"))
            self._step(min(left, 0.05))
        return value

    def step(self):
        """Moves the packets that can be moved at once."""
        self._step(0)

    def settle(self):
        """Moves packets until the server has acknowledged a PING sent after all else that may be sent."""
        self.flush()  # or the PING goes ahead, in the first of several packets
        uid = time.monotonic_ns()
        self._acked = None
        self.quic.send_ping(uid)
        self.wait(lambda: self._acked == uid or self.terminated)

    # events

    def _handle(self, event):
        if isinstance(event, quic_events.ProtocolNegotiated):
            self.h3 = _H3(self.quic, self.settings)
        elif isinstance(event, quic_events.HandshakeCompleted):
            self.connected = event
        elif isinstance(event, quic_events.ConnectionTerminated):
            self.terminated = event
        elif isinstance(event, quic_events.PingAcknowledged):
            self._acked = event.uid
        elif isinstance(event, quic_events.DatagramFrameReceived):
            buf = Buffer(data=event.data)
            session = self.requests.get(buf.pull_uint_var() * 4)
            if session is not None:
                session.datagrams.append(event.data[buf.tell():])
        elif isinstance(event, quic_events.StreamReset):
            self._reset(event)
        elif isinstance(event, quic_events.StopSendingReceived):
            holder = self.streams.get(event.stream_id) or self.requests.get(event.stream_id)
            if holder is not None:
                holder.stop_code = event.error_code
        elif isinstance(event, quic_events.StreamDataReceived):
            self._stream_data(event)

    def _reset(self, event):
        holder = self.streams.get(event.stream_id) or self.requests.get(event.stream_id)
        if holder is None:
            holder = self.streams[event.stream_id] = Stream(event.stream_id,
                                                            event.stream_id % 4 == 3)
        holder.reset_code = event.error_code

    def _stream_data(self, event):
        stream_id = event.stream_id
        if stream_id % 4 == 0 and stream_id in self.streams:
            stream = self.streams[stream_id]
            stream.data += event.data
            stream.ended = stream.ended or event.end_stream
            return
        if stream_id % 2 == 1 and self._server_stream(event):
            return
        for answer in self.h3.handle_event(event):
            request = self.requests.get(answer.stream_id)
            if request is None:
                continue
            if isinstance(answer, h3_events.HeadersReceived):
                request.headers = answer.headers
            elif isinstance(answer, h3_events.DataReceived):
                request.body += answer.data
                if isinstance(request, Session) and request.status // 100 == 2:
                    request.parse_capsules()
            request.ended = request.ended or answer.stream_ended

    def _server_stream(self, event):
        """Takes the bytes if it is a stream of WebTransport."""
        unidirectional = event.stream_id % 4 == 3
        stream = self.streams.get(event.stream_id)
        if stream is None:
            stream = self.streams[event.stream_id] = Stream(event.stream_id, unidirectional)
        if stream.prefix is None:  # HTTP/3's own
            return False
        data, ended = event.data, event.end_stream
        if stream.session_id is None:
            stream.prefix += data
            buf = Buffer(data=stream.prefix)
            try:
                if buf.pull_uint_var() != (0x54 if unidirectional else 0x41):
                    event.data, stream.prefix = stream.prefix, None
                    return False
                stream.session_id = buf.pull_uint_var()
            except BufferReadError:
                return True
            data = stream.prefix[buf.tell():]
            session = self.requests.get(stream.session_id)
            if session is not None:
                session.streams.append(stream)
        stream.data += data
        stream.ended = stream.ended or ended
        return True

    # doing things

    def request(self, headers, end=True, kind=Request):
        """Sends headers on a new request stream."""
        stream_id = self.quic.get_next_available_stream_id()
        request = (Session(self, stream_id) if kind is Session else Request(stream_id))
        self.requests[stream_id] = request
        self.h3.send_headers(stream_id, headers, end_stream=end)
        return request

    def connect_headers(self, path, headers=(), protocol="webtransport", authority=None):
        authority = authority or f"localhost:{self.peer[1]}"
        return [(b":method", b"CONNECT"), (b":scheme", b"https"),
                (b":authority", authority.encode()),
                (b":path", path if isinstance(path, bytes) else path.encode()),
                (b":protocol", protocol.encode()), *headers]

    def session(self, path="/", headers=(), protocol="webtransport", authority=None):
        """Asks for a session; see wait_response."""
        return self.request(self.connect_headers(path, headers, protocol, authority), end=False,
                            kind=Session)

    def open_stream(self, session_id, unidirectional=False, data=b"", end=False):
        stream_id = self.quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        stream = self.streams[stream_id] = Stream(stream_id, unidirectional)
        stream.session_id = session_id
        kind = encode_uint_var(0x54 if unidirectional else 0x41)
        self.quic.send_stream_data(stream_id, kind + encode_uint_var(session_id) + data, end)
        return stream

    def send(self, stream, data, end=False):
        self.quic.send_stream_data(stream.stream_id, data, end)

    def reset(self, stream, wire_code):
        self.quic.reset_stream(stream.stream_id, wire_code)

    def stop(self, stream, wire_code):
        self.quic.stop_stream(stream.stream_id, wire_code)

    def close(self):
        if not self.terminated:
            self.quic.close(error_code=H3_NO_ERROR, reason_phrase="")
            self.flush()
        self.sock.close()

    def vanish(self):
        """Gone without a word."""
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
