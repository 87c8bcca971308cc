"""NODE_DRAINED: nodes of the release that an operator has taken out of service."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.planner.placement import listed
from bumpless.planner.preflight.case import Case


def drained(case: Case) -> Iterator[Finding]:
    """One finding for all of them, with who, why and until when."""
    placed = {node.name: node for nodes in case.placed.values() for node in nodes}
    out = {name: node.drain for name, node in sorted(placed.items()) if node.drain is not None}
    if not out:
        return
    yield Finding(
        code=Code.NODE_DRAINED,
        severity=Severity.WARN,
        subject=listed(list(out)),
        evidence="they get the release, which starts there when they are back and is not judged before, and count as "
        "out until then: " + listed([f"{name} {drain}" for name, drain in out.items()]),
        recommendation="`bumpless fleet undrain NODE` brings one back; else nothing has to be done",
    )
