"""The documentation site: every Markdown page of the repository that is written for readers, with its links as they are.

`python docs/site/build.py [FOLDER]` builds into FOLDER, by default build/docs/site. Fails at any warning: a link to
nothing, or to a heading that is not there.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOP = ("README", "ARCHITECTURE", "GLOSSARY", "CONTRIBUTING", "SECURITY", "CHANGELOG")
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)")

sys.path.insert(0, str(HERE))
from order import order  # noqa: E402 - the file beside this one


def pages() -> list[str]:
    """Paths from the root of the repository: the pages at its top, all of docs, and every other page they link to."""
    start = [ROOT / f"{name}.md" for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))
    found = [path.relative_to(ROOT).as_posix() for path in start]
    for page in found:  # grows while it is walked
        found += sorted({link for link in _linked(page) if link.endswith(".md")} - set(found))
    return sorted(found)


def stage(out: Path) -> list[str]:
    """Copy the pages to `out`, and with them the files that they show or link to; the pages."""
    shutil.rmtree(out, ignore_errors=True)
    found = pages()
    for name in {*found, *(link for page in found for link in _linked(page))}:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, out / name)
    return found


def _linked(page: str) -> Iterator[str]:
    """Files of the repository that `page` links to."""
    source = ROOT / page
    targets = LINK.findall(source.read_text()) + re.findall(r'(?:src|srcset)="([^":]+)"', source.read_text())
    for target in targets:
        path = (source.parent / target).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            yield path.relative_to(ROOT).as_posix()


def main(site: Path) -> None:
    work = ROOT / "build/docs/pages"
    config = load_config(
        str(HERE / "mkdocs.yml"), docs_dir=str(work), site_dir=str(site), nav=order(stage(work)), strict=True
    )
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")  # the anchors of GitHub
    build(config)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/docs/site").resolve())
    except Abort as error:
        sys.exit(str(error))
