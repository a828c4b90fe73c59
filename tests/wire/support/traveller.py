"""A WebTransport client that shows what QUIC did, and that can move to another address.

On top of quicclient it keeps what a connection gives for the next one (tickets, tokens), notes size,
version and ECN codepoint of every datagram, and exchanges its socket.
"""

import socket
import time

from aioquic.tls import Epoch

from .quicclient import Client

V1, V2 = 1, 0x6B3343CF
NOT_ECT, ECT1, ECT0, CE = range(4)
ACK_ECN = 0x03
TOS = ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS))


class Traveller(Client):
    def __init__(self, port, source="127.0.0.1", ecn=NOT_ECT, largest=65536, reports_ecn=False,
                 **options):
        self.source = source
        self.ecn = ecn
        self.largest = largest  # longer datagrams are lost, as on a narrow path
        self.seen = []  # (length, ECN codepoint) of each datagram received
        self.versions_seen = set()
        self.tickets = []
        self.tokens = []
        self.reports_ecn = reports_ecn
        self.marks_told = None  # the server's counters in its last ACK: ECT(0), ECT(1), CE
        super().__init__(port, **options)

    def _open_socket(self):
        is_v6 = ":" in self.peer[0]
        sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
        if not is_v6:
            sock.bind((self.source, 0))
        sock.connect(self.peer)
        sock.setblocking(False)
        level, receive, send = ((socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
                                if is_v6 else
                                (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS))
        sock.setsockopt(level, receive, 1)
        sock.setsockopt(level, send, self.ecn)
        return sock

    def _make_quic(self, configuration):
        quic = super()._make_quic(configuration)
        quic._session_ticket_handler = self.tickets.append
        quic._token_handler = self.tokens.append
        # aioquic reads the counters of an ACK_ECN frame and forgets them.
        handlers = quic._QuicConnection__frame_handlers
        handle, epochs = handlers[ACK_ECN]

        def watch(context, frame_type, buf):
            start = buf.tell()
            handle(context, frame_type, buf)
            end = buf.tell()
            buf.seek(start)
            numbers = []
            while buf.tell() < end:
                numbers.append(buf.pull_uint_var())
            self.marks_told = tuple(numbers[-3:])

        handlers[ACK_ECN] = (watch, epochs)
        if self.reports_ecn:
            quic._write_ack_frame = self._write_ack_ecn
        return quic

    # aioquic's ACK frames have no counters, so these are written here (RFC 9000, section 19.3).

    def _count_marks(self):
        """Of every packet that is taken from now on, in its packet number space."""
        for space in self.quic._spaces.values():
            if hasattr(space, "marks"):
                continue
            space.marks = [0, 0, 0, 0]

            def add(number, space=space, queue=space.ack_queue, add=space.ack_queue.add):
                space.marks[self.mark] += number not in queue
                add(number)

            space.ack_queue.add = add

    def _write_ack_ecn(self, builder, space, now):
        ranges = list(space.ack_queue)[-4:]
        buf = builder.start_frame(ACK_ECN, capacity=64, handler=self.quic._on_ack_delivery,
                                  handler_args=(space, space.largest_received_packet))
        last = ranges.pop()
        delay = int((now - space.largest_received_time) * 1e6) >> 3
        for number in (last.stop - 1, delay, len(ranges), last.stop - 1 - last.start):
            buf.push_uint_var(number)
        while ranges:
            above, last = last, ranges.pop()
            buf.push_uint_var(above.start - last.stop - 1)
            buf.push_uint_var(last.stop - 1 - last.start)
        for mark in (ECT0, ECT1, CE):
            buf.push_uint_var(space.marks[mark])
        space.ack_at = None

    def move(self, source="127.0.0.1", new_id=False):
        """From now on its packets leave from a fresh port of this address; what is on its way to
        the old one is lost. A NAT does this behind the client's back; a client that does it itself
        takes a new connection id."""
        if new_id:
            self.wait(lambda: self.quic._peer_cid_available)
            self.quic.change_connection_id()
        old, self.source = self.sock, source
        self.sock = self._open_socket()  # while the old one has its port
        old.close()

    @property
    def address(self):
        return self.sock.getsockname()

    def _receive(self):
        for _ in range(64):
            try:
                data, extra, _, _ = self.sock.recvmsg(65536, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            tos = next((value[0] for level, kind, value in extra if (level, kind) in TOS), 0)
            if len(data) > self.largest:
                continue
            self.mark = tos & 3
            self._count_marks()
            self.seen.append((len(data), self.mark))
            if data[0] & 0x80:
                self.versions_seen.add(int.from_bytes(data[1:5], "big"))
            self.received(data)

    def received(self, data):
        self.quic.receive_datagram(data, self.peer, now=time.monotonic())

    @property
    def version(self):
        return self.quic._version

    @property
    def key_phase(self):
        """Of the packets that it takes."""
        return self.quic._cryptos[Epoch.ONE_RTT].recv.key_phase
