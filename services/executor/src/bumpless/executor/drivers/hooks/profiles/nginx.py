"""nginx: two foreground masters on the inherited sockets. `run.command` is `nginx -c FILE` with its own options.

nginx takes over descriptors that stand in the variable NGINX, by comparing their addresses with its `listen`
directives: they must be the same, without `reuseport` and `backlog`. The pid file, `daemon`, `master_process` and
`worker_shutdown_timeout` are set here and must not stand in the configuration.
"""

from __future__ import annotations

from bumpless.common.model.hooks import Hook, SwitchHooks
from bumpless.executor.drivers.hooks.profiles.recipe import Given, Recipe


def recipe(given: Given) -> Recipe:
    given.descriptor()
    pid = given.directory / "nginx.pid"
    drain_s = max(1, int(given.timing.drain_timeout_s))
    settings = f"daemon off; master_process on; worker_shutdown_timeout {drain_s}s; pid {pid};"
    command = (*given.command, "-e", "stderr", "-g", settings)
    return Recipe(
        command,
        SwitchHooks(
            # Both would see the same faults; this one names them before anything is started.
            prepare=Hook(argv=(*command, "-t"), timeout_s=30),
            # The pid file is written after the sockets were taken over.
            ready=Hook(argv=("test", "-s", str(pid))),
            stop=Hook(signal="QUIT"),
        ),
        {"NGINX": "".join(f"{fd};" for fd in given.descriptors.values())},
    )
