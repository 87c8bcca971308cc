"""The page that `bumpless plan` prints, word for word, in ten situations. Written again by `pytest --bless`."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import TypeVar
from xml.etree import ElementTree

import pytest

from bumpless.common import render
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.model.plan import Plan
from golden.situations import SITUATIONS, parallel_branches, thousand_nodes
from support.plans import batch, plan
from support.snapshots import Snapshots

COMMAND = "bumpless apply release.yaml --plan-hash"
T = TypeVar("T")
SVG = "{http://www.w3.org/2000/svg}"
DRAWINGS = {"graph": render.graph, "mermaid": render.mermaid, "dot": render.dot, "svg": render.svg}


@pytest.mark.parametrize("name", SITUATIONS)
def test_page(snapshots: Snapshots, name: str) -> None:
    situation = SITUATIONS[name]
    page = without_hash(render.page(render.view(situation.answer(), COMMAND)))
    snapshots.check(f"tests/golden/plans/{name}.txt", f"{situation.shows}\n\n{page}")


def without_hash(page: str) -> str:
    """The page as it stays when a field with a default is added to plans."""
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", page)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_drawings(snapshots: Snapshots, drawing: str) -> None:
    found = parallel_branches().plan
    assert found is not None
    snapshots.check(f"tests/golden/plans/04-parallel-branches.{drawing}.txt", DRAWINGS[drawing](found))


@pytest.mark.parametrize("name", [name for name, one in SITUATIONS.items() if one.answer().plan is not None])
def test_the_order_of_what_is_given_does_not_show(name: str) -> None:
    found = SITUATIONS[name].answer().plan
    assert found is not None
    other = shuffled(found)
    for draw in (*DRAWINGS.values(), lambda p: "\n".join(render.tree(p))):
        assert draw(other) == draw(found)
    pages = [render.view(PlanAnswer(plan=p, plan_hash=found.hash), COMMAND) for p in (found, other)]
    assert render.page(pages[0]) == render.page(pages[1])
    assert pages[0].capacity == pages[1].capacity


def shuffled(found: Plan) -> Plan:
    """The same plan with its batches, steps and needs in another order."""
    by = random.Random(5)

    def mixed(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(by.sample(items, len(items)))

    batches = tuple(
        one.model_copy(update={"steps": mixed(one.steps), "needs": mixed(one.needs)}) for one in found.batches
    )
    targets = dict(by.sample(list(found.targets.items()), len(found.targets)))
    return found.model_copy(
        update={"batches": mixed(batches), "targets": targets, "unchanged": mixed(found.unchanged)}
    )


@pytest.mark.parametrize("name", [name for name, one in SITUATIONS.items() if one.answer().plan is not None])
def test_pictures_are_xml_and_say_what_they_show(name: str) -> None:
    found = SITUATIONS[name].answer().plan
    assert found is not None
    root = ElementTree.fromstring(render.svg(found))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "plan-title plan-desc"
    said = root.findtext(f"{SVG}desc") or ""
    assert all(step.node in said or "…" in said or "more" in said for step in found.steps())
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
    assert "href" not in render.svg(found)


def wide() -> Plan:
    """200 batches that are told one by one: every component has two, and needs the one before it and an earlier one."""
    batches = []
    for number in range(100):
        needs = () if not number else (f"c{number - 1}-2", f"c{max(0, number - 7)}-1")
        batches += [
            batch(f"c{number}-1", ["n1"], component=f"c{number}", needs=needs, canary=True),
            batch(f"c{number}-2", ["n2"], component=f"c{number}", needs=(f"c{number}-1",)),
        ]
    return plan(*batches)


def test_200_batches_do_not_lie_on_each_other_and_no_line_crosses_a_box() -> None:
    root = ElementTree.fromstring(render.svg(wide()))
    boxes = [
        tuple(int(rect.get(key, "")) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if "box" in (rect.get("class") or "")
    ]
    assert len(boxes) == 200
    assert len({(x // 10, y // 10) for x, y, _, _ in boxes}) == 200
    for line in root.iter(f"{SVG}polyline"):
        points = [tuple(map(int, pair.split(","))) for pair in (line.get("points") or "").split()]
        for (x1, y1), (x2, y2) in pairwise(points):
            for x, y, width, height in boxes:
                beside = max(x1, x2) <= x or min(x1, x2) >= x + width
                assert beside or max(y1, y2) <= y or min(y1, y2) >= y + height


def test_a_terminal_shows_200_batches_a_row_each_and_every_line_arrives() -> None:
    lines = render.graph(wide()).splitlines()
    assert sum("●" in line for line in lines) == 200
    assert max(map(len, lines)) < 120


def test_a_thousand_nodes_are_few_lines() -> None:
    assert len(render.page(render.view(thousand_nodes(), COMMAND)).splitlines()) < 50


def test_what_a_name_could_do_to_a_picture_is_taken_from_it() -> None:
    made = plan(batch('a"]<script>&-1', ["n1"]))
    ElementTree.fromstring(render.svg(made))
    assert "<script>" not in render.svg(made)
    assert '"]<' not in render.mermaid(made)
    assert '\\"' in render.dot(made)
