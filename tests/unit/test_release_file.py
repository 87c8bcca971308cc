"""What a release file says about components that cannot run twice."""

import pytest

from bumpless.common.release_file import ReleaseInvalid, parse_release_file

FILE = """
version: v1
components:
  till:
    run:
      command: [python3, main.py]
      overlap: false
      timing: {%s}
"""


@pytest.mark.parametrize("timing", ["", "lame_duck_s: 1", "warm_s: 0"])
def test_no_warm_time_is_needed(timing: str) -> None:
    (till,) = parse_release_file(FILE % timing, "release.yaml").components
    assert till.run is not None
    assert not till.run.overlap


def test_a_warm_time_that_would_have_no_effect_is_refused_with_its_line() -> None:
    with pytest.raises(ReleaseInvalid) as caught:
        parse_release_file(FILE % "warm_s: 60", "release.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.where) == (5, "till.run.timing.warm_s")
    assert "expected no warm_s with overlap: false" in problem.text
