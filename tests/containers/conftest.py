"""Nothing here runs where Docker or the images are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.compose import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    if ours and (reason := missing()):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=reason))
