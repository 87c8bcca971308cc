"""How a plan would run, batch by batch, if every step and gate took as long as is expected. Pure.

It keeps the rules by which the engine starts batches: what a batch needs has passed, its wait is over, and no more
nodes are in the middle of a switch than the plan allows. Approvals take no time here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bumpless.common.contract.base import BatchId
from bumpless.common.model.plan import Batch, Plan
from bumpless.common.render.groups import in_order


@dataclass(frozen=True)
class Span:
    """Seconds since the first batch could start: a batch's steps run from `start` to `switched`, its gate to `end`."""

    batch: Batch
    start: float
    switched: float
    end: float


def schedule(plan: Plan, apply_s: Mapping[BatchId, float], bake_s: Mapping[BatchId, float]) -> list[Span]:
    """The batches in the order in which they start. Both mappings are by batch id.

    Where the budget lets nothing start any more (a plan that is wrong), the rest is left out.
    """
    ordered = in_order(plan)
    place = {batch.id: number for number, batch in enumerate(ordered)}
    waiting = {batch.id: {need for need in batch.needs if need in place} for batch in ordered}
    dependents: dict[str, list[Batch]] = {}
    for batch in ordered:
        for need in waiting[batch.id]:
            dependents.setdefault(need, []).append(batch)
    ready: list[int] = [place[batch.id] for batch in ordered if not waiting[batch.id]]
    heapq.heapify(ready)
    events: list[tuple[float, int, int]] = []
    """(when, what, place): 0 a batch has switched, 1 it has passed, 2 its wait is over."""
    out: Counter[str] = Counter()
    """Nodes in the middle of a switch."""
    found: list[Span] = []
    now = 0.0
    while ready or events:
        held: list[int] = []
        while ready:
            number = heapq.heappop(ready)
            batch = ordered[number]
            nodes = {step.node for step in batch.steps}
            if len(out) + sum(node not in out for node in nodes) > plan.max_unavailable:
                held.append(number)
                continue
            out.update(nodes)
            switched = now + apply_s[batch.id]
            end = switched + bake_s[batch.id]
            found.append(Span(batch, now, switched, end))
            heapq.heappush(events, (switched, 0, number))
            heapq.heappush(events, (end, 1, number))
        ready = held
        if not events:
            break
        now = events[0][0]
        while events and events[0][0] <= now:
            _, what, number = heapq.heappop(events)
            batch = ordered[number]
            if what == 0:
                for node in {step.node for step in batch.steps}:
                    out[node] -= 1
                    if not out[node]:
                        del out[node]
            elif what == 1:
                for dependent in dependents.get(batch.id, ()):
                    left = waiting[dependent.id]
                    left.discard(batch.id)
                    if not left:
                        wait = dependent.wait_s
                        heapq.heappush(events, (now + wait, 2, place[dependent.id]))
            else:
                heapq.heappush(ready, number)
    return found
