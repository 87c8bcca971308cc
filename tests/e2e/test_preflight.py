"""What is found before anything runs: shown, refused, waived by a signed statement, and found again in the log."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from bumpless.common.contract import events as e
from bumpless.common.model.version import Version
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import ended, on_fleet
from support.pact_provider import provider

pytestmark = pytest.mark.timeout(300)

PACT = Path(__file__).parents[1] / "fixtures" / "contracts" / "sdk-api.json"
PACT_DIGEST = "sha256:5938ebd138f6c47044b832ea47148dfed975cd479de919efe0414acb4ad7f6b2"
FREEZE = {"from": "2000-01-01", "to": "9999-12-30", "why": "stocktaking"}


async def test_a_block_is_shown_and_refused_until_somebody_signs_for_it(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    file = write_release(
        folder, new, core=new, gate=None, preflight={"freezes": [FREEZE], "backups": [{"component": "core"}]}
    )

    shown = await lab.cli("plan", str(file), "--output", "json")
    answer = json.loads(shown.out)
    codes = {finding["code"]: finding["severity"] for finding in answer["findings"]}
    assert codes["FREEZE"] == codes["BACKUP_MISSING"] == "block"
    assert "COMPAT_UNSTATED" not in codes  # one batch: no two versions serve side by side for long
    assert (await on_fleet_of(lab))[lab.nodes[0]] != new

    text = await lab.cli("plan", str(file))
    assert "FREEZE" in text.out + text.err
    assert "stocktaking" in text.out + text.err

    refused = await lab.cli("apply", str(file))
    assert refused.code == 1, refused
    assert "block FREEZE the release: nothing starts from 2000-01-01" in refused.err
    assert "bumpless waive CODE SUBJECT --release sha256:" in refused.err
    digest = refused.err.split("--release ", 1)[1].split()[0]

    await lab.cli("keys", "generate", "--out", str(folder / "elsewhere"))
    foreign = folder / "elsewhere" / "waiver.key"
    reason = ("--reason", "incident 41", "--until", "2h", "--release", digest)
    bad, freeze, backup = (folder / f"{name}.json" for name in ("bad", "freeze", "backup"))
    for words in (
        ("FREEZE", "the release", *reason, "--key", str(foreign), "--out", str(bad)),
        ("FREEZE", "the release", *reason, "--out", str(freeze)),
        ("BACKUP_MISSING", "*", *reason, "--out", str(backup)),
    ):
        signed = await lab.cli("waive", *words)
        assert signed.code == 0, signed

    refused = await lab.cli("apply", str(file), "--waiver", str(bad), "--waiver", str(backup))
    assert refused.code == 1, refused
    assert "block FREEZE" in refused.err
    assert "block BACKUP_MISSING" not in refused.err
    assert "STATEMENT_INVALID" in refused.err

    done = await lab.cli("apply", str(file), "--waiver", str(freeze), "--waiver", str(backup))
    assert done.code == 0, done
    assert "found: warn FREEZE the release: nothing starts from 2000-01-01" in done.err
    assert set((await on_fleet_of(lab)).values()) == {new}

    history = await lab.cli("rollout", "history")
    assert "waived FREEZE the release by" in history.out, history
    raw = await lab.cli("rollout", "history", "--output", "json")
    planned = [m for m in json.loads(raw.out) if m["type"] == "rollout-planned"]
    assert {w["code"] for m in planned for w in m["waivers"]} == {"FREEZE", "BACKUP_MISSING"}


async def test_nodes_say_what_they_are_like(lab: Lab) -> None:
    async with lab.client() as found:
        for node in (await found.fleet()).nodes:
            facts = node.facts
            assert facts is not None
            assert facts.architecture == platform.machine()
            assert facts.runtime["kernel"] == os.uname().release
            assert 0 < (facts.memory_available or 0) <= (facts.memory_total or 0)
            own = {f"{node.address}:{port}" for port in (7201, 7202)}
            assert not own & set(facts.listening)
            # The broker is a program like any other that listens on this machine.
            assert lab.nats_url.removeprefix("nats://") in facts.listening


async def test_a_success_here_is_signed_for_a_fleet_that_asks(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    file = write_release(folder, new, core=new, gate=None)
    done = await lab.cli("apply", str(file))
    assert done.code == 0, done
    out = folder / "rehearsed.json"
    signed = await lab.cli("rehearsed", "--fleet", "lab", "--out", str(out), "--output", "json")
    assert signed.code == 0, signed
    said = json.loads(signed.out)
    assert (said["type"], said["fleet"]) == ("rehearsed", "lab")
    async with lab.client() as found:
        log = await ended(found, said["rollout"], "succeeded")
        assert log.one(e.RolloutPlanned).release_version == new


async def test_a_version_waits_until_its_contract_is_verified(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    row = {"consumer": "sdk@1.0.0", "provider": f"core@{new}", "pact": PACT_DIGEST}
    file = write_release(folder, new, core=new, gate=None, contracts=[row])
    refused = await lab.cli("apply", str(file))
    assert refused.code == 1, refused
    subject = f"sdk@1.0.0 with core@{Version.parse(new)}"
    assert f"block CONTRACT_UNVERIFIED {subject}: nobody verified the contract" in refused.err

    digest = refused.err.split("--release ", 1)[1].split()[0]
    said = ("--reason", "tested by hand", "--until", "2h", "--out", str(folder / "contract.json"))
    waived = await lab.cli("waive", "CONTRACT_UNVERIFIED", subject, "--release", digest, *said)
    assert waived.code == 0, waived
    shown = await lab.cli("plan", str(file), "--waiver", str(folder / "contract.json"), "--output", "json")
    told = {finding["code"]: finding for finding in json.loads(shown.out)["findings"]}
    assert told["CONTRACT_UNVERIFIED"]["severity"] == "warn"
    assert "tested by hand" in told["CONTRACT_UNVERIFIED"]["waived"]

    signed = folder / "verified.json"
    with provider("good") as url:
        words = ("--consumer-version", "1.0.0", "--provider", "core", "--provider-version", new)
        state = ("--state-change-url", f"{url}/state", "--provider-url", url, "--out", str(signed))
        done = await lab.cli("contract", "verify", str(PACT), *words, *state)
    assert done.code == 0, done
    assert f"verified: sdk 1.0.0 with core {Version.parse(new)}, 2 interactions" in done.out

    whole = write_release(folder, new, core=new, gate=None, contracts=[{**row, "verified": str(signed)}])
    shown = await lab.cli("plan", str(whole), "--output", "json")
    codes = {finding["code"] for finding in json.loads(shown.out)["findings"]}
    assert not codes & {"CONTRACT_UNVERIFIED", "STATEMENT_INVALID"}

    file = write_release(folder, new, core=new, gate=None, contracts=[row])
    done = await lab.cli("apply", str(file), "--statement", str(signed))
    assert done.code == 0, done
    assert set((await on_fleet_of(lab)).values()) == {new}


async def on_fleet_of(lab: Lab) -> dict[str, str]:
    async with lab.client() as found:
        return await on_fleet(found, "core")
