"""Decisions taken again, in words and filtered; and what is held against what lives, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract.base import MessageId
from bumpless.common.engine import rollout as engine
from bumpless.common.model.rollout import Rollout
from bumpless.common.render import agreement
from bumpless.common.render.agreement import Held, Live, Logged
from bumpless.common.render.replay import Decided, Part, Replay, chosen, lines, of_rollout, rollout_title
from bumpless.common.shell.rollouts import progress
from support.plans import at, batch, plan
from support.rollouts import Course, rolling

PLAN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", ["n1", "n2"], needs=["db-1"]),
)


def decided(course: Course) -> list[Decided[Rollout | None]]:
    first, moment = course.fed[0]
    assert isinstance(first, e.RolloutPlanned)
    made = engine.begin(course.plan, first, moment)
    found: list[Decided[Rollout | None]] = [
        Decided(1, moment, None, first, made.state, made.messages, made.notes)  # type: ignore[arg-type]
    ]
    for version, (message, when) in enumerate(course.fed[1:], start=2):
        made, before = engine.decide(made.state, message, when), made.state
        found.append(Decided(version, when, before, message, made.state, made.messages, made.notes))  # type: ignore[arg-type]
    return found


def part() -> Part:
    course = rolling(PLAN)
    course.finish("db-1")
    course.feed(course.finished("api-1", PLAN.batches[1].steps[0], e.StepOutcome.FAILED))
    return Part(
        aggregate=PLAN.rollout,
        kind="rollout",
        owner="planner",
        title=rollout_title(PLAN),
        status=course.status,
        versions=len(course.fed),
        decisions=tuple(of_rollout(PLAN, decided(course))),
    )


def test_every_decision_has_what_came_in_where_it_led_and_why() -> None:
    shown = lines(Replay(rollout=PLAN.rollout, parts=(part(),)))
    text = "\n".join(shown)
    assert "api v1 -> v2" in shown[0]
    assert "generation 7" in shown[0]
    assert "step-finished (n1 db db-1 done)" in text
    assert "batch db-1: applying -> passed" in text
    assert "sent apply-batch (api-1 n1, n2)" in text
    assert "rolling -> failed: step-finished (n1 api api-1 failed): would not start" in text
    assert shown[-1] == "  6 versions; ends failed"


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"components": ["db"]}, [1, 2, 4, 5]),
        ({"nodes": ["n2"]}, [1, 4, 5]),
        ({"components": ["db"], "nodes": ["n2"]}, []),
        ({"since": at(2), "until": at(3)}, [3, 4]),
        ({"components": ["other"]}, []),
    ],
)
def test_filters(filters: dict[str, Any], kept: list[int]) -> None:
    assert [one.version for one in chosen(part(), **filters).decisions] == kept


def test_what_is_wrong_is_said_last() -> None:
    wrong = part().model_copy(update={"problem": "expected version 3, found 4"})
    held = Held(subject="store", aggregate="r", agrees=False, text="an old copy", advice="wait")
    found = Replay(rollout=PLAN.rollout, parts=(wrong,), verified=(held,))
    assert found.problems
    assert lines(found)[-3:] == [
        "  NOT FURTHER: expected version 3, found 4",
        "DIFFERS store r: an old copy",
        "        wait",
    ]


STATE = {"status": "rolling", "batches": {"api-1": {"status": "baking"}}}
LOGGED = Logged("r1", "planner", 4, STATE, True)


@pytest.mark.parametrize(
    ("live", "agrees", "said"),
    [
        (Live(4, STATE), True, "version 4, as the log leads to"),
        (None, True, "emptied"),
        (Live(5, STATE, waiting=2), True, "on its way"),
        (Live(5, STATE), False, "the end of the log is lost"),
        (Live(3, STATE), False, "an old copy"),
        (Live(4, None), False, "cannot be read"),
        (
            Live(4, {"status": "rolling", "batches": {"api-1": {"status": "passed"}}}),
            False,
            "batches.api-1.status: expected baking, found passed",
        ),
        (Live(4, {**STATE, "by": "mallory"}), False, "by: expected None, found mallory"),
    ],
)
def test_the_store(live: Live | None, agrees: bool, said: str) -> None:
    found = agreement.store(LOGGED, live)
    assert (found.agrees, said in found.text) == (agrees, True), found
    assert agrees or found.advice


@pytest.mark.parametrize(
    ("waits", "live", "has", "known", "agrees"),
    [
        (False, Live(4, STATE), False, True, None),
        (True, Live(4, STATE), True, True, True),
        (True, Live(4, STATE), False, True, False),
        (True, None, False, False, True),
        (True, Live(3, STATE), False, True, None),
    ],
)
def test_its_deadline(waits: bool, live: Live | None, has: bool, known: bool, agrees: bool | None) -> None:
    found = agreement.deadline(Logged("r1", "planner", 4, STATE, waits), live, has, known)
    assert agrees == (None if found is None else found.agrees)


def test_last_values() -> None:
    course = rolling(PLAN)
    last = progress(course.state, course.fed[-1][0], course.now)
    other = last.model_copy(update={"status": "succeeded"})
    answers = [agreement.announced("r", *pair) for pair in ((None, None), (last, None), (last, last))]
    assert [None if found is None else found.agrees for found in answers] == [None, True, True]
    differing = agreement.announced("r", last, other)
    assert differing is not None
    assert not differing.agrees
    assert "status: expected rolling, found succeeded" in differing.text


def test_events_that_never_left() -> None:
    course = rolling(PLAN)
    sent = [m for one in decided(course) for m in one.sent]
    succeeded = e.RolloutSucceeded(
        id=MessageId("s"), at=at(9), rollout=PLAN.rollout, product="shop", release_version="v2"
    )
    known = {m.id for m in sent}
    assert agreement.events("r", [*sent, succeeded], known | {"s"}, Live(4, STATE), set()).agrees
    missing = agreement.events("r", [*sent, succeeded], known, Live(4, STATE), {"s"})
    assert (missing.agrees, "rollout-succeeded" in missing.text) == (False, True)
    assert agreement.events("r", [*sent, succeeded], known, Live(4, STATE, waiting=1), {"s"}).agrees
