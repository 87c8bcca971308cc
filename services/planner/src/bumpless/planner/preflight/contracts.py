"""CONTRACT_UNVERIFIED: versions that a plan lets meet although nobody verified their contract. And who is believed. Pure.

A way that leads only through verified pairs is taken where there is one, so these are what the best way there is still
asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.compat.contracts import Contracts, State, row_of
from bumpless.common.model.contracts import Contract
from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Release
from bumpless.common.model.statement import Verified
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.planner.preflight.case import Case
from bumpless.planner.preflight.waivers import opened
from bumpless.planner.proof import case as proof
from bumpless.planner.proof.mixing import Meeting, met, pairs_of

MOST_PAIRS = 5


def check(plan: Plan, case: Case) -> Iterator[Finding]:
    """One finding for every pair of versions that meets in some state of the plan, and is not verified."""
    if not case.release.contracts:
        return
    contracts = Contracts(case.release.contracts)
    moments = proof.Case(plan, case.release, case.fleet)
    told = frozenset(contracts.edges)
    for meeting in met(moments, pairs_of(moments)):
        if (meeting.client, meeting.provider) in told and (found := _unverified(meeting, contracts)):
            yield found


def judged(
    release: Release, said: Sequence[Verified], trust: TrustStore
) -> tuple[Release, tuple[Finding, ...]]:
    """`release` with the verifications that count here: those with a trusted signature, and those `said` beside it.

    The digest of what is returned is not that of the release. `said` was opened already. The findings tell what does not
    count, and why.
    """
    if not release.contracts:
        return release, tuple(_unwanted(one) for one in said)
    findings: list[Finding] = []
    rows = [_believed(row, trust, findings) for row in release.contracts]
    known = Contracts(rows)
    for one in said:
        if known.wants(one):
            rows.append(row_of(one))
        else:
            findings.append(_unwanted(one))
    return release.model_copy(update={"contracts": tuple(rows)}), tuple(findings)


def _believed(row: Contract, trust: TrustStore, findings: list[Finding]) -> Contract:
    if row.verified is None:
        return row
    try:
        if opened(row.proof, trust) != row.verified:
            raise ValueError("what was signed is something else than what the release says")
        if not _is_about(row.verified, row):
            raise ValueError(f"it is about {row_of(row.verified)}, or about another pact")
    except (ArtifactError, ValueError) as error:
        findings.append(
            _invalid(f"contract of {row}", str(error), "have it signed by a key that the planner trusts")
        )
        return row.model_copy(update={"verified": None, "proof": ""})
    return row


def _is_about(said: Verified, row: Contract) -> bool:
    return said.pact == row.pact and _key(row_of(said)) == _key(row)


def _key(row: Contract) -> tuple[str, Version, str, Version]:
    used, offered = Version.parse(row.consumer_version), Version.parse(row.provider_version)
    return row.consumer, used, row.provider, offered


def _unverified(meeting: Meeting, contracts: Contracts) -> Finding | None:
    try:
        used, offered = Version.parse(meeting.used), Version.parse(meeting.offered)
    except InvalidVersion:  # the checker has refused it
        return None
    found = contracts.standing(meeting.client, used, meeting.provider, offered)
    if found.state is not State.UNVERIFIED:
        return None
    return blocking(
        Code.CONTRACT_UNVERIFIED,
        f"{meeting.client}@{used} with {meeting.provider}@{offered}",
        f"{found.evidence}, and they meet {_moment(meeting)}; verified are "
        f"{_pairs(contracts.verified_pairs(meeting.client, meeting.provider), meeting)}",
        _advice(meeting, used, offered, found.pacts),
        waivable=True,
    )


def _moment(meeting: Meeting) -> str:
    runs = (
        f"{meeting.client} {' and '.join(sorted(meeting.clients))}, "
        f"{meeting.provider} {' and '.join(sorted(meeting.providers))}"
    )
    return f"once {' and '.join(meeting.started)} has started (then there are {runs})"


def _pairs(found: Iterable[tuple[Version, Version]], meeting: Meeting) -> str:
    pairs = [f"{meeting.client} {used} with {meeting.provider} {offered}" for used, offered in found]
    more = f" and {len(pairs) - MOST_PAIRS} more" if len(pairs) > MOST_PAIRS else ""
    return (", ".join(pairs[-MOST_PAIRS:]) + more) if pairs else "none of the two"


def _advice(meeting: Meeting, used: Version, offered: Version, pacts: Sequence[str]) -> str:
    words = (
        f"`bumpless contract verify PACT --provider-url URL --consumer {meeting.client} --consumer-version {used} "
        f"--provider {meeting.provider} --provider-version {offered}`"
    )
    if not pacts:
        return f"name the pact under contracts, verify it with {words}, and publish again"
    short = " and ".join(pact[:19] for pact in pacts)
    return f"verify the pact {short} with {words}, and give what it signs with --statement"


def _unwanted(said: Verified) -> Finding:
    subject = f"verification of {row_of(said)}"
    why = f"no contract of the release is of the pact {said.pact[:19]} of {said.consumer} {said.consumer_version}"
    return _invalid(subject, why, "verify the pact that the release names, or drop it")


def _invalid(subject: str, evidence: str, recommendation: str) -> Finding:
    return Finding(
        code=Code.STATEMENT_INVALID,
        severity=Severity.WARN,
        subject=subject,
        evidence=f"it does not count: {evidence}",
        recommendation=recommendation,
    )
