"""A release names the executor in one way only; everything else says what is wrong with it, with its line."""

from __future__ import annotations

import pytest

from bumpless.common.model.release import Driver
from bumpless.common.release_file import ReleaseInvalid, parse_release_file

RELEASE = """\
version: "2"
components:
  {name}:
    artifact: tree
    run: {run}
"""


def test_the_executor_needs_no_command() -> None:
    release = parse_release_file(RELEASE.format(name="executor", run="{driver: executor}"), "r.yaml")
    (component,) = release.components
    assert component.run is not None
    assert (component.run.driver, component.run.command) == (Driver.EXECUTOR, ())


@pytest.mark.parametrize(
    ("name", "run", "line", "text"),
    [
        ("web", "{driver: executor}", 3, "expected the name 'executor'"),
        ("executor", "{command: [python3]}", 3, "expected the name 'executor'"),
        (
            "executor",
            "{driver: executor, command: [python3]}",
            5,
            "expected no command, listen, env and overlap",
        ),
        ("executor", "{driver: executor, env: {A: b}}", 5, "expected no command, listen, env and overlap"),
        ("web", "{}", 5, "expected a `command`, found none"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, run: str, line: int, text: str) -> None:
    with pytest.raises(ReleaseInvalid) as refused:
        parse_release_file(RELEASE.format(name=name, run=run), "r.yaml")
    (problem,) = refused.value.problems
    assert text in problem.text
    assert problem.line == line
