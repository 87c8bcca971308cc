"""Metrics every service shares, and the OpenTelemetry hook, which is off unless asked for.

Tracing uses the OpenTelemetry API only: without an SDK configured by whoever runs the service
(`OTEL_EXPORTER_OTLP_ENDPOINT` and `opentelemetry-instrument`), every span is a no-op.
"""

from __future__ import annotations

from opentelemetry import trace
from prometheus_client import Counter, Histogram

tracer = trace.get_tracer("bumpless")

MESSAGES = Counter("bumpless_messages_total", "Messages handled", ["service", "type", "outcome"])
HANDLE_SECONDS = Histogram("bumpless_handle_seconds", "Time to handle a message", ["service", "type"])
TRANSITIONS = Counter("bumpless_transitions_total", "State changes", ["service", "status"])
PARKED = Counter("bumpless_parked_total", "Messages parked as unreadable or unhandled", ["service"])
LEADER = Counter("bumpless_elections_total", "Times this process became the active one", ["service"])
