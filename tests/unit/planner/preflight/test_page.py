"""docs/preflight.md, the enum and the checks speak of the same codes."""

from __future__ import annotations

import re
from pathlib import Path

from bumpless.common.model.finding import Code

ROOT = Path(__file__).resolve().parents[4]
ROW = re.compile(
    r"^\| `(?P<code>[A-Z_]+)` \| (?P<severity>[^|]+) \| [^|]+ \| [^|]+ \| (?P<waivable>yes|no) \|$"
)


def rows() -> dict[str, re.Match[str]]:
    lines = (ROOT / "docs" / "preflight.md").read_text().splitlines()
    return {found["code"]: found for line in lines if (found := ROW.match(line))}


def test_the_page_lists_every_code_and_no_other() -> None:
    assert list(rows()) == [code.value for code in Code]


def test_every_code_is_found_somewhere() -> None:
    places = [ROOT / "services/planner/src", ROOT / "libs/common/src/bumpless/common"]
    sources = "".join(
        file.read_text() for place in places for file in place.rglob("*.py") if file.name != "finding.py"
    )
    assert [code for code in Code if f"Code.{code.name}" not in sources] == []
