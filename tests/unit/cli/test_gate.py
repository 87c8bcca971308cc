"""`bumpless gate replay` and `simulate` on stored traces, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bumpless.cli.commands import run
from bumpless.common.errors import Refused
from bumpless.common.release_file import ReleaseInvalid

TRACES = Path(__file__).parents[2] / "fixtures" / "gate"
GOOD, ERRORS, SLOW = (str(TRACES / f"{name}.jsonl") for name in ("good", "errors", "slow"))
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Exit code, and what was printed: JSON read back, or the text."""

    def asked(*words: str, text: bool = False) -> tuple[int, Any]:
        code = run(list(words) if text else ["-o", "json", *words])
        out = capsys.readouterr().out
        return code, out if text else json.loads(out)

    return asked


@pytest.mark.parametrize(
    ("trace", "verdict", "reason", "exit_code"),
    [(GOOD, "pass", "passed", 0), (ERRORS, "fail", "regression", 2), (SLOW, "fail", "regression", 2)],
)
def test_a_verdict_with_its_evidence(ask: Ask, trace: str, verdict: str, reason: str, exit_code: int) -> None:
    code, found = ask("gate", "replay", trace)
    assert code == 0
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    assert found["requests_seen"] > 0
    assert found["e_value"] == found["curve"][-1][1]
    assert (found["e_value"] >= 100) is (verdict == "fail")
    assert found["decided_at_s"] <= (60 if verdict == "fail" else 120)
    assert ask("gate", "replay", trace, "--detailed-exitcode")[0] == exit_code


def test_the_evidence_as_a_picture_for_the_terminal_and_as_svg(ask: Ask, tmp_path: Path) -> None:
    picture = tmp_path / "evidence.svg"
    code, text = ask("gate", "replay", ERRORS, "--svg", str(picture), text=True)
    assert code == 0
    assert text.startswith("fail (regression) ")
    assert "fail 100 |---" in text
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")


def test_a_spec_of_its_own_and_out_of_a_release_file(ask: Ask, tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    spec.write_text("window_s: 40\nrules:\n- {rule: error_rate, total: my_requests}\n- {rule: version}\n")
    code, found = ask("gate", "replay", ERRORS, "--spec", str(spec))
    assert (code, found["verdict"], found["e_value"], found["curve"]) == (0, "fail", None, [])
    assert [one["rule"] for one in found["evidence"]] == ["liveness", "error_rate"]
    assert found["notes"] == ["not judged, because a trace has nothing on it: version"]
    release = tmp_path / "release.yaml"
    gate = "gate: {window_s: 40, rules: [{rule: restarts}]}"
    release.write_text(f"product: p\nversion: 1.0.0\ncomponents:\n  api: {{artifact: t, {gate}}}\n")
    _, found = ask("gate", "replay", ERRORS, "--spec", str(release), "--component", "api")
    assert found["verdict"] == "pass"
    with pytest.raises(ReleaseInvalid, match="components: expected web, found none"):
        run(["gate", "replay", ERRORS, "--spec", str(release), "--component", "web"])
    with pytest.raises(Refused, match="expected a sequential rule"):
        run(["gate", "replay", ERRORS, "--spec", str(spec), "--svg", str(tmp_path / "none.svg")])


def test_a_misspelled_spec_names_its_line(tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    spec.write_text("gate:\n  window_s: 40\n  windows: 3\n")
    with pytest.raises(ReleaseInvalid, match=r"gate.yaml:3: windows: unknown field"):
        run(["gate", "replay", ERRORS, "--spec", str(spec)])


def test_bad_input_is_an_error_with_line_and_field_and_no_traceback() -> None:
    lines = Path(GOOD).read_text().splitlines(keepends=True)
    lines[6] = lines[6].replace('"errors": ', '"errors": -')
    done = subprocess.run(
        [str(Path(sys.executable).parent / "bumpless"), "gate", "replay", "-"],
        input="".join(lines), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: standard input:7: errors: expected a finite number >= 0, found -")
    assert done.stderr.count("\n") == 1


def test_figures_for_expected_traffic(ask: Ask) -> None:
    words = ("gate", "simulate", "--rps", "50", "--nodes", "4", "--error-rate", "0.01", "--runs", "4")
    code, found = ask(*words)
    assert code == 0
    rows = {row["fault"]: row for row in found["rows"]}
    assert rows["healthy"]["failed"] == 0
    assert rows["errors x10"]["failed"] == 4
    assert rows["errors x10"]["median_s"] <= 60
    assert rows["errors x3"]["sized_requests"] > rows["errors x10"]["sized_requests"]
    assert found == ask(*words)[1]
    _, text = ask(*words, text=True)
    assert "By formula" in text


def test_a_batch_of_all_nodes_is_held_against_its_own_past(ask: Ask) -> None:
    words = (
        "gate",
        "simulate",
        "--rps",
        "50",
        "--nodes",
        "1",
        "--error-rate",
        "0.01",
        "--noise",
        "none",
        "--runs",
        "3",
    )
    rows = {row["fault"]: row for row in ask(*words)[1]["rows"]}
    assert rows["healthy"]["failed"] == 0
    assert rows["errors x10"]["failed"] == 3
    assert rows["errors x10"]["sized_requests"] is None


def test_batches_share_the_false_alarms(ask: Ask) -> None:
    alone, fifth = (ask("gate", "replay", SLOW, "--batches", count)[1] for count in ("1", "5"))
    assert alone["log_bound"] == fifth["log_bound"]
    assert alone["decided_at_s"] <= fifth["decided_at_s"]
    curves = dict(map(tuple, alone["curve"])), dict(map(tuple, fifth["curve"]))
    assert curves[1][40.0] == pytest.approx(0.6 * curves[0][40.0] + 0.4, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--nodes", "2", "--canary", "3"), "at most as many canary nodes as the 2 nodes, found 3"),
     (("--nodes", "2", "--noise", "loud"), "expected one of none, real, hostile, unseen, found loud")],
)  # fmt: skip
def test_traffic_that_cannot_be_simulated(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(Refused, match=told):
        run(["gate", "simulate", "--rps", "5", *words])


def test_a_gate_without_a_sequential_rule_has_no_figures(tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    spec.write_text("rules:\n- {rule: error_rate}\n")
    with pytest.raises(Refused, match="a gate with a sequential rule that may fail a batch"):
        run(["gate", "simulate", "--rps", "5", "--nodes", "2", "--spec", str(spec)])


def test_what_a_good_trace_pins_tells_good_from_bad(ask: Ask, tmp_path: Path) -> None:
    code, text = ask("gate", "pin", GOOD, text=True)
    assert code == 0
    assert ask("gate", "pin", GOOD)[1]["baseline"]["mode"] == "pinned"
    spec = tmp_path / "gate.yaml"
    spec.write_text(text)
    good, bad = (ask("gate", "replay", trace, "--spec", str(spec))[1] for trace in (GOOD, ERRORS))
    assert (good["verdict"], bad["verdict"]) == ("pass", "fail"), (good["detail"], bad["detail"])
