"""CDEvents 0.4.1: the words that delivery tools share. What Bumpless says in them, and the one that it listens to.

Where the vocabulary has no word for what happened, the event is a custom one, `dev.cdeventsx.bumpless-…`.

Source: github.com/cdevents/spec, version 0.4.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from bumpless.common.contract import cloudevents
from bumpless.common.contract.base import Digest, Instant, Model, Token
from bumpless.common.contract.cloudevents import CloudEvent

VERSION = "0.4.1"
PURL = "pkg:generic/"
PUBLISHED = "dev.cdevents.artifact.published."
"""Followed by the version of the event; every one with the subject's id is understood."""
_TOKEN: TypeAdapter[str] = TypeAdapter(Token)


class Word(StrEnum):
    """What happened. The value is `<subject>.<predicate>`, which the type of the event has too."""

    SERVICE_DEPLOYED = "service.deployed"
    SERVICE_UPGRADED = "service.upgraded"
    SERVICE_ROLLEDBACK = "service.rolledback"
    SERVICE_REMOVED = "service.removed"
    INCIDENT_DETECTED = "incident.detected"
    INCIDENT_RESOLVED = "incident.resolved"
    RELEASE_REFUSED = "bumpless-release.refused"
    ROLLOUT_STARTED = "bumpless-rollout.started"
    ROLLOUT_SUCCEEDED = "bumpless-rollout.succeeded"
    ROLLOUT_FAILED = "bumpless-rollout.failed"
    ROLLOUT_REVERTING = "bumpless-rollout.reverting"
    ROLLOUT_REVERTED = "bumpless-rollout.reverted"
    ROLLOUT_HALTED = "bumpless-rollout.halted"
    ROLLOUT_CANCELLED = "bumpless-rollout.cancelled"

    @property
    def subject(self) -> str:
        return self.value.partition(".")[0]

    @property
    def predicate(self) -> str:
        return self.value.partition(".")[2]

    @property
    def type(self) -> str:
        """`context.type` of the event, which is `ce-type` too."""
        own = self.subject.startswith("bumpless-")
        return f"dev.cdeventsx.{self.value}.0.1.0" if own else f"dev.cdevents.{self.value}.0.2.0"


class Context(Model):
    """`chainId` is the rollout, for events of one."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    version: str = VERSION
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    timestamp: Instant
    chain_id: str | None = Field(default=None, alias="chainId", exclude_if=lambda found: found is None)


class Subject(Model):
    """What the event is about. `content` is as the type of the event says."""

    id: str = Field(min_length=1)
    source: str | None = Field(default=None, exclude_if=lambda found: found is None)
    type: str = Field(min_length=1)
    content: dict[str, Any] = {}


class CdEvent(Model):
    """One CDEvent: the body of the message in binary mode, `data` in structured mode."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    context: Context
    subject: Subject
    custom_data: dict[str, Any] | None = Field(
        default=None, alias="customData", exclude_if=lambda found: found is None
    )

    def as_cloudevent(self) -> CloudEvent:
        attributes = {
            "specversion": cloudevents.SPEC_VERSION,
            "id": self.context.id,
            "source": self.context.source,
            "type": self.context.type,
            "time": self.context.timestamp.isoformat(),
            "subject": self.subject.id,
        }
        return CloudEvent(self.model_dump(mode="json"), attributes)


class Given(Model):
    """`customData.bumpless` of a trigger: the signed release itself, where it does not lie in the artifact store."""

    envelope: str | None = Field(default=None, description="The signed release, DSSE JSON as text")


class TriggerSubject(Subject):
    """The signed release, by its package URL."""

    type: Literal["artifact"] = "artifact"
    id: str = Field(
        pattern=r"^pkg:generic/[^/?#@]+@[^/?#]+(\?[^#]*)?$",
        description="`pkg:generic/<product>@<version>?checksum=sha256:<hex>`: the digest of the bytes of the signed release, which lie under it in the artifact store. The checksum may be left out where `customData.bumpless.envelope` has them.",
    )


class TriggerData(Model):
    bumpless: Given = Given()


class Trigger(Model):
    """`artifact.published`: a signed release is there; the planner verifies it, plans, and starts its rollout.

    The event itself proves nothing and needs to prove nothing: only what the release key signed can run. It may be
    sent any number of times; a release is started once.
    """

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    context: Context
    subject: TriggerSubject
    custom_data: TriggerData = Field(default=TriggerData(), alias="customData")


class Published(Model):
    """What a trigger names: `digest` of the signed release's bytes, or these themselves, or both."""

    product: Token
    version: str
    digest: Digest | None = None
    envelope: str | None = None
    source: str


def published(data: Any) -> Published:
    """What the CDEvent `data` says was published.

    Raises:
        ValueError: it is no `artifact.published`, or names no release; says which field, and what was expected.
    """
    try:
        event = Trigger.model_validate(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}") from error
    if not event.context.type.startswith(PUBLISHED):
        raise ValueError(f"context.type: expected {PUBLISHED}…, found {event.context.type!r}")
    name, _, rest = event.subject.id.removeprefix(PURL).partition("@")
    version, _, qualifiers = rest.partition("?")
    checksum = parse_qs(qualifiers).get("checksum", [None])[0]
    envelope = event.custom_data.bumpless.envelope
    if checksum is None and envelope is None:
        raise ValueError(
            "subject.id: expected ?checksum=sha256:…, or customData.bumpless.envelope; found neither"
        )
    try:
        product = _TOKEN.validate_python(unquote(name))
    except ValidationError as error:
        raise ValueError(f"subject.id: expected the name of a product, found {name!r}") from error
    if checksum is not None and not _is_digest(checksum):
        raise ValueError(f"subject.id: expected checksum=sha256:<64 hexadecimal digits>, found {checksum!r}")
    return Published(
        product=product,
        version=unquote(version),
        digest=None if checksum is None else Digest(checksum),
        envelope=envelope,
        source=event.context.source,
    )


def purl(name: str, version: str, digest: str) -> str:
    """The package URL of a release, or of a version of a component by the digest of its tree."""
    return f"{PURL}{quote(name, safe='')}@{quote(version, safe='')}?checksum={digest}"


def _is_digest(text: str) -> bool:
    kind, _, digits = text.partition(":")
    return kind == "sha256" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")
