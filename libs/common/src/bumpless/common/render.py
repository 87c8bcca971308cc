"""Words and pictures of plans and rollouts: one place for previews, status, goldens and logs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bumpless.common.contract.events import LoggedInput, RolloutAdvanced, RolloutProgressed
from bumpless.common.model.plan import Batch, Plan, Step


def plan(value: Plan) -> str:
    """The plan as text: what, in which order, within which limits."""
    changed = sum(1 for _ in value.steps())
    head = [
        f"{value.product} {value.release_version}: {changed} steps in {len(value.batches)} batches, "
        f"{len(value.unchanged)} unchanged",
        f"direction {value.direction}, generation {value.generation}, "
        f"at most {value.max_unavailable} nodes out at once, rollback {value.rollback_policy}",
    ]
    body: list[str] = []
    for batch in value.batches:
        after = f" after {', '.join(batch.needs)}" if batch.needs else " at once"
        marks = [mark for mark, on in (("canary", batch.canary), ("approval", batch.approval)) if on]
        if batch.gate is not None:
            marks.append(f"gate {batch.gate.window_s:g} s")
        if batch.wait_s:
            marks.append(f"waits {batch.wait_s:g} s")
        body.append(f"  {batch.id}{after}" + (f" [{', '.join(marks)}]" if marks else ""))
        body += [f"    {step.node}: {_change(value, step)}" for step in batch.steps]
    return "\n".join([*head, *body, f"plan {value.hash}"]) + "\n"


def plan_mermaid(value: Plan) -> str:
    """The graph of batches as a Mermaid flow chart."""
    lines = ["flowchart TD"]
    for batch in value.batches:
        nodes = len(batch.steps)
        kind = "canary, " if batch.canary else ""
        lines.append(f'  {_node(batch)}["{batch.id}<br/>{kind}{nodes} node{"s" if nodes != 1 else ""}"]')
    lines += [
        f"  {_node(value.batch(need))} --> {_node(batch)}" for batch in value.batches for need in batch.needs
    ]
    return "\n".join(lines) + "\n"


def plan_dot(value: Plan) -> str:
    """The graph of batches in Graphviz's language."""
    lines = ["digraph plan {", "  rankdir=TB; node [shape=box];"]
    lines += [f'  "{batch.id}" [label="{batch.id}\\n{len(batch.steps)} nodes"];' for batch in value.batches]
    lines += [f'  "{need}" -> "{batch.id}";' for batch in value.batches for need in batch.needs]
    return "\n".join([*lines, "}"]) + "\n"


def status(value: RolloutProgressed, now: datetime) -> str:
    """Where a rollout is, why, since when, until when, in one line."""
    verb = "revert" if value.of is not None else "rollout"
    line = (
        f"{verb} {value.rollout}: {value.product} {value.release_version}: {value.status}, "
        f"{value.steps_done} of {value.steps_total} steps, since {_ago(now, value.since)}"
    )
    if value.reason:
        line += f": {value.reason}"
    if value.until is not None:
        line += f" (next decision by {value.until:%H:%M:%S} UTC)"
    return line


def log_entry(entry: RolloutAdvanced) -> list[str]:
    """One change of a rollout: what came in, where it led, and why things did not happen."""
    moved = (
        entry.status
        if entry.status_before in (None, entry.status)
        else f"{entry.status_before} -> {entry.status}"
    )
    lines = [f"{entry.at:%H:%M:%S.%f}"[:-3] + f" v{entry.version} {moved}: {_inputs(entry.inputs)}"]
    return lines + [f"    {note}" for note in entry.notes]


def _inputs(inputs: Iterable[LoggedInput]) -> str:
    said = []
    for item in inputs:
        message = item.message
        detail = [
            str(message[key])
            for key in ("node", "component", "batch", "outcome", "verdict", "name")
            if message.get(key)
        ]
        said.append(f"{message.get('type')}" + (f" ({' '.join(detail)})" if detail else ""))
    return "; ".join(said)


def _change(value: Plan, step: Step) -> str:
    before = value.targets.get(step.before) if step.before is not None else None
    after = value.targets.get(step.after) if step.after is not None else None
    if after is None:
        return f"remove {step.component}"
    if before is None:
        return f"install {step.component} {after.version}"
    if before.root == after.root:
        return f"restart {step.component} {after.version} with changed settings"
    return f"{step.component} {before.version} -> {after.version}"


def _node(batch: Batch) -> str:
    """Mermaid takes no dashes in names; an escape keeps `a-b` and `a_b` apart."""
    return batch.id.replace("_", "__").replace("-", "_")


def _ago(now: datetime, then: datetime) -> str:
    seconds = max(0, int((now - then).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
