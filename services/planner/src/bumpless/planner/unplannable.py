"""Why there is no plan."""

from __future__ import annotations

from collections.abc import Sequence

from bumpless.common.model.finding import Finding


class Unplannable(Exception):
    """The release cannot run on this fleet; `reasons` names everything found, `findings` among it."""

    def __init__(self, reasons: Sequence[str], findings: Sequence[Finding] = ()) -> None:
        self.findings = tuple(findings)
        self.reasons = (*reasons, *(str(finding) for finding in findings))
        super().__init__("; ".join(self.reasons))
