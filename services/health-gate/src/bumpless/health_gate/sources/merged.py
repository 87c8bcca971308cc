"""What the nodes say and what another source measured, as one window for the judge. Pure.

From the nodes: liveness, version, restarts, and the families that they measure themselves (`bumpless_…`). From the
source: every other family. A sample of the source belongs to the version that its `release_info` names, else to the
only one that the node reported shortly before; where neither tells, it is missing. So a node that has fallen silent
is silent, whatever somebody else still measures there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bumpless.common.contract.commands import OpenGate
from bumpless.health_gate.window import Family, Member, Reading, SampleWindow

OURS = "bumpless_"
"""Families that the nodes measure; see docs/metric-sources.md."""
RELEASE_INFO = "release_info"
DIGEST = "digest"
OFF_CLOCK = timedelta(seconds=1)
"""A sample may seem this much older than the report that it belongs to."""


@dataclass(frozen=True)
class Merged:
    """`told`: the moments of the source's samples that count, by member of the canary."""

    window: SampleWindow
    told: Mapping[Member, Sequence[datetime]]


def merged(gate: OpenGate, nodes: SampleWindow, foreign: SampleWindow, now: datetime) -> Merged:
    """The samples of `gate` from the earliest that it looks at until `now`."""
    start = gate.switched_at - timedelta(seconds=gate.spec.baseline.history_s)
    patience = timedelta(seconds=gate.spec.missing_ticks * gate.spec.interval_s)
    wanted = {Member(m.node, m.component): m.root for m in gate.canary}
    window = SampleWindow()
    told: dict[Member, list[datetime]] = {member: [] for member in wanted}
    for member in members_of(gate):
        said = _put_said(window, member, nodes, start - patience, now)
        for readings in foreign.instances(member, start, now, lambda reading: reading.up):
            for measured in _owned(readings, said, patience):
                window.put(member, f"measured/{measured.root}", measured)
                if measured.root == wanted.get(member):
                    told[member].append(measured.at)
    return Merged(window, told)


def members_of(gate: OpenGate) -> frozenset[Member]:
    """Everybody whose samples the judge may look at."""
    return frozenset(Member(m.node, m.component) for m in (*gate.canary, *gate.control, *gate.earlier))


def _put_said(
    window: SampleWindow, member: Member, nodes: SampleWindow, start: datetime, now: datetime
) -> list[Reading]:
    """Keep what the node said, without the families that the source has; returns it by time."""
    found: list[Reading] = []
    for number, readings in enumerate(nodes.instances(member, start, now, lambda _: True)):
        for reading in readings:
            ours = {name: family for name, family in reading.families.items() if name.startswith(OURS)}
            window.put(member, f"said/{number}", replace(reading, families=ours))
        found += readings
    return sorted(found, key=lambda reading: reading.at)


def _owned(readings: Sequence[Reading], said: Sequence[Reading], patience: timedelta) -> list[Reading]:
    """The readings whose version is known, with it. Both are sorted by time."""
    found: list[Reading] = []
    first = last = 0
    for reading in readings:
        while last < len(said) and said[last].at <= reading.at + OFF_CLOCK:
            last += 1
        while first < last and said[first].at <= reading.at - patience:
            first += 1
        owner = _owner(reading.families.get(RELEASE_INFO, {}), said[first:last])
        if owner is not None:
            found.append(replace(reading, version=owner.version, root=owner.root, restarts=owner.restarts))
    return found


def _owner(release_info: Family, said: Sequence[Reading]) -> Reading | None:
    """The last report of the version that was measured; None: it cannot be told which one that was."""
    digests = {dict(labels).get(DIGEST, "") for labels in release_info} - {""}
    roots = {reading.root for reading in said}
    if digests:
        roots &= digests
    if len(roots) != 1:
        return None
    return [reading for reading in said if reading.root in roots][-1]
