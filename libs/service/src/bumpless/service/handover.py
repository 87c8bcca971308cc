"""The state that one process of a component leaves for the next: a file of one header line and the state's bytes.

The header names the format, the component, the writer, and length and SHA-256 of what follows; what does not
agree with it is never handed out. A reader finds the earlier file, the new one, or none, whatever happens while
it is written. What the state means is the service's own affair, and so is reading that of the version before.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger("bumpless.service")

FORMAT = "bumpless-handover/1"
MAX_HEAD = 4096
MAX_STATE = 1 << 30


class HandoverError(Exception):
    """The file is not what it should be: damaged, of another component, or of a format not known here."""


@dataclass(frozen=True)
class Handover:
    """What was left: the state, and the version and instance that wrote it."""

    state: bytes
    version: str
    instance: str


Save = Callable[[], Awaitable[bytes]]
Restore = Callable[[Handover], Awaitable[None]]


def write_handover(path: Path, component: str, left: Handover) -> None:
    """Puts `left` in place of what was there, in one step, and returns when it is on the disk.

    Raises: OSError; HandoverError, when the state is longer than a reader takes. The earlier file is there then.
    """
    if len(left.state) > MAX_STATE:
        raise HandoverError(f"expected a state of at most {MAX_STATE} bytes, found {len(left.state)}")
    head = {
        "format": FORMAT,
        "component": component,
        "version": left.version,
        "instance": left.instance,
        "size": len(left.state),
        "sha256": hashlib.sha256(left.state).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{left.instance}.part")
    try:
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(head).encode() + b"\n" + left.state)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_handover(path: Path, component: str) -> Handover | None:
    """What was left for `component`; None when nothing was.

    Raises: HandoverError; OSError, when the disk does not give it.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        head = _head(file.readline(MAX_HEAD))
        if head.get("format") != FORMAT:
            raise HandoverError(f"expected the format {FORMAT}, found {head.get('format')!r}")
        if head.get("component") != component:
            raise HandoverError(
                f"expected the state of {component!r}, found that of {head.get('component')!r}"
            )
        size = head.get("size")
        if not isinstance(size, int) or not 0 <= size <= MAX_STATE:
            raise HandoverError(f"expected a size of at most {MAX_STATE} bytes, found {size!r}")
        state = file.read(size + 1)
    if len(state) != size:
        raise HandoverError(
            f"expected {size} bytes of state, found {'more' if len(state) > size else len(state)}"
        )
    if hashlib.sha256(state).hexdigest() != head.get("sha256"):
        raise HandoverError("expected the state that was written, found another digest")
    return Handover(state, str(head.get("version", "")), str(head.get("instance", "")))


def _head(line: bytes) -> dict[str, object]:
    try:
        head = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise HandoverError(f"expected a line with a JSON object, found {line[:40]!r}")
    return head


class Keeper:
    """One process's part in the hand-over: takes the state once, when it begins to work; leaves it at its end.

    A process that never began to work leaves nothing: what lies there is still its predecessor's.
    """

    def __init__(self, path: Path | None, component: str, version: str, instance: str) -> None:
        self.save: Save | None = None
        self.restore: Restore | None = None
        self.outcome = "not taken yet"
        self._path, self._component, self._version, self._instance = path, component, version, instance
        self._taken = False
        self._taking = asyncio.Lock()

    async def take(self) -> None:
        """Hands what was left to `restore`; repeated, does nothing. What cannot be read is told in `outcome`.

        Raises: whatever `restore` raises; the next call tries again.
        """
        async with self._taking:
            if self._taken:
                return
            left: Handover | None = None
            self.outcome = "nothing was left"
            if self._path is not None and self.restore is not None:
                try:
                    left = await asyncio.to_thread(read_handover, self._path, self._component)
                except (HandoverError, OSError) as error:
                    _log.error("the state in %s is not taken: %s", self._path, error)
                    self.outcome = f"not read: {error}"
                if left is not None:
                    await self.restore(left)
                    self.outcome = f"taken from {left.instance or 'a process without a name'}"
            self._taken = True

    async def leave(self) -> None:
        """Writes what `save` gives. Raises: whatever `save` raises; OSError; HandoverError."""
        if self._taken and self._path is not None and self.save is not None:
            left = Handover(await self.save(), self._version, self._instance)
            await asyncio.to_thread(write_handover, self._path, self._component, left)
            _log.info("left %d bytes of state in %s", len(left.state), self._path)
