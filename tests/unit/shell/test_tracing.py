"""Ids of spans: they follow from messages, and what a header says goes before what could be worked out."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from bumpless.common.contract import trace
from bumpless.common.contract.base import MessageId, RolloutId, derive_id
from bumpless.common.contract.events import RolloutCancelled
from bumpless.common.contract.trace import Place
from bumpless.common.shell import tracing

ROLLOUT = RolloutId(derive_id("a rollout"))
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def message(cause: str | None) -> RolloutCancelled:
    found = None if cause is None else MessageId(derive_id(cause))
    return RolloutCancelled(id=MessageId(derive_id("m")), at=T0, cause=found, rollout=ROLLOUT, reason="r")


def test_a_header_comes_back_as_it_was() -> None:
    place = trace.root_of(ROLLOUT)
    assert Place.read(place.header()) == place
    assert trace.root_of(ROLLOUT) == place
    assert trace.root_of("another").trace != place.trace


@pytest.mark.parametrize("header", [None, "", "00-xyz", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "é"])
def test_what_is_no_header_is_none(header: str | None) -> None:
    assert Place.read(header) is None


def test_a_message_comes_from_the_work_on_its_cause() -> None:
    found = trace.comes_from(message("x"), ROLLOUT, "planner", trace.trace_of(ROLLOUT))
    assert found.span == trace.span_of("planner", derive_id("x"))
    assert found.span != trace.span_of("rollback", derive_id("x"))
    without = trace.comes_from(message(None), ROLLOUT, "planner", trace.trace_of(ROLLOUT))
    assert without == trace.root_of(ROLLOUT)


def test_nothing_is_carried_or_remembered_while_nobody_asked() -> None:
    assert tracing.headers(message("x"), "planner") == {}
    assert tracing.parent(message("x"), {trace.HEADER: trace.root_of("other").header()}) is None


def test_an_endpoint_without_opentelemetry_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "bumpless.common.shell.spans", None)
    with pytest.raises(tracing.Refused, match=r"bumpless-common\[tracing\]"):
        tracing.configure_tracing("planner", "planner")
