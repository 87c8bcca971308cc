"""Signed statements: waivers, rehearsals on another fleet, and verified contracts. They come with an announcement, or in
a release."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from bumpless.common.contract.base import Digest, Instant, Model, RolloutId, Token
from bumpless.common.model.compat import VersionText
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


class Verified(Model):
    """The pact of this digest was held against a provider that ran; `failures` say what it did not keep.

    A digest is that of the pact as canonical JSON. `interactions`: how many the pact has.
    """

    type: Literal["verified"] = "verified"
    pact: Digest
    consumer: Token
    consumer_version: VersionText
    provider: Token
    provider_version: VersionText
    interactions: int = Field(ge=1)
    failures: tuple[str, ...] = ()
    by: str
    at: Instant


Said = Waiver | Rehearsed | Verified
Statement = Annotated[Said, Field(discriminator="type")]
STATEMENT: TypeAdapter[Said] = TypeAdapter(Statement)
