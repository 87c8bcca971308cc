"""Commands that a release runs around the switch of a component on a node."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from bumpless.common.contract.base import StrictModel


class HookName(StrEnum):
    """In the order in which they run."""

    PRE_UPGRADE = "pre_upgrade"
    SMOKE_TEST = "smoke_test"
    PRE_DRAIN = "pre_drain"
    POST_UPGRADE = "post_upgrade"


class Hook(StrictModel):
    """Program and arguments; no shell takes part. A bare list is the command alone."""

    command: tuple[str, ...] = Field(min_length=1)
    timeout_s: float = Field(default=60, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list | tuple) else value


class Hooks(StrictModel):
    """What runs around a forward switch, each in the directory of its version. A failure fails the step.

    Of the new version: `pre_upgrade` before it starts, `smoke_test` when it is ready and has soaked, `post_upgrade`
    when it has taken over. Of the old one: `pre_drain` before it is paused. A revert runs none of them.
    """

    pre_upgrade: Hook | None = None
    smoke_test: Hook | None = None
    pre_drain: Hook | None = None
    post_upgrade: Hook | None = None

    def named(self, name: HookName) -> Hook | None:
        found = getattr(self, name.value)
        return found if isinstance(found, Hook) else None

    @property
    def longest_s(self) -> float:
        """How long all of them together may take."""
        return sum(hook.timeout_s for hook in map(self.named, HookName) if hook is not None)
