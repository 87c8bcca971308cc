"""One row of the crash matrix: its rollout on a fleet of real processes under load, and what is judged of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bumpless.cli.client import Client
from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.alert import Alert
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.common.shell.reading import readable
from support.alerting import say_to
from support.crash_lab import ALERT, CrashLab
from support.crash_rows import Ending, Moment, Row
from support.fleet_lab import Lab
from support.fleet_product import GATE, PATIENT_GATE, Mode, write_release
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
ROLLOUT_S = 300.0
"""For one rollout with a kill, and the lease's time, at each of its transitions."""
ROW_S = ROLLOUT_S + 120.0
TIMING = {"ready_timeout_s": 60.0}
"""A product that is slow to start, because of what is done to its node, is not what is tested."""


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
    load: float = 0.0
    """Of the machine, at its end."""
    failure: str = ""

    @property
    def slowest_s(self) -> float | None:
        return max(self.resumed_s, default=None)

    @property
    def late(self) -> bool:
        return self.slowest_s is not None and self.slowest_s > RESUME_GOAL_S


async def run_row(lab: CrashLab, row: Row) -> Found:
    """Run one row; what did not hold is in `failure`, and then the lab is good for nothing more."""
    shown, began = Found(row.name, row.ending), time.monotonic()
    try:
        lab.heal()
        for part in lab.down(besides=""):  # killed by the row before, as that was over
            lab.start(part)
        async with asyncio.timeout(ROW_S), lab.client() as found:
            await _roll(lab, row, found, shown)
        lab.heal()
    except Exception as error:  # noqa: BLE001 - a row that fails is reported, and the next one is run
        shown.failure = f"{type(error).__name__}: {error}"[:2000]
    if row.armed is not None:
        lab.disarm(row.part)
        shown.hits = lab.hits(row.part)
    shown.took_s, shown.load = round(time.monotonic() - began, 1), round(os.getloadavg()[0], 1)
    return shown


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
            lab.disarm(row.part)
        _check_alive(lab, row, over)
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
    mode: Mode = "good" if good else "errors"
    return write_release(lab.home.path, version, core=version, mode=mode, gate=gate, timing=TIMING)


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

    await eventually(alert, at_rest, "the alert to be over and its action to be done", ROLLOUT_S)


async def _told(found: Client, rollout: RolloutId, ending: Ending) -> None:
    """Other tools are told of the end, and of everything once. Each kill is before the next thing that is told."""

    async def told() -> list[Received]:
        items = await found.connection.snapshot(Stream.CDE, subjects.delivery_event(), history=True)
        return [item for item in items if rollout.encode() in item.data]

    last = subjects.delivery_event(f"bumpless-rollout.{ending}")
    items = await eventually(
        told, lambda items: last in [item.subject for item in items], f"{last} to be told", ROLLOUT_S
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
        if not lab.runs(part):  # killed just before it was disarmed
            lab.start(part)
            starts.append(clock.now())


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
        path = write_release(lab.home.path, version, core=version, gate=None, timing=TIMING)
        await ended(found, await announce(found, await build(lab, found, path)), "succeeded")
