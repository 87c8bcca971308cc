"""`python -m simulation`: run seeds, replay one, shrink one. See docs/simulation.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from simulation.run import simulate
from simulation.scenario import draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="one seed, with its whole trace")
    parser.add_argument("--quiet", action="store_true", help="do not print every seed")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first violation")
    args = parser.parse_args()
    if args.seed is not None:
        result = simulate(draw(args.seed), verbose=True)
        print("\n".join(result.lines))
        print(result)
        print(f"  violation {result.violation}")
        return 1 if result.violation else 0
    began = time.process_time()
    ends: Counter[str] = Counter()
    failed = []
    seeds = range(args.first, args.first + args.seeds)
    for seed in seeds:
        result = simulate(draw(seed))
        ends.update(result.ends)
        if not args.quiet:
            print(result)
        if result.violation is not None:
            failed.append(seed)
            print(f"VIOLATION seed {seed}: {result.violation}", flush=True)
            if not args.keep_going:
                break
    spent = time.process_time() - began
    print(
        f"{len(seeds)} seeds, {sum(ends.values())} rollouts {dict(ends)}, {spent:.1f} s of CPU; failed {failed}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
