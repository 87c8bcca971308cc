"""Pinned numbers out of a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec
from bumpless.health_gate.offline.pin import as_data, pinned
from bumpless.health_gate.offline.trace import Trace, read_trace


def trace(*rows: tuple[float, str, str, float, float]) -> Trace:
    """Rows of time, node, group, requests and errors; nine tenths are fast, and all are below 1 s."""

    def line(t: float, node: str, group: str, requests: float, errors: float) -> str:
        buckets = {"0.1": requests * 0.9, "1": requests, "+Inf": requests}
        row: dict[str, Any] = {"t": t, "node": node, "group": group, "requests": requests, "errors": errors}
        return json.dumps({**row, "latency_buckets": buckets})

    return read_trace([line(*row) for row in rows], "trace")


def test_the_earlier_version_is_summed_over_its_nodes_and_restarts() -> None:
    found = pinned(
        trace(
            *((t, "c", "control", 5000 + 100 * i, 10 + i) for i, t in enumerate(range(-20, 25, 5))),
            (25, "c", "control", 50, 1),  # a restart
            *((t, "n", "canary", 1000 + 100 * i, 0) for i, t in enumerate(range(-20, 5, 5))),
            (5, "n", "canary", 1500, 90),
        )
    )
    errors, slow = found.pinned["sequential_errors"], found.pinned["sequential_latency"]
    assert (errors.requests, errors.bad) == (800 + 50 + 400, 8 + 1)
    assert slow.buckets == pytest.approx({"0.1": 1125, "1.0": 1250, "+Inf": 1250})


def test_what_it_makes_is_a_gate_and_stays_so_in_yaml() -> None:
    found = as_data(pinned(trace(*((t, "c", "control", 100.0 * t, t) for t in range(1, 20)))))
    spec = GateSpec.model_validate(
        {"rules": [{"rule": "sequential_errors"}, {"rule": "sequential_latency"}], **found}
    )
    assert spec.baseline.pinned["sequential_errors"].requests == 1800
    assert GateSpec.model_validate(found) == GateSpec.model_validate({**found, "rules": GateSpec().rules})


def test_a_trace_of_the_new_version_alone_pins_nothing() -> None:
    with pytest.raises(Refused, match="none"):
        pinned(trace(*((t, "n", "canary", 100.0 * t, 0) for t in range(1, 20))))
