"""Alerts as an Alertmanager would post them to a lab's alerts service."""

from __future__ import annotations

import json

import aiohttp

from bumpless.common.shell import clock
from support.fleet_lab import Lab
from support.waiting import eventually


def webhook(lab: Lab) -> str:
    port = json.loads((lab.home.path / "ports.json").read_text())["alerts-webhook"]
    return f"http://127.0.0.1:{port}/api/v1/alertmanager"


async def say_to(lab: Lab, status: str, labels: dict[str, str]) -> None:
    """What an Alertmanager would post."""
    alert = {"status": status, "labels": labels, "annotations": {}, "startsAt": clock.now().isoformat()}
    secret = lab.home.webhook_secret.read_text().strip()

    async def post() -> int:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    webhook(lab),
                    json={"version": "4", "alerts": [alert]},
                    headers={"Authorization": f"Bearer {secret}"},
                ) as answer,
            ):
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0

    await eventually(post, lambda status: status == 200, "the alerts service to take an alert")
