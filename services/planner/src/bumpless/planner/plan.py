"""Release + observed fleet -> plan. Pure; says everything that is wrong at once.

The steps: where components stand, what they come to (`targets`), in which stages (`route`), each stage cut into
batches (`strategies`), and the order of the batches from that of the stages.
"""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.base import BatchId, Digest, RolloutId
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.plan import Batch, Plan, Step, Target, TargetId
from bumpless.common.model.release import Limits, Release
from bumpless.common.model.release_hooks import Hooks
from bumpless.common.model.strategy import share_of
from bumpless.planner.blue_green import sides_of
from bumpless.planner.order import ordered
from bumpless.planner.placement import nodes_of, placement_faults
from bumpless.planner.route import Route, Stage, route_of
from bumpless.planner.strategies import Cut, cut
from bumpless.planner.strategy_faults import labels_of, strategy_faults
from bumpless.planner.targets import apply_timeout_s, brought_by, hooks_s, peers_of
from bumpless.planner.unplannable import Unplannable

_GIVEN = set(Step.model_fields)


def make_plan(
    release: Release,
    digest: Digest,
    fleet: Fleet,
    *,
    rollout: RolloutId,
    generation: int,
    now: datetime,
) -> Plan:
    """The plan of `release` on `fleet`: dependencies first, independent branches side by side.

    Raises:
        Unplannable: unknown or silent nodes, no node for a component, a name in a template that does not exist,
            a strategy that this fleet cannot follow, an order that nothing can have, no way over versions that fit.
    """
    components = ordered(release, fleet)
    findings = list(placement_faults(components, fleet, now))
    places = {c.name: nodes_of(c, fleet) for c in components}
    peers = {c.name: peers_of(c, places[c.name]) for c in components}
    brought = {c.name: brought_by(c, release.version, peers, findings) for c in components}
    sides = {c.name: sides_of(c, places[c.name], brought[c.name][-1], findings) for c in components}
    route = route_of(release, components, sides, brought, fleet, findings)
    used = {node.name for nodes in places.values() for node in nodes}
    budget = share_of(release.max_unavailable, max(1, len(used)))
    for component in components:
        placed = [node.name for node in places[component.name]]
        findings += strategy_faults(component, placed, route.most_changed(component.name), fleet, budget)
    if findings:
        raise Unplannable(findings)
    return Plan(
        rollout=rollout,
        product=release.product,
        release_version=release.version,
        release_digest=digest,
        generation=generation,
        targets=_targets(route),
        batches=_batches(route, release.limits, budget, fleet),
        hops=route.hops(),
        max_unavailable=budget,
        rollback_policy=release.rollback_policy,
        approval=release.approval,
        unchanged=route.unchanged,
        stage_timeout_s=release.limits.stage_timeout_s,
        pause_timeout_s=release.limits.pause_timeout_s,
        approval_timeout_s=release.limits.approval_timeout_s,
        revert_timeout_s=release.limits.revert_timeout_s,
    )


def _targets(route: Route) -> dict[TargetId, Target]:
    """Everything that the steps speak of, by id."""
    known = [visit.before for stage in route.stages for visit in stage.visits]
    found = [*known, *(stage.target for stage in route.stages)]
    return {target.id: target for target in found if target is not None}


def _batches(route: Route, limits: Limits, budget: int, fleet: Fleet) -> tuple[Batch, ...]:
    """The batches of every stage, one after the other; the first waits for the last ones of the stages before."""
    labels = labels_of(fleet)
    drained = frozenset(node.name for node in fleet.nodes if node.drain is not None)
    cuts = [
        cut(stage.component.strategy, [visit.node for visit in stage.visits], budget, labels, drained)
        for stage in route.stages
    ]
    batches: list[Batch] = []
    last: list[BatchId] = []
    numbers: dict[str, int] = {}
    for stage, parts in zip(route.stages, cuts, strict=True):
        component, steps, limit = stage.component, _steps(stage), _limit(stage, limits)
        needs = tuple(dict.fromkeys(last[earlier] for earlier in stage.after))
        for at, part in enumerate(parts):
            number = numbers[component.name] = numbers.get(component.name, 0) + 1
            again = number > 1 and at == 0
            strategy = component.strategy
            batch = Batch(
                id=BatchId(f"{component.name}-{number}"),
                component=component.name,
                hop=stage.hop,
                horizon=stage.horizon,
                freeze=stage.freeze,
                for_good=stage.for_good,
                steps=tuple(steps[node] for node in part.nodes),
                needs=needs,
                gate=_gate(stage, part),
                canary=part.canary,
                approval=part.approval or (again and strategy.approval),
                wait_s=strategy.interval_s if again else part.wait_s,
                hold_s=strategy.hold_s if stage.target is None else 0,
                apply_timeout_s=(part.wave and part.wave.apply_timeout_s) or limit,
            )
            batches.append(batch)
            needs = (batch.id,)
        last.extend(needs)
    return tuple(batches)


def _steps(stage: Stage) -> dict[str, Step]:
    """Node -> step. Their parts were checked where they come from; one set says for all which fields are given."""
    after = None if stage.target is None else stage.target.id
    return {
        visit.node: Step.model_construct(
            _GIVEN,
            node=visit.node,
            component=stage.component.name,
            before=None if visit.before is None else visit.before.id,
            after=after,
            hop=stage.hop,
        )
        for visit in stage.visits
    }


def _gate(stage: Stage, part: Cut) -> GateSpec | None:
    """Nothing runs after a removal that could be judged."""
    if stage.target is None:
        return None
    own = part.wave.gate if part.wave is not None else None
    return own or stage.component.gate


def _limit(stage: Stage, limits: Limits) -> float:
    """How long a batch of the stage may take, in seconds."""
    befores = [visit.before for visit in stage.visits if visit.before is not None]
    # Leaving a version that cannot run beside another takes as long as coming to one.
    runs = [target.run for target in befores]
    coming = stage.component.run if stage.target is None else stage.target.run
    hooks = hooks_s(Hooks() if stage.target is None else stage.target.hooks, befores)
    exclusive = not all(run.overlap for run in [coming, *runs])
    return max(
        apply_timeout_s(run, limits, hooks, exclusive=exclusive)
        for run in ([coming, *runs] if stage.target is None else [coming])
    )
