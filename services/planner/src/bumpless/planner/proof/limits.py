"""That limits, gates, waits and approvals are those that the release asks for."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.plan import Batch, Direction
from bumpless.common.model.release import Component
from bumpless.common.model.strategy import StrategyKind, share_of
from bumpless.planner.proof.case import Case
from bumpless.planner.proof.waves import wave_of


def the_plan_is_the_releases(case: Case) -> Iterator[str]:
    """Name, version, policy, budget and limits of the plan are those of the release; it is a whole, forward plan."""
    plan, release = case.plan, case.release
    nodes = {node.name for nodes in case.placed.values() for node in nodes}
    for what, found, wanted in (
        ("product", plan.product, release.product),
        ("version", plan.release_version, release.version),
        ("rollback policy", plan.rollback_policy, release.rollback_policy),
        ("approval", plan.approval, release.approval),
        ("budget", plan.max_unavailable, share_of(release.max_unavailable, max(1, len(nodes)))),
        ("limit to stage", plan.stage_timeout_s, release.limits.stage_timeout_s),
        ("limit of a pause", plan.pause_timeout_s, release.limits.pause_timeout_s),
        ("limit of an approval", plan.approval_timeout_s, release.limits.approval_timeout_s),
        ("limit of a revert", plan.revert_timeout_s, release.limits.revert_timeout_s),
        ("direction", plan.direction, Direction.FORWARD),
        ("rollout that is taken back", plan.of, None),
        ("first sequence", plan.sequence_base, 0),
        ("fences", len(plan.fence), 0),
    ):
        if found != wanted:
            yield f"the plan's {what} is {found}, not {wanted}"


def the_generation_is_new(case: Case) -> Iterator[str]:
    """The generation is above every one that a node has taken, or the nodes would refuse the plan."""
    highest = max((node.generation for node in case.fleet.nodes), default=0)
    if case.plan.generation <= highest:
        yield f"generation {case.plan.generation} is not above {highest}, which a node has taken"


def gates_are_the_releases(case: Case) -> Iterator[str]:
    """A batch is judged by the gate of its wave, or else of its component; a removal by none."""
    for component, batch in _batches(case):
        wave = wave_of(case, batch)
        own = wave.gate if wave is not None else None
        wanted = None if _leaves(batch) else own or component.gate
        if batch.gate != wanted:
            yield f"{batch.id}: its gate is not that of the release"


def people_are_asked(case: Case) -> Iterator[str]:
    """Before every batch but the first where the strategy says so, and before the first batch of a wave that does."""
    for component, batch in _batches(case):
        chain = case.chains[component.name]
        first = batch is chain[0]
        if component.strategy.kind is StrategyKind.WAVES:
            wave = wave_of(case, batch)
            before = chain[chain.index(batch) - 1] if not first else None
            opens = before is None or wave_of(case, before) != wave or before.hop != batch.hop
            wanted = wave is not None and wave.approval and opens
        else:
            wanted = component.strategy.approval and not first
        if batch.approval != wanted:
            yield f"{batch.id}: {'nobody is' if wanted else 'somebody is'} asked before it"


def waits_are_kept(case: Case) -> Iterator[str]:
    """At least the interval between batches, the observation after canaries and the soak of a wave are waited."""
    for component, chain in ((case.components[n], c) for n, c in case.chains.items() if n in case.components):
        strategy = component.strategy
        soak_s = 0.0
        for earlier, batch in zip([None, *chain], chain, strict=False):
            wanted = 0.0
            if strategy.kind is StrategyKind.WAVES:
                wave, before = wave_of(case, batch), None if earlier is None else wave_of(case, earlier)
                if wave is not None and earlier is not None and earlier.hop == batch.hop:
                    wanted = wave.interval_s if before == wave else soak_s
                soak_s = 0.0 if wave is None else wave.soak_s
            elif earlier is not None and not _leaves(batch):
                wanted = strategy.interval_s
                if earlier.canary and not batch.canary:
                    wanted = max(wanted, strategy.observe_s)
            if batch.wait_s < wanted:
                yield f"{batch.id}: waits {batch.wait_s:g} s, the release asks for {wanted:g} s"
            held = strategy.hold_s if _leaves(batch) else 0
            if batch.hold_s != held:
                yield f"{batch.id}: what it drains is held {batch.hold_s:g} s, not {held:g} s"


def nodes_have_time(case: Case) -> Iterator[str]:
    """A batch's limit is that of its wave, or allows for everything that its nodes may take by their own limits."""
    for component, batch in _batches(case):
        wave = wave_of(case, batch)
        if wave is not None and wave.apply_timeout_s is not None:
            if batch.apply_timeout_s != wave.apply_timeout_s:
                yield f"{batch.id}: has {batch.apply_timeout_s:g} s, its wave says {wave.apply_timeout_s:g} s"
            continue
        timing = component.run.timing
        least = (
            case.release.limits.fetch_allowance_s
            + component.hooks.longest_s * (not _leaves(batch))
            + timing.ready_timeout_s
            + timing.soak_s
            + timing.lame_duck_s
            + timing.drain_timeout_s
        )
        if batch.apply_timeout_s < least and _ends(case, batch, component):
            yield f"{batch.id}: has {batch.apply_timeout_s:g} s, a node may take {least:g} s"


def _ends(case: Case, batch: Batch, component: Component) -> bool:
    """Whether the batch brings the release's own version, whose limits are known."""
    after = case.target(batch.steps[0].after)
    return after is None or after.version == component.version


def _batches(case: Case) -> Iterator[tuple[Component, Batch]]:
    for batch in case.plan.batches:
        component = case.components.get(batch.component)
        if component is not None:
            yield component, batch


def _leaves(batch: Batch) -> bool:
    return all(step.after is None for step in batch.steps)
