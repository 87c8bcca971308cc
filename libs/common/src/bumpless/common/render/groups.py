"""Batches in an order that does not depend on how they were given, and long chains of like ones as one. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from bumpless.common.model.plan import Batch, Plan, Step
from bumpless.common.render.actions import change
from bumpless.common.render.words import count, duration, natural, nodes

SHORTEST_CHAIN = 4


@dataclass(frozen=True)
class Group:
    """One batch, or a chain of like batches of which each needs the one before. `needs` are ids of groups."""

    id: str
    batches: tuple[Batch, ...]
    needs: tuple[str, ...] = field(compare=False)

    @property
    def first(self) -> Batch:
        return self.batches[0]

    @property
    def name(self) -> str:
        return self.id if len(self.batches) == 1 else f"{self.id} … {self.batches[-1].id}"

    @property
    def steps(self) -> list[Step]:
        return [step for batch in self.batches for step in batch.steps]


def in_order(plan: Plan) -> list[Batch]:
    """What is needed comes first; else by name. What stands in a cycle comes last, so that a bad plan can be shown."""
    known: dict[str, Batch] = {batch.id: batch for batch in plan.batches}
    needs: dict[str, set[str]] = {
        batch.id: {need for need in batch.needs if need in known} for batch in plan.batches
    }
    dependents: dict[str, list[str]] = {}
    for batch_id, needed in needs.items():
        for need in needed:
            dependents.setdefault(need, []).append(batch_id)
    waiting = {batch_id: len(needed) for batch_id, needed in needs.items()}
    ready = [(natural(batch_id), batch_id) for batch_id, number in waiting.items() if not number]
    heapq.heapify(ready)
    found: list[Batch] = []
    while ready:
        _, batch_id = heapq.heappop(ready)
        found.append(known[batch_id])
        del waiting[batch_id]
        for dependent in dependents.get(batch_id, ()):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                heapq.heappush(ready, (natural(dependent), dependent))
    return found + [known[batch_id] for batch_id in sorted(waiting, key=natural)]


def groups(plan: Plan, *, collapse: bool = True) -> list[Group]:
    """The batches of `plan` in order; with `collapse`, chains of at least 4 like ones are one group."""
    ordered = in_order(plan)
    children: dict[str, list[Batch]] = {}
    for batch in ordered:
        for need in set(batch.needs):
            children.setdefault(need, []).append(batch)
    chains: dict[str, list[Batch]] = {}
    """By the id of the last batch."""
    for batch in ordered:
        chain = chains.get(batch.needs[0]) if collapse and len(batch.needs) == 1 else None
        ends = all(child.component != batch.component for child in children.get(batch.id, ()))
        if (
            chain is not None
            and len(children[chain[-1].id]) == 1
            and _alike(chain[-1], batch, len(chain) == 1)
            and _as_large(chain[0], batch, ends)
        ):
            del chains[chain[-1].id]
            chain.append(batch)
            chains[batch.id] = chain
        else:
            chains[batch.id] = [batch]
    kept: list[list[Batch]] = []
    for chain in chains.values():
        kept += [chain] if len(chain) >= SHORTEST_CHAIN else [[batch] for batch in chain]
    home = {batch.id: chain[0].id for chain in kept for batch in chain}
    place = {batch.id: number for number, batch in enumerate(ordered)}
    kept.sort(key=lambda chain: place[chain[0].id])
    return [
        Group(
            chain[0].id,
            tuple(chain),
            tuple(sorted({home[need] for need in chain[0].needs if need in home}, key=natural)),
        )
        for chain in kept
    ]


_NOT_TOLD = frozenset({"id", "steps", "needs", "wait_s", "apply_timeout_s"})


def _alike(one: Batch, other: Batch, first: bool) -> bool:
    """Whether nobody misses anything when the two are told as one. The first of a chain may start without a wait."""
    same = all(
        getattr(one, name) == getattr(other, name) for name in Batch.model_fields if name not in _NOT_TOLD
    )
    return same and ((first and not one.wait_s) or one.wait_s == other.wait_s)


def _as_large(first: Batch, other: Batch, last: bool) -> bool:
    """Whether the two are about as large; the last batch of a component takes what is left."""
    one, two = len(first.steps), len(other.steps)
    return (last and two <= one) or min(one, two) * 2 > max(one, two)


def changes(plan: Plan, group: Group) -> list[tuple[str, list[str]]]:
    """What happens in a group: (change, its nodes), each change once, in natural order of the words."""
    found: dict[str, list[str]] = {}
    kinds: dict[tuple[str | None, str | None], str] = {}
    for step in group.steps:
        kind = (step.before, step.after)
        if kind not in kinds:
            kinds[kind] = change(plan, step.before, step.after)
        found.setdefault(kinds[kind], []).append(step.node)
    return sorted(found.items(), key=lambda item: natural(item[0]))


def marks(group: Group) -> list[str]:
    """What holds a group up, or sets it apart."""
    batch = group.first
    found = []
    if len(group.batches) > 1:
        found.append(f"{count(len(group.batches), 'batch')} in a row, {_sizes(group)}")
    if batch.hop > 1 and any(step.after is not None for step in batch.steps):
        found.append(f"hop {batch.hop}")
    if batch.canary:
        found.append("canary")
    if batch.approval:
        found.append("approval" + (" for each" if len(group.batches) > 1 else ""))
    waits = sorted({b.wait_s for b in group.batches if b.wait_s})
    if waits:
        found.append("waits " + " to ".join(map(duration, dict.fromkeys((waits[0], waits[-1])))))
    if batch.gate is not None:
        judged = f"gate over {duration(batch.gate.window_s)}"
        found.append(judged + (f" after {duration(batch.gate.warm_up_s)}" if batch.gate.warm_up_s else ""))
    if batch.hold_s:
        found.append(f"held for {duration(batch.hold_s)}, so that the way back takes no start")
    if batch.tolerance:
        found.append(f"{count(batch.tolerance, 'step')} may fail")
    if batch.horizon:
        found.append("no free way back" + (", a failure halts" if batch.freeze else ""))
    if batch.for_good:
        found.append("for good")
    return found


def summary(plan: Plan, group: Group) -> str:
    """What a group does on which nodes, in one line."""
    return "; ".join(f"{what} on {nodes(where)}" for what, where in changes(plan, group))


def _sizes(group: Group) -> str:
    sizes = sorted({len(batch.steps) for batch in group.batches})
    if len(sizes) == 1:
        return f"{count(sizes[0], 'node')} each"
    return f"{sizes[0]:,} to {count(sizes[-1], 'node')} each"
