"""What runs where in the end, complete: targets, and how long a node may take to come to one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Node
from bumpless.common.model.plan import Target
from bumpless.common.model.probe import DependenciesRule, LinkProbe, Probe
from bumpless.common.model.release import Component, Limits, Run, Through
from bumpless.common.model.release_hooks import Hooks

STANDARD_METRICS = frozenset(
    {"http_requests_total", "http_request_duration_seconds", "inflight_requests", "queue_length"}
)
"""Shipped by every node, so that the next release has a history to be compared with, whatever its gate reads."""


def peers_of(component: Component, nodes: list[Node]) -> str:
    listen = next(iter(component.run.listen.values()), None)
    if listen is None:
        return ""
    address = listen.removeprefix("tcp://").removeprefix("udp://")
    return ",".join(
        address.replace("{node.address}", node.address).replace("{node.name}", node.name) for node in nodes
    )


def target_of(component: Component, release: str, peers: dict[str, str], findings: list[Finding]) -> Target:
    env = {}
    for key, value in component.run.env.items():
        filled = value
        for name, addresses in peers.items():
            filled = filled.replace("{peers." + name + "}", addresses)
        if "{peers." in filled:
            findings.append(
                blocking(
                    Code.TEMPLATE_UNKNOWN,
                    component.name,
                    f"env {key}: expected the name of a component of the release in {value!r}",
                    "correct the name after peers.",
                )
            )
        env[key] = filled
    gates = (component.gate, *(wave.gate for wave in component.strategy.waves))
    named = frozenset[str]().union(*(gate.metric_names() for gate in gates if gate is not None))
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
        produces=component.produces,
        consumes=component.consumes,
        probes=probes_of(component, peers),
    )


def probes_of(component: Component, peers: dict[str, str]) -> tuple[Probe, ...]:
    """What the nodes try out for the component's gate, the links to what it depends on included."""
    if component.gate is None:
        return ()
    links = [
        Probe(
            name=name,
            links=LinkProbe(addresses=tuple(peers[name].split(","))),
            interval_s=rule.interval_s,
            timeout_s=rule.timeout_s,
        )
        for rule in component.gate.rules
        if isinstance(rule, DependenciesRule)
        for name in component.depends_on
        if peers.get(name)
    ]
    return (*component.gate.probes, *links)


def brought_by(
    component: Component, release: str, peers: dict[str, str], findings: list[Finding]
) -> tuple[Target, ...]:
    """Everything that the release can bring of `component`: the versions on the way, then the wanted one."""
    on_the_way = (
        component.model_copy(update={name: getattr(part, name) for name in Through.model_fields})
        for part in component.through
    )
    return tuple(target_of(one, release, peers, findings) for one in (*on_the_way, component))


def serves(seen: ComponentObserved | None, wanted: Target) -> bool:
    """Whether a node has nothing to do: it runs this tree in this way and ships at least these metrics."""
    if seen is None or seen.target is None or seen.state is not ComponentState.SERVING:
        return False
    found = seen.target
    same = (found.version, found.root, found.run) == (wanted.version, wanted.root, wanted.run)
    return same and set(wanted.keep_metrics) <= set(found.keep_metrics)


def hooks_s(hooks: Hooks, befores: Iterable[Target]) -> float:
    """The most that hooks may take on a node: those of the new version, and of the one that is drained."""
    old = [target.hooks.pre_drain for target in befores]
    return hooks.longest_s + max((hook.timeout_s for hook in old if hook is not None), default=0)


def apply_timeout_s(run: Run, limits: Limits, hooks_s: float, *, exclusive: bool) -> float:
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
