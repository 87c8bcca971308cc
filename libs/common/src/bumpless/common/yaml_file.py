"""A file that an operator writes in YAML, as a model: every fault with its place."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MAX_CHARACTERS = 1 << 20
M = TypeVar("M", bound=BaseModel)


def read_yaml(text: str, where: str, model: type[M]) -> M:
    """Raises: ValueError, if `text`, which stands in `where`, is no such file; says every fault with its place."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"expected at most {MAX_CHARACTERS} characters in {where}, found {len(text)}")
    try:
        written = YAML(typ="safe").load(text)
    except (YAMLError, RecursionError) as error:
        raise ValueError(f"expected YAML in {where}, found: {error}") from error
    try:
        return model.model_validate({} if written is None else written)
    except ValidationError as error:
        found = [
            ".".join(str(part) for part in fault["loc"]) + (": " if fault["loc"] else "") + fault["msg"]
            for fault in error.errors(include_url=False)
        ]
        raise ValueError(f"{where}: " + "; ".join(found)) from error
