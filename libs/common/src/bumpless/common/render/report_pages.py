"""A release report as a page: Markdown with Mermaid pictures, and HTML that needs nothing but itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from bumpless.common.model.plan import Plan
from bumpless.common.render import charts
from bumpless.common.render.gate_curves import curves, drawing, sides, sparkline
from bumpless.common.render.report import Course, Gate, Happened, Report, Span
from bumpless.common.render.svg import svg
from bumpless.common.render.words import count, duration

WIDTH, ROW, LEFT, RIGHT = 900, 22, 150, 60
_BATCHES = ("Batch", "Component", "Nodes", "Began", "Switched after", "Took", "Result")
_GATES = ("Batch", "Verdict", "After", "Why", "Evidence")
_SIDES = ("Rule", "Canary", "Baseline", "Limit", "Requests", "Says")
_HAPPENED = ("When (UTC)", "What", "Text")
_PEOPLE = ("When (UTC)", "Who", "What", "Reason and answer")
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --apply: #4a90d9; --bake: #e0a53a; --bad: #d9534f; --good: #3d9c56; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; margin: 1em 0; }
th, td { text-align: left; vertical-align: top; padding: .3em .6em; border-bottom: 1px solid var(--line); }
svg { width: 100%; height: auto; min-width: 640px; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.apply { fill: var(--apply); } .bake { fill: var(--bake); } .failed { fill: var(--bad); } .axis { stroke: var(--line); }
.evidence { fill: none; stroke: var(--apply); stroke-width: 2; } .bound { stroke: var(--bad); stroke-dasharray: 6 4; }
.wide { overflow-x: auto; } figure { margin: 1em 0; } h1, h2, li, p { overflow-wrap: anywhere; }
"""


def markdown(report: Report, plan: Plan | None = None) -> str:
    """For a wiki, a merge request or a mail; GitHub and GitLab draw the pictures. `plan` is the rollout's, to be drawn."""
    lines = [f"# {_md(_title(report))}", "", f"**{_md(_outcome(report))}**", ""]
    lines += [f"- {_md(change)}" for change in report.changes]
    if plan is not None:
        lines += ["", "## Batches", "", "```mermaid", charts.mermaid(plan).rstrip(), "```"]
    for course in report.courses:
        lines += ["", f"## {_md(_name(course))}", "", *(f"- {_md(fact)}" for fact in _facts(course)), ""]
        if course.spans:
            lines += ["```mermaid", *_gantt(course), "```", ""]
            lines += _md_table(_BATCHES, (_batch(span) for span in course.spans))
        if course.gates:
            lines += ["", "### Gates", "", *_md_table(_GATES, (_gate(gate) for gate in course.gates))]
            lines += _sparklines(course.gates)
    lines += ["", "## Incidents", ""]
    lines += _md_table(_HAPPENED, _happened(report.incidents)) if report.incidents else ["None."]
    lines += ["", "## Who did what", "", *_md_table(_PEOPLE, _people(report.people))]
    return "\n".join(lines) + "\n"


def html(report: Report, plan: Plan | None = None) -> str:
    """One file, without scripts and without anything from elsewhere. `plan` is the rollout's, to be drawn."""
    title = escape(_title(report))
    parts = [f"<h1>{title}</h1>", f"<p><strong>{escape(_outcome(report))}</strong></p>"]
    parts.append(_list(report.changes))
    if plan is not None:
        parts += ["<h2>Batches</h2>", _wide("The order of batches", svg(plan))]
    for course in report.courses:
        parts += [f"<h2>{escape(_name(course))}</h2>", _list(_facts(course))]
        if course.spans:
            parts.append(_wide("Batches on a time line", timeline(course)))
            parts.append(_table("Batches", _BATCHES, (_batch(span) for span in course.spans)))
        if course.gates:
            parts += ["<h3>Gates</h3>", _table("Gates", _GATES, (_gate(gate) for gate in course.gates))]
            parts += [_figures(gate) for gate in course.gates if gate.evidence]
    parts.append("<h2>Incidents</h2>")
    incidents = _table("Incidents", _HAPPENED, _happened(report.incidents))
    parts.append(incidents if report.incidents else "<p>None.</p>")
    parts += ["<h2>Who did what</h2>", _table("Who did what", _PEOPLE, _people(report.people))]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _figures(gate: Gate) -> str:
    """The evidence of one verdict: as it grew, and what was seen on either side."""
    drawn = "".join(
        f"<figure>{_wide(f'{one.rule} as it grew', drawing(gate.batch, one.rule, curve))}"
        f"<figcaption>{escape(one.rule)}</figcaption></figure>"
        for one, curve in curves(gate.evidence)
    )
    table = _table(f"Evidence of {gate.batch}", _SIDES, (sides(one) for one in gate.evidence))
    return f"<h4>{escape(gate.batch)}: {escape(str(gate.verdict))}</h4>{drawn}{table}"


def _sparklines(gates: Sequence[Gate]) -> list[str]:
    """The evidence as it grew, a line each."""
    rows = [
        (gate.batch, one.rule, sparkline(curve)) for gate in gates for one, curve in curves(gate.evidence)
    ]
    return ["", *_md_table(("Batch", "Rule", "Evidence as it grew"), rows)] if rows else []


def timeline(course: Course) -> str:
    """Batches on a time line as SVG: switching, then baking; failed ones end in red."""
    start = min(span.began for span in course.spans)
    ends = [span.ended or span.applied or span.began for span in course.spans]
    length = max((max(ends) - start).total_seconds(), 1e-3)
    scale = (WIDTH - LEFT - RIGHT) / length
    height = ROW * len(course.spans) + 30

    def x(at: datetime) -> float:
        return LEFT + (at - start).total_seconds() * scale

    rows = []
    for number, span in enumerate(course.spans):
        top = number * ROW + 4
        rows.append(f'<text x="0" y="{top + 12}">{escape(span.batch)}</text>')
        end = span.ended or span.applied or span.began
        for name, since, until in (
            ("apply", span.began, span.applied or end),
            ("bake", span.applied or end, end),
        ):
            kind = "failed" if span.status == "failed" and until == end else name
            width = max(x(until) - x(since), 0 if name == "bake" else 2)
            if width:
                rows.append(
                    f'<rect class="{kind}" x="{x(since):.1f}" y="{top}" width="{width:.1f}" height="{ROW - 8}"/>'
                )
        rows.append(f'<text x="{x(end) + 4:.1f}" y="{top + 12}">{escape(span.status)}</text>')
    bottom = height - 18
    rows.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>')
    rows.append(f'<text x="{LEFT}" y="{height - 4}">{start:%H:%M:%S} UTC</text>')
    rows.append(f'<text x="{WIDTH - RIGHT - 60}" y="{height - 4}">{escape(duration(length))}</text>')
    label = f"Time line of {count(len(course.spans), 'batch')}"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(rows)}</svg>'


def _gantt(course: Course) -> list[str]:
    lines = ["gantt", "    dateFormat x", "    axisFormat %H:%M:%S"]
    for component in dict.fromkeys(span.component for span in course.spans):
        lines.append(f"    section {component}")
        for span in course.spans:
            if span.component != component:
                continue
            end = span.ended or span.applied or span.began
            since, until = (int(at.timestamp() * 1000) for at in (span.began, end))
            mark = "crit, " if span.status == "failed" else ""
            lines.append(f"    {span.batch} ({span.status}) : {mark}{since}, {max(until, since + 1)}")
    return lines


# words


def _title(report: Report) -> str:
    return f"Release report: {report.product} {report.version}"


def _outcome(report: Report) -> str:
    first, last = report.courses[0], report.courses[-1]
    text = f"{report.product} {report.version}: {first.status}"
    if first.ended is not None:
        text += f" after {duration((first.ended - first.began).total_seconds())}"
    if last is not first:
        text += f"; its revert: {last.status}"
    return text + (f" ({first.reason})" if first.reason else "")


def _name(course: Course) -> str:
    return f"{'Rollout' if course.of is None else 'Revert'} {course.rollout}"


def _facts(course: Course) -> list[str]:
    until = "; it goes on" if course.ended is None else f" until {course.ended:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"from {course.began:%Y-%m-%d %H:%M:%S} UTC{until}",
        f"{course.status}, {course.steps_done} of {course.steps_total} steps",
        f"plan {course.plan_hash}",
    ]


def _batch(span: Span) -> Sequence[str]:
    applied, took = (
        "" if at is None else duration((at - span.began).total_seconds()) for at in (span.applied, span.ended)
    )
    result = span.status + (f": {span.reason}" if span.reason else "")
    return (
        span.batch,
        span.component,
        str(span.nodes),
        f"{span.began:%H:%M:%S}",
        applied,
        took,
        result,
    )


def _gate(gate: Gate) -> Sequence[str]:
    after = duration((gate.decided - gate.opened).total_seconds())
    evidence = "; ".join(f"{one.rule}: {one.text}" for one in gate.evidence)
    return gate.batch, str(gate.verdict), after, f"{gate.reason}: {gate.detail}", evidence


def _happened(found: Sequence[Happened]) -> Iterable[Sequence[str]]:
    return ((f"{one.at:%Y-%m-%d %H:%M:%S}", one.what, one.text) for one in found)


def _people(found: Sequence[Happened]) -> Iterable[Sequence[str]]:
    return ((f"{one.at:%Y-%m-%d %H:%M:%S}", one.by, one.what, one.text) for one in found)


# forms


def _md(text: str) -> str:
    """Nothing of it is markup or a cell's end."""
    safe = " ".join(text.split())
    for mark in "\\`*_[]|#":
        safe = safe.replace(mark, "\\" + mark)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _md_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return head + ["| " + " | ".join(_md(cell) for cell in row) + " |" for row in rows]


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(name: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return _wide(name, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _wide(name: str, inner: str) -> str:
    """What may be wider than a phone is moved by itself, with a finger or by the keyboard."""
    return f'<div class="wide" role="group" tabindex="0" aria-label="{escape(name)}">{inner}</div>'
