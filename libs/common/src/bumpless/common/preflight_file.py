"""The rules of a fleet, as an operator writes them: YAML of the form of `preflight` in a release file."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bumpless.common.model.preflight import Preflight


def read_preflight(path: Path) -> Preflight:
    """Raises: OSError, if it cannot be read; ValueError, if it is no such file."""
    try:
        written = YAML(typ="safe").load(path.read_text())
    except YAMLError as error:
        raise ValueError(f"expected YAML in {path}, found: {error}") from error
    return Preflight.model_validate(written or {})
