"""Statements that came with an announcement: which of them count, and which findings waivers let pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import Role, TrustStore
from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import STATEMENT_TYPE, Envelope
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.statement import ANY, STATEMENT, Rehearsed, Said, Verified, Waiver

ROLES = {Waiver: Role.WAIVER, Rehearsed: Role.REHEARSAL, Verified: Role.VERIFICATION}


class Read(NamedTuple):
    """What counts, and a finding for everything that does not."""

    waivers: tuple[Waiver, ...]
    rehearsed: tuple[Rehearsed, ...]
    verified: tuple[Verified, ...]
    findings: tuple[Finding, ...]


class Passed(NamedTuple):
    """All findings, and the waivers that let some of them pass."""

    findings: tuple[Finding, ...]
    used: tuple[Waiver, ...]


def read(texts: Sequence[str], trust: TrustStore, release: Digest, now: datetime) -> Read:
    """`texts` are DSSE JSON; each is signed for the role that its kind needs, or does not count."""
    found: list[Said] = []
    findings = []
    for number, text in enumerate(texts, start=1):
        subject = f"statement {number}"
        try:
            said = opened(text, trust)
        except (ArtifactError, ValueError) as error:
            findings.append(_invalid(subject, str(error), "have it signed by a key that the planner trusts"))
            continue
        if isinstance(said, Waiver):
            subject = f"waiver of {said.code} by {said.by}"
        if isinstance(said, Verified):  # it is about versions, in whichever release
            found.append(said)
        elif said.release != release:
            why = f"it is for the release {said.release[:19]}, and this is {release[:19]}"
            findings.append(_invalid(subject, why, "have one signed for this release"))
        elif isinstance(said, Waiver) and said.expires <= now:
            why = f"it expired at {said.expires:%Y-%m-%d %H:%M} UTC"
            findings.append(_invalid(subject, why, "have a new one signed, or remove the cause"))
        else:
            found.append(said)
    return Read(
        tuple(said for said in found if isinstance(said, Waiver)),
        tuple(said for said in found if isinstance(said, Rehearsed)),
        tuple(said for said in found if isinstance(said, Verified)),
        tuple(findings),
    )


def passed(findings: Iterable[Finding], waivers: Sequence[Waiver]) -> Passed:
    """A block that is waived becomes a warning, which says by whom. What is not waivable stays as it is."""
    used: list[Waiver] = []
    told: list[Finding] = []
    useless = list(waivers)
    refused: list[Finding] = []
    for finding in findings:
        fitting = [w for w in waivers if w.code is finding.code and w.subject in (ANY, finding.subject)]
        useless = [waiver for waiver in useless if waiver not in fitting]
        if fitting and not finding.waivable:
            refused += [_not_waivable(waiver) for waiver in fitting]
        if not fitting or not finding.waivable:
            told.append(finding)
            continue
        waiver = max(fitting, key=lambda w: w.expires)
        used.append(waiver)
        severity = Severity.WARN if finding.blocks else finding.severity
        by = f"by {waiver.by} until {waiver.expires:%Y-%m-%d %H:%M} UTC: {waiver.reason}"
        told.append(finding.model_copy(update={"severity": severity, "waived": by}))
    told += [*refused, *map(_useless, useless)]
    return Passed(tuple(dict.fromkeys(told)), tuple(dict.fromkeys(used)))


def opened(text: str, trust: TrustStore) -> Said:
    """What a DSSE JSON says, if a key signed it that may say such a thing. Raises: ArtifactError, ValueError."""
    envelope = Envelope.from_bytes(text.encode())
    failed: Exception | None = None
    for role in ROLES.values():
        try:
            payload = trust.verify(envelope, payload_type=STATEMENT_TYPE, role=role)
        except ArtifactError as error:
            failed = failed or error
            continue
        said = STATEMENT.validate_json(payload)
        if ROLES[type(said)] is role:
            return said
        failed = ValueError(f"expected a signature of a {ROLES[type(said)]} key, found one of a {role} key")
    assert failed is not None
    raise failed


def _invalid(subject: str, evidence: str, recommendation: str) -> Finding:
    return Finding(
        code=Code.STATEMENT_INVALID,
        severity=Severity.WARN,
        subject=subject,
        evidence=f"it does not count: {evidence}",
        recommendation=recommendation,
    )


def _not_waivable(waiver: Waiver) -> Finding:
    subject = f"waiver of {waiver.code} by {waiver.by}"
    return _invalid(subject, f"{waiver.code} cannot be waived here", "remove the cause")


def _useless(waiver: Waiver) -> Finding:
    subject = f"waiver of {waiver.code} by {waiver.by}"
    return _invalid(
        subject, f"there is no such finding about {waiver.subject}", "correct its subject, or drop it"
    )
