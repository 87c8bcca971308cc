"""`python -m simulation`: run seeds, replay one, shrink one, look for planted bugs. See docs/simulation.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter

from simulation import mutants


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="one seed, with its whole trace")
    parser.add_argument(
        "--shrink", action="store_true", help="make the scenario of --seed small while it fails"
    )
    parser.add_argument("--quiet", action="store_true", help="print only what fails, and the sum")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first violation")
    parser.add_argument("--mutant", choices=sorted(mutants.BY_NAME), help="plant this bug first")
    parser.add_argument("--mutants", action="store_true", help="every planted bug, each in its own process")
    args = parser.parse_args()
    if args.mutants:
        return sweep(args.seeds)
    if args.mutant:
        mutants.plant(args.mutant)
    if args.seed is not None:
        return one(args.seed, args.shrink)
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


def many(args: argparse.Namespace) -> int:
    from simulation.run import simulate
    from simulation.scenario import draw

    began = time.process_time()
    ends: Counter[str] = Counter()
    failed: list[int] = []
    ran = events = 0
    for seed in range(args.first, args.first + args.seeds):
        result = simulate(draw(seed))
        ran, events = ran + 1, events + result.events
        ends.update(result.ends)
        if not args.quiet:
            print(result)
        if result.violation is not None:
            failed.append(seed)
            print(f"VIOLATION seed {seed}: {result.violation}", flush=True)
            if not args.keep_going:
                break
    spent = time.process_time() - began
    said = " ".join(f"{end}:{number}" for end, number in sorted(ends.items()))
    print(
        f"{ran} seeds, {sum(ends.values())} rollouts ({said}), {events} events, {spent:.1f} s of CPU; failed {failed}"
    )
    return 1 if failed else 0


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
