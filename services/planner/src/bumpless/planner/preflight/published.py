"""What was looked at when the release was published, and signed with it: CONFIG_OLD_KEY, SQL_UNSAFE."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.compat.sql_findings import sql_findings
from bumpless.common.model.finding import Finding
from bumpless.planner.preflight.case import Case


def check(case: Case) -> Iterator[Finding]:
    """Of the components that change somewhere."""
    for component in case.release.components:
        if next(case.coming(component), None) is not None:
            yield from component.found
            yield from sql_findings(component.name, component.migrations)
