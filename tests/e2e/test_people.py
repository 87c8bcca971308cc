"""What people do on the command line while a rollout goes on: answers, exit codes, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from support.fleet_lab import Ended, Lab
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import check_log, ended, on_fleet, until_batch

pytestmark = pytest.mark.timeout(300)


async def said(lab: Lab, code: int, *words: str) -> Ended:
    """The output of a command that must end with `code`."""
    done = await lab.cli(*words)
    assert done.code == code, f"bumpless {' '.join(words)} ended with {done.code}: {done.out}{done.err}"
    return done


async def begun(lab: Lab, found: Client, path: Path) -> RolloutId:
    """Publish a release, and wait until its canary bakes: its gate waits for a person."""
    done = await said(lab, 0, "--output", "json", "release", "publish", str(path))
    rollout = RolloutId(json.loads(done.out)["rollout"])
    await until_batch(found, rollout, "core-1", "baking")
    return rollout


async def test_pause_promote_resume(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await begun(lab, found, write_release(folder, new, core=new, gate=PATIENT_GATE))
            assert (await said(lab, 0, "pause", "--reason", "a look")).out.startswith("accepted: paused")
            assert "paused" in (await said(lab, 4, "status", "--no-watch")).out
            assert (await said(lab, 1, "resume", "f" * 8)).err.startswith("error: expected one rollout")
            assert "promoted core-1" in (await said(lab, 0, "promote", rollout[:8])).out
            # Somebody else's pause is not lifted by promoting.
            assert "paused" in (await said(lab, 4, "status", "--no-watch")).out
            await said(lab, 0, "resume")
            await until_batch(found, rollout, "core-2", "baking")
            assert "no batch is baking" in (await said(lab, 1, "promote", "--batch", "core-9")).out
            await said(lab, 0, "promote", "--batch", "core-2")
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        refused = await said(lab, 1, "pause", rollout)
        assert refused.out.startswith("refused: the rollout is succeeded")
        assert "succeeded" in (await said(lab, 0, "status", rollout)).out
        answers = log.of(e.CommandAnswered)
        assert [(a.command, a.accepted) for a in answers] == [
            ("pause", True),
            ("promote", True),
            ("resume", True),
            ("promote", False),
            ("promote", True),
        ]


async def test_abort_retry_and_rollback(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        async with lab.load():
            path = write_release(folder, new, core=new, gate=PATIENT_GATE)
            rollout = await begun(lab, found, path)
            lab.kill("rollback")
            await said(lab, 0, "abort", "--reason", "wrong one")
            refused = await said(lab, 1, "retry", rollout)
            assert "it has failed and is being taken back; retry once that has ended" in refused.out
            lab.start("rollback")
            log = await ended(found, rollout, "reverted")
            assert "wrong one" in log.one(e.RolloutFailed).reason
            assert await on_fleet(found, "core") == before
            assert "reverted" in (await said(lab, 2, "status", rollout)).out

            answer = (await said(lab, 0, "retry", rollout)).out
            again = RolloutId(answer.split()[-1])
            for batch in ("core-1", "core-2"):
                await until_batch(found, again, batch, "baking")
                await said(lab, 0, "promote", "--batch", batch)
            await ended(found, again, "succeeded")
            assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)

            await said(lab, 0, "rollback", "--reason", "on second thoughts")
            log = await ended(found, again, "reverted")
        await check_log(found, log)
        assert await on_fleet(found, "core") == before
    assert "; ends reverted" in (await said(lab, 0, "rollout", "replay", again, "--verify")).out


async def test_looking_back(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            path = write_release(folder, new, core=new)
            assert "core-1" in (await said(lab, 2, "plan", str(path), "--detailed-exitcode")).out
            await said(lab, 0, "apply", str(path))
        rollout = await found.find(None)

    replayed = (await said(lab, 0, "rollout", "replay", "--verify")).out
    assert "; ends succeeded" in replayed
    assert "DIFFERS" not in replayed
    history = json.loads((await said(lab, 0, "rollout", "history", rollout, "--output", "json")).out)
    kinds = [message["type"] for message in history]
    assert kinds.count("rollout-succeeded") == 1
    assert kinds.count("verdict-reached") == 2
    rows = json.loads((await said(lab, 0, "fleet", "list", "-o", "json")).out)
    assert {(r["node"], r["version"], r["state"]) for r in rows if r["component"] == "core"} == {
        (node, new, "serving") for node in lab.nodes
    }
    listed = (await said(lab, 0, "rollout", "list")).out
    assert rollout in listed
    misspelled = await said(lab, 1, "fleet", "list", "--colour")
    assert misspelled.err.startswith("error: No such option: --colour")
    assert "Traceback" not in misspelled.err
    assert "nothing to change" in (await said(lab, 0, "plan", str(path))).out
