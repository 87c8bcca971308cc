"""What the executor tells a managed process, and what the process tells back.

Reads the environment once, takes over the inherited listening sockets and speaks the readiness
protocol of sd_notify(3). Inherited sockets are shared with the process of the other version: nothing
here, and nothing above it, calls `listen()` or `shutdown()` on them. Binds addresses only for a process
that was started by hand.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIRST_FD = 3
"""The first inherited descriptor, SD_LISTEN_FDS_START of sd_listen_fds(3)."""

BACKLOG = 4096
"""Of sockets bound by hand. A full backlog costs a SYN retransmission of about one second."""


class ContractError(Exception):
    """The environment promises something that is not there."""


@dataclass(frozen=True)
class Contract:
    """The identity, limits and shared sockets of this process. Times in seconds.

    `standby`: start up and say ready, but take nothing before the first resume. `handover_file`: where the state
    of a component that runs once lies between two processes; None for one that runs beside its successor.
    """

    managed: bool
    node: str = ""
    component: str = ""
    version: str = ""
    digest: str = ""
    release: str = ""
    instance: str = ""
    state_dir: Path = Path("state")
    standby: bool = False
    handover_file: Path | None = None
    lame_duck_s: float = 2.0
    drain_timeout_s: float = 30.0
    sockets: Mapping[str, tuple[socket.socket, ...]] = field(default_factory=dict)


def read_contract(environ: Mapping[str, str], pid: int) -> Contract:
    """The contract found in `environ` for process `pid`.

    Takes ownership of the inherited descriptors, so it is called once in a process. Descriptors meant
    for another process (a LISTEN_PID that is not `pid`) are left alone. Raises ContractError on a
    malformed value.
    """
    sockets = _inherited(environ, pid)
    return Contract(
        managed=sockets is not None,
        node=environ.get("BUMPLESS_NODE", ""),
        component=environ.get("BUMPLESS_COMPONENT", ""),
        version=environ.get("BUMPLESS_VERSION", ""),
        digest=environ.get("BUMPLESS_DIGEST", ""),
        release=environ.get("BUMPLESS_RELEASE", ""),
        instance=environ.get("BUMPLESS_INSTANCE", ""),
        state_dir=Path(environ.get("BUMPLESS_STATE_DIR") or "state"),
        standby=environ.get("BUMPLESS_STANDBY") == "1",
        handover_file=Path(handover) if (handover := environ.get("BUMPLESS_HANDOVER_FILE")) else None,
        lame_duck_s=_number(environ, "BUMPLESS_LAME_DUCK_MS", 2_000) / 1000,
        drain_timeout_s=_number(environ, "BUMPLESS_DRAIN_TIMEOUT_MS", 30_000) / 1000,
        sockets=sockets or {},
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise ContractError(f"expected a whole number in {name}, found {text!r}")
    return int(text)


def _inherited(environ: Mapping[str, str], pid: int) -> dict[str, tuple[socket.socket, ...]] | None:
    if environ.get("LISTEN_PID") != str(pid):
        return None
    count = _number(environ, "LISTEN_FDS", 0)
    text = environ.get("LISTEN_FDNAMES", "")
    names = text.split(":") if text else ["unknown"] * count
    if len(names) != count:
        raise ContractError(f"expected {count} names in LISTEN_FDNAMES, found {text!r}")
    found: dict[str, tuple[socket.socket, ...]] = {}
    for fd, name in enumerate(names, FIRST_FD):
        try:
            # Family and type are asked from the kernel: guessing the family wrong loses TCP_NODELAY.
            inherited = socket.socket(fileno=fd)
        except OSError as error:
            raise ContractError(
                f"expected a shared socket on descriptor {fd}, found {error.strerror}"
            ) from error
        inherited.set_inheritable(False)
        # O_NONBLOCK belongs to the open file and so to every process that shares it. All of them want it.
        inherited.setblocking(False)
        found[name] = (*found.get(name, ()), inherited)
    return found


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as a pair. Raises ContractError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ContractError(f"expected host:port, found {address!r}")
    return host.strip("[]"), int(port)


def bind(address: str) -> socket.socket:
    """A socket of our own on `host:port`, `unix:/path` or `udp:host:port`, for a service run by hand."""
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
    else:
        host, port = split_address(address.removeprefix("udp:"))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if address.startswith("udp:"):
            bound = socket.socket(family, socket.SOCK_DGRAM)
            bound.bind((host, port))
            bound.setblocking(False)
            return bound
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


class Notifier:
    """Sends states to NOTIFY_SOCKET, else to the pipe NOTIFY_FD. Without either, sending does nothing."""

    def __init__(self, path: str | None, fd: int | None = None) -> None:
        self._path = "\0" + path[1:] if path and path.startswith("@") else path
        self._fd = fd

    def send(self, *states: str) -> None:
        """`READY=1`, `STOPPING=1`, `STATUS=text`; several are sent at once."""
        text = "\n".join(states).encode()
        # The executor may be restarting: its absence must never take the service down.
        with contextlib.suppress(OSError):
            if self._path:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.settimeout(0.2)
                    sender.sendto(text, self._path)
            elif self._fd is not None:
                os.write(self._fd, text + b"\n")


def notifier(managed: bool) -> Notifier:
    """For the channels of this process; the variables stay set for the life of the process.

    The descriptor is used only by a managed process: a child that merely inherited the variable has something else
    there.
    """
    fd = (_number(os.environ, "NOTIFY_FD", 0) or None) if managed else None
    if fd is not None:
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, False)
    return Notifier(os.environ.get("NOTIFY_SOCKET"), fd)
