"""What an operator can read off the health gate, besides what every service tells."""

from __future__ import annotations

from prometheus_client import Counter

LOOKS = Counter(
    "bumpless_gate_looks_total",
    "Looks of gates at their samples, by what came of each: a verdict, `open`, or `replaying` while samples are read back",
    ["outcome"],
)
