"""The alerts file of a fleet, as an operator writes it: YAML of the form of `model.alerting.AlertsFile`."""

from __future__ import annotations

from bumpless.common.model.alerting import AlertsFile
from bumpless.common.yaml_file import read_yaml
from bumpless.common.zones import zone_of


def read_alerts(text: str, where: str) -> AlertsFile:
    """Raises: ValueError, if `text`, which stands in `where`, is no such file; says every fault with its place."""
    file = read_yaml(text, where, AlertsFile)
    for window in file.windows:
        try:
            zone_of(window.window.zone)
        except ValueError as error:
            raise ValueError(f"{where}: windows.{window.name}: {error}") from error
    return file
