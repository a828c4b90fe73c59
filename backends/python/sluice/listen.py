"""The socket on which Sluice reaches the application."""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass

BACKLOG = 4096
"""Sessions that may wait to be taken; with a short queue, Sluice's connects fail under load."""

TCP_RECEIVE_BUFFER = 1 << 20


class ListenError(Exception):
    """The address cannot be used; the text says why."""


@dataclass(frozen=True)
class Address:
    """Where to listen: a Unix socket's path, or host and port."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


def split_host_port(text: str) -> tuple[str, int]:
    """"HOST:PORT", "[::1]:PORT" or ":PORT" in parts. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not HOST:PORT: an IPv6 address needs brackets, [::1]:{port}")
    return host, int(port)


def parse(text: str) -> Address:
    """"unix:PATH" or "tcp:HOST:PORT" as an Address. Raises ValueError."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest:
        return Address(path=rest)
    if scheme == "tcp":
        host, port = split_host_port(rest)
        return Address(host=host, port=port)
    raise ValueError(f"{text!r} is neither unix:PATH nor tcp:HOST:PORT")


class Listener:
    """A bound socket, not listening yet. Removes a Unix socket's file when closed."""

    def __init__(self, address: Address, mode: int = 0o660) -> None:
        self.inode: tuple[int, int] | None = None
        if address.path is not None:
            self.socket = _bind_unix(address.path, mode)
            status = os.stat(address.path)
            self.inode = (status.st_dev, status.st_ino)
            self.address = address
        else:
            self.socket = _bind_tcp(address)
            self.address = Address(host=address.host, port=self.socket.getsockname()[1])

    def close(self) -> None:
        self.socket.close()
        path = self.address.path
        if path is None or self.inode is None:
            return
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) == self.inode:  # not somebody else's by now
                os.unlink(path)
        except OSError:
            pass


def _bind_unix(path: str, mode: int) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise ListenError(f"the path of a Unix socket can have 107 bytes, this one is longer: {path}")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o777 & ~mode)  # so that the file never has more permissions than asked for
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on unix:{path}: {_why(error, path)}") from None
    finally:
        os.umask(umask)
    sock.setblocking(False)
    return sock


def _why(error: OSError, path: str) -> str:
    if error.errno == errno.ENOENT:
        return f"the directory {os.path.dirname(path) or '.'} does not exist"
    return error.strerror or str(error)


def _remove_stale(path: str) -> None:
    """Removes the socket that a dead process left; refuses to touch anything else."""
    try:
        status = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"cannot listen on unix:{path}: a file with this name exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            try:
                os.unlink(path)
            except OSError as error:
                raise ListenError(f"cannot replace the old socket {path}: {error.strerror}") from None
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full: somebody listens
        except OSError as error:
            raise ListenError(f"cannot listen on unix:{path}: {error.strerror}") from None
    raise ListenError(f"cannot listen on unix:{path}: another process listens there already")


def _bind_tcp(address: Address) -> socket.socket:
    try:
        infos = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    infos.sort(key=lambda info: info[0] != socket.AF_INET6 if not address.host else 0)
    family, kind, protocol, _, where = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # without a host: IPv4 too
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if address.host else 0)
        # What the kernel keeps for us is read before any credit behind it (see link.py): up to 32 MB without this.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TCP_RECEIVE_BUFFER)
        sock.bind(where)
    except OSError as error:
        sock.close()
        text = "the address is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ListenError(f"cannot listen on {address}: {text}") from None
    sock.setblocking(False)
    return sock
