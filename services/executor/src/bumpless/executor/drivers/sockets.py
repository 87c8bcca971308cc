"""Listening and datagram sockets that outlive every process that serves them, and how to get them back.

A socket is bound once and kept at a high descriptor, so that it never collides with those a child is given.
Nothing here calls `shutdown`, and `listen` is called once: both act on the socket for everybody who shares it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from bumpless.common.errors import Refused

BACKLOG = 4096
"""Connections the kernel holds while nobody accepts; a full backlog costs a SYN retransmission of a second."""
LOWEST_FD = 64
SYS_PIDFD_GETFD = 438
"""pidfd_getfd(2); the number is the same on every architecture."""

_GONE = (errno.ESRCH, errno.EBADF)
"""The process ended, or closed the descriptor, since we looked."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_libc = ctypes.CDLL(None, use_errno=True)


def bind(address: str) -> socket.socket:
    """A listening socket on `tcp://HOST:PORT` or `unix:///PATH`, or a bound one on `udp://HOST:PORT`.

    An IPv6 host stands in brackets, and its socket takes no IPv4: both can be listed side by side. Raises: Refused.
    """
    try:
        kind, _, place = address.partition("://")
        if kind == "unix":
            return bind_unix(Path(place), 0o666)
        host, _, port = place.rpartition(":")
        return _bind_internet(host.strip("[]"), int(port), _KINDS[kind])
    except OSError as error:
        raise Refused(
            f"{address} to be free on this node", str(error), "stop what holds it, or listen elsewhere"
        ) from error


def bind_unix(path: Path, mode: int) -> socket.socket:
    """A listening Unix socket of any path length, in place of one that nobody listens on."""
    with _short(path) as short:
        _remove_dead(path, short)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with closing_on_error(sock):
            # Before bind: there is no moment at which the name has wider permissions, and umask stays untouched.
            os.fchmod(sock.fileno(), mode)
            sock.bind(short)
            sock.listen(BACKLOG)
    return high(sock)


def free_unix(path: Path) -> None:
    """Remove a socket that nobody listens on. Raises: Refused, if somebody does, or it is something else."""
    try:
        with _short(path) as short:
            _remove_dead(path, short)
    except OSError as error:
        raise Refused(
            f"unix://{path} to be free on this node", str(error), "stop what holds it, or listen elsewhere"
        ) from error


def adopt(pid: int, pidfd: int, inode: int) -> socket.socket | None:
    """Our own descriptor of the shared socket with this inode in another process; None: it does not hold it.

    It is found by inode: the process may have moved it to any descriptor. A process that ends meanwhile holds nothing.

    Raises:
        OSError: we may not take descriptors out of that process.
    """
    for name in _descriptors(pid):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") != f"socket:[{inode}]":
                continue
        except OSError:
            continue
        fd = _libc.syscall(SYS_PIDFD_GETFD, pidfd, int(name), 0)
        if fd < 0:
            number = ctypes.get_errno()
            if number in _GONE:
                continue
            raise OSError(number, os.strerror(number), f"descriptor {name} of process {pid}")
        sock = socket.socket(fileno=fd)
        if inode_of(sock) == inode and _is_shared(sock):
            return high(sock)
        sock.close()
    return None


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def high(sock: socket.socket) -> socket.socket:
    """The same socket at a high descriptor that is closed on exec."""
    fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
    moved = socket.socket(fileno=fd)
    sock.close()
    return moved


@contextlib.contextmanager
def closing_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except OSError:
        sock.close()
        raise


def _is_shared(sock: socket.socket) -> bool:
    """Whether it is one that `bind` makes, and no connection."""
    return sock.type == socket.SOCK_DGRAM or bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _bind_internet(host: str, port: int, wanted: socket.SocketKind) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=wanted, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    sock = socket.socket(family, kind, protocol)
    with closing_on_error(sock):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if wanted == socket.SOCK_DGRAM:
            # No SO_REUSEADDR: with it two sockets could be bound to one UDP port, and one of them starves.
            sock.bind(place)
            return high(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it; services that take the socket for a Unix one would never set it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(place)
        sock.listen(BACKLOG)
    return high(sock)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of at most 108 bytes for `path`, valid in here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _remove_dead(path: Path, short: str) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"{path} exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(short)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(f"another process listens on {path}")


def _descriptors(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
