"""Blue-green: which of the two sets takes the release, and which nodes are drained after it has passed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bumpless.common.model.finding import Finding
from bumpless.common.model.fleet import ComponentState, Node
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component
from bumpless.common.model.strategy import StrategyKind
from bumpless.planner.placement import names_in
from bumpless.planner.strategy_faults import impossible
from bumpless.planner.targets import serves

_AT_REST = frozenset({ComponentState.ABSENT, ComponentState.SERVING, ComponentState.STUCK})


@dataclass(frozen=True)
class Sides:
    """`taking` come to the release; `leaving` run something and are drained then; `idle` have nothing to do."""

    taking: tuple[Node, ...]
    leaving: tuple[Node, ...] = ()
    idle: tuple[Node, ...] = ()


def sides_of(component: Component, placed: Sequence[Node], wanted: Target, findings: list[Finding]) -> Sides:
    """With any other strategy all are taking.

    The set takes it that has most of it already, as after a rollout that stopped half way; else the one with the
    fewest nodes that run the component; else blue.
    """
    strategy, name = component.strategy, component.name
    if strategy.kind is not StrategyKind.BLUE_GREEN or strategy.blue is None or strategy.green is None:
        return Sides(tuple(placed))
    in_blue, in_green = names_in(strategy.blue, placed), names_in(strategy.green, placed)
    blue = [node for node in placed if node.name in in_blue]
    green = [node for node in placed if node.name in in_green]
    for node in (node for node in blue if node.name in in_green):
        findings.append(
            impossible(
                name,
                f"node {node.name} is in blue ({strategy.blue}) and in green ({strategy.green})",
                "choose labels of which no node has both",
            )
        )
    for node in placed:
        if (seen := node.components.get(name)) is not None and seen.state not in _AT_REST:
            findings.append(
                impossible(
                    name,
                    f"node {node.name} is {seen.state}, so which set serves is not known",
                    "announce the release again when the node is at rest",
                )
            )

    def fitness(nodes: Sequence[Node]) -> tuple[int, int]:
        done = sum(serves(node.components.get(name), wanted) for node in nodes)
        return done, -sum(runs(node, name) for node in nodes)

    taking, other = (green, blue) if fitness(green) > fitness(blue) else (blue, green)
    leaving = [node for node in other if runs(node, name)]
    if len(taking) < len(leaving):
        findings.append(
            impossible(
                name,
                f"the set that takes the release has {len(taking)} nodes, and the {len(leaving)} that serve now would "
                "be drained after it",
                "give both sets as many nodes",
            )
        )
    idle = [node for node in other if not runs(node, name)]
    return Sides(tuple(taking), tuple(leaving), tuple(idle))


def runs(node: Node, component: str) -> bool:
    """Whether there is something to drain."""
    seen = node.components.get(component)
    return seen is not None and (seen.target is not None or seen.state is ComponentState.STUCK)
