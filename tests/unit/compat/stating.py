"""Short ways to state what fits together."""

from __future__ import annotations

from bumpless.common.compat.matrix import Blocked, Matrix, Statement
from bumpless.common.compat.pairs import Accepts
from bumpless.common.model.level import Level
from bumpless.common.model.version import Version, VersionRange


def v(text: str) -> Version:
    return Version.parse(text)


def matrix(
    component: str,
    *stated: tuple[str, str, str],
    stops: tuple[str, ...] = (),
    blocked: tuple[Blocked, ...] = (),
) -> Matrix:
    """(old, new, level) of every statement."""
    rows = tuple(Statement(v(old), v(new), Level(level), "stated") for old, new, level in stated)
    return Matrix(component, rows, frozenset(map(v, stops)), blocked)


def accepts(client: str, versions: str, provider: str, taken: str) -> Accepts:
    return Accepts(client, VersionRange.parse(versions), provider, VersionRange.parse(taken))


MATRIX_A = matrix(
    "metadata-service",
    ("1.0.0", "1.1.0", "full"),
    ("1.1.0", "2.0.0", "backward"),
    ("2.0.0", "2.1.0", "full"),
    ("2.1.0", "3.0.0", "backward"),
)
MATRIX_B = matrix(
    "metadata-service",
    ("1.0.0", "1.1.0", "full"),
    ("1.1.0", "1.2.0", "full"),
    ("1.0.0", "1.2.0", "backward"),
    ("2.0.0", "2.1.0", "full"),
)
