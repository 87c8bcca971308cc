"""What is delivered for Prometheus and Grafana: promtool takes it, every alert has a test and a runbook, and the dashboard
has the form that Grafana loads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.promql import asked

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
GRAFANA = ROOT / "deploy/grafana"
KINDS = {"row", "stat", "timeseries"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus"
)


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards/bumpless.json").read_text())
    return found


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_promtool(words: tuple[str, ...]) -> None:
    ended = subprocess.run(
        ["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    checks = [
        check for test in yaml(PROMETHEUS / "alerts_test.yml")["tests"] for check in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text()
    assert not anchor or f"## {anchor}" in text.lower().replace(" ", "-"), f"{page} has no heading {anchor}"
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert f"`{rule['alert']}`" in (ROOT / "docs/observability.md").read_text()


def test_alerts_that_runbooks_name_exist() -> None:
    names = {rule["alert"] for rule in rules()}
    for page in (ROOT / "docs/runbooks").glob("*.md"):
        named = set(re.findall(r"`(Bumpless[A-Z]\w+)`", page.read_text()))
        assert named <= names, f"{page.name} names alerts that are not there: {named - names}"


def test_the_dashboard_is_what_grafana_loads() -> None:
    found = board()
    assert (found["uid"], found["schemaVersion"] >= 36) == ("bumpless", True)
    assert [v["name"] for v in found["templating"]["list"]] == ["datasource"]
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in KINDS
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert [t["refId"] for t in panel["targets"]] == [
                chr(65 + n) for n in range(len(panel["targets"]))
            ]


def test_what_grafana_reads_at_its_start_is_yaml() -> None:
    source = yaml(GRAFANA / "provisioning/datasources/bumpless.yml")
    assert source["datasources"][0]["type"] == "prometheus"
    assert yaml(GRAFANA / "provisioning/dashboards/bumpless.yml")["providers"][0]["type"] == "file"


def test_metrics_are_documented() -> None:
    """Every metric of a query stands on the page; e2e/test_observed.py holds queries against real services."""
    page = (ROOT / "docs/observability.md").read_text()
    queries = [target["expr"] for panel in board()["panels"] for target in panel.get("targets", ())]
    for query in queries + [rule["expr"] for rule in rules()]:
        for metric in asked(query).metrics:
            name = metric.removesuffix("_bucket")
            assert name == "up" or f"`{name}`" in page, f"docs/observability.md does not have {name}"


def test_what_a_query_asks_for() -> None:
    found = asked('sum by (le, job) (rate(a_total{x="}", y=~"b"}[5m])) or bumpless_c unless on () up == 0')
    assert found.metrics == {"a_total": {"x", "y"}, "bumpless_c": frozenset(), "up": frozenset()}
    assert found.grouped == {"le", "job"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml(ROOT / "compose.yaml")["services"]
    return found


SHARED = {"nats": "keys-broker", "bumpless": "keys-operator", "shop": "keys-ci"}
"""Whose volume of keys has another name than the service."""


@pytest.mark.parametrize("name", services())
def test_a_container_has_its_own_keys_and_no_others(name: str) -> None:
    mounted = {str(each).partition(":")[0] for each in services()[name].get("volumes", ())}
    keys = {volume for volume in mounted if volume.startswith("keys")}
    if name == "setup":
        assert keys == {
            volume for volume in yaml(ROOT / "compose.yaml")["volumes"] if volume.startswith("keys")
        }
    else:
        assert keys <= {SHARED.get(name, f"keys-{name}")}


@pytest.mark.parametrize("name", services())
def test_a_container_is_confined_and_its_image_may_be_another(name: str) -> None:
    service = services()[name]
    assert service["image"].startswith("${")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    if name != "grafana":  # what is not ours runs as its image has it
        assert (service["user"], service["read_only"]) == ("65532:65532", True)
