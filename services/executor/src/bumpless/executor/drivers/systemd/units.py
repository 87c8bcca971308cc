"""The text of unit files and the names of units; no I/O.

A listener is one `.socket` unit, which systemd binds once and hands to every instance that names it in `Sockets=`.
Every instance has a unit file of its own: instances of one template would share command, limits and sandbox, and
those belong to a version. Every socket triggers an anchor, a oneshot that stays active and does nothing, so that
traffic never starts an instance: only the executor does.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bumpless.common.errors import Refused
from bumpless.executor.drivers.sockets import BACKLOG

ANCHOR = "bumpless-anchor@.service"
ANCHOR_TEXT = """\
[Unit]
Description=Keeps traffic on %i from starting anything
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""
LONGEST_PATH = 107
"""Bytes of a Unix socket's path that the kernel takes (unix(7)); systemd binds by the whole path."""
_HEAD = "# Written by the Bumpless executor. Do not edit: it is written again, and goes with its component.\n"


@dataclass(frozen=True)
class Names:
    """The names of the units of one node. `components` is the node's own directory: two nodes on one machine differ
    in it even where they have the same name."""

    node: str
    components: Path

    @property
    def prefix(self) -> str:
        return f"bumpless-{self.node}-{_short(os.fsencode(self.components))}-"

    def instance(self, component: str, instance: str) -> str:
        """Without its suffix: the instance has a `.service`, and a `.socket` for its admin socket."""
        return f"{self.prefix}{component}-{instance}"

    def listener(self, component: str, address: str) -> str:
        return f"{self.prefix}{component}-listen-{_short(address.encode())}.socket"


def anchor_of(socket_unit: str) -> str:
    return ANCHOR.replace("@.", f"@{socket_unit.removesuffix('.socket')}.")


def listener_socket(unit: str, component: str, name: str, address: str) -> str:
    """The socket unit of a shared listener. Raises: Refused, if systemd could not bind such an address."""
    kind, place = listen_on(address)
    stream = [f"Backlog={BACKLOG}"]
    if address.startswith("tcp://"):
        # Accepted sockets inherit it; services that take the socket for a Unix one would never set it.
        stream.append("NoDelay=yes")
    internet = []
    if "://[" in address:
        # As the native driver: IPv4 and IPv6 can be listed side by side.
        internet.append("BindIPv6Only=ipv6-only")
    if address.startswith("unix://"):
        stream += ["SocketMode=0666", "RemoveOnStop=yes"]
    return _file(
        {
            "Unit": [
                f"Description={_plain(f'{component}: {name} at {address}')}",
                f"X-Bumpless-Component={component}",
                f"X-Bumpless-Address={address}",
            ],
            "Socket": [
                f"{kind}={_plain(place)}",
                f"FileDescriptorName={name}",
                f"Service={anchor_of(unit)}",
                # A limit here would end the socket, with every connection that waits in it.
                "TriggerLimitIntervalSec=0",
                *internet,
                *([] if kind == "ListenDatagram" else stream),
            ],
        }
    )


def admin_socket(unit: str, path: Path) -> str:
    """The socket unit of an instance's own admin socket at `path`."""
    _require_short(str(path))
    return _file(
        {
            "Unit": [
                f"Description=Admin socket of {unit}",
                # While the socket is there, systemd remembers how the service ended.
                f"Before={unit}.service",
            ],
            "Socket": [
                f"ListenStream={_plain(str(path))}",
                "FileDescriptorName=admin",
                f"Service={anchor_of(unit + '.socket')}",
                "TriggerLimitIntervalSec=0",
                "SocketMode=0600",
                "DirectoryMode=0700",
                "RemoveOnStop=yes",
            ],
        }
    )


@dataclass(frozen=True)
class Service:
    """What one instance is: `sockets` are the units it is given, `settings` what the release adds under [Service]."""

    unit: str
    instance: str
    component: str
    version: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    sockets: Sequence[str]
    stop_s: float
    settings: Mapping[str, str]


def service(spec: Service) -> str:
    """The service unit of one instance. Raises: Refused, if its program is not there."""
    command = [_program(spec.command[0], spec.directory, spec.environment.get("PATH", "")), *spec.command[1:]]
    settings = {"SyslogIdentifier": spec.component, **spec.settings}
    return _file(
        {
            "Unit": [
                f"Description={_plain(f'{spec.component} {spec.version}, instance {spec.instance}')}",
                f"X-Bumpless-Instance={spec.instance}",
                f"Requires={spec.unit}.socket",
                "StartLimitIntervalSec=0",
            ],
            "Service": [
                "Type=notify",
                "NotifyAccess=all",
                # systemd clears O_NONBLOCK on a socket whenever it hands it over, for everybody who shares it: the
                # next start would leave the instance that serves hanging in accept(2).
                "NonBlocking=yes",
                f"Sockets={' '.join(spec.sockets)}",
                "KillMode=mixed",
                # The executor supervises, and has its own limits for starting and stopping.
                "Restart=no",
                "TimeoutStartSec=infinity",
                f"TimeoutStopSec={spec.stop_s:g}",
                f"WorkingDirectory={_plain(str(spec.directory))}",
                *(f"Environment={_quoted(f'{name}={value}')}" for name, value in spec.environment.items()),
                # The colon: nothing in it is taken for a variable.
                f"ExecStart=:{' '.join(_quoted(part) for part in command)}",
                *(f"{name}={_plain(value)}" for name, value in sorted(settings.items())),
            ],
        }
    )


def listen_on(address: str) -> tuple[str, str]:
    """The setting that binds `address`, and its value. Raises: Refused."""
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        _require_short(place)
        return "ListenStream", place
    host, _, port = place.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(f"{address} to name an address of this node", str(error)) from error
    number = str(found[0][4][0])
    shown = f"[{number}]" if ":" in number else number
    return ("ListenDatagram" if scheme == "udp" else "ListenStream"), f"{shown}:{port}"


def value_of(text: str, name: str) -> str:
    """The value of one of our own settings in a unit file; empty if it has none."""
    lines = (line.partition("=") for line in text.splitlines())
    return next((value for key, _, value in lines if key == name), "")


def _program(name: str, directory: Path, search: str) -> str:
    """The whole path, as execvp(3) would find it: systemd looks in directories of its own."""
    places: Iterable[str] = [str(directory)] if "/" in name else search.split(":")
    for place in places:
        path = os.path.normpath(os.path.join(place, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise Refused(
        f"the program {name} of run.command",
        f"none in {directory if '/' in name else search}",
        "check run.command of the release",
    )


def _require_short(path: str) -> None:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Refused(
            f"a socket path of at most {LONGEST_PATH} bytes, because systemd binds it",
            f"{len(os.fsencode(path))} bytes: {path}",
            "choose a shorter path, or the native driver",
        )


def _file(sections: Mapping[str, Iterable[str]]) -> str:
    parts = ("\n".join((f"[{name}]", *lines)) + "\n" for name, lines in sections.items())
    return _HEAD + "\n".join(parts)


def _plain(value: str) -> str:
    """A value that stands as it is: no line break, and % is no specifier."""
    if any(ord(c) < 32 for c in value):
        raise Refused("a text of one line in a unit file", repr(value))
    return value.replace("%", "%%")


def _quoted(value: str) -> str:
    """One word, whatever is in it (systemd.syntax(7))."""
    if "\0" in value:
        raise Refused("a command and an environment without NUL", repr(value))
    for plain, escaped in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("%", "%%"),
    ):
        value = value.replace(plain, escaped)
    return f'"{value}"'


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
