"""The control plane is upgraded by itself, service after service, in the middle of a product's rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.shell import clock
from support.control_plane import RELEASE, ROOT, export, previous_commit, write_control_release
from support.fleet_lab import Lab
from support.fleet_product import GATE, write_release
from support.fleet_watch import (
    Watched,
    check_log,
    check_switches,
    ended,
    on_fleet,
    publish,
    results,
    until,
)
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

PREVIOUS = previous_commit()
PRODUCT = ["node-1", "node-2", "node-3", "node-4"]
CONTROL = "node-5"
SERVICES = ["health-gate", "rollback", "alerts", "events", "dashboard", "planner"]
ASKED = {"kind": "rolling", "batch_size": 1, "approval": True}
"""Every batch but the first waits for a person, so the rollout lasts as long as the test wants."""
APPROVED = 6


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes that run `core` and `front`, and a fifth on which the services of the commit before this one run."""
    if PREVIOUS is None:
        pytest.skip(
            "needs the history of git, with a commit before this one whose services can be components"
        )
    with Lab(len(PRODUCT) + 1, events=True) as lab:
        asyncio.run(_install(lab, export(PREVIOUS, lab.home.path / "previous")))
        yield lab


@pytest.fixture(autouse=True)
def whole() -> None:
    """The services that the lab started stay ended: others work in their place."""


async def _install(lab: Lab, previous: Path) -> None:
    lab.end(*(name for name in lab.services if name != "planner"))  # their addresses are to be taken over
    async with lab.client() as found:
        product = write_release(lab.home.path, "v1", core="v1", gate=None, nodes=PRODUCT)
        control = write_control_release(lab, CONTROL, "previous", previous)
        for rollout in [await publish(lab, found, path) for path in (product, control)]:
            await ended(found, rollout, "succeeded")
    lab.end("planner")


async def _approve_next(found: Client, rollout: RolloutId, approved: set[str]) -> None:
    """Wait until a batch asks for its approval, and give it."""

    def asks(seen: Watched) -> list[str]:
        shown = {} if seen.forward is None else seen.forward.batches
        asking = {name for name, status in shown.items() if status.startswith("awaiting-approval")}
        return sorted(asking - approved)

    seen = await until(found, rollout, asks, "a batch to wait for its approval")
    planned = await found.planned(rollout)
    assert isinstance(planned, e.RolloutPlanned)
    order = c.Approve(
        id=clock.fresh_id(),
        at=clock.now(),
        rollout=rollout,
        by="ada",
        to="planner",
        plan_hash=planned.plan_hash,
        batch=BatchId(asks(seen)[0]),
    )
    answer = await found.command(order)
    assert answer.accepted, answer.text
    approved.add(asks(seen)[0])


async def _upgraded(found: Client, rollout: RolloutId, names: list[str]) -> None:
    """These services are replaced in this rollout."""

    def done(said: list[e.StepFinished]) -> bool:
        return {m.component for m in said if m.outcome == "done"} >= set(names)

    await eventually(lambda: results(found, e.StepFinished, rollout), done, f"{names} to be replaced", 120)


async def test_a_product_is_rolled_out_while_every_service_is_replaced(lab: Lab, folder: Path) -> None:
    path = write_release(folder, "v2", core="v2", front="f2", gate=GATE, nodes=PRODUCT, strategy=ASKED)
    approved: set[str] = set()
    async with lab.client() as found:
        async with lab.load(nodes=PRODUCT):
            product = await publish(lab, found, path)
            control = await publish(lab, found, write_control_release(lab, CONTROL, "this", ROOT))
            for number in range(len(SERVICES)):
                await _upgraded(found, control, SERVICES[: number + 1])
                await _approve_next(found, product, approved)
            own = await ended(found, control, "succeeded")
            log = await ended(found, product, "succeeded")
        await check_log(found, own)
        await check_log(found, log)
        for name, version in (("core", "v2"), ("front", "f2")):
            await check_switches(lab, found, product, name, version, PRODUCT)
        for name in SERVICES:
            await eventually(partial(on_fleet, found, name), partial(eq, {CONTROL: "this"}), f"{name} anew")
    await _run_only(lab, SERVICES, "this")


async def test_a_version_that_does_not_start_is_taken_back_and_no_rollout_notices(
    lab: Lab, folder: Path
) -> None:
    path = write_release(folder, "v3", core="v3", front="f3", gate=GATE, nodes=PRODUCT, strategy=ASKED)
    bad = write_control_release(
        lab, CONTROL, "bad", ROOT, only=["health-gate", "rollback"], faulty=["rollback"]
    )
    approved: set[str] = set()
    async with lab.client() as found:
        async with lab.load(nodes=PRODUCT):
            product = await publish(lab, found, path)
            control = await publish(lab, found, bad)
            await _approve_next(found, product, approved)
            await ended(found, control, "reverted")
            for _ in range(APPROVED - 1):
                await _approve_next(found, product, approved)
            log = await ended(found, product, "succeeded")
        await check_log(found, log)
        for name, version in (("core", "v3"), ("front", "f3")):
            await check_switches(lab, found, product, name, version, PRODUCT)
        said = await results(found, e.StepFinished, control)
        reasons = {m.component: (m.outcome, m.reason or "") for m in said}
        assert reasons["health-gate"][0] == "done"
        assert reasons["rollback"][0] == "failed"
        assert "a fault of this version, at its start" in reasons["rollback"][1]
    await _run_only(lab, SERVICES, "this")


async def _run_only(lab: Lab, services: list[str], version: str) -> None:
    """No process of another version is left, once the warm ones have ended."""

    async def running() -> dict[str, set[str]]:
        return _running(lab)

    wanted = {name: {version} for name in services}
    await eventually(running, lambda seen: seen == wanted, f"only {version} to run")


def _running(lab: Lab) -> dict[str, set[str]]:
    """Component -> versions of its processes on the control machine."""
    found: dict[str, set[str]] = {}
    for pid in lab.processes():
        try:
            rows = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        env = {name.decode(): value.decode() for name, _, value in (row.partition(b"=") for row in rows)}
        if env.get("BUMPLESS_NODE") == CONTROL and "BUMPLESS_COMPONENT" in env:
            found.setdefault(env["BUMPLESS_COMPONENT"], set()).add(env["BUMPLESS_VERSION"])
    return found


def test_the_order_of_the_release_is_the_one_that_is_tested_here() -> None:
    text = RELEASE.read_text()
    assert [
        line.strip(" :") for line in text.splitlines() if line.startswith("  ") and line[2] != " "
    ] == SERVICES
