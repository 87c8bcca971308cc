"""One unavailability budget for the whole fleet: what takes nodes out counts for every rollout that needs them.

Counted are the nodes that another rollout is switching or has left failed, those that are being taken back, those
that are drained, those whose executor is silent, and those where a component is stuck. A rollout is told in a message (`NodesOut`), so that
its log says why a batch waited. Nothing is stored: what is here is worked out again when the planner starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from bumpless.common.contract.base import Message, PlanHash, RolloutId, derive_id
from bumpless.common.contract.events import NodesOut, RolloutPlanned
from bumpless.common.engine.batch import unavailable
from bumpless.common.model.fleet import ComponentState, Node
from bumpless.common.model.plan import Plan, StepKey, node_of
from bumpless.common.model.rollout import Rollout, RolloutStatus
from bumpless.planner.placement import SEEN_WITHIN_S
from bumpless.planner.standing import NodeStanding


class Budget:
    """Implements `Surroundings` for rollouts. `plans` finds a plan that is about to begin."""

    def __init__(self, plans: Callable[[PlanHash], Plan | None] = lambda _: None) -> None:
        self._plans = plans
        self.changed = asyncio.Event()
        """Set when a rollout may have to be told something."""
        self._rollouts: dict[RolloutId, Rollout] = {}
        self._takes: dict[RolloutId, Mapping[str, str]] = {}
        self._fleet: Mapping[str, str] = {}
        self._nodes: dict[PlanHash, frozenset[str]] = {}

    def decided(self, rollout: Rollout) -> None:
        """Take in a rollout as it is now; one that has ended takes nothing."""
        if rollout.ended:
            self._rollouts.pop(rollout.id, None)
            self._nodes.pop(rollout.plan.hash, None)
        else:
            self._rollouts[rollout.id] = rollout
        takes = {} if rollout.ended else _taken(rollout)
        if takes != self._takes.get(rollout.id, {}):
            self.changed.set()
        self._takes[rollout.id] = takes
        if rollout.ended:
            del self._takes[rollout.id]

    def never_was(self, aggregate: str) -> None:
        """Drop a rollout that was decided and could not begin."""
        found = self._rollouts.pop(RolloutId(aggregate), None)
        if found is not None:
            self._takes.pop(found.id, None)
            self._nodes.pop(found.plan.hash, None)

    def observed(self, nodes: Iterable[Node | NodeStanding], now: datetime) -> None:
        """Take in what the nodes said last."""
        found = _out_of_service(nodes, now)
        if found != self._fleet:
            self._fleet = found
            self.changed.set()

    def news(self, rollout: Rollout, now: datetime) -> NodesOut | None:
        """What `rollout` is to be told; None: what it knows is so."""
        if rollout.ended or rollout.status is RolloutStatus.FAILED:
            return None
        out = self.out_for(rollout)
        if out == rollout.out:
            return None
        return NodesOut(
            id=derive_id(rollout.id, "nodes-out", now.isoformat()), at=now, rollout=rollout.id, nodes=out
        )

    def is_news(self, message: Message) -> bool:
        return isinstance(message, NodesOut)

    def opening(self, message: Message) -> Message:
        """A rollout that begins knows at once which of its nodes are out: its first batch may start in that decision."""
        plan = self._plans(message.plan_hash) if isinstance(message, RolloutPlanned) else None
        if plan is None:
            return message
        return message.model_copy(update={"out": self._out_of(plan)})

    def out_for(self, rollout: Rollout) -> dict[str, str]:
        """The nodes of `rollout` that are out for reasons outside of it, and why."""
        return self._out_of(rollout.plan, planned_at(rollout))

    def _out_of(self, plan: Plan, planned: datetime | None = None) -> dict[str, str]:
        """`planned`: when its rollout began; None: it begins now."""
        mine = self._nodes_of(plan)
        found = {node: why for node, why in self._fleet.items() if node in mine}
        for other, taken in sorted(self._takes.items()):
            if other != plan.rollout and not self._left_before(other, plan, planned):
                found.update((node, why) for node, why in taken.items() if node in mine)
        return found

    def _left_before(self, other: RolloutId, plan: Plan, planned: datetime | None) -> bool:
        """Whether `other` failed, was left to a person, and `plan` was made after that, from what serves now.

        Nobody may ever take it back; a node that it left stuck says so itself.
        """
        rollout = self._rollouts[other]
        later = rollout.plan.generation < plan.generation and (planned is None or rollout.since <= planned)
        return rollout.left_to_a_person and later

    def behind(self, now: datetime) -> list[NodesOut]:
        """What has to be told, to whom."""
        told = (self.news(rollout, now) for rollout in self._rollouts.values())
        return [message for message in told if message is not None]

    @property
    def busy(self) -> bool:
        """Whether any rollout is on its way."""
        return bool(self._rollouts)

    def _nodes_of(self, plan: Plan) -> frozenset[str]:
        if plan.hash not in self._nodes:
            stepped = (step.node for step in plan.steps())
            unchanged = (node_of(key) for key in plan.unchanged)
            self._nodes[plan.hash] = frozenset((*stepped, *unchanged))
        return self._nodes[plan.hash]


def planned_at(rollout: Rollout) -> datetime:
    """When it began; a batch that has not started yet is as it was then."""
    return min((batch.since for batch in rollout.batches.values()), default=rollout.since)


def _taken(rollout: Rollout) -> dict[str, str]:
    """The nodes that `rollout` keeps from serving. Of a failed one all that it commanded: they are being taken back."""
    if rollout.status is RolloutStatus.FAILED:
        return dict.fromkeys(
            _nodes(rollout.commanded), f"rollout {rollout.id} has failed and is to be taken back"
        )
    return dict.fromkeys(unavailable(rollout), f"rollout {rollout.id} is switching it, or failed there")


def _nodes(keys: Iterable[StepKey]) -> list[str]:
    return sorted({node_of(key) for key in keys})


def _out_of_service(nodes: Iterable[Node | NodeStanding], now: datetime) -> dict[str, str]:
    found = {}
    for node in nodes:
        stuck = [c.component for c in node.components.values() if c.state is ComponentState.STUCK]
        if node.drain is not None:
            found[node.name] = str(node.drain)
        elif now - node.observed_at > timedelta(seconds=SEEN_WITHIN_S):
            found[node.name] = "its executor is silent"
        elif stuck:
            found[node.name] = f"{', '.join(sorted(stuck))} is stuck there"
    return found
