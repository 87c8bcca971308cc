"""Release + observed fleet -> plan. Pure; says everything that is wrong at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import networkx as nx

from bumpless.common.contract.base import BatchId, Digest, RolloutId
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Fleet, Node
from bumpless.common.model.plan import Batch, Plan, Step, StepKey, Target, TargetId, step_key
from bumpless.common.model.release import Component, Limits, Release, Run, share_of
from bumpless.planner.strategies import cut

SEEN_WITHIN_S = 60.0
"""A node silent for four heartbeats is taken as away."""
STANDARD_METRICS = frozenset(
    {"http_requests_total", "http_request_duration_seconds", "inflight_requests", "queue_length"}
)
"""Shipped by every node, so that the next release has a history to be compared with, whatever its gate reads."""


class Unplannable(Exception):
    """The release cannot run on this fleet; `reasons` names everything found."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


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
    order = _order(release)
    places = {c.name: _place(c, fleet, now, reasons) for c in release.components}
    peers = {c.name: _peers(c, places[c.name]) for c in release.components}
    targets: dict[TargetId, Target] = {}
    batches: list[Batch] = []
    unchanged: list[StepKey] = []
    last: dict[str, tuple[BatchId, ...]] = {}
    used = sorted({node.name for nodes in places.values() for node in nodes})
    budget = share_of(release.max_unavailable, max(1, len(used)))
    for name in order:
        component = next(c for c in release.components if c.name == name)
        wanted = _target(component, release.version, peers, reasons)
        needs = tuple(dict.fromkeys(b for dep in component.depends_on for b in last.get(dep, ())))
        steps: dict[str, Step] = {}
        for node in places[name]:
            seen = node.components.get(name)
            before = seen.target if seen is not None else None
            if _serves(seen, wanted):
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
                apply_timeout_s=_apply_timeout_s(
                    component.run, release.limits, _hooks_s(component, places[name]), exclusive=exclusive
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


def _order(release: Release) -> list[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(c.name for c in release.components)
    known = set(graph)
    missing = [f"{c.name} depends on {d}" for c in release.components for d in c.depends_on if d not in known]
    if missing:
        raise Unplannable([f"expected a component of this release, found none: {m}" for m in missing])
    graph.add_edges_from((dep, c.name) for c in release.components for dep in c.depends_on)
    try:
        return list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        raise Unplannable(["the dependencies form a cycle: " + " -> ".join([*cycle, cycle[0]])]) from None


def _place(component: Component, fleet: Fleet, now: datetime, reasons: list[str]) -> list[Node]:
    place = component.place
    if place.nodes:
        found = []
        for name in place.nodes:
            node = fleet.node(name)
            if node is None:
                known = ", ".join(n.name for n in fleet.nodes) or "none"
                reasons.append(f"{component.name}: expected a node of the fleet ({known}), found {name!r}")
            else:
                found.append(node)
    else:
        found = [n for n in fleet.nodes if all(n.labels.get(k) == v for k, v in place.labels.items())]
    if not found:
        labels = ", ".join(f"{k}={v}" for k, v in place.labels.items())
        reasons.append(
            f"{component.name}: expected at least one node" + (f" with {labels}" if labels else "")
        )
    for node in found:
        silent = now - node.observed_at
        if silent > timedelta(seconds=SEEN_WITHIN_S):
            reasons.append(
                f"{component.name}: node {node.name} was last seen {silent.total_seconds():.0f} s ago; "
                "start its executor, or take it out of the placement"
            )
    return found


def _peers(component: Component, nodes: list[Node]) -> str:
    listen = next(iter(component.run.listen.values()), None)
    if listen is None:
        return ""
    address = listen.removeprefix("tcp://").removeprefix("udp://")
    return ",".join(
        address.replace("{node.address}", node.address).replace("{node.name}", node.name) for node in nodes
    )


def _target(component: Component, release: str, peers: dict[str, str], reasons: list[str]) -> Target:
    env = {}
    for key, value in component.run.env.items():
        filled = value
        for name, addresses in peers.items():
            filled = filled.replace("{peers." + name + "}", addresses)
        if "{peers." in filled:
            reasons.append(f"{component.name}: env {key}: expected the name of a component in {value!r}")
        env[key] = filled
    named = frozenset[str]() if component.gate is None else component.gate.metric_names()
    keep = tuple(sorted(named | STANDARD_METRICS))
    return Target(
        component=component.name,
        version=component.version,
        release=release,
        root=component.root,
        artifact=component.artifact,
        artifact_size=component.artifact_size,
        run=component.run.model_copy(update={"env": env}),
        hooks=component.hooks,
        keep_metrics=keep,
    )


def _serves(seen: ComponentObserved | None, wanted: Target) -> bool:
    """Whether a node has nothing to do: it runs this tree in this way and ships at least these metrics."""
    if seen is None or seen.target is None or seen.state is not ComponentState.SERVING:
        return False
    found = seen.target
    same = (found.version, found.root, found.run) == (wanted.version, wanted.root, wanted.run)
    return same and set(wanted.keep_metrics) <= set(found.keep_metrics)


def _hooks_s(component: Component, nodes: list[Node]) -> float:
    """The most that hooks may take on a node: those of the new version, and of the one that is drained."""
    seen = [found.target for node in nodes if (found := node.components.get(component.name)) is not None]
    old = [target.hooks.pre_drain for target in seen if target is not None]
    return component.hooks.longest_s + max((hook.timeout_s for hook in old if hook is not None), default=0)


def _apply_timeout_s(run: Run, limits: Limits, hooks_s: float, *, exclusive: bool) -> float:
    timing = run.timing
    # An instance that runs alone drains once more when it is stopped, and its successor is activated after that.
    twice = timing.drain_timeout_s + timing.ready_timeout_s if exclusive else 0.0
    return (
        twice
        + limits.fetch_allowance_s
        + hooks_s
        + timing.ready_timeout_s
        + timing.soak_s
        + timing.lame_duck_s
        + timing.drain_timeout_s
    )
