"""What happened, in the words of other tools."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract.cdevents import Word
from bumpless.events.lifecycle import About, lifecycle
from support.delivery import EVENTS, PLAN, PLANNED, alert, changed
from support.plans import at
from support.samples import SAMPLES


def words(message: Any, plan: Any = PLAN) -> list[Word]:
    return [told.word for told in lifecycle(message, About("production", PLANNED, plan))]


def test_every_word_is_told_of_something() -> None:
    assert set(EVENTS) == set(Word)


CONTENT = {
    "service": {"environment", "artifactId"},
    "incident": {"description", "environment", "service", "artifactId"},
}
"""What CDEvents 0.4.1 knows in the content of these subjects; anything else is not allowed there."""


@pytest.mark.parametrize("word", Word)
def test_events_have_the_form_of_cdevents(word: Word) -> None:
    event = EVENTS[word].model_dump(mode="json")
    context, subject = event["context"], event["subject"]
    assert set(event) == {"context", "subject"}
    assert {"version", "id", "source", "type", "timestamp"} <= set(context)
    assert set(context) <= {"version", "id", "source", "type", "timestamp", "schemaUri", "chainId", "links"}
    assert set(subject) == {"id", "source", "type", "content"}
    if word.subject in CONTENT:
        assert set(subject["content"]) <= CONTENT[word.subject]
        assert re.fullmatch(r"dev\.cdevents\.[a-z]+\.[a-z]+\.0\.2\.0", context["type"])
        assert subject["type"] == context["type"].split(".")[2]
    else:
        assert re.fullmatch(r"dev\.cdeventsx\.[a-zA-Z0-9]+-[a-zA-Z]+\.[a-zA-Z]+\.\d\.\d\.\d", context["type"])
        assert re.fullmatch(r"[a-zA-Z0-9]+-[a-zA-Z]+", subject["type"])


@pytest.mark.parametrize("word", [w for w in Word if w.subject == "service"])
def test_a_service_names_its_environment_and_what_runs_there(word: Word) -> None:
    event = EVENTS[word].model_dump(mode="json")
    assert event["context"]["version"] == "0.4.1"
    assert event["context"]["type"] == f"dev.cdevents.{word}.0.2.0"
    assert event["context"]["chainId"]
    assert event["subject"]["type"] == "service"
    content = event["subject"]["content"]
    assert content["environment"] == {"id": "production"}
    assert ("artifactId" in content) == (word is not Word.SERVICE_REMOVED)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (PLAN, Word.SERVICE_UPGRADED),
        (changed(PLAN, before=None), Word.SERVICE_DEPLOYED),
        (changed(PLAN, after=None), Word.SERVICE_REMOVED),
    ],
)
def test_success_says_what_became_of_every_component(plan: Any, wanted: Word) -> None:
    assert words(SAMPLES[e.RolloutSucceeded], plan) == [wanted, Word.ROLLOUT_SUCCEEDED]


def test_a_revert_ends_the_incident_and_a_partial_one_does_not() -> None:
    whole = SAMPLES[e.RolloutReverted].model_copy(update={"partial": False})
    found = [Word.SERVICE_ROLLEDBACK, Word.ROLLOUT_REVERTED]
    assert words(whole) == [*found, Word.INCIDENT_RESOLVED]
    assert words(whole.model_copy(update={"partial": True})) == found


def test_both_ends_of_an_incident_of_a_rollout_have_one_subject() -> None:
    failed = SAMPLES[e.RolloutFailed]
    begun = lifecycle(failed, About("production", PLANNED))[0].event
    over = SAMPLES[e.RolloutReverted].model_copy(update={"rollout": failed.rollout, "partial": False})  # type: ignore[attr-defined]
    ended = lifecycle(over, About("production", PLANNED, PLAN))[-1].event
    assert begun.subject.id == ended.subject.id


def test_the_same_message_gives_the_same_ids() -> None:
    message = SAMPLES[e.RolloutSucceeded]
    about = About("production", PLANNED, PLAN)
    first, again = lifecycle(message, about), lifecycle(message, about)
    assert [t.event.context.id for t in first] == [t.event.context.id for t in again]
    assert len({t.event.context.id for t in first}) == len(first)


def test_an_alert_is_one_incident_however_often_it_changes() -> None:
    firing, acknowledged = alert(status="firing"), alert(status="acknowledged", revision=10)
    ids = {lifecycle(m, About("x"))[0].event.context.id for m in (firing, acknowledged)}
    assert len(ids) == 1
    over = alert(status="resolved", resolved_at=at(9))
    assert words(over) == [Word.INCIDENT_RESOLVED]
    assert words(alert(status="pending")) == []
    assert words(alert(status="resolved", fired_at=None)) == []


def test_what_is_of_no_use_to_others_is_not_told() -> None:
    assert words(SAMPLES[e.StepFinished]) == []
    assert words(PLANNED.model_copy(update={"direction": "revert"})) == []
