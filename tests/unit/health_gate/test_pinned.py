"""A pinned baseline: numbers of the release in place of peers and of the nodes' own past."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.window import SampleWindow
from unit.health_gate.scenes import Load, Scene, at, reports

USUAL = Load(requests=100, bad=1, slow=5)
COUNTED: dict[str, Any] = {"requests": 40_000, "bad": 400}
SLOW: dict[str, Any] = {
    "buckets": {0.01: 0, "0.05": 38_000, "0.1": 38_000, "0.5": 38_000, "1": 40_000, "+Inf": 40_000}
}
SEQUENTIAL = [{"rule": "sequential_errors"}, {"rule": "sequential_latency"}]
RATIOS = [{"rule": "error_rate"}, {"rule": "latency", "quantile": 0.9}]


def spec(rules: list[dict[str, Any]], pinned: dict[str, Any], **more: Any) -> GateSpec:
    return GateSpec.model_validate(
        {"rules": rules, "timeout_s": 300, "baseline": {"mode": "pinned", "pinned": pinned}, **more}
    )


def ended(found: GateSpec, load: Load) -> Judgement:
    """The first verdict on a node that was never there before, with no peers."""
    window, memory = SampleWindow(), Trials()
    gate = Scene(found, ("n1",), ()).on(reports("n1", -2, 320, load))
    for told in gate.samples:
        window.add(told)
    for now in range(5, 320, 5):
        judgement = judge(gate.gate, window, at(now), memory)
        if judgement.verdict is not None:
            return judgement
    raise AssertionError("expected a verdict, found none")


@pytest.mark.parametrize(
    ("load", "verdict"),
    [
        pytest.param(USUAL, Verdict.PASS, id="as pinned"),
        pytest.param(Load(requests=100, bad=15, slow=5), Verdict.FAIL, id="more errors"),
        pytest.param(Load(requests=100, bad=1, slow=40), Verdict.FAIL, id="slower"),
    ],
)
@pytest.mark.parametrize("rules", [SEQUENTIAL, RATIOS], ids=["sequential", "ratio"])
def test_a_first_batch_alone_is_judged_by_what_is_pinned(
    rules: list[dict[str, Any]], load: Load, verdict: Verdict
) -> None:
    first, second = (rule["rule"] for rule in rules)
    found = ended(spec(rules, {first: COUNTED, second: SLOW}), load)
    assert found.verdict is verdict, found.detail


def test_the_evidence_says_what_stood_beside_the_canary() -> None:
    found = ended(spec(SEQUENTIAL[:1], {"sequential_errors": COUNTED}), USUAL)
    joint = next(one for one in found.evidence if one.sequential is not None).sequential
    assert joint is not None
    assert (joint.control, joint.nodes, joint.history_s) == ("pinned", (1, 0), 0)
    assert any("the pinned baseline" in one.text for one in found.evidence)


def test_peers_and_past_do_not_count_beside_it() -> None:
    """They fail as often as the canary, which is worse than what is pinned."""
    bad = Load(requests=100, bad=15, slow=5)
    found = Scene(spec(RATIOS[:1], {"error_rate": COUNTED})).on(
        reports("n1", -60, -5, bad, root="sha256:" + "a" * 64),
        reports("n1", -2, 70, bad),
        reports("n2", -60, 70, bad, root="sha256:" + "a" * 64),
    )
    assert found.judged(70).verdict is Verdict.FAIL


def test_bounds_that_nobody_shares_tell_nothing() -> None:
    pinned = {"buckets": {"0.033": 900, "+Inf": 1000}}
    found = ended(spec(SEQUENTIAL[1:], {"sequential_latency": pinned}), USUAL)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)
    assert "no bound in common" in found.detail


def test_too_few_pinned_requests_are_no_baseline() -> None:
    found = ended(spec(RATIOS[:1], {"error_rate": {"requests": 10, "bad": 0}}), USUAL)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.BASELINE_MISSING)


@pytest.mark.parametrize(
    ("rules", "pinned", "told"),
    [
        pytest.param(SEQUENTIAL, {"sequential_errors": COUNTED}, "buckets in", id="a rule without"),
        pytest.param(
            SEQUENTIAL[:1], {"sequential_errors": SLOW}, "requests and bad in", id="of the other kind"
        ),
        pytest.param(
            SEQUENTIAL[:1], {"sequential_errors": COUNTED, "orders": COUNTED}, "orders", id="nobody's"
        ),
        pytest.param(
            SEQUENTIAL[:1], {"sequential_errors": {"requests": 5, "bad": 6}}, "6 of 5", id="too many bad"
        ),
        pytest.param(SEQUENTIAL[:1], {"sequential_errors": {"requests": 5}}, "one of them", id="half"),
        pytest.param(SEQUENTIAL[:1], {"sequential_errors": {}}, "neither", id="empty"),
        pytest.param(
            SEQUENTIAL[1:], {"sequential_latency": {"buckets": {"1": 5}}}, "Inf", id="no bucket of all"
        ),
        pytest.param(
            SEQUENTIAL[1:],
            {"sequential_latency": {"buckets": {"1": 5, "+Inf": 4}}},
            "cumulative",
            id="not cumulative",
        ),
        pytest.param(
            SEQUENTIAL[1:],
            {"sequential_latency": {"buckets": {"x": 5, "+Inf": 9}}},
            "numbers",
            id="no number",
        ),
        pytest.param(
            [{"rule": "gauge", "metric": "queue", "max_ratio": 2}], {}, "fixed limit", id="gauge to nothing"
        ),
    ],
)
def test_what_could_not_be_judged_is_refused(
    rules: list[dict[str, Any]], pinned: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        spec(rules, pinned)


def test_numbers_without_the_mode_are_refused_and_the_spec_comes_back_from_the_wire() -> None:
    with pytest.raises(ValidationError, match="mode: pinned"):
        GateSpec.model_validate({"baseline": {"pinned": {"sequential_errors": COUNTED}}})
    found = spec(SEQUENTIAL, {"sequential_errors": COUNTED, "sequential_latency": SLOW})
    assert GateSpec.model_validate_json(found.model_dump_json()) == found
    assert "pinned" not in GateSpec().model_dump()["baseline"]
