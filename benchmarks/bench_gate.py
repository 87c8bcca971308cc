"""The health gate beside what others use: false alarms, delays, passes, on the same simulated traces.

    make bench-gate

Healthy and faulty releases in 48 cells of nodes, traffic and error rate under several kinds of noise, and whole
releases at the boundary of what the gate allows. A run that was stopped goes on where it was. Writes
`build/bench/gate.json` and the tables as `build/bench/gate.md`; `--docs` writes those into the figures page as well.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gate.grid import units
from gate.report import markdown, summary
from gate.work import BLOCK, measured

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "gate-figures.md"
START, END = "<!-- figures: written by make bench-gate -->", "<!-- end of figures -->"
FULL, QUICK = (250, 60, 20_000), (10, 10, 500)
"""Runs of a healthy scenario in a cell, of a faulty one, and releases at the boundary."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="about a minute; its bounds are wide")
    parser.add_argument("--healthy", type=int, help="runs of a healthy scenario in each cell")
    parser.add_argument("--faulty", type=int, help="runs of a faulty scenario in each cell")
    parser.add_argument("--releases", type=int, help="releases at the boundary")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument(
        "--known", action="store_true", help="measure nothing, report on what was measured before"
    )
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    usual = QUICK if args.quick else FULL
    healthy, faulty, releases = (
        default if given is None else given
        for given, default in zip((args.healthy, args.faulty, args.releases), usual, strict=True)
    )
    kept = OUT / "gate-parts"
    if args.fresh:
        for file in kept.glob("*.jsonl"):
            file.unlink()
    start = time.perf_counter()
    found = summary(
        measured(units(healthy, faulty), -(-releases // BLOCK), kept, 0 if args.known else args.processes)
    )
    found |= {
        "wall_s": round(time.perf_counter() - start, 1),
        "processes": args.processes,
        "quick": args.quick,
    }
    name = "gate-quick" if args.quick else "gate"
    (OUT / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    tables = markdown(found)
    (OUT / f"{name}.md").write_text(tables)
    if args.docs:
        written(tables)
    print(tables)
    print(f"{found['wall_s']:g} s, {found['cpu_s']:g} s of CPU; {OUT / name}.json")


def written(tables: str) -> None:
    """Put the tables between the marks of the figures page."""
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
