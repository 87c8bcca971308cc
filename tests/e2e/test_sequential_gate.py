"""The sequential rules on real nodes: a good release passes batch by batch, a bad one is stopped by its canary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from support.fleet_lab import Lab
from support.fleet_product import Mode, write_release
from support.fleet_watch import Log, ended, log_of, on_fleet, publish

pytestmark = pytest.mark.timeout(300)

GATE: dict[str, Any] = {
    "interval_s": 1,
    "warm_up_s": 2,
    "window_s": 4,
    "timeout_s": 120,
    "min_samples": 50,
    # Three nodes of a few seconds' age: a short past, and no test of what was slow in it.
    "baseline": {"history_s": 60},
    "rules": [
        {"rule": "sequential_errors", "slo": 0.1},
        {"rule": "version"},
        {"rule": "restarts", "max_restarts": 0},
    ],
}


async def rolled_out(lab: Lab, folder: Path, mode: Mode, end: str) -> Log:
    version = lab.fresh()
    async with lab.client() as found, lab.load():
        path = write_release(folder, version, core=version, front=None, mode=mode, gate=GATE)
        rollout = await publish(lab, found, path)
        await ended(found, rollout, end)
        return await log_of(found, rollout)


async def test_a_good_release_passes_on_evidence(lab: Lab, folder: Path) -> None:
    log = await rolled_out(lab, folder, "good", "succeeded")

    first, second = log.of(e.VerdictReached)
    assert (first.verdict, second.verdict) == ("pass", "pass")
    shown = first.evidence[1].sequential
    assert shown is not None
    assert shown.curve is not None
    assert (shown.control, shown.batches, shown.nodes) == ("peers", 2, (1, 2))
    assert max(shown.curve.log_m) < shown.curve.bound
    opened = log.of(c.OpenGate)
    assert opened[1].carried == first.carried
    assert {member.node for member in opened[1].earlier} == {member.node for member in opened[0].canary}
    last = second.evidence[1].sequential
    assert last is not None
    assert last.control == "own past"


async def test_a_bad_release_is_taken_back_by_its_evidence(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        log = await rolled_out(lab, folder, "errors", "reverted")
        verdict = log.one(e.VerdictReached)
        assert (verdict.batch, verdict.verdict, verdict.reason) == ("core-1", "fail", "regression")
        shown = verdict.evidence[1].sequential
        assert shown is not None
        assert shown.curve is not None
        assert shown.curve.log_m[-1] >= shown.curve.bound
        assert await on_fleet(found, "core") == before
