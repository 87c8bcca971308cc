"""The command reference, the schemas of what commands print, and the man pages: made of the commands."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bumpless.cli import reference
from support.snapshots import ROOT, Snapshots


def test_the_reference(snapshots: Snapshots) -> None:
    snapshots.check("docs/reference/commands.md", reference.markdown())


def test_the_schemas_of_what_is_printed(snapshots: Snapshots) -> None:
    made = reference.schemas()
    for path, schema in made.items():
        snapshots.check_json(path, schema)
    stored = {str(file.relative_to(ROOT)) for file in (ROOT / reference.SCHEMAS).iterdir()}
    assert stored == set(made), "schemas of commands that are no more are removed"


def test_man_pages() -> None:
    pages = reference.man_pages()
    assert set(pages) >= {"bumpless.1", "bumpless-rollout-watch.1", "bumpless-alert-silence-add.1"}
    text = pages["bumpless-plan.1"]
    assert ".SH EXIT STATUS" in text
    assert "bumpless plan release.yaml" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff (Debian package groff-base)")
def test_roff_has_nothing_to_complain_about() -> None:
    joined = "".join(reference.man_pages().values())
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", "-k"],
        input=joined,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
