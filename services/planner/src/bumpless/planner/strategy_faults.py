"""What a strategy asks of the fleet and the fleet does not have: an unknown node, a node in no wave, too small a budget. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Component
from bumpless.common.model.strategy import NodeSet, Strategy, StrategyKind
from bumpless.planner.strategies import Labels, in_waves, selected


def labels_of(fleet: Fleet) -> Mapping[str, Mapping[str, str]]:
    return {node.name: node.labels for node in fleet.nodes}


def strategy_faults(
    component: Component, placed: Sequence[str], changed: Sequence[str], fleet: Fleet, budget: int
) -> list[Finding]:
    """Everything about the strategy of `component` that cannot be done.

    `placed`: the nodes where it stands. `changed`: those of them that a batch is for. `budget`: nodes at once.
    """
    strategy, labels = component.strategy, labels_of(fleet)
    found = [
        *_unknown(strategy, labels),
        *_canary(strategy, placed, labels),
        *_waves(strategy, placed, labels),
        *_priority(strategy, placed, labels),
        *_spread(strategy, placed, labels),
        *_at_once(strategy, changed, budget),
    ]
    return [impossible(component.name, evidence, advice) for evidence, advice in found]


def impossible(subject: str, evidence: str, recommendation: str) -> Finding:
    return Finding(
        code=Code.STRATEGY_IMPOSSIBLE,
        severity=Severity.BLOCK,
        subject=subject,
        evidence=evidence,
        recommendation=recommendation,
    )


Fault = tuple[str, str]
"""What was seen, and what to do."""


def _unknown(strategy: Strategy, labels: Labels) -> Iterator[Fault]:
    named = [(f"wave {wave.name}", node) for wave in strategy.waves for node in wave.nodes]
    if isinstance(strategy.canary, NodeSet):
        named += [("the canary", node) for node in strategy.canary.nodes]
    if strategy.priority is not None:
        named += [("the priority", node) for node in strategy.priority.nodes]
    for where, node in named:
        if node not in labels:
            known = ", ".join(sorted(labels)) or "none"
            yield (
                f"{where} names {node}, which no executor speaks for",
                f"name nodes of the fleet ({known})",
            )
    for wave in strategy.waves:
        if wave.labels and not selected(wave, labels, labels):
            asked = ", ".join(f"{k}={v}" for k, v in wave.labels.items())
            yield f"no node of the fleet has the labels of wave {wave.name} ({asked})", "correct the labels"


def _canary(strategy: Strategy, placed: Sequence[str], labels: Labels) -> Iterator[Fault]:
    if isinstance(strategy.canary, NodeSet) and not selected(strategy.canary, placed, labels):
        yield (
            f"none of its nodes is in the canary ({strategy.canary}), so nothing would be watched",
            f"name some of {', '.join(sorted(placed))}, or labels that they have",
        )


def _waves(strategy: Strategy, placed: Sequence[str], labels: Labels) -> Iterator[Fault]:
    if strategy.kind is not StrategyKind.WAVES:
        return
    taken = {node for nodes in in_waves(strategy.waves, placed, labels).values() for node in nodes}
    if left := sorted(set(placed) - taken):
        yield (
            f"{', '.join(left)} in no wave",
            "add them to a wave, or add a last wave with rest: true",
        )


def _priority(strategy: Strategy, placed: Sequence[str], labels: Labels) -> Iterator[Fault]:
    label = strategy.priority.label if strategy.priority is not None else None
    if label is None:
        return
    for node in sorted(placed):
        text = labels[node].get(label)
        if text is not None and not _is_number(text):
            yield f"node {node} has {label}={text!r}, which is no number", f"give its label {label} a number"
    if not any(label in labels[node] for node in placed):
        yield (
            f"none of its nodes has the label {label}",
            "correct the label, or list the nodes in their order",
        )


def _spread(strategy: Strategy, placed: Sequence[str], labels: Labels) -> Iterator[Fault]:
    spread = strategy.spread
    if spread is not None and placed and not any(spread.label in labels[node] for node in placed):
        yield (
            f"none of its nodes has the label {spread.label}, over which batches are spread",
            "start executors with it, or correct the label",
        )


def _at_once(strategy: Strategy, changed: Sequence[str], budget: int) -> Iterator[Fault]:
    wanted = {StrategyKind.ALL_AT_ONCE: "all-at-once", StrategyKind.BLUE_GREEN: "a set of blue-green"}
    if strategy.kind in wanted and len(changed) > budget:
        yield (
            f"{wanted[strategy.kind]} changes {len(changed)} nodes in one batch, max_unavailable allows {budget}",
            f"raise max_unavailable to {len(changed)}, or use rolling, whose batches are cut to it",
        )


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
