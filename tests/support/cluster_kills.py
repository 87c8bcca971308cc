"""Three servers, hurt while products are rolled out: the leader killed again and again, a disk wiped, a server cut off.

    python tests/support/cluster_kills.py [--out build] [--kills 10] [--docs]

Every rollout is under load, ends as it should, and is judged as those of the crash matrix are (`crash_run`). Writes
OUT/cluster-kills.json and .md, with --docs the table of docs/cluster.md too; ends with 1 where something did not hold.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bumpless.common.contract.subjects import Stream
from support.cluster_lab import ClusterLab
from support.crash_lab import CrashLab
from support.crash_rows import Ending, Fault, Moment, Row, announced, applying, baking, reverting
from support.crash_run import NODES, Found, install, run_row
from support.fleet_watch import parked
from support.waiting import eventually

DOWN_S = 2.0
"""How long a killed server stays away."""
CUT_OFF_S = 25.0
"""Longer than clients take to leave, and than a leader without followers takes to give up."""
LEFT_S = 20.0
KILLS = 10
PAGE = Path(__file__).resolve().parents[2] / "docs" / "cluster.md"
START, END = "<!-- figures: written by make cluster-kills -->", "<!-- end of figures -->"


@dataclass
class Shown:
    """One row: what was hurt, how its rollout went, and how long until every replica had everything again."""

    found: Found
    server: str = ""
    left_s: float | None = None
    whole_s: float | None = None


def cluster(lab: CrashLab) -> ClusterLab:
    assert isinstance(lab, ClusterLab)
    return lab


def leader_killed(stream: Stream, shown: Shown) -> Fault:
    async def fault(lab: CrashLab) -> None:
        shown.server = await cluster(lab).leader(stream)
        lab.kill(shown.server)
        await asyncio.sleep(DOWN_S)
        lab.start(shown.server)

    return fault


def disk_wiped(stream: Stream, shown: Shown) -> Fault:
    async def fault(lab: CrashLab) -> None:
        shown.server = await cluster(lab).leader(stream)
        cluster(lab).wipe(shown.server)

    return fault


def leader_cut_off(stream: Stream, shown: Shown) -> Fault:
    """Its clients leave it while nothing but its routes is silent."""

    async def fault(lab: CrashLab) -> None:
        one = cluster(lab)
        shown.server = await one.leader(stream)
        began = time.monotonic()
        one.cut_off(shown.server)
        await eventually(
            lambda: one.clients_of(shown.server),
            lambda left: not left,
            f"every client to leave {shown.server}",
            LEFT_S,
        )
        shown.left_s = round(time.monotonic() - began, 1)
        await asyncio.sleep(max(0.0, CUT_OFF_S - shown.left_s))
        one.heal()

    return fault


Harm = Callable[[Stream, Shown], Fault]


def planned(kills: int) -> list[tuple[str, Ending, Stream, Moment, Harm]]:
    """Name, ending, whose leader, when, what."""
    turns: list[tuple[Ending, Stream, Moment, str]] = [
        ("succeeded", Stream.RO, baking, "as the canary bakes"),
        ("succeeded", Stream.CMD, applying, "as the canary switches"),
        ("reverted", Stream.RO, reverting, "as it is taken back"),
        ("succeeded", Stream.CMD, announced, "as it is announced"),
        ("reverted", Stream.CMD, baking, "as the canary bakes"),
    ]
    rows = []
    for number in range(kills):
        ending, stream, moment, when = turns[number % len(turns)]
        rows.append(
            (f"{number + 1}: leader of {stream} killed {when}", ending, stream, moment, leader_killed)
        )
    after: Harm = leader_killed
    return [
        *rows,
        ("leader of RO killed, its disk wiped", "succeeded", Stream.RO, baking, disk_wiped),
        ("leader of CMD killed after that", "succeeded", Stream.CMD, applying, after),
        ("leader of RO cut off", "succeeded", Stream.RO, baking, leader_cut_off),
        ("leader of CMD cut off", "reverted", Stream.CMD, applying, leader_cut_off),
    ]


async def run_one(
    lab: ClusterLab, name: str, ending: Ending, moment: Moment, make: Callable[[Shown], Fault]
) -> Shown:
    shown = Shown(Found(name, ending))
    row = Row(name, "planner", ending, fault=make(shown), moments=(moment,))
    shown.found = await run_row(lab, row)
    began = time.monotonic()
    try:
        await lab.whole()
        shown.whole_s = round(time.monotonic() - began, 1)
        async with lab.client() as found:
            dead = await parked(found, lambda message: True)
        assert not dead, f"expected nothing to be parked, found {dead}"
        down = lab.down(besides="")
        assert not down, f"expected nothing to end by itself, found {down}"
    except Exception as error:  # noqa: BLE001 - reported with the row
        shown.found.failure = shown.found.failure or f"{type(error).__name__}: {error}"[:2000]
    return shown


def table(rows: list[Shown], seconds: float) -> str:
    loads = [one.found.load for one in rows]
    lines = [
        f"{len(rows)} rollouts in {seconds / 60:.0f} minutes, {sum(not one.found.failure for one in rows)} held. "
        f"Load of the machine: {min(loads):.0f} to {max(loads):.0f}, on {os.cpu_count()} cores.",
        "",
        "| hurt | ended | moved on after, s | left by its clients after, s | whole rollout, s | replicas whole after, s | held |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        held = "yes" if not one.found.failure else "**no**: " + one.found.failure.splitlines()[0][:160]
        moved = "-" if one.found.slowest_s is None else f"{one.found.slowest_s:.1f}"
        left = "-" if one.left_s is None else f"{one.left_s:.1f}"
        whole = "-" if one.whole_s is None else f"{one.whole_s:.1f}"
        what = f"{one.found.row} ({one.server})"
        lines.append(
            f"| {what} | {one.found.ending} | {moved} | {left} | {one.found.took_s:.0f} | {whole} | {held} |"
        )
    return "\n".join(lines) + "\n"


def write(out: Path, rows: list[Shown], seconds: float, *, docs: bool) -> None:
    text = table(rows, seconds)
    (out / "cluster-kills.json").write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n")
    (out / "cluster-kills.md").write_text(text)
    if docs:
        before, _, rest = PAGE.read_text().partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n\n{text}\n{END}{after}")


async def run_all(lab: ClusterLab, kills: int, told: Callable[[Shown], None]) -> None:
    await install(lab)
    await lab.whole()
    for name, ending, stream, moment, harm in planned(kills):
        one = await run_one(
            lab, name, ending, moment, lambda shown, harm=harm, stream=stream: harm(stream, shown)
        )
        told(one)
        if one.found.failure:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/cluster.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended first
    options.out.mkdir(parents=True, exist_ok=True)
    began, rows = time.monotonic(), list[Shown]()
    wanted = len(planned(options.kills))

    def told(one: Shown) -> None:
        rows.append(one)
        print(
            f"{one.found.row} ({one.server}): {one.found.failure or 'held'}; {one.found.resumed_s}",
            flush=True,
        )
        write(options.out, rows, time.monotonic() - began, docs=options.docs and len(rows) == wanted)

    with ClusterLab(NODES) as lab:
        try:
            asyncio.run(run_all(lab, options.kills, told))
        finally:
            kept = options.out / "cluster-kills-logs"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(lab.home.path / "logs", kept)
    print((options.out / "cluster-kills.md").read_text())
    bad = [one.found.row for one in rows if one.found.failure]
    if bad or len(rows) < wanted:
        sys.exit(f"expected every rollout to hold, found {bad}; {len(rows)} of {wanted} were run")


if __name__ == "__main__":
    main()
