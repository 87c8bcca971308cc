"""What is run for one instance, with nothing left to fill in. Written down before the instance is started, because the
record of an instance keeps its target as it was commanded, and the next executor needs the rest.

In an instance's directory, `HOOKS/ID`:

    resolved.json   this
    status.json     the keeper's: pid of the program, whether it said READY=1, how it ended
    drained         `drain`, or `stop` in its place, was begun; `stopped`: `stop` was
    *.log           what the hooks wrote, each its last run
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bumpless.common.contract.base import Model
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import SwitchHooks
from bumpless.executor.drivers import processes
from bumpless.executor.drivers.environment import environment
from bumpless.executor.drivers.hooks.profiles import PROFILES
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe
from bumpless.executor.ports import Launch

NAME = "resolved.json"


class Resolved(Model):
    command: tuple[str, ...]
    hooks: SwitchHooks
    env: dict[str, str]
    cwd: str
    log: str


def resolve(node: str, launch: Launch, directory: Path, log: Path) -> Resolved:
    """Raises: Refused, where the profile cannot be used with this run spec."""
    instance = launch.instance
    run = instance.target.run
    names = [listener.name for listener in instance.listeners]
    descriptors = {name: processes.FIRST_FD + at for at, name in enumerate(names)}
    if run.profile is not None:
        given = Given(run.command, descriptors, directory, run.timing, run.profile.listener)
        recipe = PROFILES[run.profile.name](given)
    elif run.switch_hooks is not None:
        recipe = Recipe(run.command, run.switch_hooks)
    else:
        raise Refused("run.switch_hooks or run.profile", "neither", "say in the release how it is switched")
    base = environment(node, launch)
    env = {**base, **{k: v for k, v in recipe.env.items() if k not in run.env}}
    if names:
        env |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
    cwd = str(launch.version_dir.resolve())
    words = {
        "{tree}": cwd,
        "{state}": env["BUMPLESS_STATE_DIR"],
        "{instance}": instance.id,
        "{log}": str(log),
    }
    return Resolved(
        command=tuple(_fill(part, words) for part in recipe.command),
        hooks=recipe.hooks.filled(lambda text: _fill(text, words)),
        env=env,
        cwd=cwd,
        log=str(log),
    )


def write(resolved: Resolved, directory: Path) -> None:
    """Raises: OSError."""
    fresh = directory / (NAME + ".new")
    fresh.write_text(resolved.model_dump_json())
    fresh.chmod(0o600)
    os.replace(fresh, directory / NAME)


def read(directory: Path) -> Resolved | None:
    """None: there is none, or not a whole one."""
    try:
        return Resolved.model_validate_json((directory / NAME).read_bytes())
    except (OSError, ValueError):
        return None


def _fill(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
