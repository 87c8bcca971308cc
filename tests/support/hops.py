"""Small products whose components move over stated hops, and what may be seen of a plan while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from hypothesis import strategies as st

from bumpless.common.compat import written
from bumpless.common.contract.base import BatchId
from bumpless.common.model.compat import CompatFile, HopsFile, Horizon, PairFile
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component, Placement, Release, Through
from bumpless.common.model.strategy import Strategy, StrategyKind
from bumpless.common.model.version import Version
from support.plans import GATE, component, fleet, node, release, target
from support.worlds import SETS, SHARES, ZONES, World, plans, strategies

VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "4.0.0")


def through(name: str, version: str, **more: object) -> Through:
    made = target(name, version)
    return Through.model_validate(
        {
            "version": version,
            "root": made.root,
            "artifact": made.artifact,
            "artifact_size": made.artifact_size,
            "run": made.run,
            **more,
        }
    )


def over(name: str, version: str, *others: str, **more: object) -> Component:
    """A component at `version`, with the trees of `others` on the way."""
    return component(name, version, through=tuple(through(name, other) for other in others), **more)


@st.composite
def hop_worlds(draw: st.DrawFn, most: int = 3) -> World:
    """Up to three components over up to four versions, on up to three nodes. Not every one has a way.

    Some components run on a node more than the release places them on.
    """
    names = ["db", "api", "web"][: draw(st.integers(1, most))]
    machines = [f"n{i}" for i in range(1, draw(st.integers(1, 3)) + 1)]
    levels: dict[str, dict[str, Level]] = {}
    parts: list[Component] = []
    some = st.sampled_from([Level.FULL, Level.BACKWARD, Level.FORWARD, Level.FULL, Level.NONE])
    for number, name in enumerate(names):
        wanted = draw(st.sampled_from(VERSIONS))
        if draw(st.integers(0, 4)):
            near = {f"{a}>{b}": draw(some) for a, b in pairwise(VERSIONS)}
            far = [f"{a}>{b}" for a, b in combinations(VERSIONS, 2) if f"{a}>{b}" not in near]
            levels[name] = near | {
                hop: draw(some) for hop in draw(st.lists(st.sampled_from(far), max_size=2))
            }
        parts.append(
            over(
                name,
                wanted,
                *(v for v in VERSIONS if v != wanted and draw(st.integers(0, 5))),
                depends_on=tuple(draw(st.lists(st.sampled_from(names[:number]), unique=True)))
                if number
                else (),
                strategy=Strategy(batch_size=draw(st.sampled_from(["50%", "100%"]))),
                place=Placement(
                    nodes=tuple(machines[:-1]) if machines[1:] and not draw(st.integers(0, 3)) else ()
                ),
            )
        )
    ranges = st.sampled_from(["*", "<=2", "<3", ">=2", ">=3", ">=2,<4"])
    between = list(combinations(names, 2))
    pairs = [
        PairFile(client=b, provider=a, versions=draw(ranges), accepts=draw(ranges))
        for a, b in (draw(st.lists(st.sampled_from(between), max_size=4)) if between else [])
    ]
    runs = st.sampled_from([*VERSIONS[:3], *VERSIONS, None])
    mostly = {name: draw(runs) for name in names}
    nodes = [
        node(
            machine,
            {
                name: target(name, found)
                if (found := draw(runs) if draw(st.booleans()) else mostly[name])
                else None
                for name in names
            },
        )
        for machine in machines
    ]
    compat = CompatFile(
        levels=levels,
        pairs=tuple(pairs),
        hops={
            name: HopsFile(
                stops=("2.0.0",) if stops else (), horizon=draw(st.sampled_from([Horizon.FREEZE, *Horizon]))
            )
            for name in names
            if (stops := not draw(st.integers(0, 4))) or draw(st.booleans())
        },
    )
    return World(release(*parts, version="4.0.0", compat=compat), fleet(*nodes))


LADDER = ("1.0.0", "2.0.0", "3.0.0")
NEAR = st.sampled_from([Level.FULL, Level.BACKWARD, Level.FORWARD])
RUNNING = (("1.0.0",), ("1.0.0", "2.0.0"), ("2.0.0", "3.0.0"), ("1.0.0", None), ("2.0.0", None))
"""What the nodes of one component run: versions that may stand beside each other, so that there is always a way."""


@st.composite
def ladders(draw: st.DrawFn) -> World:
    """One or two components that go up two hops, on up to four nodes, by any strategy that takes one set of nodes."""
    names = ["db", "api"][: draw(st.integers(1, 2))]
    kinds = tuple(kind for kind in SETS if kind is not StrategyKind.ALL_AT_ONCE)
    policies = st.sampled_from(OnInconclusive)
    parts = [
        over(
            name,
            LADDER[-1],
            *LADDER[:-1],
            depends_on=tuple(names[:number]),
            strategy=draw(strategies(kinds)),
            gate=GATE.model_copy(update={"on_inconclusive": draw(policies)}) if draw(st.booleans()) else None,
        )
        for number, name in enumerate(names)
    ]
    near = {f"{a}>{b}": draw(NEAR) for a, b in pairwise(LADDER)}
    compat = CompatFile(
        levels={name: {**near, f"{LADDER[0]}>{LADDER[-1]}": Level.NONE} for name in names},
        hops={name: HopsFile(horizon=draw(st.sampled_from(Horizon))) for name in names},
    )
    mostly = {name: draw(st.sampled_from(RUNNING)) for name in names}
    nodes = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        runs = {name: draw(st.sampled_from(mostly[name])) for name in names}
        known = {name: None if v is None else target(name, v) for name, v in runs.items()}
        # The first has what waves and priorities ask for.
        zone = "a" if number == 1 else draw(st.sampled_from(ZONES))
        nodes.append(node(f"n{number}", known, zone=zone, rank=draw(st.sampled_from(["1", "2"]))))
    wanted = release(
        *parts, version=LADDER[-1], compat=compat, max_unavailable=draw(SHARES), approval=draw(st.booleans())
    )
    return World(wanted, fleet(*nodes))


@st.composite
def any_plans(draw: st.DrawFn) -> Plan:
    """As `worlds.plans`; every third goes over versions in between."""
    if draw(st.integers(0, 2)):
        return draw(plans())
    plan = draw(ladders()).plan()
    tolerance = draw(st.integers(0, 1))
    return plan.model_copy(
        update={"batches": tuple(b.model_copy(update={"tolerance": tolerance}) for b in plan.batches)}
    )


Seen = Mapping[str, frozenset[Version]]
"""The versions of every component that serve somewhere."""


def moments(plan: Plan, running: Fleet) -> Iterator[Seen]:
    """Everything that may be seen while `plan` runs, whatever of it takes how long.

    What is under way may be at its beginning, at its end or in between; with more of it under way there is only more to
    see, so it is enough to look at everything that may start in every state of what is done.
    """
    start = {
        (n.name, name): seen.target
        for n in running.nodes
        for name, seen in n.components.items()
        if seen.target is not None
    }
    for done in downsets([(batch.id, batch.needs) for batch in plan.batches]):
        runs = {place: {found.version} for place, found in start.items()}
        for batch in sorted((b for b in plan.batches if b.id in done), key=lambda b: b.hop):
            for step in batch.steps:
                runs[step.node, step.component] = {plan.targets[step.after or ""].version}
        for batch in plan.batches:
            if batch.id not in done and set(batch.needs) <= done:
                for step in batch.steps:
                    place = step.node, step.component
                    runs[place] = runs.get(place, set()) | {plan.targets[step.after or ""].version}
        names = {name for _, name in runs}
        yield {
            name: frozenset(Version.parse(v) for (_, at), found in runs.items() if at == name for v in found)
            for name in names
        }


def downsets(nodes: Sequence[tuple[BatchId, Sequence[BatchId]]]) -> Iterator[frozenset[BatchId]]:
    """Every set of batches that has with each of them what it needs."""
    found = {frozenset[BatchId]()}
    queue = list(found)
    while queue:
        done = queue.pop()
        yield done
        for name, needs in nodes:
            more = done | {name}
            if name not in done and set(needs) <= done and more not in found:
                found.add(more)
                queue.append(more)


def clashes(seen: Seen, release: Release) -> set[str]:
    """What does not fit in one moment."""
    pairs = written.pairs(release.compat, {c.name: c.depends_on for c in release.components})
    found = {
        f"{client} {used} beside {provider} {offered}"
        for client, provider in pairs.edges
        for used in seen.get(client, ())
        for offered in seen.get(provider, ())
        if not pairs.judge(client, used, provider, offered).fits
    }
    for name, matrix in written.matrices(release.compat).items():
        if release.compat.states_hops_of(name):
            for old, new in combinations(sorted(seen.get(name, ())), 2):
                if not matrix.between(old, new).level.mixes:
                    found.add(f"{name} {old} beside {new}")
    return found
