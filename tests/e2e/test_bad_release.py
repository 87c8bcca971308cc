"""Releases that are bad in several ways: each is taken back by itself, and the old version serves all the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from support.fleet_lab import Lab
from support.fleet_product import Mode, starts, write_release
from support.fleet_watch import Log, check_log, ended, log_of, on_fleet, publish, results

pytestmark = pytest.mark.timeout(300)


async def test_answers_with_errors(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        log = await taken_back(lab, found, folder, "errors")

        verdict = log.one(e.VerdictReached)
        assert (verdict.batch, verdict.verdict, verdict.reason) == ("core-1", "fail", "regression")
        failed = log.one(e.RolloutFailed)
        assert failed.switched_anything
        assert verdict.detail in failed.reason
        done = await results(found, e.StepFinished, log.revert)
        assert {(m.node, m.outcome) for m in done} == {("node-1", "done")}


async def test_never_gets_ready(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        # Straight at the component as well: a version that was never ready must not have got a single request.
        async with lab.load("core"):
            log = await taken_back(lab, found, folder, "never-ready", ready_timeout_s=2)

        assert not log.of(e.VerdictReached)
        assert "expected READY=1" in await failed_on_the_canary(found, log)


async def test_dies_before_it_takes_over(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        log = await taken_back(lab, found, folder, "dies")

        assert not log.of(e.VerdictReached)
        assert "exited with status 3" in await failed_on_the_canary(found, log)


async def test_dies_again_and_again_after_it_took_over(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        log = await taken_back(lab, found, folder, "crashes")

        verdict = log.one(e.VerdictReached)
        assert (verdict.batch, verdict.verdict) == ("core-1", "fail")
        assert verdict.reason in ("crash_loop", "down"), verdict


async def failed_on_the_canary(found: Client, log: Log) -> str:
    """The reason that the one commanded node gave."""
    failed = await results(found, e.StepFinished, log.rollout)
    assert [(m.node, m.outcome) for m in failed] == [("node-1", "failed")]
    assert failed[0].reason
    assert failed[0].reason in log.one(e.RolloutFailed).reason
    return failed[0].reason


async def taken_back(lab: Lab, found: Client, folder: Path, mode: Mode, **timing: float) -> Log:
    """Publish a bad version of `core` under load; the log after the fleet is back."""
    before = await on_fleet(found, "core")
    serving = {node: starts(lab.home.node_dir(node), "core") for node in lab.nodes}
    bad = lab.fresh()
    async with lab.load():
        path = write_release(folder, bad, core=bad, mode=mode, timing=timing)
        rollout: RolloutId = await publish(lab, found, path)
        log = await ended(found, rollout, "reverted")

    await check_log(found, log)
    await check_log(found, await log_of(found, log.revert))
    assert log.one(e.RevertStarted).by == "policy"
    assert log.one(e.RolloutReverted).revert == log.revert
    assert await on_fleet(found, "core") == before
    for node in lab.nodes:
        new = starts(lab.home.node_dir(node), "core")[len(serving[node]) :]
        # Nothing of the old version was started: its process served on, or was resumed.
        assert {version for version, _, _ in new} == ({bad} if node == "node-1" else set())
    commanded = {m.node for m in await results(found, e.StepFinished, rollout)}
    assert commanded == {"node-1"}
    return log
