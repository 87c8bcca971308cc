"""What a signed release knows of its pairs beside what is stated in `compat.pairs`."""

from __future__ import annotations

from bumpless.common.compat.pairs import Says
from bumpless.common.model.release import Release


def sources(release: Release) -> tuple[Says, ...]:
    """One for every kind of evidence that the release brings."""
    return ()
