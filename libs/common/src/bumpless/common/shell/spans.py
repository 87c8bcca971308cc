"""OpenTelemetry's own: a tracer that takes the ids it is given, and OTLP over HTTP behind it.

Endpoint, headers, batching and the rest come from the variables that the OpenTelemetry specification names.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from bumpless.common.contract.trace import Place


class _Given(IdGenerator):
    """Ids as they were said before a span is made; nothing waits between the two."""

    def __init__(self) -> None:
        self.next = Place("", "")

    def generate_span_id(self) -> int:
        return int(self.next.span, 16)

    def generate_trace_id(self) -> int:
        return int(self.next.trace, 16)


class Exporter:
    """Sends the spans of one process, which is called `service`."""

    def __init__(self, service: str) -> None:
        self._ids = _Given()
        resource = Resource.create({"service.namespace": "bumpless", "service.name": service})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("bumpless")

    def send(
        self, name: str, span: Place, above: Place | None, began: int, ended: int, said: Mapping[str, str]
    ) -> None:
        """A span that is over, from `began` to `ended` in nanoseconds since 1970; `above` None: a root."""
        self._ids.next = span
        context = None
        if above is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            found = SpanContext(int(above.trace, 16), int(above.span, 16), is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(found))
        made = self._tracer.start_span(name, context=context, attributes=dict(said), start_time=began)
        made.end(ended)

    def close(self) -> None:
        self._provider.shutdown()
