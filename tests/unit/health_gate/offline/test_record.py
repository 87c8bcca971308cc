"""What is recorded of a gate is what the gate was told: judged again, it gives the same verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Verdict
from bumpless.health_gate.judge import Judgement
from bumpless.health_gate.offline.record import Recorder
from bumpless.health_gate.offline.replay import replay
from bumpless.health_gate.offline.trace import Row, read_trace
from unit.health_gate.scenes import OLD, STEP, Load, Scene, reports, sample

SPEC = GateSpec.model_validate({"rules": [{"rule": "sequential_errors"}, {"rule": "sequential_latency"}]})
USUAL = Load(requests=200, bad=1, slow=10)


def scene(new: Load, spec: GateSpec = SPEC) -> Scene:
    return Scene(spec).on(
        reports("n1", -600, 0, USUAL, root=OLD),
        reports("n1", 5, 15, USUAL, root=OLD, first=122, instance="n1-draining"),
        reports("n1", 5, 300, new),
        reports("n2", -600, 300, USUAL, root=OLD),
    )


def recorded(found: Scene) -> list[Row]:
    return list(Recorder(found.gate).rows(found.samples))


def judgements(found: Scene) -> Iterator[tuple[float, Judgement]]:
    seconds = STEP
    while seconds <= 300:
        yield seconds + 1, found.judged(seconds + 1)
        seconds += STEP


@pytest.mark.parametrize("new", [USUAL, Load(200, 10, 10), Load(200, 1, 60)], ids=["good", "errors", "slow"])
def test_replayed_it_is_judged_as_it_was(new: Load) -> None:
    found = scene(new)
    at, wanted = next((at, one) for at, one in judgements(found) if one.verdict is not None)
    again = replay(read_trace((row.as_json() for row in recorded(found)), "recorded"), SPEC)
    assert (again.verdict, again.reason, again.decided_at_s) == (wanted.verdict, wanted.reason, at)
    assert again.verdict is (Verdict.PASS if new == USUAL else Verdict.FAIL)
    assert again.sequential is not None
    (own,) = [one.sequential for one in wanted.evidence if one.rule == "sequential"]
    assert own is not None
    assert again.sequential.kinds == own.kinds
    assert again.sequential.curve is not None
    assert own.curve is not None
    assert again.sequential.curve.log_m == own.curve.log_m


def test_a_predecessor_that_drains_and_strangers_are_left_out() -> None:
    rows = recorded(scene(USUAL).on([sample("n3", 5, 1), sample("n1", 5, 1, component="other")]))
    assert {row.node for row in rows} == {"n1", "n2"}
    assert len({(row.node, row.t) for row in rows}) == len(rows)


def test_counters_are_those_that_the_gate_reads() -> None:
    spec = GateSpec.model_validate(
        {"rules": [{"rule": "sequential_errors", "total": "my_total", "bad_total": "my_bad"},
                   {"rule": "sequential_latency", "histogram": "my_seconds"}]}
    )  # fmt: skip
    told = {"my_total": 7.0, 'my_bad{why="x"}': 2.0, 'my_bad{why="y"}': 1.0, "http_requests_total": 99.0,
            'my_seconds_bucket{le="0.5"}': 6.0, 'my_seconds_bucket{le="+Inf"}': 7.0, "}broken{": 1.0}  # fmt: skip
    (row,) = recorded(Scene(spec).on([sample("n1", 5, 1, told, restarts=2)]))
    assert (row.requests, row.errors, row.restarts) == (7.0, 3.0, 2)
    assert row.buckets == {0.5: 6.0, float("inf"): 7.0}
    (silent,) = recorded(Scene(spec).on([sample("n1", 5, 1, up=False)]))
    assert (silent.requests, silent.errors, silent.buckets, silent.up) == (None, None, None, False)
