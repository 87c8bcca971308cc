"""A release report in a browser: one file that asks nobody for anything, readable on a phone and for a screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bumpless.common.render.report_pages import html
from support.dashboard_lab import browser, needs_chromium
from support.dashboard_room import serious
from unit.render.test_report import PLAN, judged, taken_back

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}


@pytest.mark.parametrize("made", [taken_back, judged])
async def test_a_report_stands_alone_and_is_readable(tmp_path: Path, made: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(html(made(), PLAN))
    async with browser() as chromium:
        for view, options in VIEWS.items():
            context = await chromium.new_context(**options)  # type: ignore[attr-defined]
            page = await context.new_page()
            asked: list[str] = []
            faults: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            page.on("console", lambda said, faults=faults: faults.append(said.text))
            await page.goto(file.as_uri())
            assert (asked, faults) == ([file.as_uri()], []), view
            assert await serious(page) == [], view
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= page.viewport_size["width"], f"{view}: {wide} px wide"
            await context.close()
