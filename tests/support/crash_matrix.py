"""The crash matrix: every transition of every service, killed before and after its save and its publish; servers and
networks that fail.

    python tests/support/crash_matrix.py [--out build] [--only TEXT] [--minutes M] [--labs N] [--times T] [--docs]

A row is one rollout on a fleet of real processes under load (see `crash_rows`). Rows wait most of their time, for a
lease or for what comes again, so `labs` fleets work on them beside each other.
Writes OUT/crash-matrix.json and OUT/crash-matrix.md, with --docs the table of docs/crash-matrix.md too; ends with 1 if
a row failed or resumed too late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bumpless.cli.client import Client
from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.alert import Alert
from bumpless.common.model.rollout import TERMINAL
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.common.shell.reading import readable
from support.alerting import say_to
from support.crash_lab import ALERT, SERVICES, CrashLab
from support.crash_points import AGAIN
from support.crash_rows import Ending, Moment, Row, rows
from support.fleet_lab import Lab
from support.fleet_product import GATE, PATIENT_GATE, write_release
from support.fleet_watch import (
    Log,
    announce,
    build,
    check_log,
    check_switches,
    ended,
    log_of,
    on_fleet,
    results,
    until,
    until_batch,
)
from support.waiting import eventually

RESUME_GOAL_S = 10.0
LOOK_S = 0.02
NODES = 2
LABS = 3
ROLLOUT_S = 300.0
"""For one rollout with a kill, and the lease's time, at each of its transitions."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "crash-matrix.md"
START, END = "<!-- figures: written by make crash-matrix -->", "<!-- end of figures -->"


@dataclass
class Found:
    """What a row showed. `resumed_s`: from each restart, or the end of each fault, to the next line that the log of the
    rollout or of its revert got, where one came before the next; `failure` is empty where all held.
    """

    row: str
    ending: Ending
    hits: list[str] = field(default_factory=list)
    faults: int = 0
    resumed_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    failure: str = ""

    @property
    def slowest_s(self) -> float | None:
        return max(self.resumed_s, default=None)

    @property
    def late(self) -> bool:
        return self.slowest_s is not None and self.slowest_s > RESUME_GOAL_S


async def run_row(lab: CrashLab, row: Row) -> Found:
    """Run one row; what did not hold is in `failure`."""
    shown, began = Found(row.name, row.ending), time.monotonic()
    lab.heal()
    try:
        async with lab.client() as found:
            await _roll(lab, row, found, shown)
    except Exception as error:  # noqa: BLE001 - a row that fails is reported, and the next one is run
        shown.failure = f"{type(error).__name__}: {error}"[:2000]
    finally:
        if row.armed is not None:
            lab.disarm(row.part)
            shown.hits = lab.hits(row.part)
        lab.heal()
    if shown.failure:
        await _left_over(lab)
    shown.took_s = round(time.monotonic() - began, 1)
    return shown


async def _left_over(lab: CrashLab) -> None:
    """The rollout of a row that failed is over too, so that the next row's is not refused."""

    async def statuses() -> set[str]:
        async with lab.client() as found:
            last = await found.connection.snapshot(Stream.RO, subjects.subject_for(e.RolloutAdvanced))
            return {m.status for m in readable(last, e.RolloutAdvanced)}

    with suppress(AssertionError, Retryable):
        await eventually(statuses, lambda found: found <= TERMINAL, "every rollout to be over")


async def _roll(lab: CrashLab, row: Row, found: Client, shown: Found) -> None:
    new, before = lab.fresh(), await on_fleet(found, "core")
    built = await build(lab, found, _release(lab, row, new))
    over: list[datetime] = []
    """When a part was started again, or a fault ended."""
    async with lab.load():
        if row.armed is not None:
            lab.arm(row.part, row.armed)
        lab.keep_copy()
        began = clock.now()
        rollout = await announce(found, built)
        async with _kept_running(lab, row.part, over):
            await _hurt(lab, row, found, rollout, over, shown)
            if row.alerted:
                await until_batch(found, rollout, "core-1", "baking")
                await say_to(lab, "firing", ALERT)
            log = await ended(found, rollout, row.ending, ROLLOUT_S)
            if row.alerted:
                await _over(lab, found)
            if row.tells:
                await _told(found, rollout, row.ending)
        _check_alive(lab, row, over)
        lab.disarm(row.part)
        lab.heal()
    moved = [at for stream, wanted in _heard(row, log) for at in await moves(found, stream, wanted)]
    shown.resumed_s = resumed(over, sorted(at for at in moved if at > began))
    await check_log(found, log)
    if row.ending == "succeeded":
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        return
    await check_log(found, await log_of(found, log.revert))
    assert await on_fleet(found, "core") == before, "the fleet is not as it was before"
    done = [(m.node, m.outcome) for m in await results(found, e.StepFinished, log.revert)]
    assert sorted(set(done)) == sorted(done), f"taken back more than once: {done}"


def _check_alive(lab: CrashLab, row: Row, over: list[datetime]) -> None:
    """Nothing ended but what was killed."""
    ended = lab.down(besides=row.part if row.armed is not None else "")
    meant = 0 if row.lasting else len(lab.hits(row.part)) if row.armed is not None else len(row.moments)
    if len(over) > meant:
        ended.append(f"{row.part}, {len(over) - meant} times")
    assert not ended, f"expected nothing to end by itself, found {ended}"


def _release(lab: Lab, row: Row, version: str) -> Path:
    """One that ends as the row says."""
    good = row.ending == "succeeded" or row.alerted
    gate = PATIENT_GATE if row.alerted else GATE
    return write_release(lab.home.path, version, core=version, mode="good" if good else "errors", gate=gate)


async def _hurt(
    lab: CrashLab, row: Row, found: Client, rollout: RolloutId, over: list[datetime], shown: Found
) -> None:
    if row.fault is None:
        return
    for moment in row.moments:
        await _reached(found, rollout, moment, f"the moment for {row.name}")
        await row.fault(lab)
        shown.faults += 1
        if not row.lasting:
            over.append(clock.now())


async def _reached(found: Client, rollout: RolloutId, moment: Moment, what: str) -> None:
    """As `until`, also while the broker does not answer yet."""
    while True:
        try:
            await until(found, rollout, moment, what)
            return
        except Retryable:
            await asyncio.sleep(LOOK_S)


async def _over(lab: CrashLab, found: Client) -> None:
    """The alert ends, having done once what it was to do."""
    await say_to(lab, "resolved", ALERT)

    async def alert() -> Alert | None:
        last = await found.connection.snapshot(Stream.ALR, subjects.subject_for(a.AlertChanged))
        return next((m.alert for m in readable(last, a.AlertChanged)), None)

    def at_rest(shown: Alert | None) -> bool:
        return (
            shown is not None and shown.status == "resolved" and [i.status for i in shown.actions] == ["done"]
        )

    await eventually(alert, at_rest, "the alert to be over and its action to be done")


async def _told(found: Client, rollout: RolloutId, ending: Ending) -> None:
    """Other tools are told of the end, and of everything once."""

    async def told() -> list[Received]:
        items = await found.connection.snapshot(Stream.CDE, subjects.delivery_event(), history=True)
        return [item for item in items if rollout.encode() in item.data]

    last = subjects.delivery_event(f"bumpless-rollout.{ending}")
    items = await eventually(
        told, lambda items: last in [item.subject for item in items], f"{last} to be told"
    )
    ids = [item.headers[wire.MSG_ID_HEADER] for item in items]
    assert len(set(ids)) == len(ids), (
        f"expected everything to be told once, found {[i.subject for i in items]}"
    )


@asynccontextmanager
async def _kept_running(lab: CrashLab, part: str, starts: list[datetime]) -> AsyncIterator[None]:
    """Starts the part again whenever it is down, and says when."""

    async def keep() -> None:
        while True:
            if not lab.runs(part):
                lab.start(part)
                starts.append(clock.now())
            await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _heard(row: Row, log: Log) -> Iterator[tuple[Stream, list[str]]]:
    """Where what the part of the row has to do with the rollout is stored."""
    if row.tells:
        yield Stream.CDE, [subjects.delivery_event()]
        return
    rollouts = [log.rollout, *(message.revert for message in log.of(e.RevertStarted))]
    yield Stream.RO, [subjects.rollout_subjects(rollout) for rollout in rollouts]
    if row.alerted:
        yield Stream.ALR, [subjects.subject_for(a.AlertChanged)]


async def moves(found: Client, stream: Stream, wanted: list[str]) -> list[datetime]:
    """When the broker stored each message on these subjects."""
    items = await found.connection.snapshot(stream, wanted, history=True)
    return [item.at for item in items if item.at is not None]


def resumed(over: list[datetime], moved: list[datetime]) -> list[float]:
    """Seconds from each of `over` to the next move, where that came before the next of them."""
    ends = [*over, datetime.max.replace(tzinfo=UTC)][1:]
    firsts = [
        next((move - start for move in moved if start < move < end), None)
        for start, end in zip(over, ends, strict=True)
    ]
    return [round(first.total_seconds(), 2) for first in firsts if first is not None]


async def install(lab: Lab) -> None:
    """The first version, on every node."""
    version = lab.fresh()
    async with lab.client() as found:
        path = write_release(lab.home.path, version, core=version, gate=None)
        await ended(found, await announce(found, await build(lab, found, path)), "succeeded")


def table(shown: list[Found], planned: int, about: dict[str, Any]) -> str:
    kills, faults = sum(len(f.hits) for f in shown), sum(f.faults for f in shown)
    slowest = max((f.slowest_s for f in shown if f.slowest_s is not None), default=0.0)
    lines = [
        f"{len(shown)} of {planned} rows were run in {about['seconds'] / 60:.0f} minutes by {about['labs']} fleets beside "
        f"each other; {sum(not f.failure for f in shown)} held, {sum(f.late for f in shown)} resumed later than "
        f"{RESUME_GOAL_S:g} s, the slowest after {slowest:.1f} s. {kills} kills at transitions, {faults} other faults. "
        f"Load of the machine: {about['load']:.1f} at the end, on {os.cpu_count()} cores.",
        "",
        "| row | kills or faults | slowest resumption, s | whole rollout, s | held |",
        "|---|---|---|---|---|",
    ]
    for one in shown:
        slow = "-" if one.slowest_s is None else f"{one.slowest_s:.1f}" + (", **late**" if one.late else "")
        held = "yes" if not one.failure else "**no**: " + one.failure.splitlines()[0][:160].replace("|", "/")
        lines.append(f"| {one.row} | {len(one.hits) + one.faults} | {slow} | {one.took_s:.0f} | {held} |")
    lines += ["", "Transitions that were hit:", ""]
    for part in SERVICES:
        labels = {
            hit.removeprefix(AGAIN) for one in shown if one.row.startswith(part + ",") for hit in one.hits
        }
        lines.append(f"- {part}: " + ("; ".join(sorted(labels)) or "none"))
    return "\n".join(lines) + "\n"


def write(out: Path, shown: list[Found], planned: int, about: dict[str, Any], *, docs: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tables = table(shown, planned, about)
    found = {**about, "planned": planned, "rows": [asdict(one) for one in shown]}
    (out / "crash-matrix.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "crash-matrix.md").write_text(tables)
    if docs:
        before, _, rest = PAGE.read_text().partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n\n{tables}\n{END}{after}")


async def run_all(
    labs: list[CrashLab], wanted: list[Row], limit: float, told: Callable[[list[Found]], None]
) -> None:
    """The rows, each by the first lab that is free, until `limit` (of the monotonic clock). `told` hears after each row
    what there is so far, in the order of `wanted`.
    """
    left = spread(list(enumerate(wanted)))
    shown: dict[int, Found] = {}

    async def work(lab: CrashLab) -> None:
        await install(lab)
        while left and time.monotonic() < limit:
            number, row = left.pop(0)
            one = shown[number] = await run_row(lab, row)
            print(f"{one.row}: {one.failure or 'held'}; resumed in {one.resumed_s}; {one.hits}", flush=True)
            told([shown[number] for number in sorted(shown)])

    async with asyncio.TaskGroup() as group:
        for lab in labs:
            group.create_task(work(lab))


def spread(wanted: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Rows with kills, which need processor time for every start, between the others, which mostly wait."""
    kills = [item for item in wanted if item[1].armed is not None]
    others = [item for item in wanted if item[1].armed is None]
    both = chain.from_iterable(zip_longest(kills, others))
    return [item for item in both if item is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--only", default="", help="rows whose name has this")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--labs", type=int, default=LABS, help="fleets that work on rows beside each other")
    parser.add_argument("--times", type=int, default=1, help="how often each row is run")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/crash-matrix.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended first
    began = time.monotonic()
    wanted = [row for row in rows() if options.only in row.name for _ in range(options.times)]
    shown: list[Found] = []

    def told(found: list[Found]) -> None:
        shown[:] = found
        about = {"seconds": time.monotonic() - began, "labs": len(labs), "load": os.getloadavg()[0]}
        write(options.out, found, len(wanted), about, docs=options.docs and len(found) == len(wanted))

    with ExitStack() as entered:
        labs = [entered.enter_context(CrashLab(NODES)) for _ in range(min(options.labs, len(wanted)))]
        asyncio.run(run_all(labs, wanted, began + options.minutes * 60, told))
    bad = [one.row for one in shown if one.failure or one.late]
    if bad or len(shown) < len(wanted):
        sys.exit(
            f"expected every row to hold and to resume in {RESUME_GOAL_S:g} s, found {bad}; "
            f"{len(shown)} of {len(wanted)} rows were run"
        )


if __name__ == "__main__":
    main()
