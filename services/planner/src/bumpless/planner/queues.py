"""Who must change before whom because of the messages between them, and which messages nobody could read. Pure.

Formats of what runs are those that the running targets state. Of a component that runs and states none nothing is
known: then consumers go first, which is right for every format that was added to, unless `depends_on` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bumpless.common.compat.interfaces import Facts, messages_of
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Component, Release
from bumpless.common.model.version import Version, VersionRange
from bumpless.planner.placement import names_of


@dataclass(frozen=True)
class Edge:
    """`first` must have come to its new version before `then` begins. `cut` is the release that would make it needless.

    `soft`: it gives way to an order that is stated.
    """

    first: str
    then: str
    why: str
    cut: str = ""
    soft: bool = False


@dataclass
class _End:
    """One end of a channel: the formats or ranges of one component.

    `old` are those of instances that the release replaces, `stays` of those that it leaves alone, `new` its own. `mute`:
    something runs that states none.
    """

    component: str
    old: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    stays: set[str] = field(default_factory=set)
    mute: bool = False


@dataclass(frozen=True)
class _Channel:
    name: str
    producers: tuple[_End, ...]
    consumers: tuple[_End, ...]


def queue_edges(release: Release, fleet: Fleet) -> list[Edge]:
    """Consumers before producers where something is written that the old ones cannot read; the reverse for what ends."""
    released = {component.name for component in release.components}
    facts = Facts(release.interfaces)
    return [
        edge
        for channel in _channels(release, fleet)
        for producer, consumer in _meetings(channel)
        if producer.component != consumer.component and {producer.component, consumer.component} <= released
        for edge in _edges(channel.name, producer, consumer, facts)
    ]


def queue_findings(release: Release, fleet: Fleet) -> list[Finding]:
    """Messages that somebody could not read however the release is ordered, and old ones that must be read out before."""
    return [
        finding
        for channel in _channels(release, fleet)
        for producer, consumer in _meetings(channel)
        for finding in _findings(channel.name, producer, consumer)
    ]


def misread(release: Release, fleet: Fleet) -> list[Finding]:
    """Messages that consumers say they read, and by the schemas of their formats could not.

    Only a warning: a consumer may tell formats apart and read each by its own schema.
    """
    facts = Facts(release.interfaces)
    depends = {component.name: component.depends_on for component in release.components}
    return [
        Finding(
            code=Code.API_BREAK,
            severity=Severity.WARN,
            subject=f"{channel.name}: {producer.component} > {consumer.component}",
            evidence=text,
            recommendation=f"see that {consumer.component} tells formats apart, or bring one first that does",
            waivable=True,
        )
        for channel in _channels(release, fleet)
        for producer, consumer in _meetings(channel)
        for ranges in (
            # Those that the release replaces go first, unless that is against an order that is stated.
            consumer.stays
            | (consumer.old if producer.component in depends.get(consumer.component, ()) else set()),
        )
        if (text := _unlike(channel.name, producer, ranges, facts)) is not None
    ]


def _unlike(channel: str, producer: _End, ranges: Iterable[str], facts: Facts) -> str | None:
    """A format that is written anew and admitted by one of `ranges`, unlike those there were for who reads by these."""
    for form in sorted(producer.new, key=Version.parse):
        for text in sorted(ranges):
            admitted, new = VersionRange.parse(text), Version.parse(form)
            before = [old for old in map(Version.parse, producer.old | producer.stays) if old in admitted]
            ways = [facts.way(messages_of(channel), old, new) for old in before]
            if new in admitted and ways and all(way is not None and not way.works for way in ways):
                breaks = [str(found) for way in ways if way is not None for found in way.breaks]
                return (
                    f"{producer.component} begins to write {channel} {form}, which by its schema a reader of "
                    f"{' or '.join(map(str, before))} does not take ({breaks[0]}), and what runs says that it reads {text}"
                )
    return None


def _edges(channel: str, producer: _End, consumer: _End, facts: Facts) -> Iterator[Edge]:
    both = _both(channel, producer, consumer)
    if gap := _unread(producer.new, consumer.old):
        yield Edge(
            consumer.component,
            producer.component,
            f"{producer.component} begins to write {channel} {gap.written}, and {consumer.component} as it runs "
            f"reads {gap.read}",
            both,
        )
    elif consumer.mute:
        yield Edge(
            consumer.component, producer.component, f"{channel} is read before it is written", soft=True
        )
    elif text := _unlike(channel, producer, consumer.old, facts):
        yield Edge(consumer.component, producer.component, text, soft=True)
    if gap := _unread(producer.old, consumer.new):
        yield Edge(
            producer.component,
            consumer.component,
            f"{producer.component} as it runs writes {channel} {gap.written}, and the new {consumer.component} "
            f"reads {gap.read}",
            both,
        )


def _findings(channel: str, producer: _End, consumer: _End) -> Iterator[Finding]:
    both = _both(channel, producer, consumer)
    if gap := _unread(producer.new, consumer.new):
        yield _finding(channel, producer, consumer, gap, "what the release writes", "what it reads", both)
    elif gap := _unread(producer.stays, consumer.new):
        yield _finding(
            channel, producer, consumer, gap, "what goes on writing beside the release", "what it reads", both
        )
    elif gap := _unread(producer.new, consumer.stays):
        yield _finding(
            channel,
            producer,
            consumer,
            gap,
            "what the release writes",
            "what goes on reading beside it",
            both,
        )
    elif producer.component == consumer.component and (gap := _unread(producer.new, consumer.old)):
        yield _finding(
            channel, producer, consumer, gap, "the new version writes", "the old one beside it reads", both
        )
    elif gap := _unread(producer.old, consumer.new):
        yield Finding(
            code=Code.QUEUE_ORDER,
            severity=Severity.WARN,
            subject=f"{channel}: {producer.component} > {consumer.component}",
            evidence=f"messages {gap.written} that are written before may still wait, and {consumer.component} will "
            f"read {gap.read}",
            recommendation=f"let the running {consumer.component} read the channel out before it is replaced, or {both}",
            waivable=True,
        )


def _finding(
    channel: str, producer: _End, consumer: _End, gap: _Gap, writing: str, reading: str, advice: str
) -> Finding:
    return Finding(
        code=Code.QUEUE_ORDER,
        severity=Severity.BLOCK,
        subject=f"{channel}: {producer.component} > {consumer.component}",
        evidence=f"{writing} is {gap.written}, {reading} is {gap.read}",
        recommendation=advice,
    )


def _both(channel: str, producer: _End, consumer: _End) -> str:
    formats = sorted({*producer.old, *producer.new, *producer.stays}, key=Version.parse)
    return f"release a {consumer.component} first that reads {channel} {' and '.join(formats)}"


@dataclass(frozen=True)
class _Gap:
    written: str
    read: str


def _unread(written: Iterable[str], read: Iterable[str]) -> _Gap | None:
    """The first format of `written` that one of `read` does not admit."""
    ranges = [(text, VersionRange.parse(text)) for text in sorted(read)]
    for form in sorted(written, key=Version.parse):
        for text, admitted in ranges:
            if Version.parse(form) not in admitted:
                return _Gap(form, text)
    return None


def _meetings(channel: _Channel) -> Iterator[tuple[_End, _End]]:
    return ((producer, consumer) for producer in channel.producers for consumer in channel.consumers)


def _channels(release: Release, fleet: Fleet) -> list[_Channel]:
    stated: dict[str, tuple[dict[str, _End], dict[str, _End]]] = {}

    def end(side: int, channel: str, component: str) -> _End:
        sides = stated.setdefault(channel, ({}, {}))
        return sides[side].setdefault(component, _End(component))

    for component in release.components:
        for made in component.produces:
            end(0, made.channel, component.name).new.add(made.writes)
        for used in component.consumes:
            end(1, used.channel, component.name).new.add(used.reads)
    if not stated:
        return []
    released = {component.name: component for component in release.components}
    placed = {name: names_of(component, fleet) for name, component in released.items()}
    for node in fleet.nodes:
        for name, seen in node.components.items():
            if seen.target is None:
                continue
            mine = released.get(name)
            goes = mine is not None and node.name in placed[name]
            same = mine is not None and (mine.version, mine.root) == (seen.target.version, seen.target.root)
            # What was told to run before its formats were stated is known by now.
            speaks = mine if same and mine is not None else seen.target
            for side, channel, text in _said(speaks.produces, speaks.consumes):
                if channel in stated:
                    found = end(side, channel, name)
                    (found.old if goes else found.stays).add(text)
            if mine is not None and goes and not (speaks.produces or speaks.consumes):
                for channel in _of(mine):
                    end(1, channel, name).mute = True
    return [
        _Channel(name, _sorted(producers), _sorted(consumers))
        for name, (producers, consumers) in sorted(stated.items())
    ]


def _said(produces: Sequence[Produces], consumes: Sequence[Consumes]) -> Iterator[tuple[int, str, str]]:
    for made in produces:
        yield 0, made.channel, made.writes
    for used in consumes:
        yield 1, used.channel, used.reads


def _of(component: Component) -> Iterator[str]:
    """The channels it reads."""
    return (used.channel for used in component.consumes)


def _sorted(ends: dict[str, _End]) -> tuple[_End, ...]:
    return tuple(ends[name] for name in sorted(ends))
