"""A broker of three servers with TLS and identities: its leader is killed in the middle of a rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bumpless.common.contract.subjects import Stream
from support.cluster_kills import Shown, leader_killed, run_one
from support.cluster_lab import ClusterLab
from support.crash_rows import baking
from support.crash_run import install

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lab() -> Iterator[ClusterLab]:
    with ClusterLab(2) as found:
        asyncio.run(install(found))
        yield found


async def test_a_rollout_goes_on_whose_leader_is_killed(lab: ClusterLab) -> None:
    def killed(shown: Shown):
        return leader_killed(Stream.RO, shown)

    shown = await run_one(lab, "leader of RO killed", "succeeded", baking, killed)
    assert shown.found.failure == ""
    assert shown.found.faults == 1
