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
    """Every kind of finding; dashboards and waivers name these."""

    API_REMOVED_IN_USE = "API_REMOVED_IN_USE"
    API_NO_DEPRECATION = "API_NO_DEPRECATION"
    LIFECYCLE_INVALID = "LIFECYCLE_INVALID"
    QUEUE_ORDER = "QUEUE_ORDER"
    ORDER_CYCLE = "ORDER_CYCLE"
    STRATEGY_IMPOSSIBLE = "STRATEGY_IMPOSSIBLE"


class Finding(Model):
    """`subject` is what it is about, `evidence` what was seen, `recommendation` what to do.

    `waivable`: a person with the right to may let it pass.
    """

    code: Code
    severity: Severity
    subject: str
    evidence: str
    recommendation: str
    waivable: bool = False

    def __str__(self) -> str:
        return f"{self.severity} {self.code} {self.subject}: {self.evidence}; {self.recommendation}"
