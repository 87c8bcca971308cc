"""What this node is like, for the planner's checks: room, memory, runtime, who listens, backups that were written down.

Looked at when the node reports, and not more often than every `FRESH_S` seconds: the tables of the kernel may be long.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bumpless.common.model.fleet import BackupFact, NodeFacts
from bumpless.common.model.plan import Target
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

FRESH_S = 10.0
MOST_LISTENING = 1000
LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp; the kernel lists these before all others."""
UNCONNECTED = "07"
"""The state in /proc/net/udp of a socket that takes datagrams from anybody."""
ITEM_CALLS = "bumpless_item_calls_total"
_BACKUPS = TypeAdapter(tuple[BackupFact, ...])


class FactBook:
    """`targets` are the versions whose addresses are this node's own; `calls` are counted item calls, and `changed` what
    differs in trees, by component.
    """

    def __init__(
        self,
        data_dir: Path,
        address: str,
        node: str,
        targets: Callable[[], Iterable[Target]],
        calls: Callable[[], Mapping[str, Mapping[str, float]]],
        changed: Callable[[], Mapping[str, tuple[str, ...]]],
        proc: Path = Path("/proc"),
    ) -> None:
        self._data_dir, self._address, self._node = data_dir, address, node
        self._targets, self._calls, self._changed, self._proc = targets, calls, changed, proc
        self._runtime = runtime()
        self._last: tuple[float, NodeFacts] | None = None

    def facts(self) -> NodeFacts:
        now = time.monotonic()
        if self._last is None or now - self._last[0] >= FRESH_S or self._changed() != self._last[1].changed:
            self._last = now, self._look()
        return self._last[1]

    def _look(self) -> NodeFacts:
        memory = meminfo(self._proc)
        own = {address for target in self._targets() for address in self._listens(target)}
        tcp, udp = listening(self._proc), bound(self._proc)
        return NodeFacts(
            inodes_free=_inodes(self._data_dir),
            memory_available=memory.get("MemAvailable"),
            memory_total=memory.get("MemTotal"),
            architecture=platform.machine(),
            runtime=self._runtime,
            listening=_others(tcp, own, "tcp"),
            bound=_others(udp, own, "udp"),
            changed=dict(self._changed()),
            item_calls={name: dict(calls) for name, calls in self._calls().items() if calls},
            backups=backups(self._data_dir / "facts" / "backups.json"),
        )

    def _listens(self, target: Target) -> Iterator[str]:
        """As `tcp://10.0.0.5:80`."""
        for address in target.run.listen.values():
            yield address.replace("{node.address}", self._address).replace("{node.name}", self._node)


def runtime() -> dict[str, str]:
    """Versions that do not change while this process lives."""
    found = {"kernel": platform.release(), "python": platform.python_version()}
    with contextlib.suppress(OSError, ValueError):
        found["libc"] = os.confstr("CS_GNU_LIBC_VERSION") or ""
    systemctl = shutil.which("systemctl")
    if systemctl is not None and Path("/run/systemd/system").is_dir():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(
                [systemctl, "--version"], capture_output=True, text=True, timeout=5, check=True
            )
            found["systemd"] = said.stdout.split("\n", 1)[0].removeprefix("systemd ")
    return {name: text for name, text in found.items() if text}


def meminfo(proc: Path) -> dict[str, int]:
    """Bytes by name; empty where the kernel does not tell."""
    found = {}
    with contextlib.suppress(OSError):
        for line in (proc / "meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            number, _, unit = rest.strip().partition(" ")
            if unit == "kB" and number.isdigit():
                found[name] = int(number) * 1024
    return found


def listening(proc: Path) -> Iterator[str]:
    """The TCP addresses on which anybody listens, as `10.0.0.5:80` and `[::]:80`."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, ValueError), open(proc / "net" / name) as table:
            next(table, None)
            for line in table:
                fields = line.split()
                if fields[3] != LISTEN:
                    break
                yield _address(fields[1])


def bound(proc: Path) -> Iterator[str]:
    """The UDP addresses on which anybody takes datagrams of others."""
    for name in ("udp", "udp6"):
        with contextlib.suppress(OSError, ValueError), open(proc / "net" / name) as table:
            next(table, None)
            for line in table:
                fields = line.split()
                if fields[3] == UNCONNECTED:
                    yield _address(fields[1])


def _others(found: Iterable[str], own: set[str], kind: str) -> tuple[str, ...]:
    return tuple(sorted(one for one in set(found) if f"{kind}://{one}" not in own)[:MOST_LISTENING])


def _address(text: str) -> str:
    """The kernel prints an address as words of 32 bits in its own byte order."""
    words, _, port = text.partition(":")
    raw = b"".join(_word(words[i : i + 8]) for i in range(0, len(words), 8))
    address = ipaddress.ip_address(raw)
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{int(port, 16)}"


def _word(text: str) -> bytes:
    return int(text, 16).to_bytes(4, sys.byteorder)


def backups(path: Path) -> tuple[BackupFact, ...]:
    """What backup jobs wrote down on this node; none where there is no such file, or one that cannot be read."""
    try:
        return _BACKUPS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        log.warning("backups are not known", path=str(path), reason=str(error))
        return ()


def item_calls(exposition: Mapping[str, float]) -> dict[str, float]:
    """Calls by item, of samples named `bumpless_item_calls_total{item="…"}`; other labels are summed over."""
    found: dict[str, float] = {}
    for series, value in exposition.items():
        if not series.startswith(ITEM_CALLS + "{"):
            continue
        _, quoted, rest = series.partition('item="')
        item = rest.partition('"')[0]
        if quoted and item:
            found[item] = found.get(item, 0.0) + value
    return found


def _inodes(path: Path) -> int | None:
    """None where the file system has no fixed number of them."""
    try:
        space = os.statvfs(path)
    except OSError:
        return None
    return space.f_favail if space.f_files else None
