"""That nodes go in the order that the strategy gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import ceil

from bumpless.common.model.plan import Batch
from bumpless.common.model.strategy import NodeSet, SpreadMode, StrategyKind, share_of
from bumpless.planner.proof.case import Case, stands_in
from bumpless.planner.proof.waves import members


def canaries_go_first(case: Case) -> Iterator[str]:
    """With a canary the first batches are those that are watched, with the nodes that were chosen; else there are none."""
    for name, component in case.components.items():
        canary = component.strategy.canary
        for stage in case.stages(name):
            marked = [batch.canary for batch in stage]
            if component.strategy.kind is not StrategyKind.CANARY:
                yield from (f"{batch.id} is a canary, and {name} has none" for batch in stage if batch.canary)
                continue
            if marked != sorted(marked, reverse=True):
                yield f"{name}: a canary comes after other batches"
            watched = {step.node for batch in stage if batch.canary for step in batch.steps}
            everyone = {step.node for batch in stage for step in batch.steps}
            if isinstance(canary, NodeSet):
                chosen = {
                    n
                    for n in everyone
                    if n in case.nodes and stands_in(canary.nodes, canary.labels, case.nodes[n])
                }
                if watched != chosen:
                    yield f"{name}: its canaries are {_said(watched)}, chosen were {_said(chosen)}"
                continue
            if len(watched) != min(share_of(canary, len(everyone)), case.plan.max_unavailable):
                yield f"{name}: its first batch is no canary of {canary}, {len(watched)} nodes are watched"
            drained = {n for n in everyone if n in case.nodes and case.nodes[n].drain is not None}
            if watched & drained and everyone - watched - drained:
                yield f"{name}: {_said(watched & drained)} is watched, where nothing runs: others could be"


def waves_go_in_their_order(case: Case) -> Iterator[str]:
    """Every node is in a batch of its own wave, and waves come in the order of the release."""
    for name, component in case.components.items():
        if component.strategy.kind is not StrategyKind.WAVES:
            continue
        order = {wave.name: number for number, wave in enumerate(component.strategy.waves)}
        for stage in case.stages(name):
            of = members(case, name, stage[0].hop)
            seen: list[int] = []
            for batch in stage:
                waves = {of[s.node].name for s in batch.steps if s.node in of}
                if len(waves) != 1 or any(step.node not in of for step in batch.steps):
                    yield f"{batch.id} has nodes of {len(waves)} waves"
                else:
                    seen.append(order[waves.pop()])
            if seen != sorted(seen):
                yield f"{name}: a wave comes before one that is written before it"


def priorities_go_in_their_order(case: Case) -> Iterator[str]:
    """No node goes before one with a higher priority."""
    for name, component in case.components.items():
        priority = component.strategy.priority
        if component.strategy.kind is not StrategyKind.PRIORITY or priority is None:
            continue

        def rank(
            node: str, label: str = priority.label or "", listed: tuple[str, ...] = priority.nodes
        ) -> float:
            if listed:
                return -listed.index(node) if node in listed else -len(listed)
            try:
                return float(case.nodes[node].labels[label])
            except (KeyError, ValueError):
                return float("-inf")

        for stage in case.stages(name):
            if component.strategy.spread is not None and not priority.label:
                continue  # A list is one level: spreading it may change its order.
            for earlier, later in pairwise(stage):
                lowest = min(rank(step.node) for step in earlier.steps)
                highest = max(rank(step.node) for step in later.steps)
                if lowest < highest:
                    yield f"{later.id} has nodes of a higher priority than {earlier.id} before it"


def batches_are_spread(case: Case) -> Iterator[str]:
    """A batch has at most its share of every value of the label, and one more; or nodes of one value only."""
    for name, component in case.components.items():
        spread = component.strategy.spread
        if spread is None:
            continue
        for stage in case.stages(name):
            whole = Counter(_value(case, s.node, spread.label) for b in stage for s in b.steps)
            for batch in stage:
                counts = Counter(_value(case, step.node, spread.label) for step in batch.steps)
                if spread.mode is SpreadMode.ONE_AT_A_TIME and len(counts) > 1:
                    yield f"{batch.id} has nodes of {len(counts)} values of {spread.label}"
                elif spread.mode is not SpreadMode.ONE_AT_A_TIME and _whole(component.strategy.kind, stage):
                    for value, count in counts.items():
                        share = ceil(len(batch.steps) * whole[value] / whole.total())
                        if count > share + 1:
                            yield f"{batch.id} has {count} nodes with {spread.label}={value}, its share is {share}"


def _whole(kind: StrategyKind, stage: list[Batch]) -> bool:
    """Whether all batches are cut of one whole; waves, canaries and priorities are wholes of their own."""
    return kind in (StrategyKind.ROLLING, StrategyKind.ALL_AT_ONCE) and not any(b.canary for b in stage)


def _value(case: Case, node: str, label: str) -> str:
    return case.nodes[node].labels.get(label, "") if node in case.nodes else ""


def _said(nodes: set[str]) -> str:
    return ", ".join(sorted(nodes)) or "none"
