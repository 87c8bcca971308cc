"""Silences of people, windows of the alerts file, and those of batches under way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.alerts import silences
from bumpless.alerts.picture import Picture
from bumpless.common.contract import events as e
from bumpless.common.contract.alerts import AlertingAnswered, ExpireSilence, SetSilence, SilenceChanged
from bumpless.common.contract.base import derive_id
from bumpless.common.model.alert import Silence
from bumpless.common.model.alerting import Maintenance
from support.plans import batch, plan
from unit.alerts.scenes import T0, at

DOWN = {"alertname": "NodeDown", "node": "web-1"}


def silence(start: float = 0, end: float = 100, **fields: Any) -> Silence:
    raw = {
        "id": "s1",
        "matchers": [{"name": "node", "value": "web-.*", "isRegex": True}],
        "startsAt": at(start),
        "endsAt": at(end),
        "createdBy": "ann",
    }
    return Silence.model_validate({**raw, **fields})


def put(found: Silence, by: str = "ann") -> SetSilence:
    return SetSilence(id=derive_id("set", found.id, str(found.ends_at)), at=T0, by=by, silence=found)


@pytest.mark.parametrize(
    ("matcher", "covers"),
    [
        ({"name": "node", "value": "web-1"}, True),
        ({"name": "node", "value": "web"}, False),
        ({"name": "node", "value": "web", "isRegex": True}, False),
        ({"name": "node", "value": "web.*", "isRegex": True}, True),
        ({"name": "node", "value": "db-1", "isEqual": False}, True),
        ({"name": "node", "value": "web.*", "isRegex": True, "isEqual": False}, False),
        ({"name": "zone", "value": "", "isEqual": True}, True),
    ],
)
def test_matchers_are_those_of_alertmanager(matcher: dict[str, Any], covers: bool) -> None:
    always = {"name": "alertname", "value": "NodeDown"}
    assert silence(matchers=[always, matcher]).covers(DOWN) == covers


@pytest.mark.parametrize(
    "wrong",
    [
        {"matchers": []},
        {"matchers": [{"name": "node", "value": ".*", "isRegex": True}]},
        {"matchers": [{"name": "node", "value": "(", "isRegex": True}]},
        {"matchers": [{"name": "no de", "value": "x"}]},
        {"endsAt": at(-1)},
        {"createdBy": ""},
    ],
)
def test_what_is_no_silence_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        silence(**wrong)


def test_a_silence_is_made_changed_and_expired() -> None:
    made = silences.decide(None, put(silence()), T0)
    assert [type(m) for m in made.messages] == [SilenceChanged, AlertingAnswered]
    longer = silences.decide(made.state, put(silence(end=200)), T0)
    assert longer.state is not None
    assert longer.state.ends_at == at(200)
    end = ExpireSilence(id=derive_id("end"), at=T0, by="bob", silence_id="s1")
    over = silences.decide(longer.state, end, at(50))
    assert over.state is not None
    assert over.state.ends_at == at(50)
    again = silences.decide(over.state, end, at(60))
    assert again.state is over.state


@pytest.mark.parametrize(
    ("state", "wanted", "now", "said"),
    [
        (None, silence(), 200, "expected an end after"),
        (None, silence(end=61 * 86_400), 0, "at most 60 days"),
        (silence(), silence(end=900), 150, "expected a new id"),
    ],
)
def test_what_makes_no_sense_is_refused(
    state: Silence | None, wanted: Silence, now: float, said: str
) -> None:
    found = silences.decide(state, put(wanted), at(now))
    (answer,) = found.messages
    assert isinstance(answer, AlertingAnswered)
    assert not answer.accepted
    assert said in answer.text
    assert found.state is state


def test_muted_until_the_last_of_them_ends() -> None:
    found = [
        silence(),
        silence(10, 50, id="s2"),
        silence(60, 500, id="s3"),
        silence(0, 900, id="s4", matchers=[{"name": "node", "value": "db"}]),
    ]
    assert silences.muting(DOWN, found, at(20)) == silences.Muting(("s1", "s2"), at(100))
    assert silences.muting(DOWN, found, at(99)) == silences.Muting(("s1", "s3"), at(500))
    assert silences.muting(DOWN, found, at(500)) == silences.Muting()


def window(**fields: Any) -> Maintenance:
    return Maintenance.model_validate({"name": "nightly", "match": 'node=~"web-.*"', "window": fields})


@pytest.mark.parametrize(
    ("fields", "now", "end"),
    [
        ({"from": "22:00", "to": "23:30"}, "2026-03-02T22:30", "2026-03-02T23:30"),
        ({"from": "22:00", "to": "23:30"}, "2026-03-02T23:30", None),
        ({"from": "22:00", "to": "02:00"}, "2026-03-03T01:00", "2026-03-03T02:00"),
        ({"from": "22:00", "to": "02:00", "days": ["mon"]}, "2026-03-03T01:00", "2026-03-03T02:00"),
        ({"from": "22:00", "to": "02:00", "days": ["tue"]}, "2026-03-03T01:00", None),
        ({"from": "02:00", "to": "04:00", "zone": "Europe/Berlin"}, "2026-07-01T01:00", "2026-07-01T02:00"),
        ({"from": "02:00", "to": "04:00", "zone": "No/Where"}, "2026-07-01T01:00", None),
    ],
)
def test_windows_open_week_after_week(fields: dict[str, Any], now: str, end: str | None) -> None:
    found = silences.of_window(window(**fields), datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (None if found is None else f"{found.ends_at:%Y-%m-%dT%H:%M}") == end
    assert found is None or found.covers(DOWN)


def begun(*, product: str = "shop") -> Picture:
    picture = Picture()
    made = plan(batch("api-1", ["n1", "n2"]), batch("api-2", ["n3"], needs=("api-1",)))
    planned = {
        "id": "p1",
        "at": T0,
        "rollout": "r1",
        "product": product,
        "release_version": "v2",
        "direction": "forward",
        "plan_hash": made.hash,
        "generation": 1,
    }
    picture.take(e.RolloutPlanned.model_validate(planned))
    picture.planned(made.rollout if made.rollout == "r1" else picture.unread()[0].rollout, made)
    return picture


def progressed(second: float, **batches: str) -> e.RolloutProgressed:
    raw = {
        "id": "x",
        "at": at(second),
        "rollout": "r1",
        "product": "shop",
        "release_version": "v2",
        "direction": "forward",
        "status": "rolling",
        "since": T0,
    }
    return e.RolloutProgressed.model_validate(
        {**raw, "batches": {k.replace("_", "-"): v for k, v in batches.items()}}
    )


def advanced(status: str) -> e.RolloutAdvanced:
    raw = {
        "id": "y",
        "at": T0,
        "rollout": "r1",
        "owner": "planner",
        "version": 3,
        "inputs": [],
        "status_before": "staging",
        "status": status,
    }
    return e.RolloutAdvanced.model_validate(raw)


def test_nodes_of_a_batch_under_way_may_be_down_until_its_deadline() -> None:
    picture = begun()
    picture.take(progressed(10, api_1="applying", api_2="pending"))
    picture.take(progressed(20, api_1="applying", api_2="pending"))
    (found,) = picture.silences(at(30))
    assert found.covers({"alertname": "NodeDown", "node": "n2"})
    assert not found.covers({"alertname": "NodeDown", "node": "n3"})
    assert not found.covers({"alertname": "DiskFull", "node": "n2"})
    assert found.starts_at == at(10)
    assert picture.silences(found.ends_at) == []
    picture.take(progressed(40, api_1="passed", api_2="pending"))
    assert picture.silences(at(50)) == []


@pytest.mark.parametrize(
    ("labels", "every", "found"),
    [
        ({"product": "shop"}, False, True),
        ({"product": "other"}, False, False),
        ({"rollout": "r1"}, False, True),
        ({"rollout": "r2"}, True, False),
        ({"product": "shop", "node": "n2"}, False, True),
        ({"product": "shop", "node": "n9"}, False, False),
        ({"product": "shop", "component": "api", "node": "n3"}, False, True),
        ({"product": "shop", "release": "v1"}, False, False),
        ({"node": "n1"}, False, False),
        ({"node": "n1"}, True, True),
        ({}, True, True),
    ],
)
def test_the_rollouts_an_alert_concerns(labels: dict[str, str], every: bool, found: bool) -> None:
    assert bool(begun().concerned(labels, every=every)) == found


@pytest.mark.parametrize("status", ["succeeded", "reverted", "halted", "cancelled", "failed"])
def test_a_rollout_that_is_not_under_way_concerns_nobody(status: str) -> None:
    picture = begun()
    picture.take(advanced(status))
    assert picture.concerned({"product": "shop"}, every=True) == ()
