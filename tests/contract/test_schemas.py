"""The contract as documents for other languages: JSON Schemas, as stored in docs/schemas."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bumpless.common.contract import wire
from bumpless.common.contract.alert_hook import AlertHookRan, RunAlertHook
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.contract.stage_check import StageCheck, StageChecked
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.model.eventing import EventsFile
from bumpless.common.model.release import Release, ReleaseFile
from bumpless.common.render import PlanView
from bumpless.common.render.compared import Comparison
from bumpless.common.render.replay import Replay
from support.samples import SAMPLES
from support.snapshots import Snapshots

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def messages_schema() -> dict[str, Any]:
    """One schema for every message: `oneOf` over all types, told apart by `type`."""
    kinds = [wire.TYPES[name] for name in sorted(wire.TYPES)]
    refs, schema = models_json_schema([(kind, "validation") for kind in kinds], title="Bumpless messages")
    return {
        "$schema": DRAFT,
        **schema,
        "oneOf": [refs[kind, "validation"] for kind in kinds],
    }


def test_messages(snapshots: Snapshots) -> None:
    snapshots.check_json("docs/schemas/messages.json", messages_schema())


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ReleaseFile, "release-file"),
        (Release, "release"),
        (StageCheck, "stage-check"),
        (StageChecked, "stage-checked"),
        (GateDryRun, "gate-dry-run"),
        (GateDryRunAnswer, "gate-dry-run-answer"),
        (RunAlertHook, "run-alert-hook"),
        (AlertHookRan, "alert-hook-ran"),
        (PlanView, "plan-view"),
        (Comparison, "rollout-comparison"),
        (Replay, "rollout-replay"),
        (AlertsFile, "alerts-file"),
        (EventsFile, "events-file"),
    ],
)
def test_models(snapshots: Snapshots, model: type[BaseModel], name: str) -> None:
    snapshots.check_json(f"docs/schemas/{name}.json", {"$schema": DRAFT, **model.model_json_schema()})


def test_every_sample_fits_the_schema_of_its_type() -> None:
    schema = messages_schema()
    for kind, message in SAMPLES.items():
        named = {"$ref": f"#/$defs/{kind.__name__}", "$defs": schema["$defs"]}
        raw = json.loads(wire.encode(message))
        raw.get("samples", {}).pop("inflight", None)
        jsonschema.Draft202012Validator(named).validate(raw)


def test_the_smallest_release_file_is_read() -> None:
    parts = {
        "database": {"version": "v2"},
        "cache": {"version": "v2", "depends_on": ["database"]},
        "api": {"version": "v2", "depends_on": ["cache"]},
        "gateway": {"version": "v2", "depends_on": ["api"]},
    }
    raw = {"components": parts, "strategy": "rolling", "rollback_policy": "auto"}
    found = ReleaseFile.model_validate(raw)
    assert [part.name for part in found.components] == list(parts)
    with pytest.raises(ValueError, match="rollback_polcy"):
        ReleaseFile.model_validate({**raw, "rollback_polcy": "auto"})
