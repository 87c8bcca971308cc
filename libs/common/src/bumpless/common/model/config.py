"""Configuration files of a component: as a release file describes them, and as they reach a node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from bumpless.common.contract.base import Digest, StrictModel, canonical_json
from bumpless.common.model.compat import RecordEdgeFile, VersionText

MAX_CONFIG_BYTES = 16 << 10
"""All files of one component together, in one rendering: they travel in plans and commands, and stand in journals."""


class ConfigFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    INI = "ini"
    ENV = "env"


def _relative(path: str) -> str:
    parts = path.split("/")
    if not path or len(path) > 200 or any(p in ("", ".", "..") or "\0" in p for p in parts):
        raise ValueError(f"expected a relative path such as config/app.yaml, found {path!r}")
    return path


ConfigPath = Annotated[str, AfterValidator(_relative)]


class ConfigSource(StrictModel):
    """One file. `path` is where the instance finds it below {config}, `file` where it lies beside the release file.

    `schemas` and `edges` name the versions of the component from which on the file has another form; between them the
    form is that of the latest one. `written_for`: the form that `file` has, where it is not that of the component's version.
    """

    path: ConfigPath
    file: str = Field(min_length=1)
    format: ConfigFormat | None = None
    written_for: VersionText | None = None
    schemas: dict[VersionText, str] = Field(min_length=1)
    edges: tuple[RecordEdgeFile, ...] = ()


class ConfigContent(StrictModel):
    """One file as it reaches a node. `both`: with the names that older versions read as well, where they differ."""

    path: ConfigPath
    content: str
    both: str | None = Field(default=None, exclude_if=lambda found: found is None)


def config_digest(files: Iterable[tuple[str, str]]) -> Digest:
    """Of (path, content) of all files of a component, in any order."""
    return Digest("sha256:" + hashlib.sha256(canonical_json(sorted(map(list, files)))).hexdigest())
