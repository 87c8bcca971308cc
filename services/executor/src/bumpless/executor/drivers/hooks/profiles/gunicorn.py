"""gunicorn: two foreground masters on the inherited sockets. `run.command` is `gunicorn APP` with its own options.

gunicorn takes the sockets itself (LISTEN_FDS). READY=1 comes from the first worker that has loaded the application,
not from the master, which would say it before anybody accepts. TERM lets workers finish; QUIT would cut them.
"""

from __future__ import annotations

from pathlib import Path

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe

CONFIG = Path(__file__).with_name("gunicorn_conf.py")


def recipe(given: Given) -> Recipe:
    given.descriptor()
    return Recipe((*given.command, "--config", str(CONFIG)), SwitchHooks(stop=Hook(signal="TERM")))
