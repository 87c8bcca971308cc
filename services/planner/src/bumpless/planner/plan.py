"""Release + observed fleet -> plan. Pure; says everything that is wrong at once.

The steps: where components stand, what they come to (`targets`), in which stages (`route`), each stage cut into
batches (`strategies`), and the order of the batches from that of the stages.
"""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.base import BatchId, Digest, RolloutId
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Batch, Plan, Step, Target, TargetId
from bumpless.common.model.release import Limits, Release
from bumpless.common.model.strategy import share_of
from bumpless.planner.order import order_of
from bumpless.planner.placement import nodes_of
from bumpless.planner.route import Route, Stage, route_of
from bumpless.planner.strategies import cut
from bumpless.planner.targets import apply_timeout_s, hooks_s, peers_of, target_of
from bumpless.planner.unplannable import Unplannable


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
        Unplannable: unknown or silent nodes, no node for a component, a name in a template that does not exist.
    """
    reasons: list[str] = []
    named = {component.name: component for component in release.components}
    components = [named[name] for name in order_of(release)]
    places = {c.name: nodes_of(c, fleet, now, reasons) for c in components}
    peers = {c.name: peers_of(c, places[c.name]) for c in components}
    wanted = {c.name: target_of(c, release.version, peers, reasons) for c in components}
    route = route_of(components, places, wanted)
    if reasons:
        raise Unplannable(reasons)
    used = {node.name for nodes in places.values() for node in nodes}
    budget = share_of(release.max_unavailable, max(1, len(used)))
    return Plan(
        rollout=rollout,
        product=release.product,
        release_version=release.version,
        release_digest=digest,
        generation=generation,
        targets=_targets(route),
        batches=_batches(route, release.limits, budget),
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
    known = [visit.before for stage in route.stages for visit in stage.visits if visit.before is not None]
    return {target.id: target for target in [*known, *(stage.target for stage in route.stages)]}


def _batches(route: Route, limits: Limits, budget: int) -> tuple[Batch, ...]:
    """The batches of every stage, one after the other; the first waits for the last ones of the stages before."""
    cuts = [
        cut(stage.component.strategy, [visit.node for visit in stage.visits], budget)
        for stage in route.stages
    ]
    batches: list[Batch] = []
    last: list[BatchId] = []
    numbers: dict[str, int] = {}
    for stage, parts in zip(route.stages, cuts, strict=True):
        component, steps = stage.component, _steps(stage)
        needs = tuple(dict.fromkeys(last[earlier] for earlier in stage.after))
        for part in parts:
            if not part.nodes:
                continue
            number = numbers[component.name] = numbers.get(component.name, 0) + 1
            batch = Batch(
                id=BatchId(f"{component.name}-{number}"),
                component=component.name,
                hop=stage.hop,
                steps=tuple(steps[node] for node in part.nodes),
                needs=needs,
                gate=component.gate,
                canary=part.canary,
                approval=component.strategy.approval and number > 1,
                wait_s=component.strategy.interval_s if number > 1 else 0,
                apply_timeout_s=_limit(stage, limits),
            )
            batches.append(batch)
            needs = (batch.id,)
        last.extend(needs)
    return tuple(batches)


def _steps(stage: Stage) -> dict[str, Step]:
    return {
        visit.node: Step(
            node=visit.node,
            component=stage.component.name,
            before=None if visit.before is None else visit.before.id,
            after=stage.target.id,
            hop=stage.hop,
        )
        for visit in stage.visits
    }


def _limit(stage: Stage, limits: Limits) -> float:
    """How long a batch of the stage may take, in seconds."""
    befores = [visit.before for visit in stage.visits if visit.before is not None]
    # Leaving a version that cannot run beside another takes as long as coming to one.
    exclusive = not all(target.run.overlap for target in [stage.target, *befores])
    return apply_timeout_s(
        stage.target.run, limits, hooks_s(stage.target.hooks, befores), exclusive=exclusive
    )
