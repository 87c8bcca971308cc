"""Metrics every service shares."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("bumpless_messages_total", "Messages handled", ["service", "type", "outcome"])
HANDLE_SECONDS = Histogram("bumpless_handle_seconds", "Time to handle a message", ["service", "type"])
DECISIONS = Counter("bumpless_decisions_total", "Messages and deadlines decided about", ["service"])
TRANSITIONS = Counter("bumpless_transitions_total", "State changes", ["service", "status"])
PARKED = Counter("bumpless_parked_total", "Messages parked as unreadable or unhandled", ["service"])
LEADER = Counter("bumpless_elections_total", "Times this process became the active one", ["service"])
LEASE = Gauge("bumpless_lease_held", "Whether this process is the active one", ["service"])

# What every component of a release shows (docs/service-contract.md).
RELEASE = Gauge("release_info", "The release this process runs", ["version", "digest"])
INFLIGHT = Gauge("inflight_requests", "Requests being served")

# Measured when they are asked for (`shell.measures`).
UNFINISHED = Gauge(
    "bumpless_unfinished", "Rollouts, reverts, gates or alerts not at rest, by state", ["service", "status"]
)
OUTBOX = Gauge("bumpless_outbox", "Of these, how many have messages that did not leave yet", ["service"])
OVERDUE = Gauge("bumpless_overdue_seconds", "How long the oldest deadline that is over waits", ["service"])
BACKLOG = Gauge(
    "bumpless_backlog_messages",
    "Messages not handled yet: not delivered or not acknowledged",
    ["service", "stream"],
)
PARKED_KEPT = Gauge("bumpless_parked_messages", "Parked messages that are kept for a person", ["service"])
