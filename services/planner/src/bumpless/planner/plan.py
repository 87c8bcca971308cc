"""Release + observed fleet -> plan. Pure; says everything that is wrong at once."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.base import BatchId, Digest, RolloutId
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Batch, Plan, Step, StepKey, Target, TargetId, step_key
from bumpless.common.model.release import Release
from bumpless.common.model.strategy import share_of
from bumpless.planner.order import order_of
from bumpless.planner.placement import nodes_of
from bumpless.planner.strategies import cut
from bumpless.planner.targets import apply_timeout_s, hooks_s, peers_of, serves, target_of
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
    order = order_of(release)
    places = {c.name: nodes_of(c, fleet, now, reasons) for c in release.components}
    peers = {c.name: peers_of(c, places[c.name]) for c in release.components}
    targets: dict[TargetId, Target] = {}
    batches: list[Batch] = []
    unchanged: list[StepKey] = []
    last: dict[str, tuple[BatchId, ...]] = {}
    used = sorted({node.name for nodes in places.values() for node in nodes})
    budget = share_of(release.max_unavailable, max(1, len(used)))
    for name in order:
        component = next(c for c in release.components if c.name == name)
        wanted = target_of(component, release.version, peers, reasons)
        needs = tuple(dict.fromkeys(b for dep in component.depends_on for b in last.get(dep, ())))
        steps: dict[str, Step] = {}
        for node in places[name]:
            seen = node.components.get(name)
            before = seen.target if seen is not None else None
            if serves(seen, wanted):
                unchanged.append(step_key(node.name, name))
                continue
            targets[wanted.id] = wanted
            if before is not None:
                targets[before.id] = before
            steps[node.name] = Step(
                node=node.name, component=name, before=None if before is None else before.id, after=wanted.id
            )
        # Leaving a version that cannot run beside another takes as long as coming to one.
        runs = [component.run, *(targets[step.before].run for step in steps.values() if step.before)]
        exclusive = not all(run.overlap for run in runs)
        previous: tuple[BatchId, ...] = ()
        for number, part in enumerate(cut(component.strategy, list(steps), budget), start=1):
            if not part.nodes:
                continue
            batch = Batch(
                id=BatchId(f"{name}-{number}"),
                component=name,
                steps=tuple(steps[node] for node in part.nodes),
                needs=previous or needs,
                gate=component.gate,
                canary=part.canary,
                approval=component.strategy.approval and number > 1,
                wait_s=component.strategy.interval_s if previous else 0,
                apply_timeout_s=apply_timeout_s(
                    component.run, release.limits, hooks_s(component, places[name]), exclusive=exclusive
                ),
            )
            batches.append(batch)
            previous = (batch.id,)
        last[name] = previous or needs
    if reasons:
        raise Unplannable(reasons)
    return Plan(
        rollout=rollout,
        product=release.product,
        release_version=release.version,
        release_digest=digest,
        generation=generation,
        targets=targets,
        batches=tuple(batches),
        max_unavailable=budget,
        rollback_policy=release.rollback_policy,
        approval=release.approval,
        unchanged=tuple(unchanged),
        stage_timeout_s=release.limits.stage_timeout_s,
        pause_timeout_s=release.limits.pause_timeout_s,
        approval_timeout_s=release.limits.approval_timeout_s,
        revert_timeout_s=release.limits.revert_timeout_s,
    )
