"""The benchmark and `gate simulate` drive the test by ticks; the service reads counters of nodes. Both say the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bumpless.common.model.gate import GateSpec
from bumpless.common.sequential import Counts, LatencySpec, SequentialTest, Tick
from bumpless.health_gate.offline.forecast import first_batch
from bumpless.health_gate.offline.replay import replay
from bumpless.health_gate.offline.trace import read_trace
from support import traces


@pytest.mark.parametrize("fault", [{}, {"errors": 4.0}, {"latency": 1.5}], ids=str)
def test_ticks_and_counters_of_nodes_are_judged_alike(fault: dict[str, float]) -> None:
    more = {"history_s": 1800, "after_s": 150, **fault}
    told = replay(read_trace(traces.lines(5, **more), "t"))
    ticks: dict[int, dict[str, Counts]] = {}
    rows = list(traces.rows(5, totals=False, **more))
    for t in sorted({row["t"] for row in rows}):
        mine, theirs = (row for row in rows if row["t"] == t)
        slow = [
            [row["requests"] - row["latency_buckets"][f"{bound:g}"] for bound in traces.BOUNDS]
            for row in (mine, theirs)
        ]
        n, m = mine["requests"], theirs["requests"]
        ticks[t] = {"bad": Counts(n, m, [mine["errors"]], [theirs["errors"]]), "slow": Counts(n, m, *slow)}
    gate = GateSpec()
    spec = first_batch(gate, batches=1)
    spec = replace(
        spec,
        rules=tuple(
            replace(rule, bounds=traces.BOUNDS) if isinstance(rule, LatencySpec) else rule
            for rule in spec.rules
        ),
    )

    def tick(t: int) -> Tick:
        # A scrape at the moment of the switch is where the new version's counts begin, and no part of the history.
        return [ticks[t]["bad"], ticks[t]["slow"]] if t else [None, None]

    test = SequentialTest.begin(spec, [tick(t) for t in range(-1795, 1, traces.STEP)])
    for t in range(5, 151, traces.STEP):
        (test.warm if t <= gate.warm_up_s else test.update)(tick(t))
        if test.verdict is not None:
            break
    assert test.verdict == told.verdict
    assert told.decided_at_s == t + 1
    assert told.sequential is not None
    assert told.sequential.curve is not None
    assert told.sequential.curve.log_m == pytest.approx(test.curve, abs=1e-4)
    assert json.dumps([kind.name for kind in told.sequential.kinds]) == json.dumps(
        [k.name for k in test.kinds]
    )
