"""RECORD_*, ROLLBACK_LOSSY of records: whether what was written can be carried on from what runs, and back."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.compat import written
from bumpless.common.compat.record_findings import record_findings
from bumpless.common.compat.records import RecordType
from bumpless.common.errors import Refused
from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.release import Component, RollbackPolicy
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.planner.preflight.case import Case, runs


def check(case: Case) -> Iterator[Finding]:
    """Once for every pair of forms, over all nodes. Of types whose schemas nothing here changes nothing is said."""
    components = {component.name: component for component in case.release.components}
    for name, signed in case.release.records.items():
        try:
            kind = written.signed_record_type(name, signed)
        except Refused as error:
            yield blocking(
                Code.RECORD_INVALID,
                name,
                str(error),
                "correct it under records, and publish the release again",
            )
            continue
        owner = None if signed.of is None else components.get(signed.of)
        if owner is not None:
            yield from _changes(case, kind, owner)
        elif signed.of is None:
            yield _unknown(name, "it does not say whose records these are", f"state records.{name}.of")


def _changes(case: Case, kind: RecordType, owner: Component) -> Iterator[Finding]:
    targets = (runs(node, owner.name) for node in case.placed[owner.name])
    running = sorted({target.version for target in targets if target is not None} - {owner.version})
    for text in running:
        try:
            source, target = (_form(kind, Version.parse(one)) for one in (text, owner.version))
        except InvalidVersion as error:
            yield _unknown(kind.name, f"it is of {owner.name}, and {error}", "give it versions such as 2.1.0")
            continue
        if source is not None and target is not None and source != target:
            way_back = case.release.rollback_policy is RollbackPolicy.AUTO
            yield from record_findings(kind, source, target, way_back=way_back)


def _form(kind: RecordType, version: Version) -> Version | None:
    """The form that records have at a version of their component: the latest one up to it; None: none yet."""
    return max((known for known in kind.schemas if known <= version), default=None)


def _unknown(name: str, why: str, advice: str) -> Finding:
    return Finding(
        code=Code.RECORD_UNKNOWN,
        severity=Severity.INFO,
        subject=name,
        evidence=f"nobody can tell whether the records that are there can be carried on: {why}",
        recommendation=advice,
        waivable=True,
    )
