"""Which wave a node belongs to, worked out from the release and the fleet."""

from __future__ import annotations

from bumpless.common.model.plan import Batch
from bumpless.common.model.strategy import StrategyKind, Wave, share_of
from bumpless.planner.proof.case import Case, stands_in


def wave_of(case: Case, batch: Batch) -> Wave | None:
    """The wave of the first node of a batch; None with another strategy, or of a node that no wave takes."""
    component = case.components.get(batch.component)
    if component is None or component.strategy.kind is not StrategyKind.WAVES:
        return None
    return members(case, batch.component, batch.hop).get(batch.steps[0].node)


def members(case: Case, component: str, hop: int) -> dict[str, Wave]:
    """Node -> wave, of the nodes that make this hop: names before labels, labels before shares, the rest last."""
    if (component, hop) not in case.waves:
        case.waves[component, hop] = _members(case, component, hop)
    return case.waves[component, hop]


def _members(case: Case, component: str, hop: int) -> dict[str, Wave]:
    nodes = sorted(s.node for b in case.chains[component] if b.hop == hop for s in b.steps)
    waves = case.components[component].strategy.waves
    found: dict[str, Wave] = {}
    for kind in ("nodes", "labels", "share", "rest"):
        for wave in waves:
            if not getattr(wave, kind):
                continue
            left = [name for name in nodes if name not in found]
            if wave.share is not None:
                left = left[: share_of(wave.share, len(nodes))]
            elif not wave.rest:
                left = [
                    n for n in left if n in case.nodes and stands_in(wave.nodes, wave.labels, case.nodes[n])
                ]
            found.update(dict.fromkeys(left, wave))
    return found
