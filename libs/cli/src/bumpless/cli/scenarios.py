"""Scenario files of a release: read beside it and put in place, so that what is signed is whole."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.probe import Probe
from bumpless.common.model.release import ReleaseFile
from bumpless.common.model.scenario import ScenarioFile

MAX_BYTES = 256 << 10


def with_scenarios(release: ReleaseFile, folder: Path) -> ReleaseFile:
    """`release` with every `scenario_file` of its gates, found from `folder`, read into its place.

    Raises:
        Refused: a file is not there, or no scenario; says where.
    """
    components = tuple(
        one if one.gate is None else one.model_copy(update={"gate": _read(one.gate, folder)})
        for one in release.components
    )
    gate = None if release.gate is None else _read(release.gate, folder)
    return release.model_copy(update={"gate": gate, "components": components})


def _read(gate: GateSpec, folder: Path) -> GateSpec:
    if all(probe.scenario_file is None for probe in gate.probes):
        return gate
    return gate.model_copy(update={"probes": tuple(_in_place(probe, folder) for probe in gate.probes)})


def _in_place(probe: Probe, folder: Path) -> Probe:
    if probe.scenario_file is None:
        return probe
    path = folder / probe.scenario_file
    return probe.model_copy(update={"scenario": read_scenario(path), "scenario_file": None})


def read_scenario(path: Path) -> ScenarioFile:
    """The scenario in a YAML file. Raises: Refused."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("a scenario file in UTF-8", f"{path}: {error}") from error
    if len(text) > MAX_BYTES:
        raise Refused(f"a scenario file of at most {MAX_BYTES} bytes", f"{len(text)} in {path}")
    try:
        # Dates are texts in JSON, and scenarios speak JSON.
        plain = json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))
        return ScenarioFile.model_validate(plain)
    except (YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise Refused("a scenario", f"{path}: {where}: {first['msg']}") from error
        raise Refused("YAML", f"{path}: {error}") from error
