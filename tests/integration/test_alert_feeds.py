"""What the alerts service hears of a real broker: samples, nodes, rollouts, and what goes wrong in Bumpless itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from bumpless.alerts.evaluate import evaluate
from bumpless.alerts.feeds import Feeds
from bumpless.alerts.picture import Picture
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.errors import Retryable
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.model.plan import Plan
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support.plans import batch, plan
from support.samples import SAMPLES
from support.waiting import comes_true

PLAN = plan(batch("api-1", ["n1"]))
FILE = AlertsFile.model_validate(
    {
        "rules": [
            {"rule": "threshold", "name": "Queue", "metric": "queue", "above": 5},
            {"rule": "event", "name": "Failed", "event": "rollout-failed"},
        ]
    }
)


@dataclass
class Site:
    connection: Connection
    feeds: Feeds

    async def say(self, kind: type[Message], **fields: Any) -> None:
        given = {"id": derive_id(kind.__name__, str(fields)), "at": clock.now(), **fields}
        raw = {**json.loads(SAMPLES[kind].model_dump_json()), **given}
        await self.connection.publish(kind.model_validate(raw), source="test")

    def holds(self, rule: str) -> dict[str, bool | None]:
        answers = evaluate(FILE.every_rule, self.feeds.facts, clock.now())[rule]
        return {" ".join(value for _, value in group): answer.holds for group, answer in answers.items()}


@pytest.fixture
async def site(nats_url: str) -> AsyncIterator[Site]:
    connection = await Connection.connect(nats_url, name="test")
    await ensure_topology(connection)

    async def read(plan_hash: str) -> Plan:
        if plan_hash != PLAN.hash:
            raise Retryable("no such plan")
        return PLAN

    feeds = Feeds(connection, Picture(), read, clock.now)
    yield Site(connection, feeds)
    await feeds.stop()
    await connection.close()


async def test_everything_that_rules_look_at_is_heard_also_from_before_the_start(site: Site) -> None:
    await site.say(e.MetricsSampled, samples={"queue": 9.0}, node="n1", component="api", up=True)
    await site.say(e.ComponentCrashLooping, node="n1", component="api")
    await site.feeds.start(FILE)
    await site.say(e.RolloutHalted, rollout="r1")
    await site.say(e.RolloutFailed, rollout="r2", product="shop")
    await site.say(e.MessageParked, service="planner")
    node = {**SAMPLES[e.NodeObserved].model_dump(mode="json")["node"], "name": "n7"}
    await site.say(e.NodeObserved, node=node)
    advisory = {"stream": "EVT", "consumer": "planner", "stream_seq": 7, "deliveries": 9}
    subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVT.planner"
    await site.connection.nc.publish(subject, json.dumps(advisory).encode())

    def heard() -> bool:
        return (
            site.holds("Queue") == {"api n1": True}
            and list(site.holds("CrashLoop").values()) == [True]
            and list(site.holds("RolloutHalted").values()) == [True]
            and list(site.holds("Failed").values()) == [True]
            and site.holds("MessagesParked") == {"planner": True}
            and site.holds("NodeDown") == {"n7": False}
            and site.holds("ConsumerGaveUp") == {"planner EVT": True}
        )

    await comes_true(heard, "every kind of news")


async def test_actions_wait_until_rollouts_and_their_plans_are_known(site: Site) -> None:
    await site.say(e.RolloutPlanned, rollout="r1", plan_hash=PLAN.hash, product="shop", direction="forward")
    await site.feeds.start(FILE)
    assert not site.feeds.ready
    await comes_true(lambda: site.feeds.picture.unread(), "the rollout")
    assert not site.feeds.ready
    await site.feeds.read_plans()
    await comes_true(lambda: site.feeds.ready, "it to be ready")
    assert site.feeds.picture.concerned({"product": "shop", "node": "n1"}, every=False) == ("r1",)
    await site.say(e.RolloutAdvanced, rollout="r1", status="succeeded")
    await comes_true(lambda: not site.feeds.picture.concerned({"product": "shop"}, every=False), "its end")


async def test_it_is_ready_where_there_never_was_a_rollout(site: Site) -> None:
    await site.feeds.start(FILE)
    assert site.feeds.ready


async def test_junk_is_left_out(site: Site) -> None:
    await site.feeds.start(FILE)
    await site.connection.js.publish("evt.n1.metrics-sampled", b"{")
    await site.connection.nc.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVT.x", b"[1]")
    await site.say(e.MetricsSampled, samples={"queue": 9.0}, node="n2", component="api", up=True)
    await comes_true(lambda: site.holds("Queue") == {"api n2": True}, "what comes after the junk")
    await site.say(e.MessageParked, service="rollback")
    await comes_true(lambda: site.holds("MessagesParked") == {"rollback": True}, "the same of events")
