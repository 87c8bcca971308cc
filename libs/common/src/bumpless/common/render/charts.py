"""The graph of batches in the languages of Mermaid and Graphviz. Pure."""

from __future__ import annotations

import json
import re

from bumpless.common.model.plan import Plan
from bumpless.common.render.groups import Group, groups, marks, summary

_PLAIN = re.compile(r"[A-Za-z0-9]")


def mermaid(plan: Plan) -> str:
    """A Mermaid flow chart; canaries, approvals and batches without a free way back have classes."""
    shown = groups(plan)
    lines = ["flowchart TD"]
    for group in shown:
        lines.append(f'  {_name(group.id)}["{"<br/>".join(_escaped(line) for line in label(plan, group))}"]')
    lines += [f"  {_name(need)} --> {_name(group.id)}" for group in shown for need in group.needs]
    for kind, style in (
        ("canary", "stroke-dasharray:4"), ("approval", "stroke-width:3px"), ("horizon", "stroke:#b42318"),
    ):  # fmt: skip
        members = [_name(group.id) for group in shown if kind in kinds(group)]
        if members:
            lines += [f"  classDef {kind} {style}", f"  class {','.join(members)} {kind}"]
    return "\n".join(lines) + "\n"


def dot(plan: Plan) -> str:
    """The graph for Graphviz."""
    shown = groups(plan)
    lines = ["digraph plan {", "  rankdir=TB; node [shape=box];"]
    for group in shown:
        found = kinds(group)
        style = ', style="dashed"' if "canary" in found else ""
        style += ", penwidth=3" if "approval" in found else ""
        style += ', color="#b42318"' if "horizon" in found else ""
        text = json.dumps("\n".join(label(plan, group)), ensure_ascii=False)
        lines.append(f"  {json.dumps(group.id)} [label={text}{style}];")
    lines += [f"  {json.dumps(need)} -> {json.dumps(group.id)};" for group in shown for need in group.needs]
    return "\n".join([*lines, "}"]) + "\n"


def label(plan: Plan, group: Group) -> list[str]:
    """What stands in the box of a group: its name, what it does, what holds it up."""
    held = marks(group)
    return [group.name, summary(plan, group), *([", ".join(held)] if held else [])]


def kinds(group: Group) -> list[str]:
    batch = group.first
    flags = (("canary", batch.canary), ("approval", batch.approval), ("horizon", bool(batch.horizon)))
    return [kind for kind, on in flags if on]


def _name(batch_id: str) -> str:
    """Mermaid takes neither dashes nor dots in names, and no reserved word; escapes keep `a-b` and `a_b` apart."""
    return "b_" + "".join(
        char if _PLAIN.match(char) else "__" if char == "_" else "_" if char == "-" else f"_{ord(char):x}_"
        for char in batch_id
    )


def _escaped(text: str) -> str:
    """Without anything that Mermaid would take as markup."""
    return "".join(char if char not in '"<&#`[]{}|\\' else f"#{ord(char)};" for char in text)
