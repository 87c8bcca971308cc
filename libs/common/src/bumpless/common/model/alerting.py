"""The alerts file of a fleet: rules, channels, who is told in which order, what is done, and when nobody is told.

Durations are seconds. Whatever is misspelled is an error, and the file before stays in force.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel, Token
from bumpless.common.model.alert import ActionKind, Severity
from bumpless.common.model.alert_rules import BUILT_IN, Rule, RuleName, checked_rules
from bumpless.common.model.gate import Selector
from bumpless.common.model.preflight import Window

MIN_SECRET_BYTES = 16

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048)]
ActionName = RuleName


class _Http(StrictModel):
    """Where something is posted to. Addresses of private networks, loopback too, only with `allow_private`."""

    url: Url
    timeout_s: float = Field(default=10, gt=0, le=60)
    allow_private: bool = False


class AppriseChannel(StrictModel):
    """Any service that the library apprise knows. Secrets are in its URLs, so they may stand in `urls_file`, one a line."""

    kind: Literal["apprise"]
    urls: tuple[str, ...] = ()
    urls_file: str | None = None
    timeout_s: float = Field(default=20, gt=0, le=120)
    send_resolved: bool = True

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if bool(self.urls) == (self.urls_file is not None):
            raise ValueError("expected either urls or urls_file, found both or neither")
        return self


class WebhookChannel(_Http):
    """JSON by POST. With `secret_file` it is signed (HMAC-SHA256), so that the receiver knows who sent it, and when."""

    kind: Literal["webhook"]
    secret_file: str | None = None
    send_resolved: bool = True


class AlertmanagerChannel(_Http):
    """A real Alertmanager, told again every `again_s` while the alert holds, as it forgets what nobody repeats."""

    kind: Literal["alertmanager"]
    again_s: float = Field(default=60, ge=0.2, le=3600)


Channel = Annotated[AppriseChannel | WebhookChannel | AlertmanagerChannel, Field(discriminator="kind")]


class StepFile(StrictModel):
    """Told `after_s` seconds after the alert fired, where nobody has acknowledged it by then."""

    after_s: float = Field(default=0, ge=0, le=86_400)
    channels: tuple[Token, ...] = Field(min_length=1)


class Repeat(StrictModel):
    """The last step again."""

    every_s: float = Field(gt=0, le=86_400)
    times: int = Field(ge=1, le=100)


class Escalation(StrictModel):
    """`ack_s`: an acknowledgement holds that long; after it the escalation begins anew."""

    steps: tuple[StepFile, ...] = Field(min_length=1, max_length=16)
    repeat: Repeat | None = None
    ack_s: float = Field(default=1800, gt=0, le=7 * 86_400)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        delays = [step.after_s for step in self.steps]
        if delays != sorted(set(delays)):
            raise ValueError(f"expected steps with rising after_s, found {delays}")
        return self


class RouteFile(StrictModel):
    """The first route that fits decides. `severity`: that one and worse."""

    match: Selector | None = None
    severity: Severity = Severity.INFO
    escalation: Token


class ActionFile(StrictModel):
    """What is done when an alert that fits fires, silenced or not.

    `pause`, `fail`, `rollback` and `note` concern the rollouts under way that the alert's labels name (`rollout`,
    `product`, `release`, `component`, `node`); where it names neither rollout nor product, none, unless `every_rollout`.
    `command` is a program with its arguments, run beside the service without a shell; `node-hook` has the alert's node,
    or `nodes`, run the program that they know under the name `hook`; `webhook` posts to `url`.
    """

    name: ActionName
    match: Selector
    severity: Severity = Severity.INFO
    do: ActionKind
    every_rollout: bool = False
    command: tuple[str, ...] = ()
    hook: Token | None = None
    nodes: tuple[Token, ...] = ()
    url: Url | None = None
    secret_file: str | None = None
    allow_private: bool = False
    timeout_s: float = Field(default=30, gt=0, le=600)
    tries: int = Field(default=3, ge=1, le=20)

    @model_validator(mode="after")
    def _its_own(self) -> Self:
        if (self.do is ActionKind.COMMAND) != bool(self.command):
            raise ValueError(f"expected command where, and only where, do is command; found do {self.do}")
        if (self.do is ActionKind.NODE_HOOK) != (self.hook is not None) or (self.nodes and not self.hook):
            raise ValueError(f"expected hook where, and only where, do is node-hook; found do {self.do}")
        if (self.do is ActionKind.WEBHOOK) != (self.url is not None):
            raise ValueError(f"expected url where, and only where, do is webhook; found do {self.do}")
        return self


class Maintenance(StrictModel):
    """Messages of alerts that fit are muted while the window is open, week after week."""

    name: Token
    match: Selector
    window: Window
    comment: str = ""


class Receiver(StrictModel):
    """How alerts from outside are read: `severities` maps other words for a severity to ours; what is unknown is `warning`.

    `external_url` is where people reach the service; with it, messages have a link that acknowledges.
    """

    severities: dict[str, Severity] = {"page": Severity.CRITICAL, "error": Severity.CRITICAL}
    external_url: Url | None = None
    max_bytes: int = Field(default=1 << 20, ge=1024, le=16 << 20)
    max_alerts: int = Field(default=1000, ge=1, le=10_000)


class AlertsFile(StrictModel):
    """See the module. `stale_s`: an alert of a rule that has had no data for so long ends, and says so."""

    built_in: bool = True
    interval_s: float = Field(default=5, ge=0.1, le=300)
    stale_s: float = Field(default=3600, gt=0)
    rules: tuple[Rule, ...] = ()
    channels: dict[Token, Channel] = {}
    escalations: dict[Token, Escalation] = {}
    routes: tuple[RouteFile, ...] = ()
    actions: tuple[ActionFile, ...] = ()
    windows: tuple[Maintenance, ...] = ()
    receiver: Receiver = Receiver()

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name, escalation in self.escalations.items():
            for channel in (c for step in escalation.steps for c in step.channels):
                if channel not in self.channels:
                    raise ValueError(f"escalations.{name}: expected a channel that exists, found {channel}")
        for route in self.routes:
            if route.escalation not in self.escalations:
                raise ValueError(f"routes: expected an escalation that exists, found {route.escalation}")
        for kind in (self.actions, self.windows):
            names = [item.name for item in kind]
            if len(names) != len(set(names)):
                raise ValueError(f"expected every name once, found {', '.join(sorted(names))}")
        checked_rules(self.every_rule)
        return self

    @property
    def every_rule(self) -> tuple[Rule, ...]:
        """The file's own rules, after those built in that it does not replace."""
        own = {rule.name for rule in self.rules}
        return (*(rule for rule in BUILT_IN if self.built_in and rule.name not in own), *self.rules)
