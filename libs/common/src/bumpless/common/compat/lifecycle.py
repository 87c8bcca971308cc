"""Items that come and go: endpoints, configuration keys, authentication schemes and message types. One mechanism.

An item is introduced, perhaps deprecated, perhaps removed, and may name its successor. A removal without a warning
period is a finding, and so is an item whose dates contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bumpless.common.model.compat import ItemKind
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.version import Version


class Status(StrEnum):
    """`absent`: not yet introduced."""

    ABSENT = "absent"
    AVAILABLE = "available"
    DEPRECATED = "deprecated"
    REMOVED = "removed"


@dataclass(frozen=True)
class Item:
    """One item of `component`; `use` is the id of its successor."""

    kind: ItemKind
    id: str
    component: str
    introduced: Version
    deprecated: Version | None = None
    removed: Version | None = None
    use: str | None = None

    def status(self, version: Version) -> Status:
        """At `version` of the component."""
        if self.removed is not None and version >= self.removed:
            return Status.REMOVED
        if version < self.introduced:
            return Status.ABSENT
        if self.deprecated is not None and version >= self.deprecated:
            return Status.DEPRECATED
        return Status.AVAILABLE


class Change(StrEnum):
    """What a version brings for a caller."""

    ADDED = "added"
    DEPRECATED = "deprecated"
    REMOVED = "removed"


@dataclass(frozen=True)
class Changed:
    """One line of a report: what happened to `item`, and what each caller should do about it."""

    change: Change
    item: Item
    advice: str


@dataclass(frozen=True)
class Policy:
    """How long an item must be deprecated before it is removed, in major versions."""

    min_deprecated_majors: int = 1


@dataclass(frozen=True)
class Report:
    """From `source` to `target` of one component. `findings` are what should not be so."""

    component: str
    source: Version
    target: Version
    changes: tuple[Changed, ...]
    findings: tuple[Finding, ...]


class Lifecycle:
    """Every item of a product. `usage` are calls seen per item id, over the time for which there are figures."""

    def __init__(
        self, items: Iterable[Item], policy: Policy = Policy(), usage: Mapping[str, float] | None = None
    ) -> None:
        self._items = tuple(sorted(items, key=lambda i: (i.component, i.kind, i.id)))
        self._policy, self._usage = policy, usage or {}

    def of(self, component: str) -> tuple[Item, ...]:
        return tuple(i for i in self._items if i.component == component)

    def status(self, component: str, item: str, version: Version) -> Status:
        """ABSENT also for an item nobody declared."""
        found = next((i for i in self.of(component) if i.id == item), None)
        return Status.ABSENT if found is None else found.status(version)

    def report(self, component: str, source: Version, target: Version) -> Report:
        """What changes for the callers of `component`; works in either direction."""
        changes = []
        findings = []
        for item in self.of(component):
            before, after = item.status(source), item.status(target)
            changed = _changed(item, before, after)
            if changed is not None:
                changes.append(changed)
            if before in (Status.AVAILABLE, Status.DEPRECATED) and after is Status.REMOVED:
                findings += self._removal(item)
            elif before in (Status.AVAILABLE, Status.DEPRECATED) and after is Status.ABSENT:
                findings += self._taken_back(item, target)
        return Report(component, source, target, tuple(changes), tuple(findings))

    def contradictions(self) -> tuple[Finding, ...]:
        """Items whose own versions do not make sense, successors nobody declared, one id twice."""
        found: list[Finding] = []
        for component in sorted({i.component for i in self._items}):
            items = self.of(component)
            ids = [i.id for i in items]
            for item in items:
                found += _contradictions(item)
                if item.use is not None and item.use not in ids:
                    found.append(
                        _invalid(item, f"its successor {item.use} is not among the items of {component}")
                    )
                if ids.count(item.id) > 1:
                    found.append(_invalid(item, f"it is declared {ids.count(item.id)} times"))
        return tuple(dict.fromkeys(found))

    def _removal(self, item: Item) -> list[Finding]:
        found = []
        warned = _warned_majors(item)
        if warned is None:
            found.append(_no_warning(item, "it was never deprecated", self._policy))
        elif warned < self._policy.min_deprecated_majors:
            found.append(_no_warning(item, f"it was deprecated only in {item.deprecated}", self._policy))
        if calls := self._usage.get(item.id, 0.0):
            found.append(
                Finding(
                    code=Code.API_REMOVED_IN_USE,
                    severity=Severity.BLOCK,
                    subject=f"{item.component}: {item.id}",
                    evidence=f"removed in {item.removed}, and called {calls:g} times in the figures there are",
                    recommendation=_instead(item, "move its callers first"),
                    waivable=True,
                )
            )
        return found

    def _taken_back(self, item: Item, target: Version) -> list[Finding]:
        severity = Severity.BLOCK if self._usage.get(item.id) else Severity.WARN
        evidence = f"{target} is before {item.introduced}, which introduced it"
        return [
            Finding(
                code=Code.API_REMOVED_IN_USE,
                severity=severity,
                subject=f"{item.component}: {item.id}",
                evidence=evidence,
                recommendation="see that nobody calls it before going back",
                waivable=True,
            )
        ]


def _changed(item: Item, before: Status, after: Status) -> Changed | None:
    match before, after:
        case Status.ABSENT, Status.AVAILABLE | Status.DEPRECATED:
            advice = (
                "nothing has to be done"
                if after is Status.AVAILABLE
                else _instead(item, "do not begin to use it")
            )
            return Changed(Change.ADDED, item, advice)
        case Status.AVAILABLE, Status.DEPRECATED:
            until = f" before {item.removed}" if item.removed else ""
            return Changed(Change.DEPRECATED, item, _instead(item, f"stop using it{until}"))
        case Status.AVAILABLE | Status.DEPRECATED, Status.REMOVED | Status.ABSENT:
            return Changed(Change.REMOVED, item, _instead(item, "stop using it; there is no successor"))
        case Status.REMOVED, Status.AVAILABLE | Status.DEPRECATED:
            return Changed(Change.ADDED, item, "it is back")
        case _:
            return None


def _instead(item: Item, otherwise: str) -> str:
    return f"use {item.use}" if item.use else otherwise


def _warned_majors(item: Item) -> int | None:
    """Over how many major versions callers were warned; None: they were not."""
    if item.deprecated is None or item.removed is None:
        return None
    return item.removed.core[0] - item.deprecated.core[0]


def _no_warning(item: Item, what: str, policy: Policy) -> Finding:
    return Finding(
        code=Code.API_NO_DEPRECATION,
        severity=Severity.WARN,
        subject=f"{item.component}: {item.id}",
        evidence=f"removed in {item.removed}, and {what}",
        recommendation=f"deprecate it for {policy.min_deprecated_majors} major version(s) first, or waive this",
        waivable=True,
    )


def _contradictions(item: Item) -> list[Finding]:
    found = []
    if item.deprecated is not None and item.deprecated < item.introduced:
        found.append(
            _invalid(item, f"deprecated in {item.deprecated}, before {item.introduced} introduced it")
        )
    if item.removed is not None and item.removed <= item.introduced:
        found.append(_invalid(item, f"removed in {item.removed}, and introduced in {item.introduced}"))
    if item.deprecated is not None and item.removed is not None and item.removed <= item.deprecated:
        found.append(
            _invalid(item, f"removed in {item.removed}, not after it was deprecated in {item.deprecated}")
        )
    return found


def _invalid(item: Item, evidence: str) -> Finding:
    return Finding(
        code=Code.LIFECYCLE_INVALID,
        severity=Severity.BLOCK,
        subject=f"{item.component}: {item.id}",
        evidence=evidence,
        recommendation="correct the item in the release file",
        waivable=False,
    )
