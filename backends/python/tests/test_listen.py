"""Sockets: made with the right permissions, replaced when stale, removed at the end."""

import os
import socket
import stat
from pathlib import Path

import pytest
from fake import run, serving

from sluice.listen import Address, ListenError, Listener, parse


async def app(scope, receive, send):
    await send({"type": "webtransport.reject"})


@pytest.mark.parametrize(
    "text, address, back",
    [
        ("unix:/run/a.sock", Address(path="/run/a.sock"), None),
        ("unix:relative", Address(path="relative"), None),
        ("tcp:127.0.0.1:80", Address(host="127.0.0.1", port=80), None),
        ("tcp:[::1]:80", Address(host="::1", port=80), None),
        ("tcp::80", Address(host="", port=80), None),
    ],
)
def test_addresses(text, address, back):
    assert parse(text) == address and str(address) == text


@pytest.mark.parametrize("text", ["", "unix:", "/run/a.sock", "tcp:80", "tcp:host:", "tcp:host:x", "tcp:host:65536", "tcp:::1:80", "tcp:a:²"])
def test_bad_addresses(text):
    with pytest.raises(ValueError, match="is n"):
        parse(text)


def test_permissions(tmp_path):
    async def main():
        path = tmp_path / "app.sock"
        for options, mode in (({}, 0o660), ({"socket_mode": 0o600}, 0o600), ({"socket_mode": 0o666}, 0o666)):
            async with serving(app, tmp_path, **options):
                assert stat.S_IMODE(os.stat(path).st_mode) == mode
            assert not path.exists()

    run(main())


def test_stale_socket_is_replaced(tmp_path):
    path = str(tmp_path / "app.sock")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()

    async def main():
        async with serving(app, tmp_path) as connect:
            s = await connect()
            s.scope()
            await s.expect("reject")
            await s.over(by="app")

    run(main())


def test_living_socket_is_left_alone(tmp_path):
    async def main():
        async with serving(app, tmp_path) as connect:
            with pytest.raises(ListenError, match="another process listens"):
                Listener(connect.server.address)
            s = await connect()
            s.scope()
            await s.expect("reject")
            await s.over(by="app")

    run(main())


def test_successor_keeps_its_socket(tmp_path):
    address = Address(path=str(tmp_path / "app.sock"))
    first = Listener(address)
    os.unlink(address.path)
    second = Listener(address)
    first.close()
    assert os.path.exists(address.path)
    second.close()
    assert not os.path.exists(address.path)


def test_what_cannot_be_listened_on(tmp_path):
    (tmp_path / "file").write_text("precious")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    for text, why in (
        (f"unix:{tmp_path}/file", "not a socket"),
        (f"unix:{tmp_path}/no/app.sock", "does not exist"),
        (f"unix:{tmp_path}/{'x' * 108}", "107 bytes"),
        (f"tcp:127.0.0.1:{taken.getsockname()[1]}", "in use"),
        ("tcp:no.such.host.invalid:1", "cannot listen"),
    ):
        with pytest.raises(ListenError, match=why):
            Listener(parse(text))
    assert (tmp_path / "file").read_text() == "precious"
    taken.close()


def test_thousands_may_wait(tmp_path):
    """None of these connects is refused, though nobody has taken one yet."""
    known = Path("/proc/sys/net/core/somaxconn")
    limit = int(known.read_text()) if known.exists() else 128
    wanted = min(limit, 400)

    async def main():
        async with serving(app, tmp_path) as connect:
            waiting = []
            for _ in range(wanted):  # without giving the server a turn
                s = socket.socket(socket.AF_UNIX)
                s.setblocking(False)
                s.connect(connect.server.address.path)
                waiting.append(s)
            for s in waiting:
                s.close()

    run(main())


def test_tcp():
    async def main():
        async with serving(app, bind="tcp:127.0.0.1:0") as connect:
            s = await connect()
            s.scope()
            await s.expect("reject")
            (link,) = connect.server._links
            sock = link._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await s.over(by="app")

    run(main())
