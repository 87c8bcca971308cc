"""The order that a node runs one of its alert hooks, and its answer. Asked and answered over core NATS; never stored.

It travels in a signed envelope (`ALERT_HOOK_TYPE`) and names a hook; which program that is, the node alone knows.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from bumpless.common.contract.base import Instant, Model, Token

MAX_ALERT_CHARS = 64 << 10


class RunAlertHook(Model):
    """Run `hook` on `node` because of `action`, once however often it is asked. `alert` is JSON for the program."""

    node: Token
    hook: Token
    action: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    alert: Annotated[str, StringConstraints(max_length=MAX_ALERT_CHARS)]
    timeout_s: float = Field(gt=0, le=600)
    expires_at: Instant


class AlertHookRan(Model):
    ok: bool
    detail: str
