"""The terminal: the page, who may come in, and the service by itself."""

import contextlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

# xterm takes what an input method enters as it takes keys.
TYPE = """
    const on = (what) => document.querySelector(`.screen[data-on] ${what}`);
    const type = (text) => on('textarea').dispatchEvent(
      new InputEvent('input', { data: text, inputType: 'insertText', bubbles: true, composed: true }));
    const screen = () => on('.xterm-rows').innerText.replaceAll('\\u00a0', ' ');
    const says = (text) => until(text, () => screen().includes(text));
    await until('a terminal', () => on('.xterm-rows'));
    type('PS1="> "; unset PROMPT_COMMAND\\r');
    await says('>');
"""


def test_a_shell_in_the_page(terminal, browser):
    size, columns, ended = terminal.visit(browser, TYPE + r"""
        type('echo gr$((40+2))ß ☃\r');
        await says('gr42ß ☃');
        type('echo size $(stty size) on $TERM.\r');
        await says(' on xterm-256color.');
        const [, rows, columns] = /size (\d+) (\d+) on/.exec(screen());
        type('exit 3\r');
        await says('The shell has ended with status 3.');
        return [Number(rows), Number(columns), document.querySelector('.tab').hasAttribute('data-ended')];
    """)
    assert size > 5 and columns > 40 and ended


def test_each_tab_is_a_shell_of_its_own(terminal, browser):
    first, second, left = terminal.visit(browser, TYPE + r"""
        type('name=first; echo I am $$ $name.\r');
        await says(' first.');
        const one = /I am (\d+) first/.exec(screen())[1];
        $('new').click();
        await until('two', () => document.querySelectorAll('.tab').length === 2 && on('.xterm-rows'));
        type('echo I am $$ ${name:-nobody}.\r');
        await says(' nobody.');
        const two = /I am (\d+) nobody/.exec(screen())[1];
        on('textarea');
        document.querySelector('.tab[data-on] .close').click();
        await says(' first.');
        type('until ! kill -0 ' + two + ' 2> /dev/null; do :; done; echo $name is alone.\r');
        await says('first is alone.');
        return [one, two, document.querySelectorAll('.tab').length];
    """)
    assert first != second and left == 1


def test_much_output_and_a_program_for_the_whole_screen(terminal, browser):
    terminal.visit(browser, TYPE + r"""
        type('seq 50000; echo all of $((600-1)).\r');
        await says('all of 599.');
        type('yes\r');
        await until('much', () => !screen().includes('599'));
        type('\x03');
        await says('^C');
        type('clear; echo all of $((600-1)).\r');
        await says('all of 599.');
        type('printf "\\e[?1049h\\e[2J\\e[3;5Hcentre"; read -n 1; printf "\\e[?1049l"\r');
        await until('the other screen', () => /^\s*centre/m.test(screen()) && !screen().includes('599'));
        type('x');
        await says('all of 599.');
    """)


def test_nobody_else_comes_in(terminal, browser):
    assert stat.S_IMODE(os.stat(terminal.socket).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(terminal.folder).st_mode) == 0o700
    base, token = terminal.page.rstrip("/").rsplit("/", 1)
    assert len(token) == 32
    for address, host in ((f"{base}/", None), (f"{base}/session.json", None),
                          (f"{base}/{token[:-1]}x/session.json", None),
                          (f"{terminal.page}session.json", "evil.example:80"),
                          (f"{terminal.page}..%2f..%2frun.py", None), (f"{terminal.page}vendor/", None)):
        request = urllib.request.Request(address, headers={"Host": host} if host else {})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request)
        assert error.value.code == 404
    # A page of another origin knows the hash, even the token; and one of ours does not know the token.
    told = terminal.told()
    connect = """
        const hash = Uint8Array.from(args.hash.match(/../g), (pair) => parseInt(pair, 16));
        const transport = new WebTransport(args.url, {
          serverCertificateHashes: [{ algorithm: 'sha-256', value: hash }] });
        transport.closed.catch(() => {});
        return transport.ready.then(() => { transport.close(); return 'open'; }, () => 'refused');
    """
    strange = terminal.page.replace("localhost", "127.0.0.1")
    for page, url, outcome in ((strange, told["url"], "open"), (terminal.page, told["url"], "open"),
                               (terminal.page, told["url"][:-1] + "_", "refused"),
                               ("about:blank", told["url"], None)):
        if outcome:
            assert browser.run(connect, page=page, url=url, hash=told["certificate"][0]) == outcome


# --- the service by itself ---


@pytest.fixture
def shell(tmp_path):
    """Starts shell.py with a command; returns how to connect to it."""
    running = []

    def start(*command):
        path = str(tmp_path / "s")
        process = subprocess.Popen(
            [sys.executable, os.path.join(ROOT, "examples/terminal/shell.py"), "--bind", path, *command],
            stderr=subprocess.PIPE, text=True)
        running.append(process)

        def connect():
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(20)
            while sock.connect_ex(path):
                assert process.poll() is None
            return sock
        return connect
    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def message(kind, body=b""):
    return struct.pack(">cH", kind, len(body)) + body


def read(sock, length):
    parts = b""
    while len(parts) < length:
        part = sock.recv(length - len(parts))
        assert part, parts
        parts += part
    return parts


def listen(sock):
    """(all that was written, exit status)"""
    said = b""
    while True:
        kind, length = struct.unpack(">cH", read(sock, 3))
        body = read(sock, length)
        if kind == b"x":
            assert sock.recv(1) == b""
            return said, body[0]
        said += body


def test_the_shell_has_the_size_from_the_first_message_on(shell):
    with shell("sh", "-c", "read go; stty size; exit 7")() as sock:
        sock.sendall(message(b"r", struct.pack(">HH", 33, 111)) + message(b"d", b"go\n"))
        said, status = listen(sock)
    assert said.replace(b"\r\n", b"\n") == b"go\n33 111\n" and status == 7


def test_messages_byte_by_byte(shell):
    with shell("cat")() as sock:
        for byte in message(b"d", b"one\n") + message(b"d", b"\x04"):
            sock.sendall(bytes([byte]))
        said, status = listen(sock)
    assert said.replace(b"\r\n", b"\n") == b"one\none\n" and status == 0


def test_hanging_up_ends_the_shell(shell):
    with shell("sh", "-c", "echo $$; exec cat")() as sock:
        pid = b""
        while not pid.endswith(b"\n"):
            pid += read(sock, struct.unpack(">cH", read(sock, 3))[1])
        sock.shutdown(socket.SHUT_WR)
        assert listen(sock) == (b"", 128 + signal.SIGHUP)
    assert not os.path.exists(f"/proc/{int(pid)}")


def test_hanging_up_ends_a_shell_that_does_not_read(shell):
    with shell("sh", "-c", "stty raw; echo $$; exec sleep 1000")() as sock:
        pid = b""
        while not pid.endswith(b"\n"):
            pid += read(sock, struct.unpack(">cH", read(sock, 3))[1])
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                sock.send(message(b"d", b"x" * 10000))
        sock.settimeout(20)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # what nobody read is lost with the connection
            listen(sock)
    assert not os.path.exists(f"/proc/{int(pid)}")


@pytest.mark.parametrize("bad", [message(b"q"), message(b"r", b"abc"), b"\0\0\0"])
def test_a_message_that_is_none(shell, bad):
    with shell("cat")() as sock:
        sock.sendall(bad)
        assert listen(sock)[1] != 0  # hung up, perhaps before it has begun


def test_who_does_not_read_holds_up_the_shell_alone(shell):
    connect = shell("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo")
    with connect() as slow, connect() as quick:
        for sock in (quick, slow):
            said, status = listen(sock)
            assert said == b"x" * 3000000 + b"\r\n" and status == 0


def test_a_command_that_is_not_there(shell):
    with shell("there-is-no-such-command")() as sock:
        said, status = listen(sock)
    assert b"No such file" in said and status == 127
