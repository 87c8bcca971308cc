"""What holds: rules over samples, over each other, and over Bumpless' own events."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bumpless.alerts.evaluate import Answer, Answers, Facts, Happened, evaluate
from bumpless.alerts.samples import Samples
from bumpless.alerts.trend import trend
from bumpless.common.alerts_file import read_alerts
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.alert_rules import EventKind, Rule
from bumpless.common.model.alerting import AlertsFile
from unit.alerts.scenes import at

RULE: TypeAdapter[Any] = TypeAdapter(Rule)
N1 = (("component", "api"), ("node", "n1"))
N2 = (("component", "api"), ("node", "n2"))


def rule(kind: str, name: str = "R", **fields: object) -> Rule:
    found: Rule = RULE.validate_python({"rule": kind, "name": name, **fields})
    return found


def sample(
    second: float, samples: dict[str, float], *, node: str = "n1", instance: str = "i", up: bool = True
) -> MetricsSampled:
    return MetricsSampled.model_validate(
        {
            "id": derive_id(node, instance, str(second)),
            "at": at(second),
            "node": node,
            "component": "api",
            "instance": instance,
            "version": "v1",
            "root": "sha256:0",
            "sequence": int(second),
            "up": up,
            "samples": samples,
        }
    )


def facts(*samples: MetricsSampled, events: Iterable[Happened] = (), **nodes: float) -> Facts:
    found = Samples({"queue", "asked", "asked_total", "disk_free"})
    for one in samples:
        found.add(one)
    return Facts(found, {node: at(heard) for node, heard in nodes.items()}, tuple(events))


def answers(*rules: Rule, known: Facts, now: float = 60) -> Answers:
    return evaluate(rules, known, at(now))[rules[-1].name]


def holds(*rules: Rule, known: Facts, now: float = 60) -> dict[Any, bool | None]:
    return {group: answer.holds for group, answer in answers(*rules, known=known, now=now).items()}


def test_a_threshold_looks_at_the_last_value_of_every_node() -> None:
    known = facts(
        sample(10, {"queue": 900}),
        sample(50, {"queue": 10}),
        sample(50, {'queue{of="a"}': 60, 'queue{of="b"}': 70}, node="n2"),
    )
    assert holds(rule("threshold", metric="queue", above=100), known=known) == {N1: False, N2: True}
    assert holds(rule("threshold", metric="queue", above=100, per="fleet"), known=known) == {(): True}
    only = rule("threshold", metric="queue", above=65, where='of="a"', per="component")
    assert holds(only, known=known) == {(("component", "api"),): False}


@pytest.mark.parametrize(
    "samples",
    [
        [sample(10, {"queue": 900})],  # older than the window
        [sample(50, {"queue": 900}, up=False)],
        [sample(50, {"queue": math.nan})],
        [sample(50, {"another": 900})],
        [sample(50, {"queue{": 900})],
    ],
    ids=["old", "down", "not a number", "another metric", "no series"],
)
def test_what_is_missing_is_not_known(samples: list[MetricsSampled]) -> None:
    below = rule("threshold", metric="queue", below=5, window_s=30)
    assert set(holds(below, known=facts(*samples)).values()) <= {None}


def test_growth_sees_resets_and_series_that_are_born() -> None:
    counter = [
        sample(0, {'asked_total{c="200"}': 100}),
        sample(20, {'asked_total{c="200"}': 150, 'asked_total{c="500"}': 5}),
        sample(40, {'asked_total{c="200"}': 30, 'asked_total{c="500"}': 5}),
    ]
    grown = rule("threshold", metric="asked_total", of="increase", above=84)
    assert answers(grown, known=facts(*counter))[N1] == Answer(
        True, 85, "increase of asked_total is 85, expected at most 84"
    )
    per_second = rule("threshold", metric="asked_total", of="rate", above=2.2)
    assert answers(per_second, known=facts(*counter))[N1].value == pytest.approx(85 / 40)


def test_a_ratio_needs_enough_of_the_whole_and_takes_an_absent_part_as_none() -> None:
    errors = rule(
        "ratio",
        part={"metric": "asked_total", "where": 'c=~"5.."'},
        whole={"metric": "asked_total"},
        above=0.1,
    )
    few = [sample(0, {'asked_total{c="200"}': 0}), sample(10, {'asked_total{c="500"}': 10})]
    fine = [sample(0, {'asked_total{c="200"}': 0}), sample(10, {'asked_total{c="200"}': 100})]
    bad = [*fine, sample(20, {'asked_total{c="200"}': 100, 'asked_total{c="500"}': 20})]
    assert [holds(errors, known=facts(*found))[N1] for found in (few, fine, bad)] == [None, False, True]


def test_a_trend_warns_ahead_and_only_when_it_is_clear() -> None:
    filling = [sample(second, {"disk_free": 1000 - second}) for second in range(0, 600, 15)]
    ahead = rule("trend", metric="disk_free", below=0, horizon_s=900, window_s=600)
    found = answers(ahead, known=facts(*filling), now=600)[N1]
    assert found.holds is True
    assert found.value == pytest.approx(400, abs=20)
    assert holds(
        rule("trend", metric="disk_free", below=0, horizon_s=60, window_s=600), known=facts(*filling), now=600
    ) == {N1: False}
    draw = random.Random(4)
    noise = [sample(second, {"disk_free": 500 + draw.gauss(0, 300)}) for second in range(0, 600, 15)]
    far = rule("trend", metric="disk_free", below=0, horizon_s=86_400, window_s=600)
    assert holds(far, known=facts(*noise), now=600) == {N1: False}
    assert holds(far, known=facts(*filling[-5:]), now=600) == {N1: None}


@given(
    slope=st.floats(-100, 100),
    level=st.floats(-1e6, 1e6),
    wrong=st.lists(st.floats(-1e9, 1e9), min_size=0, max_size=8),
)
@settings(max_examples=50, deadline=None)
def test_a_line_is_found_under_some_nonsense(slope: float, level: float, wrong: list[float]) -> None:
    """More than half of all pairs are on the line while fewer than 29 % of the points are off it."""
    points = [(float(-30 + n), level + slope * (-30 + n)) for n in range(30)]
    for number, value in enumerate(wrong):
        points[number * 3] = (points[number * 3][0], value)
    found = trend(points)
    assert found is not None
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.level == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize(
    ("parts", "way", "expected"),
    [
        ("yy", "all_of", True),
        ("yn", "all_of", False),
        ("y?", "all_of", None),
        ("n?", "all_of", False),
        ("yn", "any_of", True),
        ("nn", "any_of", False),
        ("n?", "any_of", None),
        ("y?", "any_of", True),
        ("yyn", "2", True),
        ("ynn", "2", False),
        ("yn?", "2", None),
        ("yy?", "2", True),
    ],
)
def test_composites_know_only_what_can_be_known(parts: str, way: str, expected: bool | None) -> None:
    known = facts(sample(50, {"queue": 100}))
    limit = {"y": 50, "n": 200, "?": 50}
    rules = [
        rule("threshold", f"P{n}", metric="asked" if part == "?" else "queue", above=limit[part])
        for n, part in enumerate(parts)
    ]
    names = [one.name for one in rules]
    how: dict[str, object] = {"of": names, "k": int(way)} if way.isdigit() else {way: names}
    assert holds(*rules, rule("composite", **how), known=known) == {N1: expected}


def test_a_rule_over_the_fleet_counts_for_every_node_of_a_composite() -> None:
    known = facts(sample(50, {"queue": 100}), sample(50, {"queue": 1}, node="n2"))
    one = rule("threshold", "One", metric="queue", above=50)
    every = rule("threshold", "Every", metric="queue", above=50, per="fleet")
    both = rule("composite", all_of=["One", "Every"])
    assert holds(one, every, both, known=known) == {N1: True, N2: False}


def test_events_of_bumpless_itself() -> None:
    def event(second: float, kind: EventKind, **labels: str) -> Happened:
        return Happened(at(second), kind, tuple(sorted(labels.items())), "it happened")

    known = facts(
        events=[
            event(1, EventKind.CRASH_LOOP, node="n1", component="api"),
            event(50, EventKind.PARKED, service="planner"),
            event(51, EventKind.PARKED, service="planner"),
            event(52, EventKind.PARKED, service="rollback"),
        ],
        n1=55,
        n2=2,
    )
    silent = rule("event", event="node-silent", window_s=30)
    assert holds(silent, known=known) == {(("node", "n1"),): False, (("node", "n2"),): True}
    young = replace(known, since=at(40))
    assert holds(silent, known=young) == {(("node", "n1"),): False, (("node", "n2"),): None}
    assert holds(rule("event", event="crash-loop", window_s=30), known=known) == {}
    assert holds(rule("event", event="crash-loop", window_s=300), known=known) == {N1: True}
    parked = rule("event", event="parked", more_than=1)
    assert holds(parked, known=known) == {(("service", "planner"),): True, (("service", "rollback"),): False}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"rules": [{"rule": "threshold", "name": "A", "metric": "m"}]}, "expected a limit"),
        ({"rules": [{"rule": "threshold", "name": "A", "metric": "m", "abov": 1}]}, "abov"),
        ({"rules": [{"rule": "treshold", "name": "A"}]}, "treshold"),
        (
            {"rules": [{"rule": "composite", "name": "A", "all_of": ["B"]}]},
            "expected a rule that exists in A, found B",
        ),
        ({"rules": [{"rule": "composite", "name": "A", "any_of": ["A"]}]}, "A -> A"),
        ({"rules": [{"rule": "composite", "name": "A", "of": ["NodeDown"], "k": 2}]}, "at most 1"),
        (
            {"rules": [{"rule": "event", "name": "A", "event": "parked", "labels": {"node": "x"}}]},
            "found node",
        ),
        (
            {"escalations": {"default": {"steps": [{"channels": ["chat"]}]}}},
            "channel that exists, found chat",
        ),
        ({"routes": [{"escalation": "x"}]}, "escalation that exists, found x"),
        ({"channels": {"c": {"kind": "apprise"}}}, "either urls or urls_file"),
        ({"channels": {"c": {"kind": "webhook", "url": "file:///etc/passwd"}}}, "url"),
        ({"actions": [{"name": "a", "match": 'a="b"', "do": "command"}]}, "command where"),
        ({"actions": [{"name": "a", "match": 'a="b"', "do": "pause", "url": "http://x"}]}, "url where"),
        ({"actions": [{"name": "a", "match": "nonsense", "do": "pause"}]}, "expected a selector"),
    ],
)
def test_what_is_wrong_with_an_alerts_file_is_said(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        AlertsFile.model_validate(raw)
    assert said in str(error.value)


def test_the_file_that_the_page_shows_is_taken() -> None:
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text()
    shown = page.split("```yaml\n")[1].split("```")[0]
    assert len(read_alerts(shown, "docs/alerts.md").rules) == 4
    with pytest.raises(ValueError, match=r"docs/alerts.md: .*stale"):
        read_alerts(shown.replace("stale_s", "stale"), "docs/alerts.md")
    with pytest.raises(ValueError, match=r"windows.nightly: expected a time zone"):
        read_alerts(shown.replace("Europe/Berlin", "Europe/Nowhere"), "docs/alerts.md")
    with pytest.raises(ValueError, match="expected YAML"):
        read_alerts("a: [", "docs/alerts.md")


def test_a_rule_replaces_the_one_built_in_of_its_name() -> None:
    own = {"rule": "event", "name": "NodeDown", "event": "node-silent", "window_s": 60}
    file = AlertsFile.model_validate({"rules": [own]})
    (found,) = [one for one in file.every_rule if one.name == "NodeDown"]
    assert found.rule == "event"
    assert found.window_s == 60
    assert not AlertsFile(built_in=False).every_rule


def test_old_samples_are_let_go_of() -> None:
    kept = Samples({"queue"})
    kept.add(sample(10, {"queue": 900}))
    kept.forget(at(20))
    groups: list[object] = list(
        kept.groups(rule("threshold", metric="queue", above=1).per, None, at(0), at(60))
    )  # type: ignore[union-attr]
    assert groups == []
