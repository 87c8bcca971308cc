"""What messages become for browsers: rows, reasons, time lines, gates; in any order, and bounded."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Message, RolloutId, derive_id
from bumpless.common.model.plan import Direction
from bumpless.common.model.verdict import Curve, Verdict
from bumpless.dashboard import picture as module
from bumpless.dashboard.outline import outline
from bumpless.dashboard.picture import CURVE_POINTS, FLEET, KEPT_DETAILS, KEPT_EVENTS, ROLLOUTS, Picture
from bumpless.dashboard.wording import stamp
from support.evidence import found_by_test
from support.plans import at as after
from support.plans import batch, node, plan, target


def rollout(number: int = 1) -> RolloutId:
    return RolloutId(derive_id("picture", str(number)))


def say(kind: type[Message], seconds: float, *, number: int = 1, **fields: Any) -> Any:
    """A message of rollout `number`, `seconds` after the beginning, with an id of its own."""
    common = {"id": derive_id(kind.__name__, str(number), str(seconds)), "at": after(seconds)}
    return kind.model_validate({**common, "rollout": rollout(number), **fields})


def planned(number: int = 1) -> Any:
    return say(
        e.RolloutPlanned,
        0,
        number=number,
        product="shop",
        release_version="v2",
        direction=Direction.FORWARD,
        plan_hash="ab" * 32,
        generation=1,
        by="ci",
    )


def progressed(version: int, status: str = "rolling", *, number: int = 1, **more: Any) -> Any:
    fields = {
        "product": "shop",
        "release_version": "v2",
        "direction": Direction.FORWARD,
        "status": status,
        "since": after(0),
        "version": version,
        "steps_total": 3,
    }
    return say(e.RolloutProgressed, version, number=number, **{**fields, **more})


def failed(seconds: float, *, number: int = 1) -> Any:
    fields = {"product": "shop", "plan_hash": "ab" * 32, "generation": 1, "policy_auto": True}
    return say(e.RolloutFailed, seconds, number=number, reason="slow", switched_anything=True, **fields)


def looked(seconds: float, observed: float = 1.0, curve: Curve | None = None) -> Any:
    rule = found_by_test(Verdict.PASS, curve, observed=observed)
    return say(e.GateProgressed, seconds, batch=BatchId("a"), detail="judging", evidence=(rule,))


def taken(*messages: Message) -> Picture:
    picture = Picture()
    for message in messages:
        picture.take(message)
    return picture


def detail(picture: Picture, key: str = "rollout") -> Any:
    return picture.topics[rollout()].get(key)


def test_a_rollout_is_a_row_and_a_page() -> None:
    picture = taken(planned(), progressed(1, steps_done=2, until=after(60), batches={"a": "applying"}))
    row = picture.topics[ROLLOUTS].get(rollout())
    assert (row["product"], row["status"], row["done"], row["total"], row["by"]) == (
        "shop",
        "rolling",
        2,
        3,
        "ci",
    )
    assert row["until"] == stamp(after(60))
    assert detail(picture)["why"] == ["The rollout is rolling.", "Batch a is being applied."]
    assert picture.wanting() == [(rollout(), "ab" * 32)]
    picture.outlined(rollout(), outline(plan(batch("a", ["n1"]))))
    assert picture.wanting() == []


def test_older_progress_that_comes_late_changes_nothing() -> None:
    picture = taken(progressed(5, "paused"), progressed(4, "rolling"))
    assert detail(picture)["status"] == "paused"


def test_batches_have_the_moments_of_their_states_once_each() -> None:
    picture = taken(
        progressed(1, batches={"a": "applying", "b": "pending"}),
        progressed(2, batches={"a": "baking", "b": "pending"}),
        progressed(3, batches={"a": "baking inconclusive", "b": "pending"}),
        progressed(4, batches={"a": "passed", "b": "applying"}),
    )
    moments = [(state, at) for state, at in detail(picture, "t/a")]
    assert moments == [
        ("applying", stamp(after(1))),
        ("baking", stamp(after(2))),
        ("passed", stamp(after(4))),
    ]
    assert [state for state, _ in detail(picture, "t/b")] == ["applying"]


def test_who_acted_is_shown_when_it_was_accepted() -> None:
    order = say(c.Pause, 2, by="ada", reason="a look", to="planner")
    refused = say(e.CommandAnswered, 3, cause=order.id, command="pause", accepted=False, text="no")
    accepted = say(e.CommandAnswered, 4, cause=order.id, command="pause", accepted=True, text="yes")
    assert detail(taken(progressed(1), order, refused))["act"] is None
    earlier = say(c.Resume, 1, by="bob", reason="on", to="planner")
    before = say(e.CommandAnswered, 2, cause=earlier.id, command="resume", accepted=True, text="yes")
    for orders in permutations((order, accepted, earlier, before)):  # they are in two streams
        assert detail(taken(progressed(1), *orders))["act"]["who"] == "ada"
    shown = detail(taken(progressed(1), order, refused, accepted))
    assert shown["act"] == {"who": "ada", "command": "pause", "reason": "a look", "at": stamp(after(4))}
    assert shown["why"][-1] == "ada paused it: “a look”."


@pytest.mark.parametrize("first", [True, False])
def test_a_rollout_names_what_took_it_back(first: bool) -> None:
    """Log and progress come in any order."""
    begun = say(e.RevertStarted, 2, revert=rollout(2), reason="slow", by="rollback")
    messages = [begun, progressed(1, "failed")] if first else [progressed(1, "failed"), begun]
    assert detail(taken(*messages))["revert"] == rollout(2)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (say(e.RolloutSucceeded, 9, product="shop", release_version="v2"), "succeeded"),
        (say(e.RolloutReverted, 9, revert=rollout(2)), "reverted"),
        (failed(9), "failed"),
        (say(e.RolloutHalted, 9, reason="no way back"), "halted"),
        (say(e.RolloutCancelled, 9, reason="too late"), "cancelled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_log_has_the_last_word_where_progress_was_lost(end: Message, status: str) -> None:
    shown = detail(taken(planned(), progressed(1, batches={"a": "baking"}), end, progressed(2)))
    assert (shown["status"], shown["until"]) == (status, None)
    if status == "succeeded":
        assert shown["batches"] == {"a": "passed"}
        assert shown["done"] == shown["total"]


def test_a_plan_alone_is_a_rollout_that_has_not_begun() -> None:
    assert detail(taken(planned()))["status"] == "planned"


def test_a_gate_has_its_looks_and_the_latest_word() -> None:
    curve = Curve(since=after(0), step_s=1, bound=3.0, log_m=(0.1, 0.2))
    picture = taken(progressed(1), looked(2), looked(4, 1.5, curve), looked(3, 9.9))
    (rule,) = detail(picture, "g/a")["evidence"]
    assert (rule["observed"], rule["control"], rule["curve"]["bound"]) == (1.5, "peers", 3.0)
    assert rule["curve"]["points"] == [[stamp(after(1)), 0.1], [stamp(after(2)), 0.2]]
    topic = picture.topics[rollout()]
    looks = [topic.get(key)[2]["errors"][0] for key in topic.under("p/")]
    assert looks == [1.0, 1.5]


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    curve = Curve(since=after(0), step_s=1, bound=3.0, log_m=tuple(float(tick) for tick in range(1000)))
    points = detail(taken(progressed(1), looked(2, curve=curve)), "g/a")["evidence"][0]["curve"]["points"]
    assert len(points) <= CURVE_POINTS
    assert points[-1] == [stamp(after(1000)), 999.0]


def test_a_node_says_what_it_runs_and_that_it_is_there_is_no_change_within_a_minute() -> None:
    seen = node("n1", {"api": target("api", "v2")})
    picture = Picture()
    fleet = picture.topics[FLEET]
    for number, seconds in enumerate((0, 20, 61)):
        moved = seen.model_copy(update={"observed_at": after(seconds)})
        picture.take(e.NodeObserved(id=derive_id("seen", str(number)), at=after(seconds), node=moved))
        assert fleet.frame() is (seconds != 20)
    version, state, root, reason = fleet.get("n1")["components"]["api"]
    assert (version, state, reason) == ("v2", "serving", "")
    assert target("api", "v2").root.removeprefix("sha256:").startswith(root)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_ROWS", KEPT_DETAILS + 10)
    many = KEPT_DETAILS + 20
    picture = taken(*(progressed(1, number=number) for number in range(many)))
    assert len(picture.topics) == KEPT_DETAILS + 2
    assert len(picture.topics[ROLLOUTS].under("")) == KEPT_DETAILS + 10
    assert rollout(0) not in picture.topics
    assert picture.progress(rollout(0)) is None
    for second in range(KEPT_EVENTS + 5):
        picture.take(failed(second, number=many))
    events = picture.topics[rollout(many)].under("e/")
    assert len(events) == KEPT_EVENTS


def test_a_rollout_that_comes_back_has_numbers_above_those_of_before() -> None:
    """A browser that still has the old page is told to begin anew, not given changes of something else."""
    picture = taken(progressed(1))
    topic = picture.topics[rollout()]
    topic.frame()
    for number in range(2, KEPT_DETAILS + 2):
        picture.take(progressed(1, number=number))
    assert rollout() not in picture.topics
    picture.take(progressed(2))
    again = picture.topics[rollout()]
    again.frame()
    assert again.after(topic.number) is None


def test_an_outline_is_what_a_page_draws() -> None:
    found = outline(plan(batch("a", ["n1", "n2"], canary=True), batch("b", ["n3"], needs=["a"], before=None)))
    assert [
        (b["id"], b["nodes"], b["needs"], b["before"], b["after"], b["canary"]) for b in found["batches"]
    ] == [
        ("a", ["n1", "n2"], [], ["v1"], ["v2"], True),
        ("b", ["n3"], ["a"], [], ["v2"], False),
    ]
    json.dumps(found)


def test_steps_are_values_of_their_rollout() -> None:
    told = say(e.StepProgressed, 3, node="n1", component="api", state="switching", share=0.7, detail="warm")
    picture = taken(told)
    assert detail(picture, "s/n1/api") == ["switching", 0.7, "warm", stamp(after(3))]
