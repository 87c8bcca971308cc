"""Why a rollout is where it is, in sentences, and the lines of the event log."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Message, MessageId, RolloutId
from bumpless.common.model.plan import Direction
from bumpless.common.model.rollout import RolloutStatus
from bumpless.dashboard.feeds import LOGGED, ORDERED
from bumpless.dashboard.wording import event, stamp, why
from support.plans import T0

ROLLOUT = RolloutId("11111111-1111-5111-8111-111111111111")
COMMON: dict[str, Any] = {
    "id": MessageId("22222222-2222-5222-8222-222222222222"),
    "at": T0,
    "rollout": ROLLOUT,
}


def progressed(status: str = "rolling", **more: Any) -> e.RolloutProgressed:
    fields = {
        **COMMON,
        "product": "shop",
        "release_version": "v2",
        "direction": Direction.FORWARD,
        "status": status,
        "since": T0,
    }
    return e.RolloutProgressed.model_validate({**fields, **more})


@pytest.mark.parametrize("status", list(RolloutStatus))
def test_every_status_is_a_sentence(status: RolloutStatus) -> None:
    (said,) = why(progressed(status), None)
    assert said.startswith("The rollout ")
    assert said.endswith(".")


def test_a_status_of_a_later_version_is_shown_as_it_is() -> None:
    assert why(progressed("sleeping"), None) == ["The rollout is sleeping."]


def test_a_reason_an_order_and_who_gave_it_are_named() -> None:
    act = {"who": "ada", "command": "pause", "reason": "a look at it", "at": 0}
    found = why(progressed("paused", reason="ordered"), act)
    assert found[0] == "The rollout is paused: no further batch starts: ordered."
    assert found[-1] == "ada paused it: “a look at it”."
    assert why(progressed("paused"), {**act, "reason": ""})[-1] == "ada paused it."


def test_a_revert_is_called_one() -> None:
    assert why(progressed("rolling", of=ROLLOUT), None)[0] == "The revert is rolling."


def test_batches_under_way_and_to_come_are_named_and_many_are_counted() -> None:
    batches = {
        "a": "passed",
        "b": "baking inconclusive",
        "c": "awaiting-approval",
        "d": "pending",
        "e": "pending",
    }
    assert why(progressed(batches=batches), None)[1:] == [
        "Batch b is baking: its gate judges it; the last look could not decide.",
        "Batch c waits for an approval.",
        "2 batches are still to come.",
    ]
    many = {f"b{number}": "applying" for number in range(9)}
    found = why(progressed(batches=many), None)
    assert len(found) == 5
    assert found[-1] == "6 more batches are under way."
    assert len(why(progressed("succeeded", batches={"a": "pending"}), None)) == 1


def test_a_planned_rollout_says_what_it_waits_for() -> None:
    found = why(progressed("planned", until=T0), None)
    assert found[-1] == "It waits for an approval of its plan, or for its nodes."


@pytest.mark.parametrize(
    ("message", "level", "who", "text"),
    [
        (
            e.VerdictReached.model_construct(**COMMON, batch=BatchId("a"), verdict="fail", detail="too slow"),
            "bad",
            "health-gate",
            "Gate of a: fail. too slow",
        ),
        (
            c.Pause(**COMMON, by="ada", reason="a look", to="planner"),
            "info",
            "ada",
            "pause ordered: a look",
        ),
        (
            e.CommandAnswered(**COMMON, command="pause", accepted=False, text="it is over"),
            "warn",
            "",
            "pause refused: it is over",
        ),
        (
            e.RevertStarted(**COMMON, revert=ROLLOUT, reason="slow", by="rollback"),
            "warn",
            "rollback",
            "Taken back: slow",
        ),
    ],
)
def test_lines_of_the_log(message: Message, level: str, who: str, text: str) -> None:
    found = event(message)
    assert found is not None
    assert (found["level"], found["who"], found["text"], found["at"]) == (level, who, text, stamp(T0))


def test_progress_is_no_line_of_the_log() -> None:
    assert event(progressed()) is None


def test_whatever_the_feeds_read_has_words() -> None:
    """A message that is followed for the log but has no line would be read for nothing."""
    for kind in (*LOGGED, *ORDERED):
        fields: dict[str, Any] = {
            name: () if "tuple" in repr(field.annotation) else "x"
            for name, field in kind.model_fields.items()
        }
        assert event(kind.model_construct(**{**fields, "at": T0})) is not None, kind
