"""A release report: what it says of a rollout that was taken back, and pages that nothing can break out of."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from bumpless.common.contract import commands as c
from bumpless.common.contract.base import RolloutId
from bumpless.common.model.rollout import Rollout
from bumpless.common.model.verdict import Curve, Evidence, Reason, Verdict
from bumpless.common.render.gate_curves import drawing, sparkline
from bumpless.common.render.replay import Decided
from bumpless.common.render.report import Report, report
from bumpless.common.render.report_pages import html, markdown, timeline
from bumpless.common.shell.rollouts import RolloutKind
from bumpless.rollback.reverse import reverse
from support.evidence import found_by_test
from support.plans import GATE, at, batch, plan
from support.rollouts import Course, rolling

PLAN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", ["n1", "n2"], needs=["db-1"], gate=GATE),
)
EVIL = "<script>alert(1)</script> | `x`"


def decided(course: Course) -> list[Decided[Rollout | None]]:
    class Known:
        def known(self, plan_hash: str) -> object:
            return course.plan

    kind = RolloutKind("planner", Known(), None)  # type: ignore[arg-type]
    state, found = None, []
    for version, (message, now) in enumerate(course.fed, start=1):
        made = kind.decide(state, message, now)
        assert made.state is not None
        found.append(Decided(version, now, state, message, made.state, made.messages, made.notes))
        state = made.state
    return found


def taken_back() -> Report:
    course = rolling(PLAN)
    course.feed(course.order(c.Pause, reason=EVIL))
    course.feed(course.order(c.Resume, reason="fine"))
    course.finish("db-1")
    course.finish("api-1")
    evidence = (Evidence(rule="error_rate", verdict=Verdict.FAIL, text="12 % against 0.1 %"),)
    course.feed(
        course.verdict("api-1", Verdict.FAIL, reason=Reason.REGRESSION, detail=EVIL, evidence=evidence)
    )
    back_plan = reverse(course.state, revert=RolloutId("revert-1"), number=0)
    back = Course(back_plan)
    for name in [found.id for found in back_plan.batches] * 2:
        back.finish(name)
    return report([(course.plan, decided(course)), (back_plan, decided(back))])


def test_what_it_says() -> None:
    found = taken_back()
    assert found.changes == ("db v1 -> v2", "api v1 -> v2")
    first, second = found.courses
    assert [(span.batch, span.status) for span in first.spans] == [("db-1", "passed"), ("api-1", "failed")]
    assert all(span.ended is not None and span.ended >= span.began for span in first.spans)
    assert [(gate.batch, gate.verdict) for gate in first.gates] == [("api-1", Verdict.FAIL)]
    assert (second.of, second.status) == (PLAN.rollout, "reverted")
    assert [one.what for one in found.incidents][:2] == ["gate", "failed"]
    forward = [one for one in found.people if one.what != "took it back"]
    assert [(one.what, one.by) for one in forward] == [("started", "ci"), ("pause", "ann"), ("resume", "ann")]
    assert "accepted: paused" in forward[1].text


def test_html_stands_alone_and_nothing_breaks_out() -> None:
    page = html(taken_back())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=|@import|url\(", page), "nothing from elsewhere"
    ElementTree.fromstring(page.removeprefix("<!doctype html>\n").replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width">', ""
    ))  # fmt: skip


def test_a_time_line_has_a_bar_for_every_batch() -> None:
    drawn = ElementTree.fromstring(timeline(taken_back().courses[0]))
    kinds = [found.get("class") for found in drawn if found.tag == "rect"]
    assert kinds == ["apply", "apply", "failed"]


def test_markdown_has_pictures_and_whole_tables() -> None:
    page = markdown(taken_back())
    assert page.count("```mermaid") == 2
    assert "crit, " in page
    assert "<script" not in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (4, 5, 6, 8) for row in rows)
    assert "12 % against 0.1 %" in page


def test_a_rollout_that_goes_on_has_no_end() -> None:
    course = rolling(PLAN)
    found = report([(course.plan, decided(course))])
    assert found.courses[0].ended is None
    assert "it goes on" in html(found)


CURVE = Curve(since=at(0), step_s=0.5, bound=4.6, log_m=tuple(0.01 * n - 0.5 for n in range(2000)))
TESTED = found_by_test(
    Verdict.FAIL,
    CURVE,
    rule="sequential_errors",
    observed=0.0559,
    baseline=0.0059,
    limit=None,
    samples=1216,
    text=EVIL,
    alpha=0.01,
    log_batch=4.7,
    log_release=4.7,
    nodes=(1, 3),
    judged_s=46,
)


def judged() -> Report:
    course = rolling(PLAN)
    course.finish("db-1")
    course.finish("api-1")
    course.feed(course.verdict("api-1", Verdict.FAIL, reason=Reason.REGRESSION, evidence=(TESTED,)))
    return report([(course.plan, decided(course))])


def test_evidence_is_drawn_against_its_bound() -> None:
    drawn = ElementTree.fromstring(drawing("api-1", "errors", CURVE))
    (line,) = [found for found in drawn if found.tag == "polyline"]
    heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    assert len(heights) <= 600
    assert heights == sorted(heights, reverse=True), "it grows"
    (bound,) = [float(found.attrib["y1"]) for found in drawn if found.get("class") == "bound"]
    assert heights[-1] < bound < heights[0]
    assert "1e+06 to 1 after" in drawn.attrib["aria-label"]


def test_evidence_in_a_line_ends_full_where_the_bound_was_crossed() -> None:
    crossed = sparkline(CURVE)
    assert crossed.split()[0][-1] == "█"
    assert crossed.endswith("bound 99.5 to 1")
    below = CURVE.model_copy(update={"log_m": (0.0, -1.0, 2.3)})
    assert sparkline(below) == "▁▁▅ 9.97 to 1, bound 99.5 to 1"


def test_pages_show_batches_curves_and_both_sides() -> None:
    page = html(judged(), PLAN)
    for wanted in ('class="evidence"', 'id="plan-title"', "<td>0.0559</td><td>0.0059</td>", "<td>1216</td>"):
        assert wanted in page
    assert "<script" not in page
    text = markdown(judged(), PLAN)
    assert text.count("```mermaid") == 2
    assert "| api-1 | sequential\\_errors | ▁" in text
