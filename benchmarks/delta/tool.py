"""What every tool that is compared can do, and what they need to do it.

A tool makes one patch from an old version to a new one in a work folder, says its size in bytes, and applies it. Tools
of level TAR see two canonical tars, tools of level TREE two directories. What a tool has to have at hand before it
starts (a repository or a store that holds the old version) is made outside the measurement.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .fetch import Side, listing
from .measure import CommandFailed, Figures


class Level(StrEnum):
    TAR = "tar"
    TREE = "tree"


class Tool(Protocol):
    """`settings` is what, with the version, decides the result."""

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> Level: ...
    @property
    def settings(self) -> str: ...
    @property
    def version(self) -> str | None:
        """None where the tool is not installed."""

    def make(self, old: Side, new: Side, work: Path) -> Figures: ...
    def size(self, work: Path) -> int: ...
    def apply(self, old: Side, new: Side, work: Path) -> Figures:
        """Raises: CommandFailed, also where the result is not the new version."""


def same_tree(name: str, out: Path, new: Side) -> None:
    if listing(out) != new.listing:
        raise CommandFailed(f"{name} made another tree than the new version")
    shutil.rmtree(out)


def fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def answer(argv: Sequence[str | Path]) -> str | None:
    """The version a program names, or None where it is not installed or does not start."""
    if shutil.which(argv[0]) is None:
        return None
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = (done.stdout or done.stderr).strip()
    number = re.search(r"\d+(\.\d+)+", said)
    return (number[0] if number else said.partition("\n")[0]) if done.returncode == 0 else None
