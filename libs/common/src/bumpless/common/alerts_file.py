"""The alerts file of a fleet, as an operator writes it: YAML of the form of `model.alerting.AlertsFile`."""

from __future__ import annotations

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bumpless.common.model.alerting import AlertsFile
from bumpless.common.zones import zone_of

MAX_BYTES = 1 << 20


def read_alerts(text: str, where: str) -> AlertsFile:
    """Raises: ValueError, if `text`, which stands in `where`, is no such file; says every fault with its place."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} characters in {where}, found {len(text)}")
    try:
        written = YAML(typ="safe").load(text)
    except (YAMLError, RecursionError) as error:
        raise ValueError(f"expected YAML in {where}, found: {error}") from error
    try:
        file = AlertsFile.model_validate({} if written is None else written)
    except ValidationError as error:
        found = [
            ".".join(str(part) for part in fault["loc"]) + (": " if fault["loc"] else "") + fault["msg"]
            for fault in error.errors(include_url=False)
        ]
        raise ValueError(f"{where}: " + "; ".join(found)) from error
    for window in file.windows:
        try:
            zone_of(window.window.zone)
        except ValueError as error:
            raise ValueError(f"{where}: windows.{window.name}: {error}") from error
    return file
