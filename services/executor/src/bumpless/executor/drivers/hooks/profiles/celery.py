"""A Celery worker: `run.command` is `celery -A APP worker` with its own options.

Both workers take from the same queue. TERM is Celery's warm shutdown: the consumer is cancelled first, then what is
held is finished and acknowledged, then it exits. Tasks need `acks_late`. Nothing is lost; tasks must bear being done
twice where a worker is killed, and what has just ended as the worker ends on a busy machine.
"""

from __future__ import annotations

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe


def recipe(given: Given) -> Recipe:
    return Recipe(
        (*given.command, "--hostname", "{instance}@%h"),
        # Printed by the worker once it consumes; asking it through the broker would load a whole Celery each time.
        SwitchHooks(ready=Hook(argv=("grep", "-q", " ready.$", "{log}")), stop=Hook(signal="TERM")),
        {"PYTHONUNBUFFERED": "1"},
    )
