"""A gate that is judged by what a Prometheus measured: whose samples they are, and when they are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import (
    Baseline,
    ErrorRateRule,
    GateSpec,
    GaugeRule,
    RestartsRule,
    SequentialErrors,
)
from bumpless.common.model.metric_source import MetricsFrom, PrometheusFrom
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.coverage import covered
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.series import parse_series
from bumpless.health_gate.sources.merged import merged
from bumpless.health_gate.window import Member, Reading, SampleWindow
from unit.health_gate.scenes import NEW, OLD, STEP, Load, Scene, at, reports, sample

RULES: tuple[Any, ...] = (ErrorRateRule(max_ratio=3), RestartsRule())
SOURCE = MetricsFrom(prometheus=PrometheusFrom(name="main", scrape_interval_s=STEP), silent_s=60)

GOOD = Load()


def said(node: str, start: float, end: float, root: str, **more: Any) -> list[MetricsSampled]:
    """What a node says of itself: alive, version, and nothing that a rule counts."""
    count = int((end - start) / STEP) + 1
    return [sample(node, start + n * STEP, n + 1, root=root, **more) for n in range(count)]


def measured(
    node: str, start: float, end: float, load: Load = GOOD, digest: str | None = None
) -> list[tuple[Member, Reading]]:
    """What the source has of a node; with `digest`, the version that answered the scrape."""
    found = []
    for one in reports(node, start, end, load):
        families: dict[str, dict[Any, float]] = {"up": {(): 1.0}}
        for text, value in one.samples.items():
            series = parse_series(text)
            families.setdefault(series.name, {})[series.labels] = value
        if digest is not None:
            families["release_info"] = {(("digest", digest),): 1.0}
        reading = Reading(one.at, 0, False, True, 0, "", "", families)
        found.append((Member(node, "api"), reading))
    return found


def judged(
    seconds: float, nodes: list[MetricsSampled], other: list[tuple[Member, Reading]], **spec: Any
) -> Judgement:
    scene = Scene(GateSpec(rules=spec.pop("rules", RULES), source=SOURCE, **spec))
    here, foreign = SampleWindow(), SampleWindow()
    for found in nodes:
        here.add(found)
    for member, reading in other:
        foreign.put(member, "prometheus", reading)
    both = merged(scene.gate, here, foreign, at(seconds))
    found_now = judge(scene.gate, both.window, at(seconds))
    return covered(scene.gate, SOURCE, both.told, found_now, at(seconds), "no answer within 10 s")


def alive(until: float = 200) -> list[MetricsSampled]:
    return [
        *said("n1", -60, -5, OLD),
        *said("n1", -2, until, NEW),
        *said("n2", -60, until, OLD),
    ]


def test_it_passes_on_what_the_source_measured() -> None:
    found = judged(70, alive(), [*measured("n1", 0, 70), *measured("n2", -60, 70)])
    assert (found.verdict, found.reason) == (Verdict.PASS, Reason.PASSED), found.detail
    assert found.evidence[-1].rule == "source"


def test_it_fails_on_what_the_source_measured() -> None:
    found = judged(70, alive(), [*measured("n1", 0, 70, Load(bad=20)), *measured("n2", -60, 70)])
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.REGRESSION)


def test_what_the_nodes_scraped_is_not_counted_beside_it() -> None:
    nodes = [*alive(), *reports("n1", -2, 70, Load(bad=50), instance="n1-2")]
    found = judged(70, nodes, [*measured("n1", 0, 70), *measured("n2", -60, 70)])
    assert found.verdict is Verdict.PASS, found.detail


def test_a_source_that_falls_silent_keeps_a_gate_from_passing_and_then_ends_it() -> None:
    other = [*measured("n1", 0, 40), *measured("n2", -60, 40)]
    waiting = judged(75, alive(), other)
    assert (waiting.verdict, waiting.reason) == (None, Reason.NO_DATA)
    assert waiting.detail == "prometheus main told nothing of n1 lately (no answer within 10 s)"
    assert judged(99, alive(), other).verdict is None
    over = judged(101, alive(), other)
    assert (over.verdict, over.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)


def test_it_passes_when_the_source_is_back() -> None:
    other = [*measured("n1", 0, 40), *measured("n1", 90, 170), *measured("n2", -60, 170)]
    assert judged(120, alive(), other).verdict is None
    assert judged(165, alive(), other).verdict is Verdict.PASS


def test_a_source_that_never_told_anything_is_inconclusive() -> None:
    found = judged(61, alive(), [])
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)
    assert "prometheus main told nothing of n1" in found.detail


def test_a_metric_that_does_not_exist_is_named_and_does_not_pass() -> None:
    other = [
        (member, replace(reading, families={"up": {(): 1.0}}))
        for member, reading in (*measured("n1", 0, 900), *measured("n2", -60, 900))
    ]
    found = judged(900, alive(900), other)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)
    assert "expected counter http_requests_total" in found.detail


def test_a_silent_node_is_silent_whatever_the_source_still_measures() -> None:
    found = judged(100, alive(until=40), [*measured("n1", 0, 100), *measured("n2", -60, 100)])
    assert (found.verdict, found.reason) == (None, Reason.NO_DATA)


def test_while_two_versions_answer_only_what_names_its_version_counts() -> None:
    both = [*said("n1", -60, 20, OLD), *said("n1", 0, 70, NEW), *said("n2", -60, 70, OLD)]
    unnamed = judged(70, both, [*measured("n1", 0, 35, Load(bad=50)), *measured("n2", -60, 70)])
    assert unnamed.evidence[1].observed is None
    named = judged(70, both, [*measured("n1", 0, 35, Load(bad=50), digest=NEW), *measured("n2", -60, 70)])
    assert named.verdict is Verdict.FAIL
    of_old = judged(70, both, [*measured("n1", 0, 35, Load(bad=50), digest=OLD), *measured("n2", -60, 70)])
    assert of_old.verdict is Verdict.INCONCLUSIVE


def test_what_only_nodes_measure_still_comes_from_them() -> None:
    rules = (GaugeRule(metric="bumpless_process_open_fds", max_value=10, for_s=10),)
    nodes = [
        one.model_copy(update={"samples": {"bumpless_process_open_fds": 99.0}}) if one.root == NEW else one
        for one in alive()
    ]
    found = judged(70, nodes, [*measured("n1", 0, 70), *measured("n2", -60, 70)], rules=rules)
    assert found.verdict is Verdict.FAIL


def test_the_same_samples_in_another_order_give_the_same_judgement() -> None:
    other = [*measured("n1", 0, 70), *measured("n2", -60, 70)]
    assert judged(70, alive(), other) == judged(70, alive()[::-1], [*other[::-1], *other])


SEQUENTIAL = (SequentialErrors(), RestartsRule())
LONG = {"rules": SEQUENTIAL, "warm_up_s": 10, "window_s": 60, "baseline": Baseline(history_s=600)}


def with_past(load: Load, until: float) -> list[tuple[Member, Reading]]:
    """Ten minutes before the switch on both nodes, then the new version under `load` on n1."""
    digests = {"n1": OLD, "n2": OLD}
    past = [one for node, digest in digests.items() for one in measured(node, -600, -5, digest=digest)]
    peers = measured("n2", -600, until, digest=OLD)
    return [*past[: len(past) // 2], *peers, *measured("n1", 0, until, load, digest=NEW)]


def alive_long(until: float) -> list[MetricsSampled]:
    return [*said("n1", -600, -5, OLD), *said("n1", -2, until, NEW), *said("n2", -600, until, OLD)]


def test_sequential_rules_read_the_source_too() -> None:
    good = judged(400, alive_long(400), with_past(Load(), 400), **LONG)
    assert good.verdict is Verdict.PASS, good.detail
    tested = next(one for one in good.evidence if one.sequential is not None)
    assert tested.sequential is not None
    assert tested.sequential.source == "prometheus main"
    bad = judged(400, alive_long(400), with_past(Load(bad=25), 400), **LONG)
    assert (bad.verdict, bad.reason) == (Verdict.FAIL, Reason.REGRESSION)
    silent = judged(100, alive_long(400), with_past(Load(), 30), **LONG)
    assert (silent.verdict, silent.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)
