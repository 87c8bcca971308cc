"""A dry run as the page a person reads before `apply`. Pure; the same text for the same plan, however it was put together."""

from __future__ import annotations

from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.model.finding import Finding, Severity
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Direction, Hop, Plan
from bumpless.common.render.actions import Action
from bumpless.common.render.capacity import Capacity
from bumpless.common.render.expected import in_words
from bumpless.common.render.tree import tree
from bumpless.common.render.view import PlanView, view
from bumpless.common.render.words import columns, count, names

Sections = list[tuple[str, list[str]]]


def plan(value: Plan) -> str:
    """A plan by itself, without what a dry run found beside it."""
    return page(view(PlanAnswer(plan=value, plan_hash=value.hash)))


def page(shown: PlanView) -> str:
    """All sections that have something to say, then the hash and what to do next."""
    sections: Sections = []
    found = shown.plan
    if found is None:
        lines = ["There is no plan: this release cannot run on this fleet as it is."]
    else:
        lines = _head(found, shown)
        sections += [
            ("Changes", _counts(shown)),
            ("Way", _way(found.hops)),
            ("Order", tree(found, shown.capacity)),
            ("Duration", in_words(shown.duration) if shown.duration is not None and shown.changes else []),
            ("Capacity", _capacity(shown.capacity) if shown.changes else []),
            ("Risks", list(shown.risks)),
            ("Way back", _way_back(found, shown)),
        ]
    sections += [("Reasons", list(shown.reasons)), ("Findings", _findings(shown.findings))]
    for title, body in sections:
        if body:
            lines += ["", title, *(f"  {line}".rstrip() for line in body)]
    return "\n".join([*lines, "", *ending(shown)]) + "\n"


def _head(plan: Plan, shown: PlanView) -> list[str]:
    steps = sum(len(batch.steps) for batch in plan.batches)
    kept = shown.totals.get(Action.UNCHANGED, 0)
    what = "takes back" if plan.direction is Direction.REVERT else "brings"
    if not plan.batches:
        return [f"{plan.product} {plan.release_version}: nothing to change, {kept:,} unchanged"]
    nodes = {step.node for step in plan.steps()}
    approval = ", starts after an approval" if plan.approval else ""
    return [
        f"{plan.product} {plan.release_version}: {count(steps, 'step')} in "
        f"{count(len(plan.batches), 'batch')} on {count(len(nodes), 'node')}, {kept:,} unchanged",
        f"{what} the release as generation {plan.generation}, at most {count(plan.max_unavailable, 'node')} out at once, "
        f"rollback {plan.rollback_policy}{approval}",
    ]


def _counts(shown: PlanView) -> list[str]:
    actions = [action for action in Action if shown.totals.get(action)]
    if not actions:
        return []
    rows = [("", *(str(action) for action in actions))]
    rows += [
        (name, *(f"{found.get(action, 0):,}" if found.get(action) else "-" for action in actions))
        for name, found in shown.counts.items()
    ]
    if len(shown.counts) > 1:
        rows.append(("all", *(f"{shown.totals[action]:,}" for action in actions)))
    return columns(rows)


def _way(hops: tuple[Hop, ...]) -> list[str]:
    """Each hop in the order in which it is gone: from, to, how the two fit, and why it is taken.

    A component that goes in one hop of which nothing is stated has no way worth telling: the changes say it.
    """
    several = {hop.component for hop in hops if hop.number > 1}
    told = [hop for hop in hops if hop.component in several or hop.level is not None or hop.why]
    lines = []
    for number, hop in enumerate(told, start=1):
        sources = names(hop.sources)
        fits = _fits(hop.level)
        moves = f"{sources} -> {hop.target}" if sources else f"new, {hop.target}"
        lines.append(f"{number}. {hop.component} {moves}" + (f" ({fits})" if sources else ""))
        if hop.why:
            lines.append(f"   {hop.why}")
    return lines


def _fits(level: Level | None) -> str:
    return "nothing is stated about the two" if level is None else f"{level}, {level.order}"


def _capacity(found: tuple[Capacity, ...]) -> list[str]:
    rows = [("", "serving now", "lowest", "at the end", "where it is lowest")]
    rows += [
        (c.component, f"{c.before:,}", f"{c.lowest:,}", f"{c.after:,}", f"while {c.lowest_in} switches" if c.lowest_in else "-")
        for c in found
    ]  # fmt: skip
    left = columns([row[:4] for row in rows])
    width = max(map(len, left))
    lines = [f"{line.ljust(width)}  {row[4]}" for line, row in zip(left, rows, strict=True)]
    return [
        *lines,
        "a node in a switch is not counted, although the old version serves until the new one is proven",
    ]


def _way_back(plan: Plan, shown: PlanView) -> list[str]:
    """Nothing takes a revert back."""
    forward = plan.direction is Direction.FORWARD and shown.changes
    return [shown.horizon.text] if forward and shown.horizon is not None else []


def _findings(found: tuple[Finding, ...]) -> list[str]:
    lines = []
    for finding in found:
        waivable = " (may be waived)" if finding.waivable and finding.severity is not Severity.INFO else ""
        note = f" (waived {finding.waived})" if finding.waived else waivable
        lines.append(f"{finding.severity} {finding.code} {finding.subject}: {finding.evidence}{note}")
        lines.append(f"  do: {finding.recommendation}")
    return lines


def ending(shown: PlanView) -> list[str]:
    """The hash, and what to do next."""
    lines = [f"plan {shown.plan_hash}"] if shown.plan_hash is not None else []
    blocks = sum(1 for found in shown.findings if found.severity == "block")
    if blocks:
        verb = "blocks" if blocks == 1 else "block"
        lines.append(f"it does not run: {count(blocks, 'finding')} {verb} it")
    if not shown.runs:
        lines.append("mend what is said above, then plan again")
    elif not shown.changes:
        lines.append("nothing to do")
    elif shown.next:
        lines.append(f"run it: {shown.next}")
        if shown.plan is not None and shown.plan.approval:
            lines.append(f"then let it start: bumpless approve {shown.plan_hash}")
    return lines
