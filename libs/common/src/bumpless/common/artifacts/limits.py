"""How much a package may ask of the machine that reads it. Checked before anything is allocated or written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import TooLarge

MIB = 1 << 20

PIECE = MIB
"""Bytes per read, write and decompression step: large enough to be at full speed, small enough to be bounded."""

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
"""NAME_MAX of every common Linux file system."""

PREFIX_MAX = 8 * MIB
"""Largest base of a zstd prefix patch, which must lie in memory as a whole."""

WINDOW_LOG_MAX = 24
"""zstd windows up to 16 MiB: covers a base and a result of PREFIX_MAX each."""

XZ_DICT = 16 * MIB
XZ_MEMORY = 32 * MIB
"""liblzma needs the dictionary plus about 100 KiB to decode."""


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, `files` and `entries` are counts."""

    package: int = 4096 * MIB
    manifest: int = 64 * MIB
    tree: int = 8192 * MIB
    file: int = 2048 * MIB
    entries: int = 200_000

    def narrowed(self, *, tree: int) -> Limits:
        """The same limits with the tree no larger than what its signed description says."""
        return replace(self, tree=min(self.tree, tree), file=min(self.file, tree))

    @staticmethod
    def check(limit: int, found: int, where: str) -> None:
        """Raises: TooLarge."""
        if found > limit:
            raise TooLarge(limit, found, where)
