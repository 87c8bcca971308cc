"""The I/O of preflight: reads what the checks look at, asks them, and applies the waivers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import RELEASE_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan
from bumpless.common.model.preflight import Preflight
from bumpless.common.model.release import Release
from bumpless.common.model.statement import Waiver
from bumpless.common.preflight_file import read_preflight
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans
from bumpless.planner.preflight import contracts, waivers
from bumpless.planner.preflight.case import Case, History, runs
from bumpless.planner.preflight.registry import look, look_at
from bumpless.planner.remembered import brought
from bumpless.planner.unplannable import Unplannable


@dataclass(frozen=True)
class Looked:
    """Everything that was found, and the waivers that let some of it pass."""

    findings: tuple[Finding, ...] = ()
    waivers: tuple[Waiver, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(str(finding) for finding in self.findings if finding.blocks)

    def refuse(self) -> None:
        """Raises: Unplannable, if anything blocks."""
        if self.reasons:
            raise Unplannable(self.findings)


@dataclass(frozen=True)
class Seen:
    """What the checks found before there is a plan. No waiver was asked yet: they are for all that is found, at once."""

    case: Case
    findings: tuple[Finding, ...]
    said: waivers.Read

    def without_plan(self, why: Iterable[Finding]) -> Looked:
        """`why`: what keeps the plan from being made, or from being run; it is told first."""
        passed = waivers.passed([*why, *self.findings], self.said.waivers)
        return Looked((*passed.findings, *self.said.findings), passed.used)

    def with_plan(self, plan: Plan) -> Looked:
        return self.without_plan(look_at(plan, self.case))


class Looking:
    """`policy` is the file with the rules of the fleet, read again each time."""

    def __init__(self, connection: Connection, trust: TrustStore, plans: Plans, policy: Path | None) -> None:
        self._connection, self._trust, self._plans, self._policy = connection, trust, plans, policy

    async def look(self, message: e.ReleaseAnnounced, release: Release, fleet: Fleet, now: datetime) -> Seen:
        """What is wrong or risky about `release` on `fleet`. Raises: Retryable, while the broker is away."""
        rules, broken = self._rules()
        said = waivers.read(message.statements, self._trust, message.digest, now)
        release, unbelieved = contracts.judged(release, said.verified, self._trust)
        history = History(await self._roots(release, fleet), said.rehearsed)
        case = Case(release, message.digest, fleet, now, rules, history)
        return Seen(case, (*broken, *unbelieved, *look(case)), said)

    def _rules(self) -> tuple[Preflight, tuple[Finding, ...]]:
        """A file of rules that cannot be read lets nothing run: it may hold a freeze."""
        if self._policy is None:
            return Preflight(), ()
        try:
            return read_preflight(self._policy), ()
        except (OSError, ValueError) as error:
            return Preflight(), (
                blocking(
                    Code.POLICY_INVALID,
                    str(self._policy),
                    str(error),
                    "correct the file; it is read again for the next plan",
                ),
            )

    async def _roots(self, release: Release, fleet: Fleet) -> frozenset[Digest] | None:
        """The trees that releases and plans brought; not looked up where nothing else runs than what this one brings."""
        coming = {component.name: component.root for component in release.components}
        running = ((name, runs(node, name)) for node in fleet.nodes for name in coming)
        if all(target is None or target.root == coming[name] for name, target in running):
            return None
        items = await self._connection.snapshot(
            Stream.REL, subjects.subject_for(e.ReleaseAnnounced, product=release.product), history=True
        )
        known = frozenset(
            component.root
            for text in {announced.envelope for announced in readable(items, e.ReleaseAnnounced)}
            if (earlier := self._opened(text)) is not None
            for component in earlier.components
        )
        return known | await brought(self._plans.get, fleet, coming, known | set(coming.values()))

    def _opened(self, text: str) -> Release | None:
        try:
            envelope = Envelope.from_bytes(text.encode())
            payload = self._trust.verify(envelope, payload_type=RELEASE_TYPE, role=Role.RELEASE)
            return Release.model_validate_json(payload)
        except (ArtifactError, ValueError):
            return None
