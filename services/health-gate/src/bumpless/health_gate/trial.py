"""The sequential rules of one gate: their counts by tick, the tests over them, and what they say now.

The rules that decide and may fail the batch are tested together, so that the bound on false alarms holds for all of
them at once. Every other one (a dry run, a part of a composite, one that may only pause) is tested for itself.

`Trials` only remembers: what it answers is the same from a fresh one.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.contract.base import MessageId
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.model.gate import GateSpec, SequentialErrors, SequentialLatency
from bumpless.common.model.verdict import CarriedEvidence
from bumpless.common.sequential import (
    Carried,
    CarriedKind,
    Counts,
    ErrorSpec,
    LatencySpec,
    RuleSpec,
    SequentialTest,
    TestSpec,
    Tick,
)
from bumpless.health_gate.channels import BUCKET, Channel, LatencyChannel, bound_of, channel_of
from bumpless.health_gate.pinned import pinned_bounds, pinned_past
from bumpless.health_gate.totals import Grid, PoolTotals, Sums, paired
from bumpless.health_gate.view import View
from bumpless.health_gate.window import Member, Reading, SampleWindow

SequentialRule = SequentialErrors | SequentialLatency

PAST_NODES = 100
"""So many nodes of each side are enough to calibrate on; the half hour of ten thousand would take minutes to read."""
PEERS_LEAST, PEERS_PER_NODE = 100, 3
"""More peers than three to a node add next to nothing to what can be told."""
LAG_S = 1.0
"""How long after its end a tick is looked at, at most: samples take a moment to arrive."""
GATES_KEPT = 256


@dataclass(frozen=True)
class Counted:
    """What was counted for one gate. `ticks` and `warm` are from the switch on, `past` is before it.

    `told[i]` are the canary's nodes that told what rule i asks for. `heard` is the latest word of the canary, and
    `served` the latest that had requests.
    """

    channels: tuple[Channel, ...]
    past: list[Tick]
    warm: list[Tick]
    ticks: list[Tick]
    released: list[Tick] | None
    told: tuple[frozenset[str], ...]
    heard: datetime | None
    served: datetime | None
    alone: bool
    peers: int
    pinned: bool = False


@dataclass(frozen=True)
class Trial:
    """One test and the rules in it, in order."""

    rules: tuple[SequentialRule, ...]
    channels: tuple[Channel, ...]
    test: SequentialTest
    told: tuple[frozenset[str], ...]
    counted: Counted


class Trials:
    """What was counted so far, by gate; the oldest gates are forgotten."""

    def __init__(self) -> None:
        self._pools: dict[MessageId, _Pools] = {}

    def counted(self, view: View, rules: Sequence[SequentialRule]) -> Counted:
        """What `rules` count in `view`."""
        key = _key(view, rules)
        pools = self._pools.pop(view.gate.gate, None)
        if pools is None or pools.key != key or not pools.take(view.window, view.now):
            pools = _Pools(view, key)
            pools.take(view.window, view.now)
        self._pools[view.gate.gate] = pools
        while len(self._pools) > GATES_KEPT:
            del self._pools[next(iter(self._pools))]
        return pools.counted(view)


@dataclass(frozen=True)
class _Key:
    """What the totals depend on besides the samples that are still to come. `left` is what canary nodes ran before."""

    gate: OpenGate
    channels: tuple[Channel, ...]
    called: tuple[str, ...]
    peers: tuple[GateMember, ...]
    left: tuple[GateMember, ...]


def _key(view: View, rules: Sequence[SequentialRule]) -> _Key:
    peers = _peers(view)
    bounds = {
        rule.histogram: _bounds(view, rule.histogram, peers)
        for rule in rules
        if isinstance(rule, SequentialLatency)
    }
    channels = tuple(
        channel_of(
            rule,
            pinned_bounds(view.spec.baseline, rule.called, bounds[rule.histogram])
            if isinstance(rule, SequentialLatency)
            else (),
        )
        for rule in rules
    )
    left = tuple(
        member.model_copy(update={"root": root})
        for member in _some(view.gate.canary, PAST_NODES)
        if (root := _left(view, member)) is not None
    )
    return _Key(view.gate, channels, tuple(rule.called for rule in rules), peers, left)


class _Pools:
    """The totals of one gate: now and before, of the canary, its peers, and the nodes of earlier batches."""

    def __init__(self, view: View, key: _Key) -> None:
        self.key = key
        gate, spec = view.gate, view.spec
        step = timedelta(seconds=spec.interval_s)
        now, past = (Grid(at, step, view.patience) for at in (view.judged_from, gate.switched_at))
        since = gate.switched_at - timedelta(seconds=spec.baseline.history_s)

        def pool(members: Iterable[GateMember], grid: Grid, start: datetime) -> PoolTotals:
            roots = {Member(m.node, m.component): m.root for m in members}

            def wanted(member: Member, reading: Reading) -> bool:
                return reading.root == roots[member]

            end = None if start == gate.switched_at else gate.switched_at
            return PoolTotals(tuple(roots), wanted, key.channels, grid, start, end)

        self.canary = pool(gate.canary, now, gate.switched_at)
        self.control = pool(key.peers, now, gate.switched_at)
        self.before = pool(key.left, past, since)
        self.control_before = pool(_some(key.peers, PAST_NODES), past, since)
        self.earlier = pool((*gate.canary, *gate.earlier), now, gate.switched_at) if gate.carried else None

    def take(self, window: SampleWindow, now: datetime) -> bool:
        pools = (self.canary, self.control, self.before, self.control_before, self.earlier)
        return all(pool.take(window, now) for pool in pools if pool is not None)

    def _warm_control(self, warm: int) -> list[list[Sums | None]]:
        ticks = self.control.ticks
        return [ticks[number] for number in range(-warm, 0) if number in ticks]

    def counted(self, view: View) -> Counted:
        spec, channels = view.spec, self.key.channels
        silent_peers = view.over and not any(self.control.told)
        alone = spec.baseline.mode != "concurrent" or not self.key.peers or silent_peers
        step, hold = timedelta(seconds=spec.interval_s), 3
        lag = timedelta(seconds=min(LAG_S, spec.interval_s / 5))
        done = max(0, (view.now - lag - view.judged_from) // step)
        warm = -(-timedelta(seconds=spec.warm_up_s) // step)
        past = math.ceil(spec.baseline.history_s / spec.interval_s)
        ticks = range(done)
        history = paired(self.before, None if alone else self.control_before, range(-past, 0), channels, hold)
        if not alone and not any(counts for tick in history for counts in tick):
            # Peers that are new themselves show at least, during the warm-up, what is fast and what is slow.
            history = [[_control_only(sums) for sums in tick] for tick in self._warm_control(warm)]
        pinned = spec.baseline.mode == "pinned"
        if pinned:
            history = pinned_past(spec.baseline, self.key.called, channels, _most_ticks(spec))
        return Counted(
            channels,
            history,
            paired(self.canary, None, range(-warm, min(0, _upto(view, lag))), channels, hold),
            paired(self.canary, None if alone else self.control, ticks, channels, hold),
            None
            if alone or self.earlier is None
            else paired(self.earlier, self.control, ticks, channels, hold),
            tuple(frozenset(told) for told in self.canary.told),
            self.canary.last,
            self.canary.served,
            alone,
            0 if alone else len(self.key.peers),
            pinned,
        )


def _control_only(sums: Sums | None) -> Counts | None:
    if sums is None:
        return None
    return Counts(0.0, sums.requests, (0.0,) * len(sums.events), tuple(sums.events))


def _upto(view: View, lag: timedelta) -> int:
    """The number of the first tick that is not over; negative during the warm-up."""
    return (view.now - lag - view.judged_from) // timedelta(seconds=view.spec.interval_s)


def run(
    view: View, rules: Sequence[SequentialRule], all_rules: Sequence[SequentialRule], counted: Counted
) -> Trial:
    """The test of `rules`, which are some of `all_rules`, on what was counted."""
    chosen = [next(i for i, other in enumerate(all_rules) if other is rule) for rule in rules]
    gate, joint = view.gate, len(chosen) == len(all_rules)

    def only(ticks: Sequence[Tick]) -> Sequence[Tick]:
        return ticks if joint else [[tick[index] for index in chosen] for tick in ticks]

    channels = tuple(counted.channels[index] for index in chosen)
    spec = spec_of(view, rules, channels, alone=counted.alone)
    test = SequentialTest.begin(spec, only(counted.past), _carried(gate.carried))
    for tick in only(counted.warm):
        test.warm(tick)
    released = None if counted.released is None else only(counted.released)
    for number, tick in enumerate(only(counted.ticks)):
        if test.failed:
            break
        test.update(tick, None if released is None else released[number])
    return Trial(tuple(rules), channels, test, tuple(counted.told[index] for index in chosen), counted)


def spec_of(
    view: View, rules: Sequence[SequentialRule], channels: Sequence[Channel], *, alone: bool
) -> TestSpec:
    """What a test of `rules`, which count `channels`, is told before it starts."""
    spec, gate = view.spec, view.gate
    release = spec.false_alarm.per == "release"
    return TestSpec(
        rules=tuple(_rule(rule, channel) for rule, channel in zip(rules, channels, strict=True)),
        alpha=spec.false_alarm.alpha * (gate.share if release else 1),
        batches=gate.batches if release else None,
        beta=spec.beta,
        interval_s=spec.interval_s,
        least_pass_s=spec.window_s,
        min_samples=spec.min_samples,
        most_ticks=_most_ticks(spec),
        onset_ticks=None if spec.onset_s is None else max(2, math.ceil(spec.onset_s / spec.interval_s)),
        alone=alone,
    )


def _most_ticks(spec: GateSpec) -> int:
    """How many judged ticks a gate can have."""
    return max(1, int((spec.timeout_s - spec.warm_up_s) / spec.interval_s))


def _rule(rule: SequentialRule, channel: Channel) -> RuleSpec:
    if isinstance(rule, SequentialErrors):
        return ErrorSpec(
            rule.called,
            rule.allowed_increase,
            rule.critical_increase,
            rule.alone_increase,
            rule.slo,
            rule.startup,
        )
    assert isinstance(channel, LatencyChannel)
    return LatencySpec(
        rule.called,
        channel.bounds,
        rule.quantiles,
        tuple(q for q in rule.quantiles if q <= 0.9) or rule.quantiles,
        rule.allowed_increase,
        rule.critical_increase,
        rule.alone_increase,
    )


def _carried(found: CarriedEvidence | None) -> Carried | None:
    if found is None:
        return None
    kinds = tuple(CarriedKind(kind.name, kind.logs, kind.odds, kind.tempering) for kind in found.kinds)
    return Carried(found.batches, kinds, found.startup)


def _left(view: View, member: GateMember) -> str | None:
    """The root that the node ran right before its switch: not just any other, for a bad release may have been between."""
    found: list[Reading] = []
    for readings in view.window.raw(Member(member.node, member.component)).values():
        index = bisect_left(readings, view.gate.switched_at, key=lambda reading: reading.at) - 1
        while index >= 0 and readings[index].root == member.root:
            index -= 1
        if index >= 0:
            found.append(readings[index])
    return max(found, key=lambda reading: (reading.at, reading.root)).root if found else None


def _some(members: Sequence[GateMember], most: int) -> tuple[GateMember, ...]:
    """At most so many of `members`, always the same ones, and as good as drawn at random."""
    if len(members) <= most:
        return tuple(members)
    return tuple(sorted(members, key=lambda member: (zlib.crc32(member.node.encode()), member.node))[:most])


def _peers(view: View) -> tuple[GateMember, ...]:
    """The nodes to compare with: without the young ones, where there are others, and not more than is of use."""
    least = view.gate.switched_at - timedelta(seconds=view.spec.baseline.least_age_s)
    some = _some(view.gate.control, max(PEERS_LEAST, PEERS_PER_NODE * len(view.gate.canary)))
    old = tuple(member for member in some if not _young(view.window, member, least))
    return old or some


def _young(window: SampleWindow, member: GateMember, least: datetime) -> bool:
    """Whether what the member runs was born after `least`."""
    for readings in window.raw(Member(member.node, member.component)).values():
        if readings and readings[-1].root == member.root and readings[0].born and readings[0].at > least:
            return True
    return False


def _bounds(view: View, histogram: str, peers: Sequence[GateMember]) -> tuple[float, ...]:
    """The finite bounds that the histogram has on every node that tells it, in seconds, rising."""
    common: frozenset[float] | None = None
    name = histogram + BUCKET
    for member in (*_some(view.gate.canary, PAST_NODES), *_some(peers, PAST_NODES)):
        for readings in view.window.raw(Member(member.node, member.component)).values():
            latest = next(
                (r for r in reversed(readings) if r.at <= view.now and r.up and name in r.families), None
            )
            if latest is not None:
                found = frozenset(
                    bound
                    for labels in latest.families[name]
                    if (bound := bound_of(labels)) is not None and math.isfinite(bound)
                )
                common = found if common is None else common & found
    return tuple(sorted(common or ()))
