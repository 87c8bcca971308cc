"""Redis loses everything in the middle of a rollout: the log of the broker is enough to end it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import check_log, check_switches, ended, publish, until_batch

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("lose", [Lab.flush_redis, Lab.lose_redis], ids=["flushed", "files-deleted"])
@pytest.mark.parametrize("moment", ["applying", "baking"])
async def test_in_the_middle_of_a_rollout(
    lab: Lab, folder: Path, lose: Callable[[Lab], None], moment: str
) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-1", moment)
            lose(lab)
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
