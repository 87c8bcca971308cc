"""API_BREAK, API_DEPRECATED, API_NO_DEPRECATION, API_REMOVED_IN_USE, COMPAT_UNSTATED by the documents of interfaces. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bumpless.common.compat.interfaces import Documents, Facts
from bumpless.common.compat.known import documents
from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.interfaces import Gone, OneWay
from bumpless.common.model.plan import Plan
from bumpless.common.model.preflight import Required
from bumpless.common.model.release import Component
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.planner.preflight.case import Case, runs
from bumpless.planner.preflight.versions import calls_of, running
from bumpless.planner.proof import case as proof
from bumpless.planner.proof.mixing import Meeting, met, pairs_of
from bumpless.planner.queues import misread

MOST = 3


def check(case: Case) -> Iterator[Finding]:
    """What the documents tell of versions that run, whatever the plan: for callers outside of the release as well."""
    if not case.release.interfaces:
        return
    facts = Facts(case.release.interfaces)
    components = {component.name: component for component in case.release.components}
    for name in case.release.interfaces.components:
        yield from _without_document(case, name, components.get(name), facts)
        if name not in components or (target := _version(components[name].version)) is None:
            continue
        for source in _known(case, components[name], facts):
            yield from _breaks(name, source, target, facts)
            yield from _gone(case, name, source, target, facts)
            yield from _deprecated(case, name, source, target, facts)
    yield from _built_against_nothing(case, components)
    yield from misread(case.release, case.fleet)


def met_breaks(plan: Plan, case: Case) -> Iterator[Finding]:
    """One finding for every client and provider that meet in some state of the plan, and break by the documents."""
    if not case.release.interfaces:
        return
    known = documents(case.release, case.fleet)
    moments = proof.Case(plan, case.release, case.fleet)
    found: dict[tuple[str, str], list[Meeting]] = {}
    for meeting in met(moments, pairs_of(moments)):
        used, offered = _version(meeting.used), _version(meeting.offered)
        if used is None or offered is None:
            continue
        word = known.about(meeting.client, used, meeting.provider, offered)
        if word is not None and not word.fits:
            found.setdefault((meeting.client, meeting.provider), []).append(meeting)
    for (client, provider), meetings in found.items():
        yield blocking(
            Code.API_BREAK,
            f"{client} > {provider}",
            "; ".join(_told(meeting, known) for meeting in meetings),
            f"bring a version of {provider} or {client} between them that fits both, or state under interfaces what "
            f"{client} was built against (uses) or calls of it (calls), if it does not meet what breaks",
            waivable=True,
        )


def _told(meeting: Meeting, known: Documents) -> str:
    word = known.about(
        meeting.client, Version.parse(meeting.used), meeting.provider, Version.parse(meeting.offered)
    )
    assert word is not None
    return f"once {' and '.join(meeting.started)} has started, {word.evidence}"


def _without_document(case: Case, name: str, component: Component | None, facts: Facts) -> Iterator[Finding]:
    """What runs, or lies on the way, and was not compared with anything."""
    seen = (runs(node, name) for node in case.fleet.nodes)
    named = sorted({target.version for target in seen if target is not None})
    named += [part.version for part in component.through] if component is not None else []
    known = facts.versions(name)
    if missing := [text for text in dict.fromkeys(named) if _version(text) not in known]:
        yield _unknown(
            case,
            name,
            f"the release has no document of {name} {', '.join(missing)}, so what breaks its clients is not known",
            f"name its document under interfaces.components.{name}.openapi",
        )


def _built_against_nothing(case: Case, components: Mapping[str, Component]) -> Iterator[Finding]:
    """Versions of clients that nodes pass on their way: nothing tells what they were built against."""
    known = documents(case.release, case.fleet)
    for client, provider in sorted(known.edges):
        if client not in components or provider not in case.release.interfaces.components:
            continue
        texts = [part.version for part in components[client].through]
        if open_ := [t for t in texts if known.built(client, Version.parse(t), provider) is None]:
            yield _unknown(
                case,
                client,
                f"against which version of {provider} {client} {', '.join(open_)} was built is not known",
                f"state it under interfaces.components.{client}.uses.{provider}",
            )


def _unknown(case: Case, name: str, evidence: str, recommendation: str) -> Finding:
    required = any(rules.compat is Required.REQUIRED for rules in case.rules)
    return Finding(
        code=Code.COMPAT_UNSTATED,
        severity=Severity.BLOCK if required else Severity.WARN,
        subject=f"{name}: interface",
        evidence=evidence,
        recommendation=recommendation,
        waivable=True,
    )


def _breaks(name: str, source: Version, target: Version, facts: Facts) -> Iterator[Finding]:
    way = facts.way(name, source, target)
    if way is None or way.works:
        return
    yield Finding(
        code=Code.API_BREAK,
        severity=Severity.WARN,
        subject=name,
        evidence=f"callers outside of the release that were built against {source} break at {target}: {_list(way)}",
        recommendation="see that they can do without, or keep what they use until they have moved",
        waivable=True,
    )


def _gone(case: Case, name: str, source: Version, target: Version, facts: Facts) -> Iterator[Finding]:
    """What callers may use in `source` and find no more. Items with a life cycle are told by that."""
    items = {item.id for item in case.release.lifecycle.items if item.of == name}
    usage = calls_of(case, name)
    way = facts.way(name, source, target)
    for gone in () if way is None else way.gone:
        if gone.where in items:
            continue
        if calls := usage.get(gone.where, 0.0):
            yield blocking(
                Code.API_REMOVED_IN_USE,
                f"{name}: {gone.where}",
                f"{target} does not have it, and it was called {calls:g} times in the figures there are",
                "move its callers first",
                waivable=True,
            )
        if source < target and (why := _unwarned(case, name, gone, source, target, facts)):
            yield Finding(
                code=Code.API_NO_DEPRECATION,
                severity=Severity.WARN,
                subject=f"{name}: {gone.where}",
                evidence=f"by its documents {source} has it, {target} has not, and {why}",
                recommendation=f"deprecate it for {case.release.lifecycle.policy.min_deprecated_majors} major version(s) "
                "first, or waive this",
                waivable=True,
            )


def _deprecated(case: Case, name: str, source: Version, target: Version, facts: Facts) -> Iterator[Finding]:
    """What callers of `source` should leave; operations one by one, and all parts of operations together."""
    way = facts.way(name, source, target)
    if way is None or source > target:
        return
    items = {item.id for item in case.release.lifecycle.items if item.of == name}
    places = [place for place in way.deprecated if place not in items]
    operations = [place for place in places if place.count(" ") == 1]
    parts = [place for place in places if place not in operations]
    listed = "; ".join(parts[:MOST]) + (f" and {len(parts) - MOST} more" if len(parts) > MOST else "")
    told = [(f"{name}: {place}", "") for place in operations]
    told += [(f"{name}: parts of its interface", f": {listed}")] if parts else []
    for subject, what in told:
        yield Finding(
            code=Code.API_DEPRECATED,
            severity=Severity.INFO,
            subject=subject,
            evidence=f"by its documents deprecated in {target}, and not yet in {source}{what}",
            recommendation="tell its callers what to use instead, and when it goes",
            waivable=True,
        )


def _unwarned(case: Case, name: str, gone: Gone, source: Version, target: Version, facts: Facts) -> str:
    """Why callers were not warned long enough; empty: they were."""
    warned = [
        version
        for version in facts.versions(name)
        if version < target
        and (way := facts.way(name, version, target)) is not None
        and any(other.where == gone.where and other.announced for other in way.gone)
    ]
    if not warned:
        return "no document before calls it deprecated"
    if target.core[0] - warned[0].core[0] < case.release.lifecycle.policy.min_deprecated_majors:
        return f"it was deprecated only in {warned[0]}"
    return ""


def _known(case: Case, component: Component, facts: Facts) -> Iterator[Version]:
    """The versions that run and have a document."""
    for text in running(case, component):
        version = _version(text)
        if version is not None and version in facts.versions(component.name):
            yield version


def _list(way: OneWay) -> str:
    shown = "; ".join(str(found) for found in way.breaks[:MOST])
    more = len(way.breaks) + way.more - MOST
    return f"{shown} and {more} more" if more > 0 else shown


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except InvalidVersion:
        return None
