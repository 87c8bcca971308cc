"""The documentation site: it builds without a warning, has every page once, and asks nobody else for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "docs/site/build.py"
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src(?:set)?=\"?(https?:)?//|<link[^>]+rel=\"?stylesheet[^>]+(https?:)?//",
    re.I,
)

sys.path.insert(0, str(BUILD.parent))
from order import HOME, order  # noqa: E402 - beside the script that builds the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, str(BUILD), str(out)], capture_output=True, text=True, check=False, timeout=240
    )
    assert ended.returncode == 0, f"`make docs` fails:\n{ended.stdout}{ended.stderr}"
    assert "WARNING" not in ended.stderr, ended.stderr
    return out


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT).with_suffix("")
        built = site / (name.parent if name.name == "README" else name) / "index.html"
        assert built.is_file(), (
            f"{name}.md has no page in the site; docs/site/order.py says where pages stand"
        )


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    asked = [page for page in site.rglob("*.html") if FETCHED.search(page.read_text())]
    assert not asked, f"these pages load something from other hosts: {asked}"


def test_the_pictures_are_there(site: Path) -> None:
    assert "bumpless-light.svg" in (site / "index.html").read_text()
    assert (site / "docs/images/bumpless-light.svg").is_file()


def test_an_unknown_page_stands_in_the_section_of_its_folder() -> None:
    pages = [HOME, "docs/tutorial.md", "docs/runbooks/new.md", "docs/new.md", "docs/new/deep.md"]
    found = order(pages)
    assert sorted(_flat(found)) == sorted(pages)
    sections = {title: listed for entry in found[1:] for title, listed in entry.items()}
    assert sections["Runbooks"] == ["docs/runbooks/new.md"]
    assert sections["Reference"] == ["docs/new.md", "docs/new/deep.md"]


def _flat(nav: list[Any]) -> list[str]:
    return [
        page for entry in nav for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))
    ]
