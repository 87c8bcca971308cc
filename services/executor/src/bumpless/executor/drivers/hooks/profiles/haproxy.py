"""HAProxy: two master-worker pairs on the inherited sockets. `run.command` is `haproxy -f FILE` with its own options.

A configuration binds `fd@${BUMPLESS_FD_NAME}` for the socket NAME of `run.listen` (upper case, `_` for `-`), and has
`option idle-close-on-response`, so that idle connections get a last answer instead of being closed. The old one ends
by USR1, the soft stop. Its own reload, USR2, would start the same command line again, so neither another program nor
a way back.
"""

from __future__ import annotations

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe


def recipe(given: Given) -> Recipe:
    given.descriptor()
    return Recipe(
        # -Ws is -W that says READY=1 once its worker has the sockets.
        (*given.command, "-Ws"),
        # No check of the configuration before: without the sockets it would find fault with every `fd@`.
        SwitchHooks(stop=Hook(signal="USR1")),
        {f"BUMPLESS_FD_{_upper(name)}": str(fd) for name, fd in given.descriptors.items()},
    )


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
