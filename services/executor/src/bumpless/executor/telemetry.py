"""What an operator can read off one executor."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STEPS = Counter("bumpless_executor_steps_total", "Steps that came to rest", ["component", "outcome"])
STEP_SECONDS = Histogram(
    "bumpless_executor_step_seconds",
    "From taking a command to its answer",
    ["component"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
STAGED_BYTES = Counter("bumpless_executor_staged_bytes_total", "Bytes fetched", ["component", "used"])
INSTANCES = Gauge("bumpless_executor_instances", "Instances that take traffic", ["component"])
RESTARTS = Counter("bumpless_executor_restarts_total", "Restarts of crashed instances", ["component"])
REFUSED = Counter("bumpless_executor_refused_commands_total", "Commands that were not trusted or not ours")
