"""The sources of the gates that are open: the nodes' samples for all of them, and one of its own where a gate names one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.contract.base import MessageId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.model.metric_source import MetricsFrom, PrometheusFrom
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.health_gate.coverage import covered
from bumpless.health_gate.dry_run import read
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.ports import GateSource, MetricSource, PeerChoice
from bumpless.health_gate.series import Labels
from bumpless.health_gate.sources.merged import OURS, members_of, merged
from bumpless.health_gate.sources.prometheus.client import Prometheus, PrometheusAccess
from bumpless.health_gate.sources.prometheus.source import PrometheusSource, newest
from bumpless.health_gate.sources.pushed import PushedSource
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.window import Member, SampleWindow

NEWEST = timedelta(minutes=2)
"""A scrape that is older tells a dry run nothing about now."""
PUSHED_S = 10.0


@dataclass
class _Own:
    """A gate's own source; `source` None: the settings know none of that name."""

    source: GateSource | None
    trouble: str = ""


class Sources:
    """`nodes` are the samples of the executors, `known` the Prometheus servers of the settings.

    `peers` None: every peer is as good as any other.
    """

    def __init__(
        self,
        connection: Connection,
        nodes: MetricSource,
        known: Mapping[str, PrometheusAccess],
        clock: Clock,
        peers: PeerChoice | None = None,
    ) -> None:
        self._peers = peers
        self._connection, self._nodes, self._known, self._clock = connection, nodes, known, clock
        self._own: dict[MessageId, _Own] = {}
        self._memory = Trials()
        self._judging = asyncio.Lock()

    async def judged(self, gate: OpenGate, now: datetime) -> Judgement | None:
        """What can be said of `gate` at `now`; None: what is already known is still being read.

        It is worked out in a thread, on a copy: thousands of nodes take seconds, in which the lease has to be renewed
        and samples have to be read.
        """
        wanted = gate.spec.source
        if not self._nodes.ready:
            return None
        if self._peers is not None and gate.control:
            chosen = await self._peers.chosen(gate)
            if chosen is None and now < gate.deadline:
                return None
            gate = chosen or gate
        if wanted is None:
            said = self._nodes.window.only(members_of(gate))
            async with self._judging:  # the memory is for one at a time
                return await asyncio.to_thread(judge, gate, said, now, self._memory)
        own = await self._of(gate, wanted)
        if own.source is not None and not own.source.ready and now < gate.deadline:
            return None
        said = self._nodes.window.only(members_of(gate))
        foreign = SampleWindow() if own.source is None else own.source.window.only(members_of(gate))
        trouble = own.trouble or (own.source.trouble if own.source is not None else "")
        return await asyncio.to_thread(_both, gate, wanted, said, foreign, now, trouble)

    async def end(self, gate: MessageId) -> None:
        """Let go of what the gate had of its own."""
        own = self._own.pop(gate, None)
        if own is not None and own.source is not None:
            await own.source.stop()

    async def stop(self) -> None:
        """Let go of everything."""
        for gate in tuple(self._own):
            await self.end(gate)
        await self._nodes.stop()

    async def _of(self, gate: OpenGate, spec: MetricsFrom) -> _Own:
        found = self._own.get(gate.gate)
        if found is None:
            found = self._own[gate.gate] = self._made(gate, spec)
            if found.source is not None:
                await found.source.start(gate.switched_at - timedelta(seconds=gate.spec.baseline.history_s))
        return found

    async def dry_run(self, asked: GateDryRun) -> GateDryRunAnswer:
        """Which series the rules of a gate would read now."""
        members = [Member(node, asked.component) for node in asked.nodes]
        wanted = asked.spec.source
        now = self._clock()
        said = {member.node: _said(self._nodes.window, member, now) for member in members}
        if wanted is None:
            return GateDryRunAnswer(source="nodes", metrics=read(asked, said))
        families = {name for name in asked.spec.metric_names() if not name.startswith(OURS)}
        measured, trouble = await self._measured(wanted, members, families, now)
        both = {
            node: {text: value for text, value in series.items() if text.startswith(OURS)}
            | measured.get(node, {})
            for node, series in said.items()
        }
        return GateDryRunAnswer(source=wanted.title, trouble=trouble, metrics=read(asked, both))

    async def _measured(
        self, spec: MetricsFrom, members: Sequence[Member], families: Iterable[str], now: datetime
    ) -> tuple[dict[str, dict[str, float]], str]:
        """The newest values of the source by node, and why there may be too few."""
        if spec.prometheus is None:
            pushed = PushedSource(self._connection, members, self._clock)
            await pushed.start(now - NEWEST)
            try:
                async with asyncio.timeout(PUSHED_S):
                    while not pushed.ready:  # noqa: ASYNC110 - a window tells nobody that it grew
                        await asyncio.sleep(0.05)
            except TimeoutError:
                return {}, f"the broker did not give what was pushed within {PUSHED_S:g} s"
            finally:
                await pushed.stop()
            return {member.node: _said(pushed.window, member, now) for member in members}, ""
        access = self._access(spec.prometheus)
        if isinstance(access, str):
            return {}, access
        prometheus = Prometheus(access)
        try:
            return await newest(prometheus, spec.prometheus, members, families, now)
        finally:
            await prometheus.close()

    def _made(self, gate: OpenGate, spec: MetricsFrom) -> _Own:
        members = members_of(gate)
        if spec.prometheus is None:
            return _Own(PushedSource(self._connection, members, self._clock))
        access = self._access(spec.prometheus)
        if isinstance(access, str):
            return _Own(None, access)
        families = {name for name in gate.spec.metric_names() if not name.startswith(OURS)}
        source = PrometheusSource(
            Prometheus(access), spec.prometheus, members, families, gate.spec.interval_s, self._clock
        )
        return _Own(source)

    def _access(self, spec: PrometheusFrom) -> PrometheusAccess | str:
        """How to reach it; or why it cannot be reached, in words."""
        if spec.url is not None:
            return PrometheusAccess(url=spec.url)
        found = self._known.get(spec.name or "")
        names = ", ".join(sorted(self._known)) or "none"
        return found or f"the health gate's settings know no Prometheus of that name, but {names}"


def _both(
    gate: OpenGate,
    wanted: MetricsFrom,
    said: SampleWindow,
    foreign: SampleWindow,
    now: datetime,
    trouble: str,
) -> Judgement:
    """The judgement of a gate with a source of its own.

    Without memory: the merged window is made anew at every tick, and what was counted in another does not fit it.
    """
    both = merged(gate, said, foreign, now)
    return covered(gate, wanted, both.told, judge(gate, both.window, now), now, trouble)


def _said(window: SampleWindow, member: Member, now: datetime) -> dict[str, float]:
    """The series of the newest scrape of a component on a node that was answered, if that is not old."""
    found = window.instances(member, now - NEWEST, now, lambda reading: reading.up)
    latest = max((readings[-1] for readings in found), key=lambda reading: reading.at, default=None)
    if latest is None:
        return {}
    return {
        _text(name, labels): value
        for name, family in latest.families.items()
        for labels, value in family.items()
    }


def _text(name: str, labels: Labels) -> str:
    inside = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels)
    return f"{name}{{{inside}}}" if inside else name
