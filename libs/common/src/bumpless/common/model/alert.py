"""An alert as it is kept and shown: its state, whom it was told to, what was done because of it; and silences.

A silence has the shape of Alertmanager's API v2, so that tools written for the one serve for the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from bumpless.common.contract.base import Instant, Model, RolloutId, Token, canonical_json

NAME = "alertname"
"""The label that names the rule, as Prometheus has it."""

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,127}$")]
LabelValue = Annotated[str, StringConstraints(max_length=1024)]
Labels = dict[LabelName, LabelValue]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Severity(StrEnum):
    """From the least bad."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class AlertStatus(StrEnum):
    """`pending`: holds, but not for long enough. A `resolved` alert may come again, as its next episode."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


ACTIVE = frozenset({AlertStatus.PENDING, AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED})


def fingerprint(labels: Mapping[str, str]) -> str:
    """The identity of an alert: 16 hexadecimal digits of the SHA-256 of its labels, in whatever order."""
    return hashlib.sha256(canonical_json(dict(labels))).hexdigest()[:16]


def matched(labels: Mapping[str, str], severity: Severity) -> dict[str, str]:
    """What silences, routes and actions look at: the labels, and the severity where none of them says it."""
    return {"severity": severity.value, **labels}


class SilenceMatcher(Model):
    """One condition on one label; a label that is not there is empty, expressions match as a whole."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    name: LabelName
    value: Annotated[str, StringConstraints(max_length=65_536)]
    is_regex: bool = Field(default=False, alias="isRegex")
    is_equal: bool = Field(default=True, alias="isEqual")

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        if self.is_regex:
            try:
                re.compile(self.value)
            except re.error as error:
                raise ValueError(f"expected a regular expression, found {self.value!r}: {error}") from error
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.name, "")
        holds = re.fullmatch(self.value, found) is not None if self.is_regex else found == self.value
        return holds is self.is_equal


class Silence(Model):
    """Mutes the messages of alerts that fit all `matchers`, from `startsAt` until before `endsAt`; nothing else."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    id: Token
    matchers: tuple[SilenceMatcher, ...] = Field(min_length=1, max_length=32)
    starts_at: Instant = Field(alias="startsAt")
    ends_at: Instant = Field(alias="endsAt")
    created_by: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(alias="createdBy")
    comment: Annotated[str, StringConstraints(max_length=1024)] = ""

    @field_validator("matchers")
    @classmethod
    def _not_everything(cls, found: tuple[SilenceMatcher, ...]) -> tuple[SilenceMatcher, ...]:
        if all(matcher.matches({}) for matcher in found):
            raise ValueError("expected at least one matcher that does not match the empty label, found none")
        return found

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ends_at < self.starts_at:
            raise ValueError(f"expected a silence that ends after {self.starts_at}, found {self.ends_at}")
        return self

    def covers(self, labels: Mapping[str, str]) -> bool:
        return all(matcher.matches(labels) for matcher in self.matchers)


class Told(Model):
    """One channel of an escalation step. `again_s`: told again that often while the alert holds, as Alertmanager wants."""

    channel: Token
    again_s: float | None = None
    resolved: bool = True


class Step(Model):
    """Whom to tell when nobody has acknowledged the alert `after_s` seconds after it fired."""

    after_s: float
    channels: tuple[Told, ...]


class Route(Model):
    """How an alert is told: `steps` in rising order, then the last one again `repeat_times`, every `repeat_s`.

    Fixed when an episode begins, so that a changed configuration concerns only what fires after it.
    `ack_s`: how long an acknowledgement holds.
    """

    name: str = ""
    steps: tuple[Step, ...] = ()
    repeat_s: float = 900
    repeat_times: int = 0
    ack_s: float = 1800


class ActionKind(StrEnum):
    """`fail`: the rollouts concerned fail, and their own policy says what follows. `note`: only a line in their logs."""

    PAUSE = "pause"
    FAIL = "fail"
    ROLLBACK = "rollback"
    NOTE = "note"
    COMMAND = "command"
    NODE_HOOK = "node-hook"
    WEBHOOK = "webhook"


class ActionStatus(StrEnum):
    """`sent`: ordered, and the outcome is not known yet. `nothing`: there was no rollout it concerned."""

    DUE = "due"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    NOTHING = "nothing"


class ActionRun(Model):
    """One thing done because an alert fired. `name` is that of the action in the alerts file."""

    id: str
    name: str
    do: ActionKind
    status: ActionStatus = ActionStatus.DUE
    due: Instant | None
    tries: int = 0
    tries_max: int = 3
    rollouts: tuple[RolloutId, ...] = ()
    outcomes: dict[str, str] = {}
    detail: str = ""
    at: Instant


class DeliveryStatus(StrEnum):
    """`superseded`: not needed any more when its time came."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given-up"
    SUPERSEDED = "superseded"


class Delivery(Model):
    """One message to one channel. Sent at least once: whoever receives it twice knows it by its `id`."""

    id: str
    channel: Token
    about: Literal["firing", "resolved"]
    step: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    due: Instant | None
    again_s: float | None = None
    resolved: bool = True
    tries: int = 0
    detail: str = ""
    at: Instant


class Acknowledgement(Model):
    by: str
    comment: str = ""
    at: Instant
    until: Instant


class Alert(Model):
    """One alert, known by its labels. Deliveries and actions are those of the present episode, the latest ones.

    `since`: in its status. `active_since`: the condition holds, in this episode. `told` counts the steps of the
    escalation that were taken since `told_from`, the last of them at `told_at`; `round` counts the escalations.
    """

    fingerprint: Fingerprint
    labels: Labels
    annotations: dict[str, str] = {}
    severity: Severity
    source: Literal["rule", "alertmanager"]
    status: AlertStatus
    episode: int = 1
    revision: int = 1
    since: Instant
    active_since: Instant
    fired_at: Instant | None = None
    resolved_at: Instant | None = None
    ends_at: Instant | None = None
    for_s: float = 0
    value: float | None = None
    detail: str = ""
    route: Route = Route()
    round: int = 1
    told: int = 0
    told_from: Instant | None = None
    told_at: Instant | None = None
    acknowledged: Acknowledgement | None = None
    muted_by: tuple[str, ...] = ()
    muted_until: Instant | None = None
    deliveries: tuple[Delivery, ...] = ()
    actions: tuple[ActionRun, ...] = ()

    @property
    def name(self) -> str:
        return self.labels.get(NAME, "")

    @property
    def matched(self) -> dict[str, str]:
        """What silences look at."""
        return matched(self.labels, self.severity)

    @property
    def active(self) -> bool:
        return self.status in ACTIVE
