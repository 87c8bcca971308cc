from __future__ import annotations

import pytest

from bumpless.common.contract import wire
from bumpless.common.contract.base import MessageId, derive_id
from bumpless.common.contract.commands import CloseGate
from bumpless.common.contract.events import GateProgressed, VerdictReached
from bumpless.common.engine.decision import Decision
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Evidence, Reason, Verdict
from bumpless.health_gate.gate_run import GateRun, GateStatus, Judged, decide, judged, next_deadline
from bumpless.health_gate.judge import Judgement
from unit.health_gate.scenes import Scene, at

OPEN = Scene(GateSpec(interval_s=5, timeout_s=66)).gate
CLOSE = CloseGate(id=MessageId("close"), at=at(3), gate=OPEN.gate, rollout=OPEN.rollout, batch=OPEN.batch)
WAIT = Judgement(None, Reason.LOW_TRAFFIC, "1 of 100 requests", ())
FAILED = Judgement(
    Verdict.FAIL, Reason.REGRESSION, "worse", (Evidence(rule="error_rate", verdict=Verdict.FAIL),)
)


def tick(judgement: Judgement, seconds: float) -> Judged:
    return judged(OPEN, judgement, at(seconds))


def opened() -> GateRun:
    state = decide(None, OPEN, at(0)).state
    assert state is not None
    return state


def kinds(decision: Decision[GateRun | None]) -> list[type]:
    return [type(message) for message in decision.messages]


def test_a_gate_opens_ticks_and_ends_with_one_verdict() -> None:
    state = opened()
    assert next_deadline(state) is not None
    waiting = decide(state, tick(WAIT, 5), at(5))
    assert kinds(waiting) == [GateProgressed]
    ended = decide(waiting.state, tick(FAILED, 10), at(10))
    assert kinds(ended) == [VerdictReached, GateProgressed]
    verdict = ended.messages[0]
    assert isinstance(verdict, VerdictReached)
    assert verdict.id == derive_id(OPEN.gate, "verdict")
    assert (verdict.cause, verdict.opened_at, verdict.reason) == (OPEN.id, OPEN.at, "regression")
    assert next_deadline(ended.state) is None
    assert wire.decode(wire.encode(verdict)) == verdict


def test_progress_is_told_only_when_it_changes() -> None:
    first = decide(opened(), tick(WAIT, 5), at(5))
    second = decide(first.state, tick(WAIT, 10), at(10))
    assert kinds(second) == []
    assert second.state != first.state


@pytest.mark.parametrize("message", [OPEN, CLOSE, tick(FAILED, 15), tick(WAIT, 15)])
@pytest.mark.parametrize("end", [tick(FAILED, 10), CLOSE])
def test_an_ended_gate_ignores_everything(message: Judged, end: Judged) -> None:
    ended = decide(opened(), end, at(10)).state
    after = decide(ended, message, at(20))
    assert after.state is ended
    assert not after.messages
    assert after.notes


def test_duplicates_change_nothing() -> None:
    state = opened()
    assert decide(state, OPEN, at(9)).state is state


def test_a_gate_closed_before_it_was_heard_of_stays_closed() -> None:
    closed = decide(None, CLOSE, at(0)).state
    assert closed is not None
    assert closed.status is GateStatus.CLOSED
    assert next_deadline(closed) is None
    assert decide(closed, OPEN, at(1)).state is closed


def test_the_own_verdict_read_back_ends_the_gate() -> None:
    verdict = decide(opened(), tick(FAILED, 10), at(10)).messages[0]
    found = decide(opened(), verdict, at(11))
    assert found.state is not None
    assert found.state.status is GateStatus.DECIDED
    assert not found.messages


def test_a_tick_for_no_gate_is_ignored() -> None:
    found = decide(None, tick(FAILED, 5), at(5))
    assert found.state is None
    assert not found.messages


def test_ticks_follow_each_other_and_one_falls_on_the_deadline() -> None:
    state = opened()
    due = [deadline.due for deadline in [next_deadline(state)] if deadline]
    while due[-1] < at(80):
        found = decide(state, tick(WAIT, (due[-1] - at(0)).total_seconds()), due[-1]).state
        deadline = next_deadline(found)
        assert found is not None
        assert deadline is not None
        state, due = found, [*due, deadline.due]
    assert due == [at(n) for n in (*range(5, 66, 5), 66, 71, 76, 81)]


def test_a_gate_survives_its_store() -> None:
    state = decide(opened(), tick(WAIT, 5), at(5)).state
    assert state is not None
    assert GateRun.model_validate_json(state.model_dump_json()) == state
