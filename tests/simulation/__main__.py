"""`python -m simulation`: run seeds, replay one, shrink one, look for planted bugs. See docs/simulation.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from simulation import mutants

if TYPE_CHECKING:  # a bug is planted before the core is imported
    from simulation.tally import Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="one seed, with its whole trace")
    parser.add_argument(
        "--shrink", action="store_true", help="make the scenario of --seed small while it fails"
    )
    parser.add_argument("--stateful", type=int, metavar="EXAMPLES", help="let Hypothesis drive, so often")
    parser.add_argument("--quiet", action="store_true", help="print only what fails, and the sum")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one for each core)")
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="keep every piece here; run what is not"
    )
    parser.add_argument("--piece", type=int, default=5000, help="seeds of a piece that is kept")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no piece after this time")
    parser.add_argument("--table", type=Path, metavar="FOLDER", help="what all pieces kept there amount to")
    parser.add_argument(
        "--mutant", choices=sorted(mutants.BY_NAME), help="plant this bug; end when it is caught"
    )
    parser.add_argument("--mutants", action="store_true", help="every planted bug, each in its own process")
    args = parser.parse_args()
    if args.mutants:
        return sweep(args.seeds)
    if args.table:
        return summary(args.table)
    if args.mutant:
        mutants.plant(args.mutant)
    if args.stateful:
        return driven(args.stateful, fixed=bool(args.mutant))
    if args.seed is not None:
        return one(args.seed, args.shrink)
    if args.mutant or not args.quiet:
        return one_by_one(args.first, args.seeds, args.quiet)
    if args.record:
        return long(args)
    return many(args)


def one(seed: int, small: bool) -> int:
    from simulation.run import simulate
    from simulation.scenario import draw
    from simulation.shrink import shrunk

    scenario = shrunk(draw(seed)) if small else draw(seed)
    result = simulate(scenario, verbose=True)
    print("\n".join(result.lines))
    print(result)
    print(f"  violation {result.violation}")
    return 1 if result.violation else 0


def driven(examples: int, *, fixed: bool) -> int:
    """The shortest course of events that Hypothesis found to break an invariant, as the calls that are it."""
    from hypothesis.stateful import run_state_machine_as_test

    from simulation.stateful import Fleet, options

    try:
        run_state_machine_as_test(Fleet, settings=options(examples, fixed=fixed))
    except AssertionError as found:
        print("\n".join(getattr(found, "__notes__", [])))
        print(f"VIOLATION {found}")
        return 1
    print(f"{examples} examples, no violation")
    return 0


def one_by_one(first: int, seeds: int, quiet: bool) -> int:
    """Until the first violation."""
    from simulation.run import simulate
    from simulation.scenario import draw
    from simulation.tally import Tally

    tally, began = Tally(first=first), time.process_time()
    for seed in range(first, first + seeds):
        result = simulate(draw(seed))
        tally.add(result)
        if not quiet:
            print(result)
        if tally.broken:
            break
    tally.cpu_s = time.process_time() - began
    return _told(tally)


def many(args: argparse.Namespace) -> int:
    from simulation import campaign
    from simulation.tally import Tally

    parts = []
    for part in campaign.run(args.first, args.seeds, args.workers or campaign.cores()):
        parts.append(part)
        for broken in part.broken:
            print(broken, flush=True)
    whole = Tally.of(parts, args.first)
    print(whole)
    return 1 if whole.broken else 0


def long(args: argparse.Namespace) -> int:
    from simulation import campaign

    until = time.monotonic() + args.minutes * 60
    workers = args.workers or campaign.cores()
    failed = 0
    for piece, now in campaign.record(args.first, args.seeds, args.piece, workers, args.record, until):
        print("" if now else "kept: ", end="")
        failed |= _told(piece.tally)
    return failed


def summary(folder: Path) -> int:
    from simulation import campaign

    pieces = campaign.recorded(folder)
    if not pieces:
        print(f"expected pieces in {folder}, found none; keep some with --record {folder}")
        return 2
    print(campaign.table(pieces))
    return 0


def _told(tally: Tally) -> int:
    for broken in tally.broken:
        print(broken)
    print(tally, flush=True)
    return 1 if tally.broken else 0


def sweep(seeds: int) -> int:
    """A table: which seed caught which planted bug, and by which invariant."""
    missed = []
    for mutant in mutants.MUTANTS:
        command = [
            sys.executable,
            "-m",
            "simulation",
            "--mutant",
            mutant.name,
            "--seeds",
            str(seeds),
            "--quiet",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found = next((line for line in said.splitlines() if line.startswith("VIOLATION")), "")
        law = f"law {mutant.law}" if mutant.law else ""
        print(f"{mutant.name:45} {law:6} {found[:110] or 'NOT CAUGHT'}", flush=True)
        if not found:
            missed.append(mutant.name)
    print(
        f"{len(mutants.MUTANTS) - len(missed)} of {len(mutants.MUTANTS)} planted bugs caught within {seeds} seeds"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
