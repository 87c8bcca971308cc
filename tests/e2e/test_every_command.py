"""Commands that need a fleet, one after the other as the one table has them: exit codes, and the JSON they print."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bumpless.common.contract.base import RolloutId
from support.command_check import faults, in_process, words_of
from support.command_table import FLEET
from support.fleet_lab import Lab
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import until_batch

pytestmark = pytest.mark.timeout(300)


async def test_every_command(lab: Lab, folder: Path) -> None:
    new, later = lab.fresh(), lab.fresh()
    waits = write_release(folder / "waits", new, core=new, gate=PATIENT_GATE)
    good = write_release(folder / "good", later, core=later, gate=None)
    fill = {
        "release": str(waits),
        "good": str(good),
        "home": str(lab.home.path),
        "digest": "sha256:" + "0" * 64,
        "none": "f" * 8,
    }
    wrong = []
    where = ("--home", str(lab.home.path), "--nats", lab.nats_url)
    for name, runs in FLEET.items():
        for run in runs:
            done = await asyncio.to_thread(in_process, *where, *words_of(name, run, fill))
            wrong += faults(name, run, done)
        if name == "release publish":
            async with lab.client() as found:
                await until_batch(found, RolloutId(await found.find(None)), "core-1", "baking")
    assert wrong == [], "\n\n".join(wrong)
