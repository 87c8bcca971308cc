"""Everything that the library apprise can talk to: chats, mail, pagers.

It is imported when something is first sent, because it takes a while and most fleets have other channels. It blocks,
so it runs in a thread. It says no more than whether all went well; its own log says why not.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bumpless.alerts.notice import Notice
from bumpless.common.model.alert import Severity
from bumpless.common.model.alerting import AppriseChannel
from bumpless.common.webhooks.post import Outcome

KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


class Apprise:
    """See `port.Channel`."""

    def __init__(self, config: AppriseChannel) -> None:
        self._config = config

    async def send(self, notice: Notice) -> Outcome:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await asyncio.to_thread(self._send, notice)
        except TimeoutError:
            return Outcome(False, f"no end within {self._config.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and no alert may be lost by it
            return Outcome(False, f"{type(error).__name__}: {error}")

    def _send(self, notice: Notice) -> Outcome:
        import apprise

        sender = apprise.Apprise()
        for number, url in enumerate(self._urls(), start=1):
            if not sender.add(url):
                return Outcome(False, f"expected a URL that apprise knows, found another as number {number}")
        kind = "success" if notice.about == "resolved" else KINDS[notice.alert.severity]
        sent = sender.notify(title=notice.title, body=notice.body, notify_type=kind)
        if sent:
            return Outcome(True, f"{len(sender)} sent")
        return Outcome(False, "apprise could not send it; see the service's log")

    def _urls(self) -> list[str]:
        if self._config.urls_file is None:
            return list(self._config.urls)
        lines = Path(self._config.urls_file).read_text().splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
