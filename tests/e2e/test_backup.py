"""A control plane that lost its disks goes on from a backup, a rollout on its way included."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from bumpless.cli.home import Home
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.shell import clock
from support.command_check import check
from support.command_table import Run
from support.fleet_lab import Ended, Lab, run_cli
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import (
    check_log,
    check_switches,
    ended,
    log_of,
    on_fleet,
    publish,
    results,
    until_batch,
)
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


def well(name: str, words: str, done: Ended, code: int = 0) -> str:
    """What it printed as JSON; that is as documented, and the exit code as well."""
    check(name, Run(words, code), done.code, done.out, done.err)
    return done.err


async def test_a_rollout_on_its_way_goes_on_after_both_disks_were_lost(lab: Lab, folder: Path) -> None:
    new, file = lab.fresh(), folder / "backup.zip"
    async with lab.client() as found:
        path = write_release(folder, new, core=new, gate=PATIENT_GATE)
        rollout = await publish(lab, found, path)
        await until_batch(found, rollout, "core-1", "baking")
        (finished,) = [r for r in await found.rollouts() if r.rollout != rollout]
        before = await log_of(found, finished.rollout)

        well("backup", str(file), await lab.cli("-o", "json", "backup", str(file)))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "is not there yet" in well("backup", str(file), await lab.cli("backup", str(file)), 1)

        again = ("-o", "json", "restore", str(file), "--redis", lab.redis_url)
        assert "an empty state store" in well("restore", "", await lab.cli(*again), 1)
        assert "an empty broker" in well("restore", "", await lab.cli(*again[:-2]), 1)

        async with lab.load():
            lab.kill(*lab.services, "nats", "redis")
            for server in ("nats", "redis"):
                shutil.rmtree(lab.home.path / server)
            (lab.home.path / "redis").mkdir()
            lab.start("nats", "redis")
            assert "restart the broker" in well("restore", "", await lab.cli(*again))
            lab.kill("nats")
            lab.start("nats", *lab.services)
            await lab.ready()

            seen = await log_of(found, finished.rollout)
            assert seen.messages == before.messages
            for batch in ("core-1", "core-2"):
                await until_batch(found, rollout, batch, "baking")
                promote = c.Promote(
                    id=clock.fresh_id(), at=clock.now(), rollout=rollout, by="ada", to="planner"
                )
                answer = await found.command(promote)
                assert answer.accepted, answer.text
            log = await ended(found, rollout, "succeeded")
        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        said = [m for m in await results(found, e.StepFinished, rollout) if m.component == "core"]
        assert {m.outcome for m in said} <= {"done", "already"}
        wanted = dict.fromkeys(lab.nodes, new)
        await eventually(lambda: on_fleet(found, "core"), lambda seen: seen == wanted, f"{wanted}")


async def test_an_embedded_control_plane_is_filled_where_it_lies(lab: Lab, folder: Path) -> None:
    file, home = folder / "again.zip", Home(folder / "elsewhere")
    well("backup", "", await lab.cli("-o", "json", "backup", str(file)))
    lab.kill(*lab.services, "nats")  # the port of the broker is that of the backup
    try:
        done = await run_cli(home, "-o", "json", "restore", str(file))
        well("restore", "", done)
        assert {str(home.release_key), str(home.trust)} <= set(json.loads(done.out)["written"])
        assert home.release_key.read_bytes() == lab.home.release_key.read_bytes()
        assert stat.S_IMODE(home.release_key.stat().st_mode) == 0o600
        assert "an empty broker" in well("restore", "", await run_cli(home, "restore", str(file)), 1)
    finally:
        lab.start("nats", *lab.services)


async def test_a_damaged_backup_is_refused_before_anything_is_written(lab: Lab, folder: Path) -> None:
    file, home = folder / "damaged.zip", Home(folder / "nowhere")
    well("backup", "", await lab.cli("-o", "json", "backup", str(file)))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    said = well("restore", "", await run_cli(home, "restore", str(file)), 1)
    assert "take another backup" in said
    assert not home.path.exists()
