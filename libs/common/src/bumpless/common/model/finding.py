"""What a check found: a code, how bad it is, about what, on what evidence, and what to do."""

from __future__ import annotations

from enum import StrEnum

from bumpless.common.contract.base import Model


class Severity(StrEnum):
    """`block`: the plan does not run. `warn`: it runs, and a person should know. `info`: worth reading."""

    BLOCK = "block"
    WARN = "warn"
    INFO = "info"


class Code(StrEnum):
    """Every kind of finding; dashboards and waivers name these. docs/preflight.md tells what each one means."""

    # no plan can be made
    RELEASE_UNREADABLE = "RELEASE_UNREADABLE"
    NODE_UNKNOWN = "NODE_UNKNOWN"
    NODE_SILENT = "NODE_SILENT"
    PLACEMENT_EMPTY = "PLACEMENT_EMPTY"
    TEMPLATE_UNKNOWN = "TEMPLATE_UNKNOWN"
    DEPENDENCY_UNKNOWN = "DEPENDENCY_UNKNOWN"
    QUEUE_ORDER = "QUEUE_ORDER"
    ORDER_CYCLE = "ORDER_CYCLE"
    STRATEGY_IMPOSSIBLE = "STRATEGY_IMPOSSIBLE"
    PLAN_INVALID = "PLAN_INVALID"
    PLAN_MOVED = "PLAN_MOVED"
    LOCKED = "LOCKED"
    # what a release says of its versions
    COMPAT_INVALID = "COMPAT_INVALID"
    COMPAT_UNSTATED = "COMPAT_UNSTATED"
    LIFECYCLE_INVALID = "LIFECYCLE_INVALID"
    API_REMOVED_IN_USE = "API_REMOVED_IN_USE"
    API_DEPRECATED = "API_DEPRECATED"
    API_BREAK = "API_BREAK"
    API_NO_DEPRECATION = "API_NO_DEPRECATION"
    AUTH_NO_OVERLAP = "AUTH_NO_OVERLAP"
    # what must have been done before
    BACKUP_MISSING = "BACKUP_MISSING"
    SQL_UNSAFE = "SQL_UNSAFE"
    SCAN_MISSING = "SCAN_MISSING"
    REHEARSAL_MISSING = "REHEARSAL_MISSING"
    WINDOW = "WINDOW"
    FREEZE = "FREEZE"
    APPROVAL = "APPROVAL"
    POLICY_INVALID = "POLICY_INVALID"
    STATEMENT_INVALID = "STATEMENT_INVALID"
    # what the nodes are like
    NODE_DRAINED = "NODE_DRAINED"
    DRIFT = "DRIFT"
    DISK = "DISK"
    INODES = "INODES"
    MEMORY = "MEMORY"
    PORT = "PORT"
    RUNTIME = "RUNTIME"
    FACTS_MISSING = "FACTS_MISSING"
    CONFIG_INVALID = "CONFIG_INVALID"
    CONFIG_OLD_KEY = "CONFIG_OLD_KEY"
    RECORD_INVALID = "RECORD_INVALID"
    RECORD_UNKNOWN = "RECORD_UNKNOWN"
    RECORD_MISFIT = "RECORD_MISFIT"
    RECORD_LOSSY = "RECORD_LOSSY"
    RECORD_PATH_NONE = "RECORD_PATH_NONE"
    ROLLBACK_LOSSY = "ROLLBACK_LOSSY"
    PATH_NONE = "PATH_NONE"
    PAIR_BAD = "PAIR_BAD"
    SELF_MIX_BAD = "SELF_MIX_BAD"
    CONTRACT_UNVERIFIED = "CONTRACT_UNVERIFIED"


class Finding(Model):
    """`subject` is what it is about, `evidence` what was seen, `recommendation` what to do.

    `waivable`: a person with the right to may let it pass. `waived`: somebody did, and who, until when and why.
    """

    code: Code
    severity: Severity
    subject: str
    evidence: str
    recommendation: str
    waivable: bool = False
    waived: str = ""

    @property
    def blocks(self) -> bool:
        return self.severity is Severity.BLOCK

    def __str__(self) -> str:
        text = f"{self.severity} {self.code} {self.subject}: {self.evidence}; {self.recommendation}"
        return f"{text} (waived {self.waived})" if self.waived else text


def blocking(
    code: Code, subject: str, evidence: str, recommendation: str, *, waivable: bool = False
) -> Finding:
    return Finding(
        code=code,
        severity=Severity.BLOCK,
        subject=subject,
        evidence=evidence,
        recommendation=recommendation,
        waivable=waivable,
    )
