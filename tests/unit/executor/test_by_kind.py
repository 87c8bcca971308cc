"""One switch over the drivers of a node: what happens where a driver is not there."""

from __future__ import annotations

import pytest

from bumpless.common.errors import Refused
from bumpless.common.model.release import Driver
from bumpless.executor.drivers.by_kind import SwitchByKind
from bumpless.executor.record import Instance
from drivers.fake_switch import FakeSwitch, World
from support.plans import target


def of(driver: Driver) -> Instance:
    wanted = target("api", "v1")
    return Instance(
        id="i", target=wanted.model_copy(update={"run": wanted.run.model_copy(update={"driver": driver})})
    )


async def test_a_driver_that_is_not_here_is_refused_with_those_that_are() -> None:
    switch = SwitchByKind({Driver.NATIVE: FakeSwitch(World())})
    with pytest.raises(Refused, match=r"expected run\.driver among native on this node, found systemd"):
        await switch.listen("api", of(Driver.SYSTEMD).target.run)


async def test_a_node_that_lost_a_driver_takes_over_the_rest() -> None:
    """Its executor must come up: what it cannot adopt it tries to start, and that is refused with the reason."""
    switch = SwitchByKind({Driver.NATIVE: FakeSwitch(World())})
    assert await switch.adopt(of(Driver.SYSTEMD)) is None
