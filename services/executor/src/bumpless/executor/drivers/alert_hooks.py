"""Programs of this node that an alert may start: by the name that the node's settings give them, and by a signed order.

Nothing of an order becomes part of a command line. A hook that ran well for an action is not run for it again, nor
beside itself; one that failed is, when it is asked again. What ran is forgotten when the executor ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from nats.aio.msg import Msg
from pydantic import ValidationError

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract.alert_hook import AlertHookRan, RunAlertHook
from bumpless.common.contract.envelope import ALERT_HOOK_TYPE, Envelope
from bumpless.common.contract.subjects import api_alert_hook
from bumpless.common.errors import Refused
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.executor.drivers.hook_commands import run_command

log = get_logger(__name__)

REMEMBERED = 256
"""Actions that ran well."""
DETAIL_CHARS = 300


class AlertHooks:
    """Runs `hooks` when somebody whose key may deploy (`trust`) asks for one; logs to `folder`."""

    def __init__(
        self,
        node: str,
        hooks: Mapping[str, Sequence[str]],
        trust: TrustStore,
        folder: Path,
        now: Callable[[], datetime],
    ) -> None:
        self._node, self._hooks, self._trust, self._folder, self._now = node, hooks, trust, folder, now
        self._done: dict[str, AlertHookRan] = {}
        self._running: dict[str, asyncio.Task[AlertHookRan]] = {}
        self._answers: set[asyncio.Task[None]] = set()

    async def start(self, connection: Connection) -> None:
        """Listen from now on."""
        await connection.nc.subscribe(api_alert_hook(self._node), cb=self._asked)

    async def close(self) -> None:
        """End what runs; nobody is answered."""
        tasks = [*self._answers, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _asked(self, question: Msg) -> None:
        task = asyncio.create_task(self._answer(question))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, question: Msg) -> None:
        answer = await self.run(question.data)
        with contextlib.suppress(*Away):
            await question.respond(answer.model_dump_json().encode())

    async def run(self, order: bytes) -> AlertHookRan:
        """Do what a signed order says, if this node may."""
        try:
            wanted = self._read(order)
        except (ArtifactError, Refused, ValueError) as error:
            log.warning("alert hook refused", reason=str(error))
            return AlertHookRan(ok=False, detail=f"refused: {error}"[:DETAIL_CHARS])
        if wanted.action in self._done:
            return self._done[wanted.action]
        running = self._running.get(wanted.action)
        if running is None:
            running = self._running[wanted.action] = asyncio.create_task(self._run(wanted))
            running.add_done_callback(lambda _: self._running.pop(wanted.action, None))
        return await asyncio.shield(running)

    def _read(self, order: bytes) -> RunAlertHook:
        envelope = Envelope.from_bytes(order)
        payload = self._trust.verify(envelope, payload_type=ALERT_HOOK_TYPE, role=Role.DEPLOY)
        try:
            wanted = RunAlertHook.model_validate_json(payload)
        except ValidationError as error:
            raise Refused("an order to run an alert hook", str(error)) from error
        if wanted.node != self._node:
            raise Refused(f"an order to {self._node}", f"one to {wanted.node}")
        if wanted.expires_at <= self._now():
            raise Refused("an order that is not too old", f"one that expired at {wanted.expires_at}")
        if wanted.hook not in self._hooks:
            known = ", ".join(sorted(self._hooks)) or "none"
            raise Refused(
                f"a hook of this node ({known})", wanted.hook, "BUMPLESS_EXECUTOR_ALERT_HOOKS names them"
            )
        return wanted

    async def _run(self, wanted: RunAlertHook) -> AlertHookRan:
        env = {
            "BUMPLESS_ACTION_ID": wanted.action,
            "BUMPLESS_ALERT_JSON": wanted.alert,
            "BUMPLESS_NODE": self._node,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            said = await run_command(
                self._hooks[wanted.hook],
                env,
                self._folder,
                wanted.timeout_s,
                self._folder / f"alert-hook-{wanted.hook}.log",
            )
        except (Refused, OSError) as error:
            log.warning("alert hook failed", hook=wanted.hook, action=wanted.action, reason=str(error))
            return AlertHookRan(ok=False, detail=str(error)[:DETAIL_CHARS])
        log.info("alert hook ran", hook=wanted.hook, action=wanted.action)
        done = AlertHookRan(ok=True, detail=said.strip()[-DETAIL_CHARS:] or "exit status 0")
        while len(self._done) >= REMEMBERED:
            del self._done[next(iter(self._done))]
        self._done[wanted.action] = done
        return done
