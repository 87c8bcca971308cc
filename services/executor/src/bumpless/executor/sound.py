"""Whether the tree on the disk still is the one its digest names, without reading every file each time.

The first look reads everything. Each look that finds the tree whole notes what every file was like; the next one reads
only files that are not like that any more. A file cannot be written to without a new change time, which no program
can set back; only who moves the system's clock can, or who may write the notes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.tree import Tree, scan
from bumpless.common.contract.base import Digest

RACY_NS = 20_000_000
"""A file changed less than this before it was read may change again under the same time: the kernel's clock for files
ticks every 1 to 10 ms. Such a file is read again next time."""
NAMED = 5
"""Paths that a sentence names; the others are counted."""

Stamp = list[int]
"""Device, inode, size, modification and change time in nanoseconds, mode."""


@dataclass(frozen=True)
class _Notes:
    """Of a tree that was whole: what each file was like, and every entry as (kind, mode, content)."""

    stamps: dict[str, Stamp]
    entries: dict[str, list[Any]]


def differences(tree: Path, root: Digest, notes: Path) -> tuple[str, ...]:
    """What is not as it was in the tree at `tree`, one sentence each; empty: it is the tree named `root`.

    `notes` is a file for this tree alone, written here; without it every file is read.
    """
    kept = _read(notes, root)
    seen: dict[str, Stamp] = {}
    began = time.time_ns()

    def known(path: str, info: os.stat_result) -> str:
        stamp = seen[path] = _stamp(info)
        return str(kept.entries[path][2]) if kept.stamps.get(path) == stamp else ""

    try:
        found = scan(tree, known=known)
    except (ArtifactError, OSError) as error:
        return (str(error),)
    if found.root == root:
        settled = {path: stamp for path, stamp in seen.items() if stamp[4] < began - RACY_NS}
        if settled != kept.stamps or not kept.entries:
            _write(notes, root, _Notes(settled, _entries(found)))
            _forget(notes.parent, set(os.listdir(tree.parent)))
        return ()
    if not kept.entries:
        return (f"its digest is {found.root}",)
    return _named(kept.entries, _entries(found))


def _named(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> tuple[str, ...]:
    words = {True: {True: "changed", False: "missing"}, False: {True: "added", False: ""}}
    names = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    told = [f"{path} is {words[path in before][path in after]}" for path in names[:NAMED]]
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return (*told, *more)


def _entries(tree: Tree) -> dict[str, list[Any]]:
    return {e.path: [e.kind.value, e.mode, e.content] for e in tree.entries}


def _stamp(info: os.stat_result) -> Stamp:
    return [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode]


def _read(notes: Path, root: Digest) -> _Notes:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(notes.read_bytes())
        if found["root"] == root:
            return _Notes(dict(found["stamps"]), dict(found["entries"]))
    return _Notes({}, {})


def _write(notes: Path, root: Digest, found: _Notes) -> None:
    """Not flushed: what is lost or torn is only read again."""
    part = notes.with_name(f"{notes.name}.part")
    with contextlib.suppress(OSError):
        notes.parent.mkdir(exist_ok=True, mode=0o700)
        part.write_text(json.dumps({"root": root, "stamps": found.stamps, "entries": found.entries}))
        os.replace(part, notes)


def _forget(directory: Path, trees: set[str]) -> None:
    """Remove the notes of trees that are gone."""
    for notes in directory.iterdir():
        if notes.name not in trees and notes.suffix != ".part":
            notes.unlink(missing_ok=True)
