"""Alerts in a fleet: one from a real Alertmanager takes a release back, silenced or not; one that nobody takes up goes up
over the death of the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract import events as e
from bumpless.common.shell import clock
from support.alerting import say_to, webhook
from support.alertmanager import RealAlertmanager
from support.fleet_lab import Lab
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import ended, on_fleet, publish, until_batch
from support.http_target import HttpTarget
from support.waiting import comes_true, eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def people() -> Iterator[HttpTarget]:
    with HttpTarget() as target:
        yield target


def configure(lab: Lab, people: HttpTarget, *, second_step_s: float = 600) -> None:
    channels = {
        name: {"kind": "webhook", "url": f"{people.url}/{name}", "allow_private": True}
        for name in ("chat", "oncall")
    }
    ladder = {
        "steps": [
            {"after_s": 0, "channels": ["chat"]},
            {"after_s": second_step_s, "channels": ["oncall"]},
        ]
    }
    lab.home.alerts.write_text(
        json.dumps(
            {
                "built_in": False,
                "interval_s": 0.2,
                "channels": channels,
                "escalations": {"default": ladder},
                "actions": [
                    {"name": "back", "match": 'alertname="OrdersLost"', "do": "rollback"},
                    {"name": "stop", "match": 'alertname="OrdersSlow"', "do": "fail"},
                ],
            }
        )
    )


async def shown(lab: Lab, name: str) -> Any:
    """The alert of that name as `bumpless alert list` has it; None: there is none."""
    listed = await lab.cli("alert", "list", "--all", "--output", "json")
    assert listed.code == 0, listed.err
    return next((alert for alert in json.loads(listed.out) if alert["labels"]["alertname"] == name), None)


def told(people: HttpTarget, path: str, name: str) -> list[Any]:
    """What was said there of the alerts of that name; those of earlier tests may still be told."""
    return [message for message in people.at(path) if message["alert"]["labels"]["alertname"] == name]


async def taken_up(lab: Lab) -> None:
    """The service has read the alerts file of this test."""
    tried = await lab.cli("alert", "test-channel", "chat")
    if tried.code != 0:

        async def again() -> int:
            return (await lab.cli("alert", "test-channel", "chat")).code

        await eventually(again, lambda code: code == 0, "the alerts file to be in force")


async def test_an_alert_from_a_real_alertmanager_takes_a_release_back_and_a_silence_mutes_no_more_than_the_message(
    lab: Lab, folder: Path, people: HttpTarget
) -> None:
    configure(lab, people)
    await taken_up(lab)
    people.posted.clear()
    labels = {"alertname": "OrdersLost", "product": "tiny", "severity": "critical"}
    silenced = await lab.cli(
        "alert", "silence", "add", 'alertname="OrdersLost"', "--for", "1h", "--comment", "known", "-o", "json"
    )
    assert silenced.code == 0, silenced.err
    silence = json.loads(silenced.out)["id"]
    with RealAlertmanager(webhook(lab), lab.home.webhook_secret) as real:
        async with lab.client() as found:
            before = await on_fleet(found, "core")
            version = lab.fresh()
            async with lab.load():
                path = write_release(folder, version, core=version, gate=PATIENT_GATE)
                rollout = await publish(lab, found, path)
                await until_batch(found, rollout, "core-1", "baking")
                real.fire(labels, summary="orders are lost")
                log = await ended(found, rollout, "reverted")
            assert log.one(e.RevertStarted).by == "alert OrdersLost"
            assert await on_fleet(found, "core") == before

        async def acted() -> Any:
            return await shown(lab, "OrdersLost")

        alert = await eventually(
            acted,
            lambda found: found and found["actions"][0]["status"] == "done",
            "the outcome to be recorded",
        )
        assert alert["actions"][0]["outcomes"][rollout].startswith("reverted by ")
        assert (alert["status"], alert["severity"], alert["muted_by"]) == ("firing", "critical", [silence])
        assert people.posted == []

        over = await lab.cli("alert", "silence", "expire", silence)
        assert over.code == 0, over.err
        await comes_true(lambda: people.at("/chat"), "the message once nobody mutes it")
        assert [(m["about"], m["alert"]["labels"]) for m in people.at("/chat")] == [("firing", labels)]
        real.fire(labels, ends_at=clock.now() - timedelta(seconds=1))
        await comes_true(lambda: len(people.at("/chat")) > 1, "the message that it is over")
        assert [m["about"] for m in people.at("/chat")] == ["firing", "resolved"]


async def test_an_alert_that_is_to_fail_a_rollout_leaves_the_rest_to_its_policy(
    lab: Lab, folder: Path, people: HttpTarget
) -> None:
    configure(lab, people)
    await taken_up(lab)
    async with lab.client() as found:
        version = lab.fresh()
        path = write_release(folder, version, core=version, gate=PATIENT_GATE)
        rollout = await publish(lab, found, path)
        await until_batch(found, rollout, "core-1", "baking")
        await say_to(lab, "firing", {"alertname": "OrdersSlow", "product": "another"})
        await say_to(lab, "firing", {"alertname": "OrdersSlow", "product": "tiny", "component": "core"})
        log = await ended(found, rollout, "reverted")
        assert log.one(e.RolloutFailed).reason.startswith("alert OrdersSlow")
        assert log.one(e.RevertStarted).by == "policy"


async def test_what_nobody_acknowledges_goes_up_over_the_death_of_the_service(
    lab: Lab, people: HttpTarget
) -> None:
    configure(lab, people, second_step_s=4)
    await taken_up(lab)
    people.posted.clear()
    await say_to(lab, "firing", {"alertname": "Queue", "queue": lab.fresh()})
    await comes_true(lambda: told(people, "/chat", "Queue"), "the first step")
    lab.kill("alerts")
    lab.start("alerts")
    await comes_true(lambda: told(people, "/oncall", "Queue"), "the second step, by the next process")
    (first,) = {m["id"] for m in told(people, "/chat", "Queue")}
    (second,) = told(people, "/oncall", "Queue")
    assert (second["step"], second["alert"]["fingerprint"]) == (
        1,
        told(people, "/chat", "Queue")[0]["alert"]["fingerprint"],
    )
    assert second["id"] != first
    acknowledged = await lab.cli("alert", "ack", second["alert"]["fingerprint"], "--comment", "on it")
    assert acknowledged.code == 0, acknowledged.err
    assert (await shown(lab, "Queue"))["status"] == "acknowledged"
    lab.flush_redis()
    await say_to(lab, "resolved", second["alert"]["labels"])
    await comes_true(
        lambda: (
            told(people, "/chat", "Queue")[-1]["about"]
            == told(people, "/oncall", "Queue")[-1]["about"]
            == "resolved"
        ),
        "the end to be told to both, by a service that had to read the stream again",
    )
