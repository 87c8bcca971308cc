"""Runs the hooks of a release around a switch: which one, in which directory, with which environment.

Hooks run on forward steps only: the way back must not depend on one program more than it has to. After a crash of the
executor a hook may run again, so each runs at least once. How a command is kept within bounds is not decided here.
"""

from __future__ import annotations

import os
from pathlib import Path

from bumpless.common.errors import Refused, ReleaseError
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release_hooks import HookName
from bumpless.common.shell.log import get_logger
from bumpless.executor.drivers.environment import base
from bumpless.executor.drivers.hook_commands import run_command
from bumpless.executor.layout import Layout
from bumpless.executor.record import Command, Instance
from bumpless.executor.starter import Starter

log = get_logger(__name__)


class HookFailed(ReleaseError):
    """A hook did not end well; the text says which one, how, and its last words."""


class Lifecycle:
    """For one component of one node. `starter` fills in what only the node knows."""

    def __init__(self, component: str, node: str, address: str, layout: Layout, starter: Starter) -> None:
        self._component, self._node, self._address = component, node, address
        self._layout, self._starter = layout, starter

    async def run(
        self, name: HookName, command: Command, old: Target | None, new: Instance | None = None
    ) -> None:
        """Run the hook `name` of this step, if its version has one. `new`: the new instance, once there is one.

        Raises:
            HookFailed: it did not end with status 0 within its time. Nothing of it runs any more.
        """
        of = old if name is HookName.PRE_DRAIN else command.target
        hook = of.hooks.named(name) if of is not None else None
        if hook is None or of is None or command.direction is not Direction.FORWARD:
            return
        directory = self._layout.version(of.root).resolve()
        argv = self._starter.fill(hook.command, of.run)
        try:
            said = await run_command(
                argv,
                self._environment(name, of, command, old, new),
                directory,
                hook.timeout_s,
                self._log(name),
            )
        except Refused as error:
            raise HookFailed(f"the hook {name}: {error}") from error
        log.info("hook done", component=self._component, hook=name, command=command.id, said=said[-200:])

    def _log(self, name: HookName) -> Path:
        return self._layout.log / "hooks" / f"{name}.log"

    def _environment(
        self, name: HookName, of: Target, command: Command, old: Target | None, new: Instance | None
    ) -> dict[str, str]:
        """What the service itself would be given, less its sockets, and the words about the step."""
        target = command.target
        run = self._starter.filled(of.run)
        return {
            **base(),
            **run.env,
            **{_listen(socket): address for socket, address in run.listen.items()},
            "BUMPLESS_HOOK": name,
            "BUMPLESS_ROLLOUT": command.rollout,
            "BUMPLESS_COMMAND": command.id,
            "BUMPLESS_NODE": self._node,
            "BUMPLESS_NODE_ADDRESS": self._address,
            "BUMPLESS_COMPONENT": self._component,
            "BUMPLESS_RELEASE": target.release if target else "",
            "BUMPLESS_VERSION": target.version if target else "",
            "BUMPLESS_DIGEST": target.root if target else "",
            "BUMPLESS_PREVIOUS_VERSION": old.version if old else "",
            "BUMPLESS_PREVIOUS_DIGEST": old.root if old else "",
            "BUMPLESS_INSTANCE": new.id if new else "",
            "BUMPLESS_ADMIN_SOCKET": new.admin if new else "",
            "BUMPLESS_STATE_DIR": os.fspath(self._layout.state.resolve()),
        }


def _listen(socket: str) -> str:
    """The variable that holds the address of a listener: BUMPLESS_LISTEN_HTTP for `http`."""
    return "BUMPLESS_LISTEN_" + socket.upper().replace("-", "_")
