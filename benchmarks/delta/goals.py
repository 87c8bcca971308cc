"""What a run has to show, and whether it did.

Each goal is measured over the pairs of its kind that were in the run: as the worst of them, and where that says more
also as their geometric mean. A goal without such a pair, or without a tool it compares with, is not measured, which
is not the same as missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .compare import Result
from .measure import Figures
from .pairs import Kind, Pair
from .tool import Level
from .tools import BSDIFF4, FULL, OSTREE, OURS, OURS_BOUNDED, XDELTA3

APPLY_MIB = 64
MAKE_MIB = 2048
TEXT_SLACK = 1024
"""Bytes above the best delta of two tars: the price of digests for every file."""
LARGEST = "node24p"


@dataclass(frozen=True)
class Measured:
    """Every result on one pair, by tool. `ostree_again` is OSTree's apply in this very run."""

    pair: Pair
    tree_bytes: int
    entries: int
    results: Mapping[str, Result]
    ostree_again: Figures | None = None

    def size(self, tool: str) -> int | None:
        found = self.results.get(tool)
        return found.size if found and not found.failure else None

    def ratio(self, ours: str, peer: str) -> float | None:
        mine, theirs = self.size(ours), self.size(peer)
        return mine / theirs if mine and theirs else None

    def cost(self, tool: str, operation: str) -> Figures | None:
        found = self.results.get(tool)
        return getattr(found, operation) if found else None

    @property
    def apply_limit_s(self) -> float:
        return self.tree_bytes / 1e8 + 0.2 + 0.0002 * self.entries


def goals(every: Iterable[Measured]) -> list[dict[str, Any]]:
    """Every goal as name, goal, measured, unit, holds; `measured` and `holds` are None where it was not measured."""
    run = list(every)
    elf = [m for m in run if m.pair.kind in (Kind.ELF, Kind.SINGLE_ELF)]
    single = [m for m in run if m.pair.kind is Kind.SINGLE_ELF]
    text = [m for m in run if m.pair.kind is Kind.TEXT]
    found: list[dict[str, Any]] = []
    for ours in (OURS_BOUNDED.name, OURS.name):
        for peer, limit in ((OSTREE.name, 0.85), (XDELTA3.name, 0.65), (BSDIFF4.name, 0.90)):
            found += _ratios(f"{ours}: size against {peer}, compiled code", elf, ours, peer, limit)
    found += _ratios(
        "size against OSTree, one x86-64 ELF", single, OURS.name, OSTREE.name, 0.65, mean_limit=0.60
    )
    found += _ratios("size against OSTree, text", text, OURS.name, OSTREE.name, 0.20)
    found.append(
        _worst("bytes above the best delta of two tars, text", text, _above_best_tar, TEXT_SLACK, "B")
    )
    for ours in (OURS.name, OURS_BOUNDED.name):
        found.append(_worst(f"{ours}: peak memory to apply", run, _memory(ours, "apply"), APPLY_MIB, "MiB"))
        found.append(
            _worst(
                f"{ours}: apply time against 1 s per 100 MB + 0.2 s + 0.2 ms per entry",
                run,
                _speed(ours),
                1,
                "x",
            )
        )
    largest = [m for m in run if m.pair.name == LARGEST]
    found.append(_worst("apply time against OSTree's apply", largest, _against_ostree, 1, "x"))
    found.append(
        _worst("peak memory to make, all workers", largest, _memory(OURS.name, "make"), MAKE_MIB, "MiB")
    )
    found.append(_worst("time to make against bsdiff4", largest, _make_time, 2, "x"))
    return found


def _ratios(
    name: str,
    measured: list[Measured],
    ours: str,
    peer: str,
    limit: float,
    *,
    mean_limit: float | None = None,
) -> list[dict[str, Any]]:
    ratios = [m.ratio(ours, peer) for m in measured]
    known = [r for r in ratios if r is not None]
    complete = bool(known) and len(known) == len(ratios)
    mean = math.exp(sum(map(math.log, known)) / len(known)) if complete else None
    return [
        _worst(name, measured, lambda m: m.ratio(ours, peer), limit, "x"),
        _goal(f"{name}, geometric mean", mean_limit, mean, "x"),
    ]


def _worst(
    name: str, measured: list[Measured], value: Callable[[Measured], float | None], limit: float, unit: str
) -> dict[str, Any]:
    values = [(value(m), m.pair.name) for m in measured]
    known = [(v, pair) for v, pair in values if v is not None]
    if not known or len(known) < len(values):
        return _goal(name, limit, None, unit)
    worst, pair = max(known)
    by_pair = {pair: round(v, 3) for v, pair in known}
    return {**_goal(f"{name}, worst pair ({pair})", limit, worst, unit), "pairs": by_pair}


def _goal(name: str, limit: float | None, measured: float | None, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "goal": "reported" if limit is None else f"<= {limit:g}",
        "measured": None if measured is None else round(measured, 3),
        "unit": unit,
        "holds": None if limit is None or measured is None else measured <= limit,
    }


def _above_best_tar(m: Measured) -> float | None:
    tars = [
        r.size for r in m.results.values() if r.level == Level.TAR and r.tool != FULL.name and not r.failure
    ]
    mine = m.size(OURS.name)
    return mine - min(tars) if mine and tars else None


def _memory(tool: str, operation: str) -> Callable[[Measured], float | None]:
    def value(m: Measured) -> float | None:
        cost = m.cost(tool, operation)
        return cost.rss_mib if cost else None

    return value


def _speed(tool: str) -> Callable[[Measured], float | None]:
    def value(m: Measured) -> float | None:
        cost = m.cost(tool, "apply")
        return cost.wall_s / m.apply_limit_s if cost else None

    return value


def _against_ostree(m: Measured) -> float | None:
    mine = m.cost(OURS.name, "apply")
    return mine.wall_s / m.ostree_again.wall_s if mine and m.ostree_again else None


def _make_time(m: Measured) -> float | None:
    mine, theirs = m.cost(OURS.name, "make"), m.cost(BSDIFF4.name, "make")
    return mine.wall_s / theirs.wall_s if mine and theirs else None
