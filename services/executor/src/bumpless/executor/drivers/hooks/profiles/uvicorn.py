"""uvicorn as it is: `run.command` is `uvicorn APP` with its own options, `--fd` is added.

Its shutdown drops what its event loop has accepted and not yet attached, and closes idle connections at once
(python/cpython#109564): single requests are lost. The Python helper of the service contract loses none.
"""

from __future__ import annotations

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe

_GRACE_S = 1
"""Sooner than ours: it then ends by itself what is left."""


def recipe(given: Given) -> Recipe:
    grace = max(1, int(given.timing.drain_timeout_s) - _GRACE_S)
    return Recipe(
        (*given.command, "--fd", str(given.descriptor()), "--timeout-graceful-shutdown", str(grace)),
        # It says nothing when it is ready, but prints a line; until then its log does not have it.
        SwitchHooks(ready=Hook(argv=("grep", "-q", "Uvicorn running on", "{log}")), stop=Hook(signal="TERM")),
    )
