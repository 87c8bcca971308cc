"""A broker of three servers with TLS and identities: its leader is killed in the middle of a rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bumpless.common.access.certificates import Authority
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from support.cluster_kills import Shown, leader_killed, run_one
from support.cluster_lab import ClusterLab
from support.crash_rows import baking
from support.crash_run import install
from support.waiting import eventually

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


async def test_a_stream_that_was_changed_by_hand_is_put_back_when_the_planner_starts(lab: ClusterLab) -> None:
    async with lab.client() as found:
        js = found.connection.js

        async def kept() -> int:
            return (await js.stream_info(Stream.CMD.value)).config.max_msgs_per_subject

        config = (await js.stream_info(Stream.CMD.value)).config
        await js.update_stream(config.evolve(max_msgs_per_subject=9))
        lab.kill("planner")
        lab.start("planner")
        await eventually(kept, lambda number: number == 1, "the stream to keep one command of each")
    assert "max_msgs_per_subject=9 (declared: 1)" in lab.log_file("planner").read_text()


async def test_servers_that_nobody_we_trust_vouches_for_are_none(lab: ClusterLab, tmp_path: Path) -> None:
    other = Authority.make(tmp_path / "ca.pem", tmp_path / "ca.key", "another", clock.now())
    entry = replace(lab.entry, ca=other.file)
    with pytest.raises(Retryable, match=r"we can trust, found .* that no authority we trust vouches for"):
        await Connection.connect(entry, name="test", connect_timeout_s=2)
