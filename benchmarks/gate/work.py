"""Units of work on several processes. What was measured is kept by line, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import bumpless.health_gate as product
from gate import boundary, ours
from gate.grid import HEALTHY_NOISES, Traces, Unit
from gate.peers import PEERS

BLOCK = 50
"""Releases of a unit at the boundary."""
OURS, ALONE = "ours", "ours, release of one batch"
Found = dict[str, Any]


def fingerprint() -> str:
    """Of what a measured unit depends on: the gate's sources, and those of scenarios and peers."""
    here, there = Path(__file__).parent, Path(str(product.__file__)).parent
    names = (
        "judge.py",
        "checks.py",
        "window.py",
        "view.py",
        "trial.py",
        "offline/traffic.py",
        "offline/simulate.py",
    )
    files = [there / name for name in names] + list((there / "sequential").glob("*.py"))
    files += [here / name for name in ("grid.py", "peers.py", "ours.py", "boundary.py")]
    digest = hashlib.sha256(repr((ours.SPEC, boundary.SPEC)).encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def measured(units: Sequence[Unit], blocks: int, folder: Path, processes: int) -> Iterator[Found]:
    """Every unit's figures and `blocks` of releases at the boundary, those that are known already first. Without
    `processes`, only those."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{fingerprint()}.jsonl"
    known = {found["key"]: found for found in _lines(kept)}
    wanted: dict[str, Unit | int] = {}
    edge = [(f"boundary/{block}", block) for block in range(blocks)]
    every = max(1, len(units) // max(1, blocks))
    for number, unit in enumerate(units):
        wanted[unit.key] = unit
        if number % every == 0 and edge:
            key, block = edge.pop(0)
            wanted[key] = block
    wanted |= dict(edge)
    yield from (known[key] for key in wanted if key in known)
    left = {key: unit for key, unit in wanted.items() if key not in known}
    if not processes:
        return
    _end_line(kept)
    with kept.open("a") as out, ProcessPoolExecutor(processes) as pool:
        tasks = [pool.submit(_measure, key, unit) for key, unit in left.items()]
        for number, task in enumerate(as_completed(tasks), 1):
            found = task.result()
            out.write(json.dumps(found) + "\n")
            out.flush()
            if number % 200 == 0 or number == len(tasks):
                print(f"{number} of {len(tasks)} units", flush=True)
            yield found


def _lines(file: Path) -> Iterator[Found]:
    if not file.exists():
        return
    for line in file.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the line at which the run before was stopped


def _end_line(file: Path) -> None:
    """After a run that was stopped within a line."""
    if file.exists() and not file.read_bytes().endswith(b"\n"):
        with file.open("a") as out:
            out.write("\n")


def _measure(key: str, unit: Unit | int) -> Found:
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.process_time()
    figures = boundary.releases(unit, BLOCK) if isinstance(unit, int) else _grid(unit)
    return {"key": key, **figures, "cpu_s": round(time.process_time() - start, 3)}


def _grid(unit: Unit) -> Found:
    drawn = unit.draw()
    healthy = unit.scenario in HEALTHY_NOISES
    outcomes = [ours.run(one, healthy=healthy) for one in drawn]
    traces = Traces.of(drawn, unit.shape[0])
    gates = {OURS: [one.failed for one in outcomes], ALONE: [one.alone for one in outcomes]}
    for name, gate in PEERS.items():
        gates[name] = [None if at != at else float(at) for at in gate(traces)]
    return {
        "scenario": unit.scenario,
        "cell": unit.cell,
        "gates": gates,
        "passed": [one.passed for one in outcomes],
        "requests": [one.requests for one in outcomes],
        "unstable": sum(one.unstable for one in outcomes),
    }
