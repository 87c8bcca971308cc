"""Many seeds on all cores, and long runs in pieces that are kept: what is there already is not run again."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ValidationError

from simulation.children import ordered
from simulation.run import simulate
from simulation.scenario import draw
from simulation.tally import Tally

ROOT = Path(__file__).parents[2]
SOURCES = (
    "libs/common/src",
    "services/planner/src",
    "services/rollback/src",
    "services/health-gate/src",
    "services/executor/src",
    "tests/simulation",
    "tests/support/memory_state.py",
    "tests/support/plans.py",
)
CHUNK = 50
"""Seeds of one child."""


class Piece(BaseModel):
    """A stretch of seeds, and the program that ran it. `sources` is the digest of what decides a trace."""

    commit: str
    sources: str
    python: str
    tally: Tally


def run(first: int, seeds: int, workers: int) -> Iterator[Tally]:
    """The seeds from `first` on, chunk by chunk and in their order."""
    bounds = [*range(first, first + seeds, CHUNK), first + seeds]
    yield from ordered(_chunk, list(pairwise(bounds)), workers)


def _chunk(bounds: tuple[int, int]) -> Tally:
    tally = Tally(first=bounds[0])
    began = time.process_time()
    for seed in range(*bounds):
        tally.add(simulate(draw(seed)))
    tally.cpu_s = time.process_time() - began
    return tally


def record(
    first: int, seeds: int, size: int, workers: int, folder: Path, until: float
) -> Iterator[tuple[Piece, bool]]:
    """Pieces of `size` seeds, each with whether it was run now; none is begun after `until` (monotonic seconds)."""
    folder.mkdir(parents=True, exist_ok=True)
    commit, sources = _commit(), sources_digest()
    for start, end in pairwise([*range(first, first + seeds, size), first + seeds]):
        path = folder / f"{start:08d}-{end:08d}.json"
        there = _read(path)
        if there is not None and there.sources == sources:
            yield there, False
            continue
        if time.monotonic() > until:
            return
        tally = Tally.of(run(start, end - start, workers), start)
        piece = Piece(commit=commit, sources=sources, python=platform.python_version(), tally=tally)
        fresh = path.with_suffix(".new")
        fresh.write_text(piece.model_dump_json(indent=1) + "\n")
        fresh.replace(path)
        yield piece, True


def recorded(folder: Path) -> list[Piece]:
    """All pieces there, by their first seed; of those that overlap, the longest."""
    found = [piece for path in folder.glob("*.json") if (piece := _read(path)) is not None]
    kept: list[Piece] = []
    end = 0
    for piece in sorted(found, key=lambda piece: (piece.tally.first, -piece.tally.seeds)):
        if piece.tally.first >= end:
            kept.append(piece)
            end = piece.tally.first + piece.tally.seeds
    return kept


def table(pieces: list[Piece]) -> str:
    """All of them together, as Markdown: what ran, and what came of it."""
    whole = Tally.of((piece.tally for piece in pieces), pieces[0].tally.first)
    commits = ", ".join(f"`{commit}`" for commit in sorted({piece.commit for piece in pieces}))
    sources = ", ".join(f"`{digest}`" for digest in sorted({piece.sources for piece in pieces}))
    pythons = ", ".join(sorted({piece.python for piece in pieces}))
    stretches = ", ".join(f"{start} to {end - 1}" for start, end in _stretches(pieces))
    said = [
        ("commit", commits),
        ("digest of the sources", sources),
        ("Python", pythons),
        ("seed numbers", stretches),
    ]
    return "\n".join([whole.table(), *(f"| {name} | {value} |" for name, value in said)])


def _stretches(pieces: list[Piece]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for piece in pieces:
        start, end = piece.tally.first, piece.tally.first + piece.tally.seeds
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return found


def _read(path: Path) -> Piece | None:
    """The piece, or None where there is none or it was cut short."""
    try:
        return Piece.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def sources_digest() -> str:
    """Of everything that decides what a seed does, except the packages that are installed."""
    found = hashlib.sha256()
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")) or [ROOT / source]:
            found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _commit() -> str:
    """The commit that is checked out, with a + where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (
        "+" if git("status", "--porcelain", "-uno") else ""
    )
