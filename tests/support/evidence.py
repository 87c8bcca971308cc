"""What gates find, as the health gate tells it."""

from __future__ import annotations

from typing import Any

from bumpless.common.model.verdict import Curve, Evidence, SequentialEvidence, Verdict


def found_by_test(verdict: Verdict, curve: Curve | None, **fields: Any) -> Evidence:
    """Of one rule that is decided by the sequential test against peers; `fields` are of the evidence or of the test."""
    test: dict[str, Any] = {
        "alpha": 0.05,
        "batches": 1,
        "log_batch": 1.0,
        "log_release": 1.2,
        "control": "peers",
        "nodes": (1, 2),
        "history_s": 60,
        "judged_s": 30,
    }
    test |= {name: fields.pop(name) for name in list(fields) if name in test}
    found: dict[str, Any] = {
        "rule": "errors",
        "observed": 1.0,
        "baseline": 0.5,
        "limit": 2.0,
        "samples": 100,
        "text": "",
    }
    return Evidence(
        verdict=verdict, sequential=SequentialEvidence(**test, curve=curve), **{**found, **fields}
    )
