"""SQL_UNSAFE: what a linter said of the migrations of a release, when it was published.

Pure. A rule blocks where following the script would break or stop the version that runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.migration import Migration, SqlProblem

MOST_LINES = 10
LATER = "leave it to a release after this one, when no version is left that uses it"
BESIDE = "add the new one beside it, write both, and take the old one out in a later release"
BREAKS = {
    "adding-required-field": "",
    "ban-drop-column": LATER,
    "ban-drop-database": LATER,
    "ban-drop-domain": LATER,
    "ban-drop-function": LATER,
    "ban-drop-schema": LATER,
    "ban-drop-sequence": LATER,
    "ban-drop-table": LATER,
    "ban-drop-type": LATER,
    "ban-drop-view": LATER,
    "ban-revoke": LATER,
    "ban-set-schema": BESIDE,
    "ban-truncate-cascade": "",
    "changing-column-type": BESIDE,
    "renaming-column": BESIDE,
    "renaming-object": BESIDE,
    "renaming-table": BESIDE,
}
"""The version that runs cannot work any more; with advice where the linter has none."""
STOPS = frozenset(
    {
        "adding-field-with-default",
        "adding-foreign-key-constraint",
        "adding-not-nullable-field",
        "adding-serial-primary-key-field",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
        "require-concurrent-partition-detach",
        "require-concurrent-reindex",
        "require-lock-timeout",
        "require-timeout-settings",
    }
)
"""Its requests wait for a lock."""
FAILS = frozenset(
    {"ban-concurrent-index-creation-in-transaction", "ban-uncommitted-transaction", "syntax-error"}
)
"""The script does not do what it should."""
TASTE = "prefer-"


def sql_findings(component: str, migrations: Iterable[Migration]) -> tuple[Finding, ...]:
    """One finding for every rule that a script breaks."""
    return tuple(
        _finding(component, migration, rule, [p for p in migration.found if p.rule == rule])
        for migration in migrations
        for rule in dict.fromkeys(problem.rule for problem in migration.found)
    )


def _finding(component: str, migration: Migration, rule: str, problems: list[SqlProblem]) -> Finding:
    told = [f"line {_lines(problem)}: {problem.text}" for problem in problems]
    return Finding(
        code=Code.SQL_UNSAFE,
        severity=_severity(rule),
        subject=f"{component}: {migration.sql}: {rule}",
        evidence=f"{' '.join(told)} ({migration.linter})",
        recommendation=_advice(rule, problems),
        waivable=True,
    )


def _lines(problem: SqlProblem) -> str:
    """The first ones."""
    more = len(problem.lines) - MOST_LINES
    return ", ".join(map(str, problem.lines[:MOST_LINES])) + (f" and {more} more" if more > 0 else "")


def _severity(rule: str) -> Severity:
    """A rule that is not known here may be one of a newer linter."""
    if rule in BREAKS or rule in STOPS or rule in FAILS:
        return Severity.BLOCK
    return Severity.INFO if rule.startswith(TASTE) else Severity.WARN


def _advice(rule: str, problems: list[SqlProblem]) -> str:
    helps = dict.fromkeys(problem.help.rstrip(".") for problem in problems if problem.help)
    own = BREAKS.get(rule) or " ".join(helps)
    return own or "correct the script, or say in it that this line may do so: -- squawk-ignore " + rule
