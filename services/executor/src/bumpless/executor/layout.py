"""Where a component lies on the disk, and the only code that moves its versions and links.

    components/NAME/versions/HEX   one tree, never changed after it was moved here
                    staging/ID     a tree in the making; whatever is here after a crash is rubbish
                    descriptions/  signed descriptions by digest, so that a kept tree can be used without the store;
                                   they go with their trees
                    current -> versions/HEX, previous -> versions/HEX
                    journal.json and the one before it, state/, log/

    downloads/HEX.part             what has arrived of a package, for all components; see `drivers.artifacts`
    checks/ID                      a tree that is made to see whether it can be; rubbish after a crash, as in staging

Invariants: `current`, where it exists, names a whole, flushed tree at every instant; a name in `versions` is that of a
whole tree. The order of writes and flushes is explained in docs/disk.md.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import Envelope
from bumpless.common.errors import Refused
from bumpless.executor.durable import exchange, place_link, sync_directory

HEX_DIGITS = 64
SPARE_BYTES = 16 << 20
"""Left free after staging, for journals and logs of every component on the node."""
SPARE_INODES = 256
_REMOVED = "removed-"


class Layout:
    """The directory of one component; made if it is not there."""

    def __init__(self, components: Path, name: str) -> None:
        self.home = components / name
        self.versions, self.staging = self.home / "versions", self.home / "staging"
        self.descriptions = self.home / "descriptions"
        self.state, self.log = self.home / "state", self.home / "log"
        self._current, self._previous = self.home / "current", self.home / "previous"
        for directory in (self.versions, self.staging, self.descriptions, self.state, self.log):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Also where they were there: whoever made them may have been killed before this. What is in `home` is flushed
        # with the first record.
        for directory in (components, components.parent):
            sync_directory(directory)

    @property
    def journal(self) -> Path:
        return self.home / "journal.json"

    def version(self, root: Digest) -> Path:
        """The directory of a tree, whether or not it is there."""
        return self.versions / _hex(root)

    def present(self) -> dict[Digest, Path]:
        """The trees on this node."""
        names = (p for p in self.versions.iterdir() if len(p.name) == HEX_DIGITS)
        return {Digest(f"sha256:{p.name}"): p for p in names}

    def arrived(self) -> dict[Digest, datetime]:
        """When each tree was made. A tree that is removed meanwhile is left out."""
        found = {}
        for root, path in self.present().items():
            with suppress(FileNotFoundError):
                found[root] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return found

    def current(self) -> Digest | None:
        return _named(self._current)

    def previous(self) -> Digest | None:
        return _named(self._previous)

    def discard(self, path: Path) -> None:
        """Remove a tree: first its name, in one step, so that no half of it can be taken for a version."""
        self._discard([path])

    def _discard(self, paths: Iterable[Path]) -> None:
        for path in paths:
            aside = self.staging / f"{_REMOVED}{path.name}"
            remove(aside)
            os.rename(path, aside)
        # Before anything is gone from the trees: after a power cut their names could be back.
        sync_directory(self.versions)
        for aside in self.staging.glob(f"{_REMOVED}*"):
            remove(aside)

    def point(self, current: Digest | None, previous: Digest | None) -> None:
        """Let the links name these trees, flushed. Doing it again changes nothing.

        The way there: `previous` names the new tree first, then the two links trade places, so `current` goes from
        the old tree to the new one in one step and `previous` is the way back from the same instant.
        """
        if current is not None and not self.version(current).is_dir():
            raise Refused(f"the tree {current} in {self.versions}", "nothing", "stage it again")
        if self.current() != current or self.previous() != previous:
            self._move(current, previous)
        sync_directory(self.home)

    def _move(self, current: Digest | None, previous: Digest | None) -> None:
        serves = self.current()
        if current is not None and serves is not None and serves == previous != current:
            # Names in one directory change on the disk in the order they did, so one flush after both is enough.
            place_link(self._previous, f"versions/{_hex(current)}")
            if exchange(self._previous, self._current):
                return
        for link, root in ((self._current, current), (self._previous, previous)):
            if root is None:
                link.unlink(missing_ok=True)
            else:
                place_link(link, f"versions/{_hex(root)}")

    def collect(self, keep: Iterable[Digest]) -> tuple[Digest, ...]:
        """Remove every tree but those in `keep` and those the links name; returns what was removed.

        A description of another tree goes too: whoever wants that tree again has to ask the store anyway.
        """
        kept = {*keep, self.current(), self.previous()} - {None}
        gone = tuple(root for root in self.present() if root not in kept)
        if gone:
            self._discard(self.version(root) for root in gone)
        for description in self.descriptions.iterdir():
            if len(description.name) == HEX_DIGITS and _described(description) not in kept:
                description.unlink(missing_ok=True)
        return gone

    def clear_staging(self) -> None:
        """After a crash: remove what was in the making. No staging may be under way."""
        for path in (*self.staging.iterdir(), *self.home.glob(".*.part"), *self.descriptions.glob(".*.part")):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a tree, if it is there, as far as that is possible: whatever is left harms nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def require_room(directory: Path, tree_bytes: int, files: int) -> None:
    """Raises: Refused, unless a tree of that size fits on the file system of `directory` and leaves what is spare.

    File systems without a fixed table of inodes say that they have none at all.
    """
    space = os.statvfs(directory)
    wanted = {"bytes": (tree_bytes + SPARE_BYTES, space.f_bavail * space.f_frsize)}
    if space.f_files:
        wanted["inodes"] = (files + SPARE_INODES, space.f_favail)
    for what, (needed, free) in wanted.items():
        if free < needed:
            raise Refused(
                f"{needed} {what} free on the file system of {directory}",
                f"{free}",
                "make room or choose a larger disk; the running version is not touched",
            )


def free_bytes(path: Path) -> int:
    """What an unprivileged writer may still write at `path`."""
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize


def _hex(root: Digest) -> str:
    name = root.removeprefix("sha256:")
    if len(name) != HEX_DIGITS or not set(name) <= set("0123456789abcdef"):
        raise Refused("a tree named sha256: and 64 hex digits", repr(root))
    return name


def _described(description: Path) -> Digest | None:
    """The tree a description is of; None where it cannot be read, which makes it worth nothing."""
    try:
        return Digest(json.loads(Envelope.from_bytes(description.read_bytes()).payload)["root"])
    except (ValueError, KeyError, TypeError):
        return None


def _named(link: Path) -> Digest | None:
    try:
        return Digest("sha256:" + os.path.basename(os.readlink(link)))
    except FileNotFoundError:
        return None
