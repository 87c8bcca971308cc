"""Messages about alerts and silences: what became of them, and what people ask of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bumpless.common.contract.base import Message, Token
from bumpless.common.model.alert import Alert, Fingerprint, Silence


class AlertChanged(Message):
    """An alert as it is now; the last one is all there is to know of it. `why` says what changed it."""

    type: Literal["alert-changed"] = "alert-changed"
    alert: Alert
    why: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return self.alert.fingerprint


class SilenceChanged(Message):
    """A silence as it is now. One that is expired ends when it was."""

    type: Literal["silence-changed"] = "silence-changed"
    silence: Silence

    @property
    def silence_id(self) -> str:
        return self.silence.id


class AlertingAnswered(Message):
    """The one answer to a command below. `cause` is the command's id, `about` an alert, a silence or a channel."""

    type: Literal["alerting-answered"] = "alerting-answered"
    about: Token
    accepted: bool
    text: str


class AlertingCommand(Message):
    """A person's (or a tool's) order to the alerts service."""

    by: str


class AcknowledgeAlert(AlertingCommand):
    """Somebody takes care of it. Holds for `hold_s`; None: as long as the alert's route says."""

    type: Literal["acknowledge-alert"] = "acknowledge-alert"
    alert: Fingerprint
    comment: str = ""
    hold_s: float | None = Field(default=None, gt=0, le=7 * 86_400)


class SetSilence(AlertingCommand):
    """Make a silence, or change the one of that id."""

    type: Literal["set-silence"] = "set-silence"
    silence: Silence

    @property
    def silence_id(self) -> str:
        return self.silence.id


class ExpireSilence(AlertingCommand):
    type: Literal["expire-silence"] = "expire-silence"
    silence_id: Token


class TryChannel(AlertingCommand):
    """Send one message that says it is a test, once."""

    type: Literal["try-channel"] = "try-channel"
    channel: Token
