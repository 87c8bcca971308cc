"""A rule of rules: broken when enough of its parts are."""

from __future__ import annotations

from collections.abc import Mapping

from bumpless.common.model.gate import CompositeRule
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.view import Finding, finding


def composite(rule: CompositeRule, found: Mapping[str, Finding]) -> Finding:
    """What `rule` says of what its parts say. It passes only when so many parts pass that it cannot be broken."""
    parts = [(name, found[name]) for name in rule.of]
    broken = [name for name, part in parts if part.evidence.verdict is Verdict.FAIL]
    good = [name for name, part in parts if part.evidence.verdict is Verdict.PASS]
    open_parts = [part for _, part in parts if part.evidence.verdict is Verdict.INCONCLUSIVE]
    text = f"{len(broken)} of {len(parts)} broken, limit {rule.needed}"
    if broken:
        text += f": {', '.join(broken)}"
    reason = Reason.PASSED
    if len(broken) >= rule.needed:
        reason = next(part.reason for name, part in parts if name == broken[0])
    elif len(parts) - len(good) >= rule.needed:
        reason = open_parts[0].reason
        text += f"; {open_parts[0].evidence.rule}: {open_parts[0].evidence.text}"
    return finding(rule.called, reason, text, observed=len(broken), limit=rule.needed, samples=len(parts))
