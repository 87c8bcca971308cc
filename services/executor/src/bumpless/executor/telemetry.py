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
STATE_SECONDS = Histogram(
    "bumpless_executor_state_seconds",
    "Time in each state of a step: starting, switching, draining and so on",
    ["component", "state"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
OUTSTANDING = Gauge("bumpless_executor_steps_outstanding", "Steps under way: not at rest", ["component"])
STAGED_BYTES = Counter("bumpless_executor_staged_bytes_total", "Bytes fetched", ["component", "used"])
INSTANCES = Gauge("bumpless_executor_instances", "Instances that take traffic", ["component"])
RESTARTS = Counter("bumpless_executor_restarts_total", "Restarts of crashed instances", ["component"])
REFUSED = Counter("bumpless_executor_refused_commands_total", "Commands that were not trusted or not ours")

# Measured when they are asked for.
UNREPORTED = Gauge("bumpless_executor_unreported_results", "Answers that the broker has not acknowledged")
FREE_BYTES = Gauge("bumpless_executor_free_bytes", "Free on the file system of the data directory")
CONNECTED = Gauge("bumpless_executor_broker_connected", "Whether the broker is there")
