"""Two sets of nodes behind one HAProxy: the release goes onto the one that does not serve, and back, unnoticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import events as e
from support.fleet_lab import Lab
from support.fleet_product import GATE, starts, write_release
from support.fleet_watch import check_log, ended, log_of, on_fleet, publish, results
from support.haproxy import Haproxy
from support.waiting import comes_true, eventually

pytestmark = pytest.mark.timeout(300)

BLUE, GREEN = ["node-1", "node-2"], ["node-3", "node-4"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(4) as lab:
        yield lab


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Haproxy]:
    with Haproxy({node: lab.address(node, "core") for node in lab.nodes}) as proxy:
        yield proxy


def write(folder: Path, version: str, proxy: Haproxy, hold_s: float, **more: Any) -> Path:
    place = {"socket": str(proxy.socket), "backend": "web", "server": "{node.name}"}
    return write_release(
        folder,
        version,
        core=version,
        front=None,
        how={"proxy": {"haproxy": place}},
        strategy={"kind": "blue-green", "blue": BLUE, "green": GREEN, "hold_s": hold_s},
        **more,
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def started(lab: Lab, node: str, version: str) -> list[int]:
    return [pid for v, _, pid in starts(lab.home.node_dir(node), "core") if v == version]


async def switched(found: Client, rollout: str, nodes: list[str]) -> list[Any]:
    said = await results(found, e.StepFinished, rollout)
    return [m.switched_at for m in said if m.node in nodes and m.switched_at is not None]


async def serves(found: Client, nodes: list[str], version: str) -> None:
    """These nodes and no others, as soon as all have said so."""
    wanted = dict.fromkeys(nodes, version)
    await eventually(lambda: on_fleet(found, "core"), lambda seen: seen == wanted, f"{wanted}")


async def test_a_switch_and_the_switch_back(lab: Lab, folder: Path, proxy: Haproxy) -> None:
    one, two, three = lab.fresh(), lab.fresh(), lab.fresh()
    async with lab.client() as found:
        first = await publish(lab, found, write(folder, one, proxy, 600, gate=None))
        await ended(found, first, "succeeded")
        await serves(found, BLUE, one)

        async with lab.load(at=[f"127.0.0.1:{proxy.port}"]):
            rollout = await publish(lab, found, write(folder, two, proxy, 600, gate=GATE))
            log = await ended(found, rollout, "succeeded")
            await check_log(found, log)
            await serves(found, GREEN, two)
            # Never less than a full set: the first node of blue went when all of green were judged good.
            (passed,) = [m for m in log.of(e.VerdictReached) if m.verdict == "pass"]
            assert max(await switched(found, rollout, GREEN)) < passed.at
            assert min(await switched(found, rollout, BLUE)) > passed.at
            held = [pid for node in BLUE for pid in started(lab, node, one)]
            assert all(alive(pid) for pid in held)
            shown = await lab.cli("fleet", "list")
            assert shown.out.count(f"absent, holds {one}") == len(BLUE), shown.out

            done = await lab.cli("rollback", rollout)
            assert done.code == 0, done.err
            await ended(found, rollout, "reverted")
            await serves(found, BLUE, one)
            revert = (await log_of(found, rollout)).revert
            assert max(await switched(found, revert, BLUE)) < min(await switched(found, revert, GREEN))
            # The very processes: nothing was started to go back.
            assert [pid for node in BLUE for pid in started(lab, node, one)] == held
            assert all(alive(pid) for pid in held)

            third = await publish(lab, found, write(folder, three, proxy, 0.5, gate=None))
            await ended(found, third, "succeeded")
            await serves(found, GREEN, three)
            await comes_true(
                lambda: not any(map(alive, held)), "the set that was held for half a second to be retired"
            )
