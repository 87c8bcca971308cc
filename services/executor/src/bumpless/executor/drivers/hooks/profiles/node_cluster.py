"""A Node.js program that uses the cluster module: `run.command` is `node MAIN.js`.

Its primary listens on `{fd: Number(process.env.BUMPLESS_FD)}`, sends READY through `systemd-notify --ready` or writes
a line `ready` to its output when its workers listen, and on TERM lets every worker stop accepting, answer what is open
with `Connection: close`, and exit. What a Node program does at TERM is its own: without a handler, requests are cut.
"""

from __future__ import annotations

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe


def recipe(given: Given) -> Recipe:
    return Recipe(
        given.command,
        SwitchHooks(ready=Hook(argv=("grep", "-qx", "ready", "{log}")), stop=Hook(signal="TERM")),
        {"BUMPLESS_FD": str(given.descriptor())},
    )
