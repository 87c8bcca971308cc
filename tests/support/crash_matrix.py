"""The crash matrix: every transition of every service, killed before and after its save and its publish; servers and
networks that fail.

    python tests/support/crash_matrix.py [--out build] [--only TEXT;TEXT] [--minutes M] [--labs N] [--times T] [--docs]

A row is one rollout (see `crash_rows`, `crash_run`). Rows wait most of their time, for a lease or for what comes again,
so `labs` fleets work on them beside each other, each in a process of its own. A fleet on which a row failed is given up,
its logs are kept, and a new one goes on.
Writes OUT/crash-matrix.json and OUT/crash-matrix.md after every row, with --docs and every row run the table of
docs/crash-matrix.md too; ends with 1 if a row failed or resumed too late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.crash_lab import SERVICES, CrashLab
from support.crash_points import AGAIN
from support.crash_rows import Row, rows
from support.crash_run import NODES, RESUME_GOAL_S, ROW_S, Found, install, run_row

LABS = 2
LABS_LOST = 5
"""Fleets in a row that do not come up, after which nobody begins another in their place."""
BEGIN_S = 180.0
"""For a fleet to come up and to get its first version; beyond `ROW_S`, for a row to be told."""
END_S = 60.0
PAGE = Path(__file__).resolve().parents[2] / "docs" / "crash-matrix.md"
START, END = "<!-- figures: written by make crash-matrix -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class About:
    """A whole run: how many rows it was to have, what it took, by how many fleets."""

    planned: int
    seconds: float
    labs: int


def table(shown: list[Found], about: About) -> str:
    kills, faults = sum(len(f.hits) for f in shown), sum(f.faults for f in shown)
    slowest = max((f.slowest_s for f in shown if f.slowest_s is not None), default=0.0)
    loads = [f.load for f in shown] or [0.0]
    lines = [
        f"{len(shown)} of {about.planned} rows were run in {about.seconds / 60:.0f} minutes by {about.labs} fleets beside "
        f"each other; {sum(not f.failure for f in shown)} held, {sum(f.late for f in shown)} resumed later than "
        f"{RESUME_GOAL_S:g} s, the slowest after {slowest:.1f} s. {kills} kills at transitions, {faults} other faults. "
        f"Load of the machine: {min(loads):.0f} to {max(loads):.0f}, on {os.cpu_count()} cores.",
        "",
        "| row | kills or faults | slowest resumption, s | whole rollout, s | load | held |",
        "|---|---|---|---|---|---|",
    ]
    for one in shown:
        slow = "-" if one.slowest_s is None else f"{one.slowest_s:.1f}" + (", **late**" if one.late else "")
        held = "yes" if not one.failure else "**no**: " + one.failure.splitlines()[0][:160].replace("|", "/")
        hurt = len(one.hits) + one.faults
        lines.append(f"| {one.row} | {hurt} | {slow} | {one.took_s:.0f} | {one.load:.0f} | {held} |")
    lines += ["", "Transitions that were hit:", ""]
    for part in SERVICES:
        labels = {
            hit.removeprefix(AGAIN) for one in shown if one.row.startswith(part + ",") for hit in one.hits
        }
        lines.append(f"- {part}: " + ("; ".join(sorted(labels)) or "none"))
    return "\n".join(lines) + "\n"


def write(out: Path, shown: list[Found], about: About, *, docs: bool) -> None:
    tables = table(shown, about)
    found = {**asdict(about), "rows": [asdict(one) for one in shown]}
    (out / "crash-matrix.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "crash-matrix.md").write_text(tables)
    if docs and len(shown) == about.planned:
        before, _, rest = PAGE.read_text().partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n\n{tables}\n{END}{after}")


# fleets, each in a process that is told the numbers of rows and says what they showed


def serve(kept: Path) -> None:
    """Begin a fleet, say so, and run what is asked for until nothing is any more. Logs of a row that failed are `kept`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended first
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with open(kept / "fleets.log", "ab") as log:  # for what else is printed
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    every = rows()
    with CrashLab(NODES) as lab:
        asyncio.run(install(lab))
        print("ready", file=answers)
        for line in sys.stdin:
            row = every[int(line)]
            shown = asyncio.run(run_row(lab, row))
            if shown.failure:
                name = "".join(char if char.isalnum() else "-" for char in row.name)
                shutil.copytree(lab.home.path / "logs", kept / name, dirs_exist_ok=True)
            print(json.dumps(asdict(shown)), file=answers)


class Lost(Exception):
    """A fleet that says nothing any more."""


async def said(fleet: Process, limit_s: float) -> str:
    """The next line of a fleet. Raises: Lost."""
    assert fleet.stdout is not None
    try:
        line = await asyncio.wait_for(fleet.stdout.readline(), limit_s)
    except TimeoutError:
        raise Lost(f"expected the fleet to answer within {limit_s:g} s, found nothing") from None
    if not line:
        raise Lost("expected the fleet to answer, found that it had ended")
    return line.decode()


async def asked(fleet: Process, number: int, row: Row) -> Found:
    assert fleet.stdin is not None
    try:
        fleet.stdin.write(f"{number}\n".encode())
        await fleet.stdin.drain()
        return Found(**json.loads(await said(fleet, ROW_S + BEGIN_S)))
    except (Lost, OSError) as error:
        load = round(os.getloadavg()[0], 1)
        return Found(row.name, row.ending, load=load, failure=f"{type(error).__name__}: {error}")


@asynccontextmanager
async def begun(kept: Path) -> AsyncIterator[Process]:
    command = (sys.executable, __file__, "--serve", str(kept))
    fleet = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 20)
    assert fleet.stdin is not None
    try:
        yield fleet
        fleet.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(fleet.wait(), END_S)
    finally:
        for end in (fleet.terminate, fleet.kill):
            if fleet.returncode is None:
                end()
                with suppress(TimeoutError):
                    await asyncio.wait_for(fleet.wait(), END_S)


# all of them

Wanted = tuple[int, int, Row]
"""Where its result stands, and its number and itself among all rows."""


async def run_all(
    wanted: list[Wanted], labs: int, limit: float, kept: Path, told: Callable[[list[Found]], None]
) -> None:
    """The rows, each by the first fleet that is free; none is begun after `limit` (of the monotonic clock). `told` hears
    after each row what there is so far, in the order of `wanted`.
    """
    left = spread(wanted)
    shown: dict[int, Found] = {}

    async def work() -> None:
        lost = 0
        while left and time.monotonic() < limit and lost < LABS_LOST:
            async with begun(kept) as fleet:
                try:
                    await said(fleet, BEGIN_S)
                except Lost as error:
                    print(f"a fleet did not come up: {error}", flush=True)
                    lost += 1
                    continue
                lost = 0
                await keep_asking(fleet)

    async def keep_asking(fleet: Process) -> None:
        while left and time.monotonic() < limit:
            place, number, row = left.pop(0)
            one = shown[place] = await asked(fleet, number, row)
            print(f"{one.row}: {one.failure or 'held'}; resumed in {one.resumed_s}; {one.hits}", flush=True)
            told([shown[place] for place in sorted(shown)])
            if one.failure:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(labs):
            group.create_task(work())


def spread(wanted: list[Wanted]) -> list[Wanted]:
    """Rows with kills, which need processor time for every start, between the others, which mostly wait."""
    kills = [item for item in wanted if item[2].armed is not None]
    others = [item for item in wanted if item[2].armed is None]
    both = chain.from_iterable(zip_longest(kills, others))
    return [item for item in both if item is not None]


def chosen(texts: str, times: int) -> list[Wanted]:
    """Rows that have one of the texts, which semicolons part, in their name; each so many times."""
    found = [
        (number, row)
        for number, row in enumerate(rows())
        if any(text.strip() in row.name for text in texts.split(";"))
        for _ in range(times)
    ]
    return [(place, number, row) for place, (number, row) in enumerate(found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument(
        "--only", default="", help="rows whose name has this, or one of several with ; between"
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="no row is begun later")
    parser.add_argument("--labs", type=int, default=LABS, help="fleets that work on rows beside each other")
    parser.add_argument("--times", type=int, default=1, help="how often each row is run")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/crash-matrix.md")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended first
    began = time.monotonic()
    wanted = chosen(options.only, options.times)
    labs = min(options.labs, len(wanted))
    shown: list[Found] = []

    def told(found: list[Found]) -> None:
        shown[:] = found
        write(options.out, found, About(len(wanted), time.monotonic() - began, labs), docs=options.docs)

    kept = options.out / "crash-matrix-logs"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    asyncio.run(run_all(wanted, labs, began + options.minutes * 60, kept, told))
    bad = [one.row for one in shown if one.failure or one.late]
    if bad or len(shown) < len(wanted):
        sys.exit(
            f"expected every row to hold and to resume in {RESUME_GOAL_S:g} s, found {bad}; "
            f"{len(shown)} of {len(wanted)} rows were run"
        )


if __name__ == "__main__":
    main()
