"""Channels from what the alerts file says."""

from __future__ import annotations

from bumpless.alerts.channels.alertmanager import Alertmanager
from bumpless.alerts.channels.by_apprise import Apprise
from bumpless.alerts.channels.port import Channel
from bumpless.alerts.channels.webhook import Webhook
from bumpless.common.model import alerting


def make(config: alerting.Channel) -> Channel:
    match config:
        case alerting.AppriseChannel():
            return Apprise(config)
        case alerting.WebhookChannel():
            return Webhook(config)
        case alerting.AlertmanagerChannel():
            return Alertmanager(config)
