"""The table of rollout states and inputs, as data. Every pair is listed: next states, IGNORE or ILLEGAL.

IGNORE: expected now and then (late, repeated, raced) and without effect. ILLEGAL: nobody should ask for it here;
an operator command is answered with a refusal. `rollout.decide` consults this table before anything else, and a
test walks the whole product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.model.rollout import RolloutStatus as S

IGNORE: Final = "ignore"
ILLEGAL: Final = "illegal"
Cell = frozenset[S] | str

INPUTS: tuple[type[Message], ...] = (
    e.RolloutPlanned,
    c.Approve,
    c.Deny,
    e.StepStaged,
    e.StepFinished,
    e.ComponentCrashLooping,
    e.VerdictReached,
    e.AlertFired,
    e.NodesOut,
    c.Pause,
    c.Resume,
    c.Promote,
    c.Abort,
    c.Retry,
    e.DeadlineReached,
    e.RevertStarted,
    e.RolloutReverted,
    e.RolloutHalted,
)


def _row(**cells: Cell) -> dict[type[Message], Cell]:
    names = {kind.__name__: kind for kind in INPUTS}
    return {names[name]: cell for name, cell in cells.items()}


def _to(*states: S) -> Cell:
    return frozenset(states)


_ENDED = _row(
    RolloutPlanned=IGNORE,
    Approve=ILLEGAL,
    Deny=ILLEGAL,
    StepStaged=IGNORE,
    StepFinished=IGNORE,
    ComponentCrashLooping=IGNORE,
    VerdictReached=IGNORE,
    AlertFired=IGNORE,
    NodesOut=IGNORE,
    Pause=ILLEGAL,
    Resume=ILLEGAL,
    Promote=ILLEGAL,
    Abort=ILLEGAL,
    Retry=ILLEGAL,
    DeadlineReached=IGNORE,
    RevertStarted=IGNORE,
    RolloutReverted=IGNORE,
    RolloutHalted=IGNORE,
)

TABLE: Mapping[S, Mapping[type[Message], Cell]] = {
    S.PLANNED: {
        **_ENDED,
        e.NodesOut: _to(S.PLANNED),
        c.Approve: _to(S.PLANNED, S.STAGING, S.ROLLING, S.SUCCEEDED),
        c.Deny: _to(S.PLANNED, S.CANCELLED),
        c.Abort: _to(S.CANCELLED),
        e.DeadlineReached: _to(S.PLANNED, S.CANCELLED),
        e.RevertStarted: _to(S.CANCELLED),
    },
    S.STAGING: {
        **_ENDED,
        e.NodesOut: _to(S.STAGING),
        e.StepStaged: _to(S.STAGING, S.ROLLING, S.FAILED),
        e.StepFinished: _to(S.STAGING),
        e.AlertFired: _to(S.STAGING, S.FAILED),
        c.Pause: _to(S.PAUSED),
        c.Abort: _to(S.FAILED),
        e.DeadlineReached: _to(S.STAGING, S.FAILED),
        e.RevertStarted: _to(S.FAILED),
    },
    S.ROLLING: {
        **_ENDED,
        e.NodesOut: _to(S.ROLLING, S.FAILED, S.HALTED),
        c.Approve: _to(S.ROLLING, S.FAILED, S.HALTED),
        c.Deny: _to(S.ROLLING, S.FAILED, S.HALTED),
        e.StepStaged: _to(S.ROLLING),
        e.StepFinished: _to(S.ROLLING, S.PAUSED, S.SUCCEEDED, S.REVERTED, S.FAILED, S.HALTED),
        e.ComponentCrashLooping: _to(S.ROLLING, S.FAILED, S.HALTED),
        e.VerdictReached: _to(S.ROLLING, S.PAUSED, S.SUCCEEDED, S.FAILED, S.HALTED),
        e.AlertFired: _to(S.ROLLING, S.FAILED, S.HALTED),
        c.Pause: _to(S.PAUSED),
        c.Promote: _to(S.ROLLING, S.SUCCEEDED, S.FAILED, S.HALTED),
        c.Abort: _to(S.FAILED, S.HALTED),
        e.DeadlineReached: _to(S.ROLLING, S.PAUSED, S.FAILED, S.HALTED, S.SUCCEEDED, S.REVERTED),
        e.RevertStarted: _to(S.FAILED),
    },
    S.PAUSED: {
        **_ENDED,
        e.NodesOut: _to(S.PAUSED),
        c.Approve: _to(S.PAUSED),
        c.Deny: _to(S.PAUSED, S.FAILED, S.HALTED),
        e.StepStaged: _to(S.PAUSED, S.FAILED),
        e.StepFinished: _to(S.PAUSED, S.FAILED, S.HALTED),
        e.ComponentCrashLooping: _to(S.PAUSED, S.FAILED, S.HALTED),
        e.VerdictReached: _to(S.PAUSED, S.FAILED, S.HALTED),
        e.AlertFired: _to(S.PAUSED, S.FAILED, S.HALTED),
        c.Resume: _to(S.STAGING, S.ROLLING, S.SUCCEEDED, S.REVERTED, S.FAILED, S.HALTED),
        c.Promote: _to(S.ROLLING, S.PAUSED, S.SUCCEEDED, S.FAILED, S.HALTED),
        c.Abort: _to(S.FAILED, S.HALTED),
        e.DeadlineReached: _to(S.PAUSED, S.FAILED, S.HALTED),
        e.RevertStarted: _to(S.FAILED),
    },
    S.SUCCEEDED: {
        **_ENDED,
        e.RolloutReverted: _to(S.SUCCEEDED, S.REVERTED),
        e.RolloutHalted: _to(S.HALTED),
    },
    S.FAILED: {
        **_ENDED,
        c.Retry: IGNORE,
        e.DeadlineReached: _to(S.FAILED, S.HALTED),
        e.RolloutReverted: _to(S.REVERTED),
        e.RolloutHalted: _to(S.HALTED),
    },
    S.REVERTED: {**_ENDED, c.Retry: IGNORE},
    S.HALTED: {**_ENDED, c.Retry: IGNORE, e.RolloutReverted: _to(S.REVERTED)},
    S.CANCELLED: {**_ENDED, c.Retry: IGNORE},
}
