"""The sequential rule: one node worse than the rest, a set of nodes, or all of them worse than before."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bumpless.alerts.evaluate import Answer, Facts, evaluate
from bumpless.alerts.feeds import needed
from bumpless.alerts.samples import Samples
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.alert_rules import Rule, SequentialRule
from bumpless.common.model.alerting import AlertsFile
from unit.alerts.scenes import at

WINDOW = 600.0
RULE: dict[str, Any] = {
    "rule": "sequential",
    "name": "Apart",
    "whole": {"metric": "asked_total"},
    "part": {"metric": "asked_total", "where": 'status="500"'},
    "window_s": WINDOW,
    "tick_s": 30,
}
Rate = Callable[[float], float]
ADAPTER: TypeAdapter[Any] = TypeAdapter(Rule)


def rule(**fields: object) -> SequentialRule:
    found = ADAPTER.validate_python({**RULE, **fields})
    assert isinstance(found, SequentialRule)
    return found


def node(
    name: str, bad: Rate, start: float = -1800, end: float = 1200, step: float = 10
) -> list[MetricsSampled]:
    """Ten requests a second, of which the share `bad` fails, as chance has it."""
    chance, now, asked, failed = random.Random(name), start, 0, 0
    found = []
    while now <= end:
        new = sum(chance.random() < bad(now) for _ in range(int(10 * step)))
        asked, failed = asked + int(10 * step) - new, failed + new
        series = {'asked_total{status="200"}': asked, 'asked_total{status="500"}': failed}
        found.append(
            MetricsSampled.model_validate(
                {
                    "id": derive_id(name, str(now)),
                    "at": at(now),
                    "node": name,
                    "component": "api",
                    "instance": "i",
                    "version": "v1",
                    "root": "sha256:0",
                    "sequence": len(found) + 1,
                    "up": True,
                    "samples": series,
                }
            )
        )
        now += step
    return found


def answers(found: SequentialRule, *told: list[MetricsSampled], now: float) -> dict[str, Answer]:
    """By the node, or else the component, of the group."""
    samples = Samples({"asked_total"})
    for one in told:
        for sample in one:
            if sample.at <= at(now):
                samples.add(sample)
    known = evaluate([found], Facts(samples), at(now))["Apart"]
    return {
        dict(group).get("node", dict(group).get("component", "")): answer for group, answer in known.items()
    }


def holds(found: SequentialRule, *told: list[MetricsSampled], now: float) -> dict[str, bool | None]:
    return {name: answer.holds for name, answer in answers(found, *told, now=now).items()}


def usual(_: float) -> float:
    return 0.01


def worse(now: float) -> float:
    return 0.2 if 0 <= now < 300 else 0.01


def test_the_node_that_does_worse_than_the_rest_is_named_and_only_it() -> None:
    told = node("n1", worse), node("n2", usual), node("n3", usual)
    assert holds(rule(), *told, now=-5) == {"n1": False, "n2": False, "n3": False}
    found = answers(rule(), *told, now=200)
    assert {name: answer.holds for name, answer in found.items()} == {"n1": True, "n2": False, "n3": False}
    assert "the rest" in found["n1"].detail
    assert found["n1"].value == pytest.approx(0.2, abs=0.05)


def test_it_stays_until_the_next_window_is_over() -> None:
    told = node("n1", worse, end=2400), node("n2", usual, end=2400)
    assert holds(rule(), *told, now=590)["n1"]
    assert holds(rule(), *told, now=1190)["n1"]
    assert holds(rule(), *told, now=1260)["n1"] is False


def test_what_troubles_everybody_is_nobodys_fault_but_worse_than_before() -> None:
    told = node("n1", worse), node("n2", worse)
    assert holds(rule(), *told, now=250) == {"n1": False, "n2": False}
    assert holds(rule(against="past", per="component"), *told, now=250) == {"api": True}
    assert holds(rule(against="past", per="component"), *told, now=-5) == {"api": False}
    quiet = node("n1", usual), node("n2", usual)
    assert holds(rule(against="past"), *quiet, now=250) == {"n1": False, "n2": False}


def test_a_set_of_nodes_against_the_rest_of_their_component() -> None:
    told = node("n1", worse), node("n2", worse), node("n3", usual)
    found = answers(rule(nodes=["n1", "n2"]), *told, now=250)
    assert {name: answer.holds for name, answer in found.items()} == {"api": True}
    assert holds(rule(nodes=["n3"]), *told, now=250) == {"api": False}


def test_good_ones_are_counted_where_only_they_are_known() -> None:
    good = rule(part=None, good={"metric": "asked_total", "where": 'status="200"'})
    told = node("n1", worse), node("n2", usual)
    assert holds(good, *told, now=200) == holds(rule(), *told, now=200) == {"n1": True, "n2": False}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([node("n1", worse)], id="nobody else"),
        pytest.param([node("n1", worse), node("n2", usual, end=-1300)], id="nobody else any more"),
        pytest.param([node("n1", worse, step=120), node("n2", usual)], id="growth of no tick"),
    ],
)
def test_what_cannot_be_set_beside_anything_is_not_known(told: list[list[MetricsSampled]]) -> None:
    assert holds(rule(), *told, now=250)["n1"] is None


def test_a_bound_holds_for_all_groups_and_all_looks_of_a_window() -> None:
    """At the edge of what is allowed, with a large alpha: in few windows of forty does any look hold."""
    false = 0
    for run in range(40):
        told = [node(f"{run}-{name}", usual, start=-10, end=590, step=30) for name in range(4)]
        found = rule(alpha=0.2, allowed_increase=1)
        false += any(holds(found, *told, now=590).values())
    assert false <= 15  # the chance of more than 15 of 40 at 0.2 each is below 1 %


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"good": {"metric": "good_total"}}, "both"),
        ({"part": None}, "none"),
        ({"per": "component"}, "no rest"),
        ({"against": "past", "nodes": ["n1"]}, "rest only"),
        ({"tick_s": 300}, "four ticks"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        rule(**fields)


def test_the_samples_of_two_windows_are_kept_or_three_for_the_past() -> None:
    for against, windows in (("rest", 2), ("past", 3)):
        metrics, back = needed(AlertsFile(rules=(rule(against=against, good=None),)))
        assert metrics == {"asked_total"}
        assert back.total_seconds() == windows * WINDOW
