"""APPROVAL, BACKUP_MISSING, SCAN_MISSING, REHEARSAL_MISSING: what must have been done before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.preflight import Backup, Required, Scan
from bumpless.planner.preflight.case import Case

MOST_IDS = 5


def approval(case: Case) -> Iterator[Finding]:
    if case.release.approval:
        yield Finding(
            code=Code.APPROVAL,
            severity=Severity.INFO,
            subject=case.release.product,
            evidence="it waits for the approval of a person before its first batch",
            recommendation="somebody who may runs `bumpless approve`",
        )
    elif any(rules.approval is Required.REQUIRED for rules in case.rules):
        yield blocking(
            Code.APPROVAL,
            case.release.product,
            "a person must approve its plan, and the release does not wait for one",
            "write approval: true into the release file",
            waivable=True,
        )


def backups(case: Case) -> Iterator[Finding]:
    """Asked for once where the fleet and the release ask for the same."""
    for wanted in dict.fromkeys(backup for rules in case.rules for backup in rules.backups):
        if all(component.name != wanted.component for component in case.release.components):
            continue
        if (why := _no_backup(case, wanted)) is not None:
            yield blocking(
                Code.BACKUP_MISSING,
                wanted.component,
                why,
                "make a backup, restore it somewhere, and write it down on the node (docs/preflight.md)",
                waivable=True,
            )


def _no_backup(case: Case, wanted: Backup) -> str | None:
    """Why there is none; None: there is one."""
    facts = [node.facts for node in case.fleet.nodes if node.facts is not None]
    known = [
        backup
        for fact in facts
        for backup in fact.backups
        if backup.component == wanted.component and wanted.id in (None, backup.id)
    ]
    what = f"backup {wanted.id}" if wanted.id else "a backup"
    if not known:
        return f"expected {what} of it, and no node knows of one"
    tested = [at for backup in known if (at := backup.restore_tested_at) is not None and at <= case.now]
    if not tested:
        return f"expected {what} of it whose restore was tested, and none was"
    age = case.now - max(tested)
    if age <= timedelta(hours=wanted.max_age_h):
        return None
    return (
        f"expected {what} whose restore was tested in the last {wanted.max_age_h:g} h, "
        f"the last test was {age / timedelta(hours=1):.1f} h ago"
    )


def scans(case: Case) -> Iterator[Finding]:
    """A rule of the fleet is met by a report in the release: only who publishes can sign one."""
    given = {scan.component: scan for scan in case.release.preflight.scans}
    for wanted in [*case.policy.scans, *case.release.preflight.scans]:
        component = next((c for c in case.release.components if c.name == wanted.component), None)
        report = given.get(wanted.component)
        why = None if component is None else _no_scan(wanted, report, component.root)
        if component is not None and why is not None:
            yield blocking(
                Code.SCAN_MISSING,
                wanted.component,
                why,
                "scan the tree that is shipped, and name the report under preflight.scans",
                waivable=True,
            )


def _no_scan(wanted: Scan, given: Scan | None, root: str) -> str | None:
    result = None if given is None else given.result
    if result is None:
        return "expected a report of a scanner in the release, found none"
    if result.root != root:
        return f"the report is of the tree {result.root}, and the release ships {root}"
    limit = -1 if wanted.max_severity is None else wanted.max_severity.rank
    bad = [
        f"{name} ({severity})"
        for severity, names in sorted(result.found.items(), key=lambda item: -item[0].rank)
        for name in names
        if severity.rank > limit
    ]
    more = f" and {len(bad) - MOST_IDS} more" if len(bad) > MOST_IDS else ""
    allowed = "nothing" if wanted.max_severity is None else f"nothing above {wanted.max_severity}"
    return f"{allowed} is allowed, the report has {', '.join(bad[:MOST_IDS])}{more}" if bad else None


def rehearsals(case: Case) -> Iterator[Finding]:
    """The digest of a release holds its trees, settings and strategy, and no node but those that it names."""
    for fleet in sorted({rules.rehearsal.fleet for rules in case.rules if rules.rehearsal is not None}):
        if not any((said.release, said.fleet) == (case.digest, fleet) for said in case.history.rehearsed):
            yield blocking(
                Code.REHEARSAL_MISSING,
                fleet,
                f"nobody signed that this very release ({case.digest[:19]}) succeeded there",
                "run it there, and give what `bumpless rehearsed` signs with --statement",
                waivable=True,
            )
