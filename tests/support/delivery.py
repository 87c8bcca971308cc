"""One event of every word of the delivery vocabulary, as the events service tells them, and a trigger."""

from __future__ import annotations

from bumpless.common.contract import events as e
from bumpless.common.contract.alerts import AlertChanged
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.contract.cdevents import PUBLISHED, CdEvent, Context, Subject, Word, purl
from bumpless.common.model.alert import Alert
from bumpless.common.model.plan import Direction, Plan
from bumpless.events.lifecycle import About, lifecycle
from support.plans import T0, at, batch, digest, plan
from support.samples import SAMPLES

RELEASE = digest("release")
PLANNED = e.RolloutPlanned.model_validate(
    {**SAMPLES[e.RolloutPlanned].model_dump(), "rollout": "r1", "direction": Direction.FORWARD, "of": None}
)
PLAN = plan(batch("api-1", ["n1"]))


def changed(part: Plan, **step: None) -> Plan:
    """`part` where every step leaves or brings nothing."""
    batches = tuple(
        b.model_copy(update={"steps": tuple(s.model_copy(update=step) for s in b.steps)})
        for b in part.batches
    )
    return part.model_copy(update={"batches": batches})


def alert(**fields: object) -> AlertChanged:
    raw = SAMPLES[AlertChanged].model_dump()
    found = Alert.model_validate({**raw["alert"], "fired_at": at(2), **fields})
    return AlertChanged(id=derive_id("alert", str(found.status)), at=T0, alert=found)


def _all() -> dict[Word, CdEvent]:
    def about(of: Plan) -> About:
        return About("production", PLANNED, of)

    told: list[tuple[Message, Plan]] = [
        *(
            (SAMPLES[kind], PLAN)
            for kind in (
                e.ReleaseRefused,
                e.RolloutFailed,
                e.RevertStarted,
                e.RolloutHalted,
                e.RolloutCancelled,
            )
        ),
        (PLANNED, PLAN),
        (SAMPLES[e.RolloutSucceeded], PLAN),
        (SAMPLES[e.RolloutSucceeded], changed(PLAN, before=None)),
        (SAMPLES[e.RolloutSucceeded], changed(PLAN, after=None)),
        (SAMPLES[e.RolloutReverted].model_copy(update={"partial": False}), PLAN),
    ]
    found: dict[Word, CdEvent] = {}
    for message, of in told:
        for item in lifecycle(message, about(of)):
            found.setdefault(item.word, item.event)
    return found


EVENTS = _all()
TRIGGER = CdEvent(
    context=Context(id="p1", source="/ci/shop", type=f"{PUBLISHED}0.2.0", timestamp=T0),
    subject=Subject(id=purl("shop", "v2", RELEASE), type="artifact"),
)
