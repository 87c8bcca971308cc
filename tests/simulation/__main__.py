"""`python -m simulation`: run seeds, replay one, shrink one, look for planted bugs. See docs/simulation.md."""

from __future__ import annotations

import argparse
import sys
import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from simulation import children, hunt, mutants, planting

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
    parser.add_argument(
        "--mutants",
        nargs="*",
        metavar="NAME",
        help="every planted bug, or those named, each in its own process",
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="of --mutants, only the seeds around those in docs/simulation.md",
    )
    parser.add_argument(
        "--keep", action="store_true", help="write what --mutants finds into docs/simulation.md"
    )
    args = parser.parse_args()
    if args.mutants is not None:
        work = hunt.recorded() if args.recorded else hunt.jobs(args.seeds, args.mutants)
        return sweep(work, args.workers or children.cores(), args.keep)
    if args.table:
        return summary(args.table)
    if args.mutant:
        planting.plant(args.mutant)
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
    for part in campaign.run(args.first, args.seeds, args.workers or children.cores()):
        parts.append(part)
        for broken in part.broken:
            print(broken, flush=True)
    whole = Tally.of(parts, args.first)
    print(whole.mix)
    print(whole)
    return 1 if whole.broken else 0


def long(args: argparse.Namespace) -> int:
    from simulation import campaign

    until = time.monotonic() + args.minutes * 60
    workers = args.workers or children.cores()
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


def sweep(work: list[hunt.Job], workers: int, keep: bool) -> int:
    """Which seed caught which planted bug, and by which invariant; `keep`: record it."""
    found = []
    for catch in hunt.hunt(work, workers):
        print(catch, flush=True)
        found.append(catch)
    missed = sorted(catch.name for catch in found if catch.seed is None)
    print(
        f"{len(found) - len(missed)} of {len(found)} planted bugs caught, {sum(c.cpu_s for c in found):.0f} s of CPU; "
        f"not caught: {', '.join(missed) or 'none'}"
    )
    if keep and not missed:
        hunt.record(found)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
