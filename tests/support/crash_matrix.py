"""The crash matrix: every transition of every service, killed before and after its save and its publish.

    python tests/support/crash_matrix.py [--out build] [--only TEXT] [--minutes M]

A row is one rollout on a fleet of real processes under load. One service dies at each of its transitions in turn, at
the same side of the same effect, and is started again at once. Rows of the servers kill, freeze or empty them once.
Writes OUT/crash-matrix.json and OUT/crash-matrix.md; ends with 1 if a row failed or resumed too late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bumpless.cli.client import Client
from bumpless.cli.embedded import Part
from bumpless.common.contract import events as e
from support.crash_points import AGAIN, Armed, Effect, Side
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import (
    announce,
    build,
    check_log,
    check_switches,
    ended,
    log_of,
    on_fleet,
    results,
    until_batch,
)

RESUME_GOAL_S = 10.0
LOOK_S = 0.02
NODES = 2
HUNG_S = 3.0
ROLLOUT_S = 300.0
"""For one rollout with a kill, and the lease's time, at each of its transitions."""
SCRIPT = Path(__file__).resolve().with_name("crash_points.py")
SERVICES = ("planner", "rollback", "health-gate", "alerts", "node-1")
EFFECTS: tuple[Effect, ...] = ("save", "publish")
SIDES: tuple[Side, ...] = ("before", "after")

Ending = Literal["succeeded", "reverted"]


class CrashLab(Lab):
    """A lab in which every service and executor can be armed (see `crash_points`)."""

    def arranged(self, part: Part) -> Part:
        if part.name not in SERVICES:
            return part
        self.points(part.name).mkdir(parents=True, exist_ok=True)
        module = part.command[-1].replace("executor.launcher", "executor.app")
        return replace(part, command=(sys.executable, str(SCRIPT), str(self.points(part.name)), module))

    def points(self, name: str) -> Path:
        return self.home.path / "points" / name

    def arm(self, name: str, armed: Armed) -> None:
        self.disarm(name)
        (self.points(name) / "hits").unlink(missing_ok=True)
        part = self.points(name) / "armed.part"
        part.write_text(json.dumps(asdict(armed)))
        os.replace(part, self.points(name) / "armed.json")

    def disarm(self, name: str) -> None:
        (self.points(name) / "armed.json").unlink(missing_ok=True)

    def hits(self, name: str) -> list[str]:
        file = self.points(name) / "hits"
        return file.read_text().splitlines() if file.exists() else []


@dataclass(frozen=True)
class Row:
    """One rollout that ends `ending`, in which `armed` kills `part`, or `fault` is done to a server."""

    name: str
    part: str
    ending: Ending
    armed: Armed | None = None
    fault: Callable[[CrashLab], None] | None = None


@dataclass
class Found:
    """What a row showed. `resumed_s`: from each restart to the next event of the rollout, where one came before the
    next kill; `failure` is empty where all held.
    """

    row: str
    ending: str
    hits: list[str] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    failure: str = ""

    @property
    def slowest_s(self) -> float | None:
        return max(self.resumed_s, default=None)


def rows() -> list[Row]:
    found = [
        Row(f"{part}, {ending}: {side} {effect}", part, ending, Armed(effect, side))
        for part in SERVICES
        for ending in endings(part)
        for effect in EFFECTS
        for side in SIDES
    ]
    found += [
        Row(
            f"{part}, {ending}: after save, and again in recovery", part, ending, Armed("save", "after", True)
        )
        for part in SERVICES
        for ending in endings(part)
    ]
    faults: dict[str, tuple[str, Callable[[CrashLab], None]]] = {
        "killed": ("nats", lambda lab: restarted(lab, "nats", lab.kill)),
        "restarted": ("nats", lambda lab: restarted(lab, "nats", lab.end)),
        "hung": ("nats", lambda lab: hung(lab, "nats")),
        "killed ": ("redis", lambda lab: restarted(lab, "redis", lab.kill)),
        "hung ": ("redis", lambda lab: hung(lab, "redis")),
        "emptied": ("redis", CrashLab.flush_redis),
        "files lost": ("redis", CrashLab.lose_redis),
        "restored from an old copy": ("redis", old_copy),
    }
    return found + [
        Row(f"{part} {what.strip()}", part, "succeeded", fault=fault)
        for what, (part, fault) in faults.items()
    ]


def endings(part: str) -> tuple[Ending, ...]:
    """The rollouts in which a part has transitions."""
    return ("reverted",) if part in ("rollback", "alerts") else ("succeeded", "reverted")


def restarted(lab: CrashLab, name: str, stop: Callable[[str], None]) -> None:
    stop(name)
    lab.start(name)


def hung(lab: CrashLab, name: str) -> None:
    lab.freeze(name)
    threading.Event().wait(HUNG_S)  # nothing comes: that is the fault
    lab.thaw(name)


def keep_copy(lab: CrashLab) -> None:
    """Redis's files as they are now, to be `old_copy` later."""
    shutil.rmtree(lab.home.path / "redis.old", ignore_errors=True)
    shutil.copytree(lab.home.path / "redis", lab.home.path / "redis.old")


def old_copy(lab: CrashLab) -> None:
    lab.kill("redis")
    shutil.rmtree(lab.home.path / "redis")
    shutil.copytree(lab.home.path / "redis.old", lab.home.path / "redis")
    lab.start("redis")


class Recorder:
    """Keeps a part running, and notes when it was started again and when the rollout moved."""

    def __init__(self, lab: CrashLab, part: str) -> None:
        self._lab, self._part = lab, part
        self.restarts: list[float] = []
        self.moves: list[float] = []

    @asynccontextmanager
    async def keeping(self, found: Client, rollout: str) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._watch(found, rollout))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            if not self._lab.runs(self._part):
                self._lab.start(self._part)
                self.restarts.append(time.monotonic())
            await asyncio.sleep(LOOK_S)

    async def _watch(self, found: Client, rollout: str) -> None:
        async with aclosing(found.watch(rollout)) as watching:
            async for _ in watching:
                self.moves.append(time.monotonic())

    def resumed(self) -> list[float]:
        """Seconds from each restart to the next event, where that came before the next restart."""
        ends = [*self.restarts[1:], float("inf")]
        firsts = [
            next((move - start for move in self.moves if start < move < end), None)
            for start, end in zip(self.restarts, ends, strict=True)
        ]
        return [round(first, 2) for first in firsts if first is not None]


async def run_row(lab: CrashLab, row: Row) -> Found:
    """Run one row; what did not hold is in `failure`."""
    shown, began = Found(row.name, row.ending), time.monotonic()
    lab.heal()
    recorder = Recorder(lab, row.part)
    try:
        async with lab.client() as found:
            await _roll(lab, row, found, recorder)
    except Exception as error:  # noqa: BLE001 - a row that fails is reported, and the next one is run
        shown.failure = f"{type(error).__name__}: {error}"[:2000]
    finally:
        if row.armed is not None:
            lab.disarm(row.part)
            shown.hits = lab.hits(row.part)
    shown.resumed_s = recorder.resumed()
    shown.took_s = round(time.monotonic() - began, 1)
    return shown


async def _roll(lab: CrashLab, row: Row, found: Client, recorder: Recorder) -> None:
    new, before = lab.fresh(), await on_fleet(found, "core")
    good = row.ending == "succeeded"
    path = write_release(lab.home.path, new, core=new, mode="good" if good else "errors")
    built = await build(lab, found, path)
    async with lab.load():
        if row.armed is not None:
            lab.arm(row.part, row.armed)
        keep_copy(lab)
        rollout = await announce(found, built)
        async with recorder.keeping(found, rollout):
            if row.fault is not None:
                await until_batch(found, rollout, "core-1", "baking")
                row.fault(lab)  # not in a thread: what it starts would end with that thread
                recorder.restarts.append(time.monotonic())
            log = await ended(found, rollout, row.ending, ROLLOUT_S)
        if row.armed is not None:
            lab.disarm(row.part)
        if not lab.runs(row.part):
            lab.start(row.part)
    await check_log(found, log)
    if good:
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        return
    revert = log.revert
    await check_log(found, await log_of(found, revert))
    assert await on_fleet(found, "core") == before, "the fleet is not as it was before"
    done = [(m.node, m.outcome) for m in await results(found, e.StepFinished, revert)]
    assert sorted(set(done)) == sorted(done), f"taken back more than once: {done}"


async def install(lab: Lab) -> None:
    """The first version, on every node."""
    version = lab.fresh()
    async with lab.client() as found:
        path = write_release(lab.home.path, version, core=version, gate=None)
        await ended(found, await announce(found, await build(lab, found, path)), "succeeded")


def table(shown: list[Found], planned: int) -> str:
    lines = [
        f"{len(shown)} of {planned} rows were run, {sum(not f.failure for f in shown)} held; "
        f"{sum(len(f.hits) for f in shown)} kills at transitions. Load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
        "| row | kills | slowest resumption, s | whole rollout, s | held |",
        "|---|---|---|---|---|",
    ]
    for one in shown:
        slow = "-" if one.slowest_s is None else f"{one.slowest_s:.1f}"
        held = "yes" if not one.failure else "**no**: " + one.failure.splitlines()[0][:160].replace("|", "/")
        lines.append(f"| {one.row} | {len(one.hits) or 1} | {slow} | {one.took_s:.0f} | {held} |")
    lines += ["", "Transitions that were hit:", ""]
    for part in SERVICES:
        labels = {
            hit.removeprefix(AGAIN) for one in shown if one.row.startswith(part + ",") for hit in one.hits
        }
        lines.append(f"- {part}: " + ("; ".join(sorted(labels)) or "none"))
    return "\n".join(lines) + "\n"


def late(one: Found) -> bool:
    return one.slowest_s is not None and one.slowest_s > RESUME_GOAL_S


def write(out: Path, shown: list[Found], planned: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "crash-matrix.json").write_text(json.dumps([asdict(one) for one in shown], indent=1))
    (out / "crash-matrix.md").write_text(table(shown, planned))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--only", default="", help="rows whose name has this")
    parser.add_argument("--minutes", type=float, default=25.0)
    options = parser.parse_args()
    wanted = [row for row in rows() if options.only in row.name]
    shown: list[Found] = []
    limit = time.monotonic() + options.minutes * 60
    with suppress(KeyboardInterrupt), CrashLab(NODES) as lab:
        asyncio.run(install(lab))
        for row in wanted:
            if time.monotonic() > limit:
                break
            one = asyncio.run(run_row(lab, row))
            shown.append(one)
            print(f"{one.row}: {one.failure or 'held'}; resumed in {one.resumed_s}; {one.hits}", flush=True)
            write(options.out, shown, len(wanted))
    bad = [one.row for one in shown if one.failure or late(one)]
    if bad or len(shown) < len(wanted):
        sys.exit(
            f"expected every row to hold and to resume in {RESUME_GOAL_S:g} s, found {bad}; {len(shown)} of {len(wanted)} rows were run"
        )


if __name__ == "__main__":
    main()
