"""Signed statements that are given along with an announcement: waivers, and rehearsals on another fleet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from bumpless.common.contract.base import Digest, Instant, Model, RolloutId, Token
from bumpless.common.model.finding import Code

ANY = "*"
"""The subject of a waiver for every finding of a code."""


class Waiver(Model):
    """`by` lets findings of `code` about `subject` pass for one release, until `expires`."""

    type: Literal["waiver"] = "waiver"
    release: Digest
    code: Code
    subject: str
    by: str
    reason: str = Field(min_length=1)
    expires: Instant


class Rehearsed(Model):
    """The release succeeded on `fleet` as `rollout`."""

    type: Literal["rehearsed"] = "rehearsed"
    release: Digest
    fleet: Token
    rollout: RolloutId
    by: str
    at: Instant


Statement = Annotated[Waiver | Rehearsed, Field(discriminator="type")]
STATEMENT: TypeAdapter[Waiver | Rehearsed] = TypeAdapter(Statement)
