"""How a rollout is told in a pipe, as data, and in the logs of CI systems."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bumpless.cli.output import Format, Output
from bumpless.cli.telling import telling
from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Message, MessageId, RolloutId
from bumpless.common.model.plan import Direction
from bumpless.common.model.verdict import Verdict
from support.plans import at

ROLLOUT = RolloutId("0123456789")


def progress(second: float, status: str, **more: Any) -> e.RolloutProgressed:
    fields = {"product": "shop", "release_version": "v2", "direction": Direction.FORWARD, "rollout": ROLLOUT}
    version = int(second * 1000)
    return e.RolloutProgressed(
        **{
            **fields,
            "id": MessageId(f"p{second}"),
            "at": at(second),
            "since": at(second),
            "status": status,
            "version": version,
            **more,
        }
    )


def gate(second: float, verdict: Verdict) -> e.GateProgressed:
    fields = {"rollout": ROLLOUT, "batch": BatchId("api-1"), "verdict": verdict}
    return e.GateProgressed(id=MessageId(f"g{second}"), at=at(second), detail="50% errors,\nof 20", **fields)


FAILS: list[tuple[Message, str]] = [
    (progress(1, "staging"), "staging"),
    (progress(2, "rolling"), "rolling"),
    (progress(2, "rolling"), "rolling"),
    (gate(3, Verdict.FAIL), "gate"),
    (progress(4, "failed", until=at(900), batches={"api-1": "failed"}, reason="gate api-1"), "failed"),
    (progress(4, "failed", until=at(900), batches={"api-1": "failed"}, reason="gate api-1"), "failed again"),
    (progress(5, "rolling", rollout="99999999-revert", of=ROLLOUT, direction=Direction.REVERT), "back"),
    (progress(6, "reverted", rollout="99999999-revert", of=ROLLOUT, direction=Direction.REVERT), "is back"),
    (progress(6, "reverted", reason="gate api-1"), "reverted"),
]


def tell(environment: dict[str, str], format: Format = Format.TABLE) -> None:
    told, watched = telling(Output(format), environment), Watched(ROLLOUT)
    for message, text in FAILS:
        watched.take(message)
        told.tell(message, text)
    told.end(watched)


def test_a_pipe_gets_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    tell({})
    said = capsys.readouterr().out.splitlines()
    assert said == ["staging", "rolling", "gate", "failed", "failed again", "back", "is back", "reverted"]


def test_data_is_one_message_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell({"GITHUB_ACTIONS": "true"}, Format.JSON)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["type"] for one in said][:4] == ["rollout-progressed"] * 3 + ["gate-progressed"]
    assert said[-1]["status"] == "reverted"


def test_github_folds_and_annotates(capsys: pytest.CaptureFixture[str]) -> None:
    tell({"GITHUB_ACTIONS": "true", "CI": "true"})
    said = capsys.readouterr().out.splitlines()
    assert said[:6] == [
        "::group::rollout 01234567 staging",
        "staging",
        "::endgroup::",
        "::group::rollout 01234567 rolling",
        "rolling",
        "gate",
    ]
    errors = [line for line in said if line.startswith("::error")]
    assert errors == [
        "::error title=gate api-1 failed::50%25 errors,%0Aof 20",
        f"::error title=batch api-1 failed::of shop v2 in rollout {ROLLOUT}",
        "::error title=shop v2 reverted::gate api-1; revert 99999999-revert is reverted",
    ]
    assert said.count("::endgroup::") == sum(line.startswith("::group::") for line in said)


def test_gitlab_folds_sections_that_close(capsys: pytest.CaptureFixture[str]) -> None:
    tell({"GITLAB_CI": "true", "CI": "true"})
    text = capsys.readouterr().out
    begun, ended = text.count("section_start:"), text.count("section_end:")
    assert begun == ended == 6
    assert f"\x1b[0Ksection_start:{int(at(1).timestamp())}:rollout_01234567_staging\r\x1b[0K" in text
    assert "ERROR: gate api-1 failed: 50% errors, of 20" in text


def test_what_waits_for_a_person_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    told = telling(Output(), {"GITHUB_ACTIONS": "true"})
    told.tell(progress(1, "paused", until=at(60), batches={"api-2": "awaiting-approval"}), "x")
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::warning")]
    assert warnings == [
        "::warning title=batch api-2 awaits approval::`bumpless approve` with --batch api-2",
        "::warning title=shop v2 is paused::waits for you, until 12:01 UTC",
    ]
