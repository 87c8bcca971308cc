"""Spans of rollouts, sent by OpenTelemetry where the environment names a collector; otherwise nothing is done.

Ids come from `contract.trace`, never from chance: a message that is handled again after a crash, and a log that is
replayed, give the spans that are there already. OpenTelemetry is imported when it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bumpless.common.contract import trace, wire
from bumpless.common.contract.base import Message
from bumpless.common.contract.events import DeadlineReached, ReleaseAnnounced, RolloutPlanned
from bumpless.common.contract.trace import Place
from bumpless.common.errors import Refused
from bumpless.common.model.rollout import rollout_id

if TYPE_CHECKING:
    from bumpless.common.shell.spans import Exporter

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
MOST_REVERTS = 10_000

_exporter: Exporter | None = None
_source = ""
_traces: OrderedDict[str, str] = OrderedDict()
"""The trace of reverts: it is the one of the rollout that is taken back, which does not follow from their ids."""


def configure_tracing(service: str, source: str) -> None:
    """Send spans as `source`, the name in the messages it publishes, if the environment says where to.

    Raises:
        Refused: it does, and OpenTelemetry is not installed.
    """
    global _exporter, _source
    if not any(os.environ.get(name) for name in ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return
    try:
        from bumpless.common.shell.spans import Exporter
    except ImportError as error:
        raise Refused(
            "OpenTelemetry, because OTEL_EXPORTER_OTLP_ENDPOINT is set",
            str(error),
            "pip install 'bumpless-common[tracing]', or unset it",
        ) from error
    _exporter, _source = Exporter(service), source


def close_tracing() -> None:
    """Send what is left."""
    global _exporter
    exporter, _exporter = _exporter, None
    if exporter is not None:
        exporter.close()


def headers(message: Message, source: str) -> dict[str, str]:
    """What a message carries of the trace that it belongs to."""
    rollout = _rollout(message)
    if _exporter is None or rollout is None:
        return {}
    if isinstance(message, RolloutPlanned) and message.of is not None:
        belongs(rollout, message.of)
    return {trace.HEADER: trace.comes_from(message, rollout, source, _trace(rollout)).header()}


def belongs(revert: str, of: str) -> None:
    """`revert` takes back the rollout `of`: it is part of its trace."""
    if _exporter is not None:
        _remember(revert, _trace(of))


def parent(message: Message, found: Mapping[str, str]) -> Place | None:
    """Where `message` came from, by its headers `found`; None: nothing is traced."""
    rollout = _rollout(message)
    if _exporter is None or rollout is None:
        return None
    place = Place.read(found.get(trace.HEADER))
    if place is None:
        return Place(_trace(rollout), trace.root_of(rollout).span)
    if place.trace != trace.trace_of(rollout):
        _remember(rollout, place.trace)
    return place


def handled(body: bytes, found: Mapping[str, str], began: int) -> None:
    """A message as it came from the broker was handled. One that fails is no span: it comes again."""
    if _exporter is None:
        return
    try:
        message = wire.decode(body)
    except wire.Unreadable:
        return  # an event of another tool, which its handler reads by itself
    if isinstance(message, ReleaseAnnounced):
        rollout = rollout_id(message.product, message.digest, message.attempt)
        said = {"release": message.digest, "product": message.product}
        _exporter.send(
            "rollout", trace.root_of(rollout), None, began, time.time_ns(), {"rollout": rollout, **said}
        )
        return
    of, above = _rollout(message), parent(message, found)
    if of is not None and above is not None:
        _send(message, of, above, began)


@contextlib.contextmanager
def decided(aggregate: str, message: Message) -> Iterator[None]:
    """What a service says to itself: that a plan begins, that a deadline is reached. Of all else there is a span already."""
    began = time.time_ns()
    yield
    if _exporter is None:
        return
    if isinstance(message, DeadlineReached) and "/" not in aggregate:
        _send(message, aggregate, Place(_trace(aggregate), trace.root_of(aggregate).span), began)
    elif isinstance(message, RolloutPlanned):
        if message.of is not None:
            belongs(message.rollout, message.of)
        above = trace.comes_from(message, message.rollout, _source, _trace(message.rollout))
        if message.of is None:
            above = trace.root_of(message.rollout)
        _send(message, message.rollout, above, began)


@contextlib.contextmanager
def commanded(message: Message) -> Iterator[None]:
    """The commands of a batch, until the broker has them."""
    began = time.time_ns()
    yield
    rollout = _rollout(message)
    if _exporter is not None and rollout is not None:
        _send(message, rollout, trace.comes_from(message, rollout, _source, _trace(rollout)), began)


def worked(
    message: Message, above: Place | None, began: float, states: Mapping[str, float], outcome: str
) -> None:
    """What a node did about the command `message` from `began` on, in seconds since 1970; `states` last that many."""
    if _exporter is None or above is None:
        return
    span = Place(above.trace, trace.span_of(_source, message.id))
    start, at = int(began * 1e9), int(began * 1e9)
    for name, seconds in states.items():
        part = Place(above.trace, trace.span_of(_source, message.id + name))
        _exporter.send(name, part, span, at, at + int(seconds * 1e9), {})
        at += int(seconds * 1e9)
    attributes = {**_attributes(message, _rollout(message) or ""), "outcome": outcome}
    _exporter.send(wire.type_of(message), span, above, start, at, attributes)


def _send(message: Message, rollout: str, above: Place, began: int) -> None:
    assert _exporter is not None
    span = Place(above.trace, trace.span_of(_source, message.id))
    attributes = _attributes(message, rollout)
    _exporter.send(wire.type_of(message), span, above, began, time.time_ns(), attributes)


def _attributes(message: Message, rollout: str) -> dict[str, str]:
    named = ("batch", "node", "component", "verdict", "outcome", "reason", "name")
    found = {name: getattr(message, name, None) for name in named}
    return {
        "rollout": rollout,
        "message": message.id,
        **{k: str(v) for k, v in found.items() if v is not None},
    }


def _rollout(message: Message) -> str | None:
    return getattr(message, "rollout", None)


def _trace(rollout: str) -> str:
    return _traces.get(rollout) or trace.trace_of(rollout)


def _remember(revert: str, found: str) -> None:
    _traces[revert] = found
    _traces.move_to_end(revert)
    if len(_traces) > MOST_REVERTS:
        _traces.popitem(last=False)
