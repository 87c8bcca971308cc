"""Small traces with requests, errors and latencies drawn by a seed. `tests/fixtures/gate` holds some, written by

cd tests && python -c 'from support.traces import main; main()'
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gate"
BOUNDS = (0.02, 0.05, 0.1, 0.25)
STEP = 5


def rows(
    seed: int = 1,
    *,
    nodes: tuple[str, ...] = ("canary", "control"),
    history_s: int = 300,
    after_s: int = 120,
    requests: float = 400,
    rate: float = 0.005,
    errors: float = 1.0,
    latency: float = 1.0,
    totals: bool = True,
) -> Iterator[dict[str, Any]]:
    """One row a node every five seconds; `nodes` are their groups. After 0 a canary node has `errors` and `latency`
    times as much, and its counters begin anew. Not `totals`: rows count their own interval."""
    rng = np.random.default_rng(seed)
    sums: dict[str, np.ndarray[Any, Any]] = {}
    for t in range(-history_s, after_s + 1, STEP):
        for number, group in enumerate(nodes):
            node, new = f"node-{number}", group == "canary" and t > 0
            if new and t == STEP:
                sums[node] = np.zeros(len(BOUNDS) + 2)
            count = int(rng.poisson(requests))
            took = 0.05 * (latency if new else 1) * np.exp(0.7 * rng.standard_normal(count))
            bad = int(rng.binomial(count, min(1.0, rate * (errors if new else 1))))
            own = np.array([count, bad, *((took <= bound).sum() for bound in BOUNDS)])
            sums[node] = sums.get(node, np.zeros(len(own))) + own
            shown = [int(value) for value in (sums[node] if totals else own)]
            buckets = {f"{bound:g}": value for bound, value in zip(BOUNDS, shown[2:], strict=True)}
            yield {
                "t": t, "node": node, "group": group, "requests": shown[0], "errors": shown[1],
                "latency_buckets": {**buckets, "+Inf": shown[0]}, "restarts": 0, "up": True,
            }  # fmt: skip


def lines(seed: int = 1, **more: Any) -> list[str]:
    return [json.dumps(row) for row in rows(seed, **more)]


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, more in (("good", {}), ("errors", {"errors": 10.0}), ("slow", {"latency": 2.0})):
        (FIXTURES / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines(7, **more)))
