"""Why there is no plan."""

from __future__ import annotations

from collections.abc import Iterable

from bumpless.common.model.finding import Finding


class Unplannable(Exception):
    """The release cannot run on this fleet; `findings` is everything found, `reasons` those that block, as texts."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        self.reasons = tuple(str(finding) for finding in self.findings if finding.blocks)
        super().__init__("; ".join(self.reasons))
