"""The tools that are compared, each with the settings that suit it best; those of level TAR are defined here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .fetch import Side, sha256
from .measure import CommandFailed, Figures, run
from .tool import Level, Tool, answer
from .tree_tools import Bumpless, Casync, Ostree

BENCH_PYTHON = Path(__file__).resolve().parents[2] / "build" / "bench" / "venv" / "bin" / "python"
"""Has what requirements/bench.txt names."""
CODER = Path(__file__).with_name("coder.py")


@dataclass(frozen=True)
class TarTool:
    """`making` and `applying` give the command for (old, new, patch) and (old, patch, out), with `settings` in it."""

    name: str
    settings: str
    asking: tuple[str | Path, ...]
    making: Callable[[Path, Path, Path], Sequence[str | Path]]
    applying: Callable[[Path, Path, Path], Sequence[str | Path]]
    level = Level.TAR

    @cached_property
    def version(self) -> str | None:
        return answer(self.asking)

    def make(self, old: Side, new: Side, work: Path) -> Figures:
        return run(self.making(old.tar, new.tar, work / "patch"))

    def size(self, work: Path) -> int:
        return (work / "patch").stat().st_size

    def apply(self, old: Side, new: Side, work: Path) -> Figures:
        out = work / "out.tar"
        figures = run(self.applying(old.tar, work / "patch", out))
        if sha256(out) != new.tar_digest:
            raise CommandFailed(f"{self.name} made other bytes than the new tar")
        out.unlink()
        return figures


FULL = TarTool(
    "full",
    "level 19",
    (sys.executable, CODER, "version", "backports.zstd"),
    lambda old, new, patch: (sys.executable, CODER, "zstd-compress", new, patch),
    lambda old, patch, out: (sys.executable, CODER, "zstd-decompress", patch, out),
)
"""The new tar compressed by zstd -19, in whose percents every size is given."""

OURS = Bumpless("Bumpless")
OURS_BOUNDED = Bumpless("Bumpless, no prediction", ("--no-reference-prediction",))
OSTREE = Ostree()
XDELTA3 = TarTool(
    "xdelta3",
    "-9 -S lzma, whole source window",
    ("xdelta3", "-V"),
    lambda old, new, patch: ("xdelta3", "-e", "-9", "-S", "lzma", "-B", _window(old), "-s", old, new, patch),
    lambda old, patch, out: ("xdelta3", "-d", "-B", _window(old), "-s", old, patch, out),
)
BSDIFF4 = TarTool(
    "bsdiff4",
    "",
    (sys.executable, CODER, "version", "bsdiff4"),
    lambda old, new, patch: (sys.executable, CODER, "bsdiff4-diff", old, new, patch),
    lambda old, patch, out: (sys.executable, CODER, "bsdiff4-patch", old, patch, out),
)
HDIFFPATCH = TarTool(
    "hdiffpatch",
    "LZMA2 level 9, 32 MiB",
    (BENCH_PYTHON, CODER, "version", "hdiffpatch"),
    lambda old, new, patch: (BENCH_PYTHON, CODER, "hdiffpatch-diff", old, new, patch),
    lambda old, patch, out: (BENCH_PYTHON, CODER, "hdiffpatch-patch", old, patch, out),
)
ZSTD = TarTool(
    "zstd --patch-from",
    "-19",
    ("zstd", "--version"),
    lambda old, new, patch: ("zstd", "-q", "-19", "-M2048MB", f"--patch-from={old}", new, "-o", patch),
    lambda old, patch, out: ("zstd", "-q", "-d", "-M2048MB", f"--patch-from={old}", patch, "-o", out),
)
PEERS: tuple[Tool, ...] = (OSTREE, XDELTA3, BSDIFF4, HDIFFPATCH, ZSTD, Casync())
EVERY: tuple[Tool, ...] = (FULL, OURS, OURS_BOUNDED, *PEERS)


def _window(old: Path) -> str:
    """xdelta3 sees the whole old file only if its window, a power of two and by default 64 MiB, covers it."""
    return str(max(64 << 20, 1 << old.stat().st_size.bit_length()))
