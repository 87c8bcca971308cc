"""A notice as JSON to any HTTP endpoint, signed where a secret is shared with it."""

from __future__ import annotations

import json

from bumpless.alerts.notice import Notice
from bumpless.common.model.alerting import WebhookChannel
from bumpless.common.webhooks.post import Outcome, post_bytes
from bumpless.common.webhooks.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    read_secret,
    signed,
)


class Webhook:
    """See `port.Channel`. The secret is read at every send, so that it can be changed on the disk."""

    def __init__(self, config: WebhookChannel) -> None:
        self._config = config

    async def send(self, notice: Notice) -> Outcome:
        body = json.dumps(notice.payload(), sort_keys=True).encode()
        timestamp = str(int(notice.at.timestamp()))
        headers = {ID_HEADER: notice.id, TIMESTAMP_HEADER: timestamp}
        if self._config.secret_file is not None:
            try:
                headers[SIGNATURE_HEADER] = signed(read_secret(self._config.secret_file), timestamp, body)
            except (OSError, ValueError) as error:
                return Outcome(False, f"no secret to sign with: {error}")
        return await post_bytes(
            self._config.url,
            body,
            headers,
            timeout_s=self._config.timeout_s,
            allow_private=self._config.allow_private,
        )
