"""A component of the driver `hooks` through the whole executor: upgraded, taken back, and when the executor is killed."""

from __future__ import annotations

import signal
from typing import Any

from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.hooks import SwitchHooks
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Driver, Timing
from drivers import hooked_probe_ask
from integration import test_executor
from integration.test_executor import Load, Site

site = test_executor.site
PROGRAM = hooked_probe_ask.__file__.replace("_ask", "")
TIMING = Timing(ready_timeout_s=60, soak_s=0.1, lame_duck_s=0.3, drain_timeout_s=30, warm_s=60)


def hooked(target: Target, *, without: tuple[str, ...] = ()) -> Target:
    """The same component, run by hooks."""
    hooks: dict[str, Any] = {k: v for k, v in hooked_probe_ask.hooks().items() if k not in without}
    changes = {
        "driver": Driver.HOOKS,
        "switch_hooks": SwitchHooks.model_validate(hooks),
        "command": ("python3", PROGRAM),
        "timing": TIMING,
    }
    return target.model_copy(update={"run": target.run.model_copy(update=changes), "keep_metrics": ()})


async def test_hooks_upgrade_and_take_back_a_program_and_survive_the_executor(site: Site) -> None:
    v1, v2 = hooked(await site.publish("v1")), hooked(await site.publish("v2", "v1"))
    site.start()
    assert (await site.apply((1, 1), v1)).outcome is StepOutcome.DONE
    async with Load(site.port) as load:
        await load.until("v1")
        second = await site.apply((2, 1), v2, v1)
        assert (second.outcome, second.cut) == (StepOutcome.DONE, ())
        await load.until("v2")
        await site.stop(signal.SIGKILL)
        await load.until("v2")
        site.start()
        back = await site.apply((2, 2), v1, v2, direction=Direction.REVERT)
        assert back.outcome is StepOutcome.DONE
        await load.until("v1")
    assert load.failures == []


async def test_what_cannot_be_resumed_is_started_anew_to_go_back(site: Site) -> None:
    gone = ("resume", "drain", "left", "metrics")
    v1 = hooked(await site.publish("v1"), without=gone)
    v2 = hooked(await site.publish("v2", "v1"), without=gone)
    site.start()
    assert (await site.apply((1, 1), v1)).outcome is StepOutcome.DONE
    async with Load(site.port) as load:
        second = await site.apply((2, 1), v2, v1)
        assert (second.outcome, second.cut) == (StepOutcome.DONE, ())
        await load.until("v2")
        back = await site.apply((2, 2), v1, v2, direction=Direction.REVERT)
        assert back.outcome is StepOutcome.DONE
        await load.until("v1")
    assert load.failures == []
