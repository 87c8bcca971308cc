"""Alerts forwarded to a real Alertmanager, which groups, routes and shows them in its own way.

It identifies an alert by its labels, so posting the same one again only prolongs it. Escalation and acknowledgement
stay here: Alertmanager has neither.
"""

from __future__ import annotations

from bumpless.alerts.notice import Notice
from bumpless.common.model.alerting import AlertmanagerChannel
from bumpless.common.webhooks.post import Outcome, post

ALERTS = "/api/v2/alerts"


class Alertmanager:
    """See `port.Channel`. `url` is the server's root, with or without the path of its API."""

    def __init__(self, config: AlertmanagerChannel) -> None:
        root = config.url.rstrip("/")
        self._url = root if root.endswith(ALERTS) else root + ALERTS
        self._config = config

    async def send(self, notice: Notice) -> Outcome:
        return await post(
            self._url,
            notice.for_alertmanager(),
            {},
            timeout_s=self._config.timeout_s,
            allow_private=self._config.allow_private,
        )
