"""Sizes and costs of our deltas beside those of other tools, on real pairs of adjacent versions.

    make bench-delta            every pair
    make bench-delta-quick      five small ones

Fetches the pairs once into build/bench/pairs, prints tables, and writes build/bench/delta.json. README.md beside this
file says how it is measured and what not to lean on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from delta.compare import Cache, Result, apply_again, compare
from delta.fetch import Side, Unavailable, prepare
from delta.goals import LARGEST, Measured, goals
from delta.measure import Figures
from delta.pairs import PAIRS, QUICK, Pair
from delta.tool import Tool
from delta.tools import EVERY, FULL, OSTREE, OURS, OURS_BOUNDED, PEERS

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "build" / "bench"


def main() -> int:
    options = _options()
    os.chdir(ROOT)
    BENCH.mkdir(parents=True, exist_ok=True)
    tools = [t for t in EVERY if t.version is not None]
    missing = [t.name for t in PEERS if t.version is None]
    for name in missing:
        print(f"left out: {name}, because it is not installed here")
    cache = Cache(BENCH / "delta-peers.json", fresh=options.fresh)
    measured: list[Measured] = []
    skipped: dict[str, str] = {}
    for pair in (p for p in PAIRS if p.name in options.pairs):
        try:
            old, new = prepare(pair, BENCH / "pairs")
        except Unavailable as error:
            skipped[pair.name] = str(error)
            print(f"left out: {pair.name}: {error}")
            continue
        measured.append(_measure(pair, old, new, tools, cache))
        print(_details(measured[-1]), flush=True)
    found = goals(measured)
    report = {
        "goals": found,
        "pairs": {m.pair.name: _as_json(m) for m in measured},
        "versions": {t.name: t.version for t in tools},
        "missing": missing,
        "skipped": skipped,
        "cpus": os.cpu_count(),
    }
    (BENCH / "delta.json").write_text(json.dumps(report, indent=2) + "\n")
    print(_sizes(measured, tools))
    print(_table(("goal", "wanted", "measured", "holds"), [_goal_row(g) for g in found]))
    ours = (OURS.name, OURS_BOUNDED.name)
    return int(any(r.failure for m in measured for r in m.results.values() if r.tool in ours))


def _options() -> argparse.Namespace:
    names = [p.name for p in PAIRS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_const", const=QUICK, dest="pairs", help=f"only {', '.join(QUICK)}"
    )
    parser.add_argument("--pairs", nargs="+", choices=names, metavar="PAIR", help=", ".join(names))
    parser.add_argument("--fresh", action="store_true", help="measure the peers again")
    parser.set_defaults(pairs=names)
    return parser.parse_args()


def _measure(pair: Pair, old: Side, new: Side, tools: Sequence[Tool], cache: Cache) -> Measured:
    results: dict[str, Result] = {}
    again = None
    for tool in tools:
        work = BENCH / "work" / pair.name / tool.name.replace(" ", "-")
        result = results[tool.name] = compare(tool, old, new, work, cache)
        if pair.name == LARGEST and tool is OSTREE and not result.failure:
            again = _apply_in_this_run(tool, result, old, new, work)
        else:
            shutil.rmtree(work, ignore_errors=True)
    return Measured(pair, new.size, new.entries, results, again)


def _apply_in_this_run(tool: Tool, result: Result, old: Side, new: Side, work: Path) -> Figures | None:
    if not result.cached:
        return result.apply
    if not (work / "patch").exists():
        work.mkdir(parents=True, exist_ok=True)
        tool.make(old, new, work)
    return apply_again(tool, old, new, work)


def _as_json(m: Measured) -> dict[str, Any]:
    return {
        "kind": m.pair.kind,
        "old": m.pair.old.number,
        "new": m.pair.new.number,
        "tree_bytes": m.tree_bytes,
        "entries": m.entries,
        "tools": {
            name: {**r.as_json(), "percent_of_full": _percent(m, name)} for name, r in m.results.items()
        },
        "ostree_apply_in_this_run": m.ostree_again.as_json() if m.ostree_again else None,
    }


def _percent(m: Measured, tool: str) -> float | None:
    ratio = m.ratio(tool, FULL.name)
    return None if ratio is None else round(100 * ratio, 3)


def _details(m: Measured) -> str:
    rows = []
    for r in m.results.values():
        if r.make is None or r.apply is None:
            rows.append((r.tool, "failed", *[""] * 8))
            print(f"{r.tool} failed on {m.pair.name}: {r.failure}")
            continue
        costs = [
            f"{v:.{d}f}" for f in (r.make, r.apply) for v, d in ((f.wall_s, 2), (f.cpu_s, 2), (f.rss_mib, 0))
        ]
        rows.append(
            (r.tool, f"{r.size:,}", f"{_percent(m, r.tool):.2f}", *costs, "remembered" if r.cached else "")
        )
    heads = ("tool", "bytes", "% of full", "make s", "CPU s", "MiB", "apply s", "CPU s", "MiB", "")
    title = f"{m.pair.name} {m.pair.old.number} -> {m.pair.new.number}: {m.tree_bytes:,} bytes, {m.entries:,} entries"
    return f"\n{title}\n{_table(heads, rows)}"


def _sizes(every: Sequence[Measured], tools: Sequence[Tool]) -> str:
    names = [t.name for t in tools if t is not FULL]
    rows = []
    for m in every:
        percents = [_percent(m, name) for name in names]
        cells = ["failed" if p is None else f"{p:.2f}" for p in percents]
        rows.append((m.pair.name, f"{m.size(FULL.name) or 0:,}", *cells))
    return "\nSize in percent of the full artifact\n" + _table(("pair", "full bytes", *names), rows)


def _goal_row(goal: dict[str, Any]) -> tuple[str, ...]:
    measured = "not measured" if goal["measured"] is None else f"{goal['measured']:g} {goal['unit']}"
    return goal["name"], goal["goal"], measured, {True: "yes", False: "NO", None: "-"}[goal["holds"]]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as needed; the first is left-aligned, numbers are to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join((first, *others)).rstrip()

    return "\n".join((line(heads), "  ".join("-" * w for w in widths), *map(line, rows)))


if __name__ == "__main__":
    sys.exit(main())
