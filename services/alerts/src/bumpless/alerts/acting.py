"""Actions outside of rollouts: a command beside the service, a hook on nodes, or a signed request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from datetime import datetime, timedelta
from typing import Any

from bumpless.alerts.notice import Notice
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract.alert_hook import AlertHookRan, RunAlertHook
from bumpless.common.contract.envelope import ALERT_HOOK_TYPE
from bumpless.common.contract.subjects import api_alert_hook
from bumpless.common.errors import Retryable
from bumpless.common.model.alert import ActionRun, Alert
from bumpless.common.model.alerting import ActionFile
from bumpless.common.shell.broker import Connection
from bumpless.common.webhooks.post import Outcome, post_bytes
from bumpless.common.webhooks.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    read_secret,
    signed,
)

KEPT_CHARS = 300
ON_ITS_WAY_S = 10.0
"""What an order to a node may take beyond the hook's own time."""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "HOME", "TZ")
"""Of our own environment; our settings name secrets, and a script needs none of them."""


def told(alert: Alert, action: ActionRun, now: datetime) -> dict[str, Any]:
    """What an action is given: the alert as webhooks have it, and which action of it this is."""
    payload = Notice(action.id, "firing", 0, alert, now).payload()
    return {**payload, "action": action.name}


async def run_command(config: ActionFile, alert: Alert, action: ActionRun, now: datetime) -> Outcome:
    """Run it without a shell, with the alert as JSON on its standard input. All its processes end with its time."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env |= {"BUMPLESS_ACTION_ID": action.id, "BUMPLESS_ALERT": alert.name}
    try:
        process = await asyncio.create_subprocess_exec(
            *config.command,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Outcome(False, f"cannot be started: {error}")
    try:
        async with asyncio.timeout(config.timeout_s):
            said, _ = await process.communicate(json.dumps(told(alert, action, now)).encode())
    except TimeoutError:
        return Outcome(False, f"no end within {config.timeout_s:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    text = said.decode(errors="replace").strip()[-KEPT_CHARS:]
    return Outcome(
        process.returncode == 0, f"exit status {process.returncode}" + (f": {text}" if text else "")
    )


async def call_webhook(config: ActionFile, alert: Alert, action: ActionRun, now: datetime) -> Outcome:
    body = json.dumps(told(alert, action, now), sort_keys=True).encode()
    stamp = str(int(now.timestamp()))
    headers = {ID_HEADER: action.id, TIMESTAMP_HEADER: stamp}
    if config.secret_file is not None:
        try:
            headers[SIGNATURE_HEADER] = signed(read_secret(config.secret_file), stamp, body)
        except (OSError, ValueError) as error:
            return Outcome(False, f"no secret to sign with: {error}")
    assert config.url is not None
    return await post_bytes(
        config.url, body, headers, timeout_s=config.timeout_s, allow_private=config.allow_private
    )


async def run_on_nodes(
    connection: Connection,
    key: SigningKey | None,
    config: ActionFile,
    alert: Alert,
    action: ActionRun,
    now: datetime,
) -> Outcome:
    """Have every node concerned run the hook; well only if all of them did. Nodes run it once for an action."""
    nodes = config.nodes or tuple(node for node in [alert.labels.get("node")] if node)
    if not nodes:
        return Outcome(False, "expected a node in the action or in the alert's labels, found none")
    if key is None:
        return Outcome(False, "expected a key to sign orders to nodes with (deploy_key), found none")
    assert config.hook is not None
    payload = json.dumps(told(alert, action, now))
    expires = now + timedelta(seconds=ON_ITS_WAY_S)

    async def one(node: str) -> tuple[str, AlertHookRan]:
        order = RunAlertHook(
            node=node,
            hook=str(config.hook),
            action=action.id,
            alert=payload,
            timeout_s=config.timeout_s,
            expires_at=expires,
        )
        signed_order = key.sign(ALERT_HOOK_TYPE, order.model_dump_json().encode()).to_bytes()
        try:
            answer = await connection.request(
                api_alert_hook(node), signed_order, config.timeout_s + ON_ITS_WAY_S
            )
            return node, AlertHookRan.model_validate_json(answer)
        except (Retryable, ValueError) as error:
            return node, AlertHookRan(ok=False, detail=str(error))

    try:
        answers = await asyncio.gather(*(one(node) for node in nodes))
    except ValueError as error:  # a label that names no node
        return Outcome(False, f"cannot be ordered: {error}")
    text = "; ".join(f"{node}: {answer.detail}" for node, answer in answers)
    return Outcome(all(answer.ok for _, answer in answers), text[:KEPT_CHARS])
