"""Whether records can be moved between two versions of their schema, and what it costs: findings."""

from __future__ import annotations

from bumpless.common.compat.hops import Hop, NoPath
from bumpless.common.compat.record_probe import lacking
from bumpless.common.compat.records import MISSING, Fault, RecordType
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.version import Version


def record_findings(
    kind: RecordType, source: Version, target: Version, *, way_back: bool
) -> tuple[Finding, ...]:
    """About the way from `source` to `target`, and back where `way_back` is required.

    RECORD_PATH_NONE: no lenses lead there. RECORD_MISFIT: a record with only what is required does not fit after them.
    RECORD_LOSSY: they lose data. ROLLBACK_LOSSY: those back are not there, or lose what was written since.
    """
    try:
        hops = kind.graph.path(source, target, lossy=True)
    except NoPath as error:
        return (
            Finding(
                code=Code.RECORD_PATH_NONE,
                severity=Severity.BLOCK,
                subject=_subject(kind, source, target),
                evidence=str(error),
                recommendation="add the lens that is missing to records",
            ),
        )
    found = [
        Finding(
            code=Code.RECORD_LOSSY,
            severity=Severity.WARN,
            subject=_subject(kind, hop.source, hop.target),
            evidence="its lens loses data",
            recommendation="see that nobody needs it, or keep it under another name",
            waivable=True,
        )
        for hop in hops
        if hop.lossy
    ]
    if (misfit := lacking(kind, source, target)) is not None:
        found.insert(0, _misfit(kind, source, target, *misfit))
    return (*found, *(_back(kind, source, target) if way_back else ()))


def _misfit(
    kind: RecordType, source: Version, target: Version, at: Version, missing: tuple[Fault, ...]
) -> Finding:
    """`missing`: what `at` requires and such a record has not."""
    names = ", ".join(fault.path for fault in missing)
    return Finding(
        code=Code.RECORD_MISFIT,
        severity=Severity.BLOCK,
        subject=_subject(kind, source, target),
        evidence=f"a record with only what {source} requires is refused at {at}: {names}: {MISSING}",
        recommendation=f"give {names} a default in the lens to {at}",
        waivable=True,
    )


def _back(kind: RecordType, source: Version, target: Version) -> tuple[Finding, ...]:
    """A way back that loses what the new version added is none for what was written since."""
    try:
        lossy = [hop for hop in kind.graph.path(target, source, lossy=True) if hop.lossy]
    except NoPath as error:
        return (_no_way_back(kind, source, target, str(error), is_there=False),)
    return tuple(_no_way_back(kind, source, target, _loss(hop), is_there=True) for hop in lossy)


def _loss(hop: Hop) -> str:
    return f"the way back {hop} loses what {hop.source} holds more"


def _no_way_back(kind: RecordType, source: Version, target: Version, why: str, *, is_there: bool) -> Finding:
    return Finding(
        code=Code.ROLLBACK_LOSSY,
        severity=Severity.WARN if is_there else Severity.BLOCK,
        subject=_subject(kind, source, target),
        evidence=why,
        recommendation=(
            "keep what is taken out (`kept`), or accept that going back loses it"
            if is_there
            else "name the function of the way back under `back`, or set rollback_policy: manual"
        ),
        waivable=True,
    )


def _subject(kind: RecordType, source: Version, target: Version) -> str:
    return f"{kind.name} {source} > {target}"
