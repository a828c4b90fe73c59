"""A plain service for test_bridge_stuck.py and test_bridge_much.py, over TCP or a Unix socket. It knows
nothing of Sluice; the stress client says on each connection what it wants:

    work    a connection begins with 8 bytes, big-endian: how many bytes it wants back. What follows is
            thrown away. Who wants 2**64 - 1 of them is never read again; 2**64 - 2 are sent without end
    echo    everything comes back

    service.py work|echo [unix:PATH]

Tells `listening ADDRESS`. A thread for each connection, for whoever is slow is to be slow alone.
"""

import os
import socket
import sys
import threading

CHUNK = 1 << 16
STUCK, EVER = 2 ** 64 - 1, 2 ** 64 - 2
PERIOD = 251
PATTERN = memoryview(bytes(range(PERIOD)) * (CHUNK // PERIOD + 2))


def whole(sock, size):
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def answer(sock, wanted):
    sent = 0
    while sent < wanted:
        at = sent % PERIOD
        sent += sock.send(PATTERN[at:at + min(CHUNK, wanted - sent)])


def read_all(sock):
    room = bytearray(CHUNK)
    while sock.recv_into(room):
        pass


def work(sock):
    asked = whole(sock, 8)
    if len(asked) < 8:
        return
    wanted = int.from_bytes(asked, "big")
    if wanted == STUCK:
        threading.Event().wait()
    if wanted == EVER:
        answer(sock, wanted)
    reader = threading.Thread(target=read_all, args=[sock], daemon=True)
    reader.start()
    answer(sock, wanted)
    sock.shutdown(socket.SHUT_WR)
    reader.join()


def echo(sock):
    room = memoryview(bytearray(CHUNK * 4))
    while (size := sock.recv_into(room)):
        sock.sendall(room[:size])


def serve(sock, deed):
    with sock:
        try:
            deed(sock)
        except OSError:
            pass


def main(name, address="tcp:127.0.0.1:0"):
    if address.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address[5:])
        listener.listen(1024)
    else:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        address = "tcp:127.0.0.1:%d" % listener.getsockname()[1]
    threading.stack_size(256 << 10)
    print("listening", address, flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=[sock, {"work": work, "echo": echo}[name]], daemon=True).start()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        os._exit(0)
