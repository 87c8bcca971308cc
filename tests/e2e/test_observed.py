"""What an operator sees of a release that is taken back: one trace over all services, and every query of the dashboard
and of the alert rules answered by a real Prometheus from metrics that are there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import pytest
from ruamel.yaml import YAML

from bumpless.common.contract.trace import root_of
from support.collector import Collector, Seen
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import ended, publish
from support.prometheus import PrometheusServer, Scraped
from support.promql import asked
from support.waiting import comes_true, eventually

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="needs prometheus: apt-get install prometheus"
    ),
]

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/dashboards/bumpless.json"
RULES = ROOT / "deploy/prometheus/alerts.yml"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def lab(collector: Collector) -> Iterator[Lab]:
    asks = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with mock.patch.dict(os.environ, asks), Lab(3) as lab:
        asyncio.run(install(lab))
        yield lab


async def install(lab: Lab) -> None:
    version = lab.fresh()
    async with lab.client() as found:
        path = write_release(lab.home.path, version, core=version, gate=None)
        await ended(found, await publish(lab, found, path), "succeeded")


async def test_one_trace_and_every_query(
    lab: Lab, collector: Collector, folder: Path, tmp_path: Path
) -> None:
    targets = scraped(lab)
    with PrometheusServer(tmp_path / "prometheus", targets, every_s=1) as prometheus:
        await until_seen(prometheus, len(targets))
        async with lab.client() as found, lab.load():
            bad = lab.fresh()
            path = write_release(folder, bad, core=bad, mode="errors")
            rollout = await publish(lab, found, path)
            await ended(found, rollout, "reverted")
        root = root_of(rollout)
        await comes_true(
            lambda: not missing(collector.of(root.trace)), "spans of all services, and those above them"
        )
        check_trace(collector.of(root.trace), root.span)
        await check_queries(prometheus)


async def until_seen(prometheus: PrometheusServer, targets: int) -> None:
    """It begins to scrape some seconds after it is up; a rollout may be over by then."""
    async with aiohttp.ClientSession(prometheus.url) as session:
        await eventually(
            lambda: ask(session, "query", query="up == 1"),
            lambda up: len(up) == targets,
            "every part to be scraped",
        )


def scraped(lab: Lab) -> list[Scraped]:
    """The labels are those that deploy/README.md writes."""
    ports = json.loads((lab.home.path / "ports.json").read_text())["ops"]
    kinds = {name: "executor" if name in lab.nodes else "service" for name in ports}
    return [
        Scraped(f"127.0.0.1:{port}", {"part": name, "kind": kinds[name], "job": "bumpless"})
        for name, port in ports.items()
    ]


# the trace

STORY = {
    ("planner", "rollout"),
    ("planner", "rollout-planned"),
    ("planner", "stage-artifacts"),
    ("planner", "apply-batch"),
    ("executor", "stage-component"),
    ("executor", "apply-component"),
    ("executor", "switching"),
    ("planner", "step-finished"),
    ("health-gate", "open-gate"),
    ("planner", "verdict-reached"),
    ("rollback", "rollout-failed"),
    ("rollback", "rollout-planned"),
    ("rollback", "apply-batch"),
    ("rollback", "step-finished"),
    ("planner", "rollout-reverted"),
}


def missing(spans: list[Seen]) -> set[tuple[str, str]]:
    """What has not arrived yet: of the story, and parents of what has. Processes send their spans on their own."""
    there = {"", *(span.span for span in spans)}
    below = {(span.service, "parent of " + span.name) for span in spans if span.parent not in there}
    return below | STORY - {(span.service, span.name) for span in spans}


def check_trace(spans: list[Seen], root: str) -> None:
    """Every span hangs below the root by spans that are there, and none is there twice."""
    above = {span.span: span.parent for span in spans}
    assert len(above) == len(spans), sorted((s.service, s.name, s.span) for s in spans)
    assert above[root] == ""
    for span in spans:
        at = span.span
        for _ in spans:
            at = above[at] if at != root else root
        assert at == root, f"expected {span} to hang below the root"
        assert span.began <= span.ended
    verdict = next(s for s in spans if s.name == "verdict-reached")
    gate = next(s for s in spans if s.span == verdict.parent)
    assert (verdict.said["verdict"], gate.service, gate.name) == ("fail", "health-gate", "open-gate")
    failed = next(s for s in spans if s.name == "rollout-failed")
    assert failed.parent == verdict.span
    switched = next(s for s in spans if s.name == "apply-component")
    assert next(s for s in spans if s.span == switched.parent).name == "apply-batch"


# the queries


def of_the_dashboard() -> dict[str, str]:
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    queries = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }
    return {name: expr.replace("$__rate_interval", "30s") for name, expr in queries.items()}


def of_the_rules() -> dict[str, str]:
    groups = YAML(typ="safe").load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


async def check_queries(prometheus: PrometheusServer) -> None:
    """Each is understood, asks for metrics and labels that are there; those of the dashboard showed something."""
    shown = of_the_dashboard()
    async with aiohttp.ClientSession(prometheus.url) as session:
        await eventually(
            lambda: nothing_by(session, shown), lambda nothing: not nothing, "something by every query"
        )
        for name, query in (shown | of_the_rules()).items():
            await check_names(session, name, query)
        firing = await eventually(
            lambda: alerts_firing(session), lambda firing: "BumplessRolloutFailed" in firing, "the alert"
        )
    assert not {"BumplessServiceDown", "BumplessNoLeader", "BumplessDeadlineOverdue"} & firing


async def alerts_firing(session: aiohttp.ClientSession) -> set[str]:
    """Alerts whose expression holds now: a scrape that came late makes one false for a moment."""
    return {name for name, query in of_the_rules().items() if await ask(session, "query", query=query)}


async def nothing_by(session: aiohttp.ClientSession, queries: dict[str, str]) -> list[str]:
    """The queries that showed nothing at any time: in the last minutes, because scrapes may come late."""
    return [
        f"{name}: {query}"
        for name, query in queries.items()
        if not await ask(session, "query", query=f"max_over_time(({query})[5m:1s])")
    ]


async def check_names(session: aiohttp.ClientSession, name: str, query: str) -> None:
    wanted = asked(query)
    labels: set[str] = set()
    for metric, selected in wanted.metrics.items():
        series = await ask(session, "series", **{"match[]": metric})
        assert series, f"{name}: expected the metric {metric}, found none; {query}"
        known = {label for one in series for label in one}
        assert selected <= known, f"{name}: {metric} has no label {', '.join(selected - known)}; {query}"
        labels |= known
    assert wanted.grouped <= labels, f"{name}: nothing has {', '.join(wanted.grouped - labels)}; {query}"
    await ask(session, "query", query=query)


async def ask(session: aiohttp.ClientSession, what: str, **parameters: str) -> Any:
    async with session.get(f"/api/v1/{what}", params=parameters) as answer:
        found = await answer.json()
    assert found["status"] == "success", f"{parameters}: {found.get('error')}"
    data = found["data"]
    return data["result"] if isinstance(data, dict) else data
