"""That nothing starts before what it rests on has passed."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from bumpless.common.compat.known import sources
from bumpless.common.model.plan import Target
from bumpless.common.model.version import Version, VersionRange
from bumpless.planner.proof.case import Case


def batches_of_a_component_go_one_by_one(case: Case) -> Iterator[str]:
    """Every batch of a component waits for the one before it, and later hops for earlier ones."""
    for name, chain in case.chains.items():
        for at, batch in enumerate(chain):
            if case.surely_done[batch.id].get(name, 0) < at:
                yield f"{batch.id} does not wait for {chain[at - 1].id}, the batch before it"
            if at and batch.hop < chain[at - 1].hop:
                yield f"{batch.id} is of hop {batch.hop}, and {chain[at - 1].id} before it of hop {chain[at - 1].hop}"


def dependencies_go_first(case: Case) -> Iterator[str]:
    """What depends on a component changes after it; of components that go in hops, the first ones and the last."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(case.components)
    graph.add_edges_from((dep, c.name) for c in case.components.values() for dep in c.depends_on)
    hops = {name: max(b.hop for b in chain) for name, chain in case.chains.items()}
    known = bool(case.release.compat.pairs or sources(case.release))
    for name in case.components:
        for dep in sorted(nx.ancestors(graph, name)):
            if hops.get(name, 1) > 1 or hops.get(dep, 1) > 1:
                continue  # The order of hops follows from what fits what, which `mixing` proves.
            if known and all(case.waits_for_all_of(batch, name) for batch in case.chains.get(dep, ())):
                continue  # The other way round, because what is known leaves no other; `mixing` proves that it fits.
            for batch in case.chains.get(name, ()):
                if not case.waits_for_all_of(batch, dep):
                    yield f"{batch.id} may start before {dep} has passed, on which it depends"


def messages_can_be_read(case: Case) -> Iterator[str]:
    """A format that running consumers do not read is written only when they are all replaced, and the reverse."""
    for producer in case.components.values():
        for made in producer.produces:
            for consumer in case.components.values():
                for taken in consumer.consumes:
                    if taken.channel != made.channel or consumer.name == producer.name:
                        continue
                    yield from _order(
                        case, made.channel, producer.name, consumer.name, made.writes, taken.reads
                    )


def _order(case: Case, channel: str, producer: str, consumer: str, writes: str, reads: str) -> Iterator[str]:
    if any(not _admits(read, writes) for read in _read(case, consumer, channel)):
        for batch in case.chains.get(producer, ()):
            if not case.waits_for_all_of(batch, consumer):
                yield f"{batch.id} may write {channel} before every old {consumer} that cannot read it is gone"
    if any(not _admits(reads, form) for form in _written(case, producer, channel)):
        for batch in case.chains.get(consumer, ()):
            if not case.waits_for_all_of(batch, producer):
                yield f"{batch.id} may stop reading {channel} as {producer} still writes it"


def _admits(reads: str, form: str) -> bool:
    return Version.parse(form) in VersionRange.parse(reads)


def _leaving(case: Case, component: str) -> Iterator[Target]:
    """What runs now on nodes that the plan takes to something else."""
    for (name, node), _ in case.ways.items():
        seen = case.observed(node, component) if name == component else None
        if seen is not None:
            yield seen


def _written(case: Case, producer: str, channel: str) -> list[str]:
    return [m.writes for target in _leaving(case, producer) for m in target.produces if m.channel == channel]


def _read(case: Case, consumer: str, channel: str) -> list[str]:
    return [t.reads for target in _leaving(case, consumer) for t in target.consumes if t.channel == channel]
