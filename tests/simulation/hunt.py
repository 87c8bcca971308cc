"""Who catches the planted bugs: each is planted in a child of its own, and seeds run there until one catches it.

Nothing of the core may be imported in the parent: a bug is planted while its module is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from simulation.children import outcomes
from simulation.mutants import BY_NAME, MUTANTS
from simulation.planting import plant

RECORD = Path(__file__).parents[2] / "docs" / "simulation.md"
BEGIN, END = "<!-- planted bugs: make simulate-mutants RECORD=1 -->\n", "<!-- end of planted bugs -->\n"
WINDOW = 10
"""So many seeds from the recorded one on have to catch the bug: a change of the drawing moves it a little."""
THIRD_PARTY = (
    "pydantic",
    "structlog",
    "faststream",
    "cryptography.x509",
    "networkx",
    "nats",
    "redis.asyncio",
)
_ROW = re.compile(r"^\| `([a-z-]+)` \|[^|]*\| (\d+) \| `([a-z_]+)` \|$", re.MULTILINE)


class Job(NamedTuple):
    """Look for the bug `name` in `seeds` seeds from `first` on."""

    name: str
    first: int
    seeds: int


class Catch(NamedTuple):
    """`seed` caught the bug `name` by `invariant`; None: no seed of the job did. `cpu_s` of the child."""

    name: str
    seed: int | None
    invariant: str
    text: str
    cpu_s: float

    def __str__(self) -> str:
        law = f"law {BY_NAME[self.name].law}" if BY_NAME[self.name].law else ""
        found = "NOT CAUGHT" if self.seed is None else f"seed {self.seed}: {self.invariant}: {self.text[:90]}"
        return f"{self.name:45} {law:6} {found}"


def jobs(seeds: int, names: Iterable[str] = ()) -> list[Job]:
    """Every bug, or those named, from the first seed on."""
    return [Job(name, 0, seeds) for name in names or BY_NAME]


def recorded() -> list[Job]:
    """Every bug in a short window from the seed on that is recorded for it. Raises: LookupError, where one is not."""
    known = {name: int(seed) for name, seed, _ in _ROW.findall(RECORD.read_text())}
    missing = sorted(set(BY_NAME) ^ set(known))
    if missing:
        raise LookupError(
            f"expected a recorded seed of every planted bug, found differences in {', '.join(missing)}; "
            "run make simulate-mutants RECORD=1"
        )
    return [Job(name, known[name], WINDOW) for name in BY_NAME]


def hunt(work: list[Job], workers: int) -> Iterator[Catch]:
    """What comes of each, as it comes."""
    for module in THIRD_PARTY:
        importlib.import_module(module)
    for _, catch in outcomes(_caught, work, workers):
        yield catch


def _caught(job: Job) -> Catch:
    plant(job.name)
    from simulation.run import simulate
    from simulation.scenario import draw

    for seed in range(job.first, job.first + job.seeds):
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            violation = simulate(draw(seed)).violation
        if violation is not None:
            return Catch(job.name, seed, violation.name, violation.text, time.process_time())
    return Catch(job.name, None, "", "", time.process_time())


def record(catches: Iterable[Catch]) -> None:
    """Write the table of all bugs into the documentation."""
    found = {catch.name: catch for catch in catches}
    rows = [
        f"| `{m.name}` | {m.law or ''} | {found[m.name].seed} | `{found[m.name].invariant}` |"
        for m in MUTANTS
    ]
    head = ["| Bug | Law | Caught by seed | Invariant |", "|---|---|---|---|"]
    before, _, rest = RECORD.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    RECORD.write_text(before + BEGIN + "\n".join([*head, *rows]) + "\n" + END + after)
