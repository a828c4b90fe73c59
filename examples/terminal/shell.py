"""A shell for each connection: a Unix socket on one side, a pseudo-terminal on the other.

    shell.py --bind PATH [COMMAND ...]

Whoever may connect gets a shell of the user who started this: the socket is for that user alone
(0600), and so should be what leads to it. COMMAND is another program than the user's shell.

Both ways go messages: a letter, the length in two bytes (big-endian), so many bytes.

    to the shell    d  keys that were typed
                    r  the terminal's size: rows and columns, two bytes each
    from the shell  d  what it writes
                    x  its exit status, one byte (128 + the number of the signal that ended it); the last

The end of the connection hangs up, as closing a terminal's window does.
"""

import argparse
import errno
import fcntl
import os
import pty
import pwd
import select
import signal
import socket
import socketserver
import struct
import sys
import termios

HEAD = struct.Struct(">cH")
SIZE = struct.Struct(">HH")
PIECE = 16384


class Broken(Exception):
    """The other side said what it may not say."""


class Joint:
    """One connection and its terminal. Keeps at most one piece of either side: it reads again when
    the other side has taken it, so whoever does not read holds up the shell and nothing else."""

    def __init__(self, sock, terminal, shell):
        self.sock, self.terminal = sock, terminal
        self.shell = os.pidfd_open(shell)
        self.said = b""  # by the shell, as messages, not sent yet
        self.heard = b""  # from the connection, not yet a whole message
        self.typed = b""  # for the shell, not written yet
        self.hung_up = False  # the connection has ended
        self.silent = False  # the terminal has: nobody has it open any more
        self.gone = False  # the shell is

    def run(self):
        self.sock.setblocking(False)
        os.set_blocking(self.terminal, False)
        while not self.hung_up and not (self.silent and self.gone and not self.said):
            ready = self.wait()
            self.gone = self.gone or self.shell in ready
            if ready.get(self.terminal, 0) & ~select.POLLOUT and not self.said:
                self.read_terminal()
            if ready.get(self.terminal, 0) & select.POLLOUT:
                self.write_terminal()
            if ready.get(self.sock.fileno(), 0) & select.POLLOUT:
                self.said = self.said[self.sock.send(self.said):]
            if ready.get(self.sock.fileno(), 0) & ~select.POLLOUT:
                self.read_socket()

    def wait(self):
        """What happened, by file descriptor, of what is wanted."""
        events = select.poll()
        hears = select.POLLRDHUP if self.typed else select.POLLIN
        events.register(self.sock, hears | select.POLLOUT * bool(self.said))
        if not self.gone:
            events.register(self.shell, select.POLLIN)
        reads = bool(not self.said and not self.silent)
        if reads or self.typed:
            events.register(self.terminal, select.POLLIN * reads | select.POLLOUT * bool(self.typed))
        return dict(events.poll())

    def read_terminal(self):
        try:
            data = os.read(self.terminal, PIECE)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            data = b""  # EIO
        self.silent = self.silent or not data
        if data:
            self.said = HEAD.pack(b"d", len(data)) + data

    def write_terminal(self):
        try:
            self.typed = self.typed[os.write(self.terminal, self.typed):]
        except OSError:
            self.typed = b""  # nobody is there to read it

    def read_socket(self):
        if self.typed:  # it is not to be read yet; so this is its end
            self.hung_up = True
            return
        data = self.sock.recv(PIECE)
        self.hung_up = not data
        self.heard += data
        while len(self.heard) >= HEAD.size:
            kind, length = HEAD.unpack_from(self.heard)
            if len(self.heard) < HEAD.size + length:
                break
            self.take(kind, self.heard[HEAD.size:HEAD.size + length])
            self.heard = self.heard[HEAD.size + length:]

    def take(self, kind, body):
        if kind == b"d":
            self.typed += body
        elif kind == b"r" and len(body) == SIZE.size:
            rows, columns = SIZE.unpack(body)
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        else:
            raise Broken(f"a message {kind!r} of {len(body)} bytes")


class Connection(socketserver.BaseRequestHandler):
    """In a process of its own."""

    def handle(self):
        shell, terminal = pty.fork()
        if shell == 0:
            self.become_shell()
        try:
            Joint(self.request, terminal, shell).run()
        except (OSError, Broken) as error:
            print(f"shell.py: {error}", file=sys.stderr)
        os.close(terminal)  # hangs up, if the shell still runs
        status = os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1])
        try:
            self.request.setblocking(True)
            self.request.sendall(HEAD.pack(b"x", 1) + bytes([status if status >= 0 else 128 - status]))
        except OSError:
            pass  # nobody wants to know

    def become_shell(self):
        try:
            # Whatever we were started with: hanging up has to end it, and so has a pipe that is closed.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            user = pwd.getpwuid(os.getuid())
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.environ.setdefault("LANG", "C.UTF-8")
            os.chdir(user.pw_dir if os.path.isdir(user.pw_dir) else "/")
            os.closerange(3, 256)
            command = self.server.command or [os.environ.get("SHELL") or user.pw_shell or "/bin/sh"]
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{error.filename or 'shell'}: {error.strerror}", file=sys.stderr, flush=True)
        finally:
            os._exit(127)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 100
    request_queue_size = 20

    def __init__(self, path, command):
        self.command = command
        old = os.umask(0o177)
        try:
            super().__init__(path, Connection)
        finally:
            os.umask(old)

    def end(self):
        """Hangs up all of them."""
        for child in self.active_children or ():
            os.kill(child, signal.SIGTERM)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bind", required=True, metavar="PATH", help="the Unix socket")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="instead of the user's shell")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Server(options.bind, options.command) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            server.end()


if __name__ == "__main__":
    main()
