"""Runs every tool on one pair. What peers cost is remembered by tool, version, settings and input; what we cost never.

A remembered result may be of another hour of the same machine; its time says less than one of this run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .fetch import Side
from .measure import CommandFailed, Figures, best
from .tool import Tool
from .tree_tools import Bumpless

REPEATS = 3
"""Times each patch is applied. Making is measured once."""


@dataclass(frozen=True)
class Result:
    """What `tool` did with one pair; `failure` has its words instead where it could not."""

    tool: str
    level: str
    size: int = 0
    make: Figures | None = None
    apply: Figures | None = None
    cached: bool = False
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        figures = {k: v.as_json() for k, v in (("make", self.make), ("apply", self.apply)) if v}
        return {**asdict(self), **figures}


class Cache:
    """One JSON file, written after every result."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self._known: dict[str, Any] = {} if fresh or not path.exists() else json.loads(path.read_text())

    def get(self, key: str) -> Result | None:
        found = self._known.get(key)
        if found is None:
            return None
        costs = {name: Figures(**found[name]) for name in ("make", "apply")}
        return Result(**{**found, **costs, "cached": True})

    def put(self, key: str, result: Result) -> None:
        self._known[key] = result.as_json()
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._known, indent=1))
        part.rename(self._path)


def compare(tool: Tool, old: Side, new: Side, work: Path, cache: Cache) -> Result:
    """The result of `tool`; of this run for our own, else remembered if it can be."""
    key = "|".join((tool.name, tool.version or "", tool.settings, old.tar_digest, new.tar_digest))
    if not isinstance(tool, Bumpless) and (known := cache.get(key)) is not None:
        return known
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        make = tool.make(old, new, work)
        apply = apply_again(tool, old, new, work)
    except CommandFailed as error:
        return Result(tool.name, tool.level, failure=str(error))
    result = Result(tool.name, tool.level, tool.size(work), make, apply)
    if not isinstance(tool, Bumpless):
        cache.put(key, result)
    return result


def apply_again(tool: Tool, old: Side, new: Side, work: Path) -> Figures:
    """The least cost of applying what `tool` left in `work`.

    Raises:
        CommandFailed: see `Tool.apply`.
    """
    return best(tool.apply(old, new, work) for _ in range(REPEATS))
