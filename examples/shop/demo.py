"""The whole story on four local nodes: install v1, upgrade to v2 under load, and let v3 take itself back.

    make demo

HTTP clients call the gateways and jobs flow through the queue the whole time. Everything runs below `build/demo`,
on loopback addresses, without root. Ends 0 when nobody noticed anything; `build/demo/report.json` has the figures.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from build_trees import COMPONENTS, write_tree
from load import Load, LoadReport, verify_jobs
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bumpless.cli.client import Client, Watched, client
from bumpless.cli.home import Home
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.fleet import Fleet

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "demo"
HOME = BUILD / "home"
BUMPLESS = [sys.executable, "-m", "bumpless.cli.app", "--home", str(HOME)]
NODES = 4
RATE = 250.0
REQUESTS_MIN = 20_000
ROLLOUT_LIMIT_S = 200.0
SWITCH_WINDOW_S = 3.0
"""How far around a switch its gap is looked for: from the new process's first answer to the old one's last."""

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


@dataclass(frozen=True)
class Seen:
    """What the broker's log says about one rollout."""

    rollout: RolloutId
    announced_at: datetime
    ended_at: datetime
    failed_at: datetime | None
    reverted_at: datetime | None
    switched: dict[str, datetime]
    fetched: int
    full: int


def bumpless(*words: str) -> str:
    """Run the command as a person, or CI, would; its standard output."""
    done = subprocess.run([*BUMPLESS, *words], capture_output=True, text=True, check=False, cwd=BUILD)
    if done.returncode != 0:
        raise SystemExit(
            f"bumpless {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


async def main() -> int:
    began = time.monotonic()
    prepare()
    console.print(f"[bold]1.[/] control plane and {NODES} nodes on this machine")
    bumpless("up", "--nodes", str(NODES))
    try:
        async with client(Home(HOME).entry(None)) as found:
            report, facts = await story(found)
    finally:
        bumpless("down")
    (BUILD / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    show(report, facts, time.monotonic() - began)
    good = (
        report["requests_failed"] == report["jobs_lost"] == report["jobs_duplicated"] == 0
        and report["nodes_on_bad_version_after"] == 0
        and report["requests_total"] >= REQUESTS_MIN
        and set(report["versions_after"].values()) == {"v2"}
    )
    console.print(
        "[bold green]nobody noticed[/]" if good else "[bold red]somebody noticed: see the report above[/]"
    )
    return 0 if good else 1


def prepare() -> None:
    if (HOME / "cluster.json").exists():
        bumpless("down")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for version in ("v1", "v2", "v3"):
        for component in COMPONENTS:
            write_tree(component, version, BUILD / "trees" / f"{component}-{version}")
    for name in ("v1", "v2", "v3-bad"):
        shutil.copy(HERE / "releases" / f"{name}.yaml", BUILD)


async def story(found: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    console.print("[bold]2.[/] install v1")
    await release(found, "v1.yaml", "succeeded")
    fleet = await found.fleet()
    digests = {"v1": running(fleet)}
    gateways = [f"{node.address}:7104" for node in fleet.nodes]
    database = next(f"{n.address}:7101" for n in fleet.nodes if "database" in n.components)

    load = Load(gateways, rate=RATE, run="demo")
    load.start()
    console.print(
        f"[bold]3.[/] {RATE:g} requests/s from keep-alive and fresh connections from here on; upgrade to v2"
    )
    v2 = await release(found, "v2.yaml", "succeeded", load)
    digests["v2"] = running(await found.fleet())
    console.print("[bold]4.[/] release v3, which is bad: its canary's gate takes it back")
    v3 = await release(found, "v3-bad.yaml", "reverted", load)
    with bars("enough requests to count") as (progress, task):
        while load.requests_total < REQUESTS_MIN + 500:
            progress.update(task, total=REQUESTS_MIN + 500, completed=load.requests_total)
            await asyncio.sleep(0.2)
    requests = await load.stop()
    console.print("[bold]5.[/] wait for the queue, look at the nodes")
    jobs = await verify_jobs(database, requests.orders_accepted)
    after = await found.fleet()
    digests["end"] = running(after)
    return report(v2, v3, requests, jobs, after), {
        "digests": digests,
        "requests": requests,
        "v2": v2,
        "v3": v3,
    }


async def release(found: Client, file: str, wanted: str, load: Load | None = None) -> Seen:
    """Publish a release as CI would, follow it to its end, and read the log for what happened."""
    words = ("--output", "json", "release", "publish", file)
    published = json.loads(await asyncio.to_thread(bumpless, *words))  # the clients go on meanwhile
    rollout = RolloutId(published["rollout"])
    watched = Watched(rollout)
    with bars(file) as (progress, task):
        async with asyncio.timeout(ROLLOUT_LIMIT_S):
            async for seen, _ in found.watch(rollout):
                watched = seen
                now = seen.revert or seen.forward
                if now is not None:
                    busy = ", ".join(b for b, s in now.batches.items() if s in ("applying", "baking"))
                    said = f"{now.direction} {now.status} {busy}"
                    said += (
                        ""
                        if load is None
                        else f"  {load.requests_total} requests, {load.requests_failed} failed"
                    )
                    progress.update(task, completed=now.steps_done, total=now.steps_total, description=said)
    status = "none" if watched.forward is None else watched.forward.status
    if watched.revert is not None:
        status = watched.revert.status
    if status != wanted:
        raise SystemExit(
            f"{file}: expected it to end {wanted}, it is {status}; see {HOME}/logs\n" + reasons(watched)
        )
    return await read_log(found, rollout)


def reasons(watched: Watched) -> str:
    found = [p.reason for p in (watched.forward, watched.revert) if p is not None and p.reason]
    return "\n".join([*found, *(watched.refused.reasons if watched.refused is not None else ())])


async def read_log(found: Client, rollout: RolloutId) -> Seen:
    history = [wire.decode(item.data) for item in await found.history(rollout)]
    planned = next(m for m in history if isinstance(m, e.RolloutPlanned))
    announced = planned.at
    for item in await found.connection.snapshot(
        Stream.REL, subjects.STREAM_SUBJECTS[Stream.REL], history=True
    ):
        message = wire.decode(item.data)
        if message.id == planned.cause:
            announced = message.at
    failed = next((m.at for m in history if isinstance(m, e.RolloutFailed)), None)
    reverted = next((m.at for m in history if isinstance(m, e.RolloutReverted)), None)
    ended = [m.at for m in history if isinstance(m, e.RolloutSucceeded | e.RolloutReverted)]
    reverts = {m.revert for m in history if isinstance(m, e.RevertStarted)}
    staged, finished = [], []
    for kind in (e.StepStaged, e.StepFinished):
        filters = subjects.subject_for(kind)
        for item in await found.connection.snapshot(Stream.EVT, filters, history=True):
            message = wire.decode(item.data)
            if isinstance(message, e.StepStaged) and message.rollout == rollout:
                staged.append(message)
            if isinstance(message, e.StepFinished) and message.rollout in {rollout, *reverts}:
                finished.append(message)
    return Seen(
        rollout=rollout,
        announced_at=announced,
        ended_at=ended[-1],
        failed_at=failed,
        reverted_at=reverted,
        switched={
            f"{m.rollout[:8]}/{m.node}/{m.component}": m.switched_at
            for m in finished
            if m.switched_at is not None
        },
        fetched=sum(m.bytes_fetched for m in staged),
        full=sum(m.full_bytes for m in staged),
    )


def report(v2: Seen, v3: Seen, requests: LoadReport, jobs: Any, after: Fleet) -> dict[str, Any]:
    assert v3.failed_at is not None
    assert v3.reverted_at is not None
    bad = next(
        at for key, at in v3.switched.items() if key.startswith(v3.rollout[:8]) and key.endswith("/api")
    )
    switches = [at.timestamp() for seen in (v2, v3) for at in seen.switched.values()]
    windows = [(at - SWITCH_WINDOW_S, at + SWITCH_WINDOW_S) for at in switches]
    components = [(name, c.target) for node in after.nodes for name, c in node.components.items() if c.target]
    on_bad = [
        n for n in after.nodes if any(c.target and c.target.version == "v3" for c in n.components.values())
    ]
    return {
        "requests_total": requests.requests_total,
        "requests_failed": requests.requests_failed,
        "jobs_total": jobs.jobs_total,
        "jobs_lost": jobs.jobs_lost,
        "jobs_duplicated": jobs.jobs_duplicated,
        "full_bytes": v2.full,
        "delta_bytes": v2.fetched,
        "upgrade_seconds": round((v2.ended_at - v2.announced_at).total_seconds(), 2),
        "switch_gap_ms_max": round(requests.gap_ms_max(windows), 1),
        "detect_seconds": round((v3.failed_at - bad).total_seconds(), 2),
        "rollback_seconds": round((v3.reverted_at - v3.failed_at).total_seconds(), 2),
        "nodes_on_bad_version_after": len(on_bad),
        "versions_after": {
            name: ", ".join(sorted({t.version for n, t in components if n == name})) for name in COMPONENTS
        },
    }


def running(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Component -> node -> digest, as the nodes observed them."""
    found: dict[str, dict[str, str]] = {}
    for node in fleet.nodes:
        for name, component in node.components.items():
            if component.root is not None:
                found.setdefault(name, {})[node.name] = component.root.removeprefix("sha256:")[:12]
    return found


def show(report: dict[str, Any], facts: dict[str, Any], seconds: float) -> None:
    table = Table("component", "nodes", "digest on v1", "digest on v2", "digest at the end", box=None)
    digests = facts["digests"]
    for name in COMPONENTS:
        nodes = ", ".join(sorted(digests["end"].get(name, {})))
        table.add_row(name, nodes, *(each(digests[k].get(name, {}).values()) for k in ("v1", "v2", "end")))
    console.print(table)
    requests: LoadReport = facts["requests"]
    for failure in requests.failures[:10]:
        console.print(f"failed request: {failure}", markup=False)
    share = 100 * report["delta_bytes"] / max(1, report["full_bytes"])
    rows = [
        ("requests", f"{report['requests_total']}, of which {report['requests_failed']} failed"),
        ("latency", f"p50 {requests.latency_ms(0.5):.1f} ms, p99 {requests.latency_ms(0.99):.1f} ms"),
        (
            "jobs",
            f"{report['jobs_total']}, {report['jobs_lost']} lost, {report['jobs_duplicated']} done twice",
        ),
        (
            "v1 to v2",
            f"{report['upgrade_seconds']} s for {len(facts['v2'].switched)} switches on {NODES} nodes",
        ),
        ("sent to nodes", f"{report['delta_bytes']} bytes, {share:.1f} % of the full packages"),
        ("longest gap", f"{report['switch_gap_ms_max']} ms between two answers around a switch"),
        ("v3 detected", f"{report['detect_seconds']} s after the first bad api served"),
        ("taken back", f"{report['rollback_seconds']} s after that"),
        ("bad version left", f"on {report['nodes_on_bad_version_after']} nodes"),
        ("all of it", f"{seconds:.0f} s"),
    ]
    for name, text in rows:
        console.print(f"  {name:<17} {text}")
    console.print(f"  {'report':<17} {BUILD / 'report.json'}")


def each(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


class bars:  # noqa: N801 - reads as a verb where it is used
    """A progress bar on a terminal; a line whenever its text changes elsewhere."""

    def __init__(self, text: str) -> None:
        columns = (BarColumn(30), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("{task.description}"), console=console)
        self._text = text

    def __enter__(self) -> tuple[Any, Any]:
        if sys.stdout.isatty():
            self._progress.start()
            return self._progress, self._progress.add_task(self._text, total=1)
        return _Lines(), None

    def __exit__(self, *_: object) -> None:
        if sys.stdout.isatty():
            self._progress.stop()


class _Lines:
    def __init__(self) -> None:
        self._said = ""

    def update(self, _: Any, *, completed: float, total: float, description: str = "") -> None:
        key = description.split("  ")[0]
        if key and key != self._said:
            self._said = key
            filled = int(20 * completed / max(1, total))
            bar = "#" * filled + "." * (20 - filled)
            console.print(f"   [{bar}] {completed:.0f}/{total:.0f} {description}", markup=False)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
