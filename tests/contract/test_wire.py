"""Every message survives its way over the wire, and what is no message is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, canonical_json, derive_id
from bumpless.common.contract.subjects import ROUTES, STREAM_SUBJECTS, Stream
from bumpless.common.model.plan import Direction
from bumpless.common.shell import topology
from support.plans import T0
from support.samples import SAMPLES

KINDS = sorted(wire.TYPES.values(), key=lambda kind: kind.__name__)


def matches(subject: str, pattern: str) -> bool:
    """Whether a subject matches a pattern, as the broker says it: `*` is one token, `>` one or more."""
    left, right = subject.split("."), pattern.split(".")
    if right[-1] == ">":
        return len(left) >= len(right) and matches(".".join(left[: len(right) - 1]), ".".join(right[:-1]))
    return len(left) == len(right) and all(r in ("*", x) for x, r in zip(left, right, strict=True))


def test_every_type_has_a_sample_and_a_name_of_its_own() -> None:
    assert set(SAMPLES) == set(wire.TYPES.values())
    assert len(wire.TYPES) == len(ROUTES) + len(wire.INTERNAL)
    for name, kind in wire.TYPES.items():
        assert name.replace("-", "") == kind.__name__.lower()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[Message]) -> None:
    message = SAMPLES[kind]
    assert wire.decode(wire.encode(message)) == message
    assert wire.from_dict(json.loads(wire.encode(message))) == message
    assert wire.encode(wire.decode(wire.encode(message))) == wire.encode(message)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_unknown_fields_are_tolerated(kind: type[Message]) -> None:
    raw = {**json.loads(wire.encode(SAMPLES[kind])), "from_the_future": {"a": [1]}}
    assert wire.decode(json.dumps(raw).encode()) == SAMPLES[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_missing_field_is_named(kind: type[Message]) -> None:
    raw = json.loads(wire.encode(SAMPLES[kind]))
    del raw["at"]
    with pytest.raises(wire.Unreadable, match=f"{raw['type']}: field at"):
        wire.decode(json.dumps(raw).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"null",
        b"[]",
        b'"pause"',
        b'{"type":1}',
        b'{"type":"no-such-type"}',
        b"[" * 100_000,
        b'{"type":"pause","id":"1","at":"2030-01-01T00:00:00","rollout":"r1","by":"ann"}',
    ],
    ids=range(10),
)
def test_what_is_no_message_is_unreadable(body: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.decode(body)


def test_values_that_are_no_json_numbers_survive() -> None:
    sampled = SAMPLES[e.MetricsSampled]
    assert isinstance(sampled, e.MetricsSampled)
    some = {"a": float("inf"), "b": float("-inf"), "c": float("nan")}
    found = wire.decode(wire.encode(sampled.model_copy(update={"samples": some})))
    assert isinstance(found, e.MetricsSampled)
    assert repr(found.samples) == repr(some)
    json.loads(wire.encode(sampled), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    "kind", sorted(ROUTES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_every_message_travels_on_its_stream(kind: type[Message]) -> None:
    subject = subjects.subject_of(SAMPLES[kind])
    stored_by = [
        stream for stream, patterns in STREAM_SUBJECTS.items() if any(matches(subject, p) for p in patterns)
    ]
    stream = ROUTES[kind].stream
    assert stored_by == ([] if stream is Stream.CORE else [stream])
    assert matches(subject, subjects.subject_for(kind))


def test_no_subject_belongs_to_two_types() -> None:
    seen: dict[str, type[Message]] = {}
    for kind, message in SAMPLES.items():
        if kind in ROUTES:
            other = seen.setdefault(subjects.subject_of(message), kind)
            assert {other.__name__, kind.__name__} in ({kind.__name__}, {"StageComponent", "ApplyComponent"})


@pytest.mark.parametrize(
    ("direction", "heard_by"), [(Direction.FORWARD, ["planner"]), (Direction.REVERT, ["rollback"])]
)
def test_an_answer_goes_to_who_ordered_the_step(direction: Direction, heard_by: list[str]) -> None:
    subject = subjects.subject_of(SAMPLES[e.StepFinished].model_copy(update={"direction": direction}))
    durables = (topology.PLANNER_RESULTS, topology.ROLLBACK_RESULTS)
    assert [d.name for d in durables if any(matches(subject, each) for each in d.filters)] == heard_by


def test_headers_are_cloud_events() -> None:
    message = SAMPLES[e.StepFinished]
    found = wire.headers(message, "executor")
    assert found == {
        "Nats-Msg-Id": message.id,
        "ce-specversion": "1.0",
        "ce-id": message.id,
        "ce-type": "io.bumpless.step-finished",
        "ce-source": "/bumpless/executor",
        "ce-time": "2030-01-01T12:00:00+00:00",
        "ce-subject": "evt.n1.step-finished.forward",
        "content-type": "application/json",
        "ce-causationid": "c1",
    }
    assert "ce-causationid" not in wire.headers(message.model_copy(update={"cause": None}), "executor")


def test_ids_depend_on_every_part_and_its_place() -> None:
    parts = [("a", "b"), ("b", "a"), ("ab",), ("a", "", "b"), ("a", "b", "")]
    assert len({derive_id(*found) for found in parts}) == len(parts)
    assert derive_id("a", "b") == derive_id("a", "b")


def test_moments_are_utc() -> None:
    raw = {**json.loads(wire.encode(SAMPLES[e.StepFinished])), "at": "2030-01-01T14:00:00+02:00"}
    found = wire.decode(json.dumps(raw).encode())
    assert found.at == T0
    assert found.at.tzinfo is UTC
    assert isinstance(found.at, datetime)


def test_the_hashed_form_has_one_spelling() -> None:
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'.encode()
    with pytest.raises(ValueError):
        canonical_json(float("nan"))
