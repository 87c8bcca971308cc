"""The rollouts under way, as far as alerts need them: which an alert concerns, and which nodes a batch has out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.model.alert import NAME, Silence, SilenceMatcher
from bumpless.common.model.alert_rules import NODE_DOWN
from bumpless.common.model.plan import Direction, Plan
from bumpless.common.model.rollout import TERMINAL, BatchStatus, RolloutStatus

UNDER_WAY = frozenset(
    {RolloutStatus.PLANNED, RolloutStatus.STAGING, RolloutStatus.ROLLING, RolloutStatus.PAUSED}
)
NAMING = ("rollout", "product")
"""Labels of which an alert must have one to concern a rollout."""


@dataclass(frozen=True)
class BatchOut:
    """The nodes of one batch, and how long they may take."""

    nodes: tuple[str, ...]
    apply_timeout_s: float


@dataclass
class Seen:
    """What is known of one rollout or revert. `began`: since when its batches are under way, as far as we saw."""

    planned: e.RolloutPlanned
    status: RolloutStatus = RolloutStatus.PLANNED
    steps: frozenset[tuple[str, str]] = frozenset()
    batches: Mapping[str, BatchOut] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)

    @property
    def read(self) -> bool:
        return bool(self.batches)


class Picture:
    """Grows with the log of all rollouts; those at rest are let go of."""

    def __init__(self) -> None:
        self._seen: dict[RolloutId, Seen] = {}

    def take(self, message: e.RolloutPlanned | e.RolloutAdvanced | e.RolloutProgressed) -> None:
        match message:
            case e.RolloutPlanned():
                self._seen.setdefault(message.rollout, Seen(message))
            case e.RolloutAdvanced():
                self._advanced(message.rollout, RolloutStatus(message.status))
            case e.RolloutProgressed():
                self._progressed(message)

    def _advanced(self, rollout: RolloutId, status: RolloutStatus) -> None:
        if status in TERMINAL:
            self._seen.pop(rollout, None)
        elif rollout in self._seen:
            self._seen[rollout].status = status

    def _progressed(self, message: e.RolloutProgressed) -> None:
        seen = self._seen.get(message.rollout)
        if seen is None:
            return
        for batch, status in message.batches.items():
            if status == BatchStatus.APPLYING and seen.statuses.get(batch) != status:
                seen.began[batch] = message.at
        seen.statuses = message.batches

    def unread(self) -> list[e.RolloutPlanned]:
        """Those whose plan is not known yet."""
        return [seen.planned for seen in self._seen.values() if not seen.read]

    def planned(self, rollout: RolloutId, plan: Plan) -> None:
        seen = self._seen.get(rollout)
        if seen is None:
            return
        seen.steps = frozenset((step.node, step.component) for batch in plan.batches for step in batch.steps)
        seen.batches = {
            batch.id: BatchOut(tuple(sorted({step.node for step in batch.steps})), batch.apply_timeout_s)
            for batch in plan.batches
        }

    def concerned(self, labels: Mapping[str, str], *, every: bool) -> tuple[RolloutId, ...]:
        """The forward rollouts under way that `labels` name.

        A label `rollout`, `product`, `release`, `node` or `component` must fit where it is there, and one of the
        first two must be there unless `every`.
        """
        if not every and not any(labels.get(name) for name in NAMING):
            return ()
        return tuple(
            rollout
            for rollout, seen in sorted(self._seen.items())
            if seen.planned.direction is Direction.FORWARD
            and seen.status in UNDER_WAY
            and _names(labels, seen)
        )

    def silences(self, now: datetime) -> list[Silence]:
        """One for every batch under way: `NodeDown` of its nodes is no news until the batch's deadline."""
        found = []
        for rollout, seen in self._seen.items():
            for batch, began in seen.began.items():
                out = seen.batches.get(batch)
                if out is None or seen.statuses.get(batch) != BatchStatus.APPLYING:
                    continue
                end = began + timedelta(seconds=out.apply_timeout_s)
                if now < end:
                    found.append(_of_batch(rollout, batch, out.nodes, began, end))
        return found


def _names(labels: Mapping[str, str], seen: Seen) -> bool:
    planned = seen.planned
    plain = {"rollout": planned.rollout, "product": planned.product, "release": planned.release_version}
    if any(labels[name] != value for name, value in plain.items() if labels.get(name)):
        return False
    node, component = labels.get("node"), labels.get("component")
    if not node and not component:
        return True
    return any(node in (None, "", n) and component in (None, "", c) for n, c in seen.steps)


def _of_batch(
    rollout: RolloutId, batch: str, nodes: Iterable[str], began: datetime, end: datetime
) -> Silence:
    matchers = (
        SilenceMatcher(name=NAME, value=NODE_DOWN),
        SilenceMatcher(name="node", value="|".join(nodes), is_regex=True),
    )
    return Silence(
        id=f"batch-{rollout[:8]}-{batch}".lower().replace(".", "-")[:63].rstrip("-"),
        matchers=matchers,
        starts_at=began,
        ends_at=end,
        created_by="bumpless",
        comment=f"batch {batch} of rollout {rollout} is under way",
    )
