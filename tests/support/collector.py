"""An OpenTelemetry collector in memory: takes OTLP over HTTP, as protocol buffers, and keeps the spans."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.local_http import LocalHttp, Quiet


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hex digits, `parent` empty for a root, times in nanoseconds since 1970."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    began: int
    ended: int
    said: dict[str, str]


class Collector(LocalHttp):
    """Collects for the length of the block, on a port of its own."""

    def __init__(self) -> None:
        self._spans: list[Seen] = []
        collector = self

        class Handler(Quiet):
            def do_POST(self) -> None:  # noqa: N802 - the name that the server calls
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(body))
                self.answer(200, ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")

        super().__init__(Handler)

    def of(self, trace: str) -> list[Seen]:
        return [span for span in tuple(self._spans) if span.trace == trace]

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans.append(
                        Seen(
                            service=names["service.name"],
                            name=span.name,
                            trace=span.trace_id.hex(),
                            span=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            began=span.start_time_unix_nano,
                            ended=span.end_time_unix_nano,
                            said={a.key: a.value.string_value for a in span.attributes},
                        )
                    )
