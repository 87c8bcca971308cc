"""The sources of open gates: which one a gate gets, and what the settings have to know."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from bumpless.common.contract.gate_dry_run import GateDryRun
from bumpless.common.model.gate import ErrorRateRule, GateSpec
from bumpless.common.model.metric_source import MetricsFrom, PrometheusFrom
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.common.shell.broker import Connection
from bumpless.health_gate.app import HealthGateSettings
from bumpless.health_gate.sources.registry import Sources
from support.memory_source import MemorySource
from unit.health_gate.scenes import OLD, T0, Scene, at, reports

NOBODY = cast(Connection, None)
"""No gate here reads what is pushed."""
ELSEWHERE = MetricsFrom(prometheus=PrometheusFrom(name="elsewhere"), silent_s=60)
RULES = (ErrorRateRule(),)


async def nodes() -> MemorySource:
    found = MemorySource()
    for sample in (
        *reports("n1", -60, -5, root=OLD),
        *reports("n1", -2, 90),
        *reports("n2", -60, 90, root=OLD),
    ):
        await found.offer(sample)
    return found


async def test_a_gate_without_a_source_waits_for_the_nodes_and_is_judged_by_them() -> None:
    metrics = await nodes()
    sources = Sources(NOBODY, metrics, {}, lambda: at(70))
    gate = Scene(GateSpec(rules=RULES)).gate
    assert await sources.judged(gate, at(70)) is None
    await metrics.start(at(-600))
    found = await sources.judged(gate, at(70))
    assert found is not None
    assert found.verdict is Verdict.PASS
    await sources.stop()
    assert not metrics.ready


@pytest.mark.parametrize("source", [None, ELSEWHERE], ids=["nodes", "a source of its own"])
async def test_others_go_on_while_a_gate_is_judged_and_what_comes_meanwhile_counts_the_next_time(
    source: MetricsFrom | None,
) -> None:
    metrics = await nodes()
    await metrics.start(at(-600))
    sources = Sources(NOBODY, metrics, {}, lambda: at(70))
    gate = Scene(GateSpec(rules=RULES, source=source)).gate
    over: list[str] = []

    async def other() -> None:
        for sample in reports("n1", 60, 70, root=OLD):
            await metrics.offer(sample)
        over.append("other")

    async def judged() -> None:
        assert await sources.judged(gate, at(70)) == alone
        over.append("judged")

    alone = await sources.judged(gate, at(70))
    await asyncio.gather(judged(), other())
    assert over == ["other", "judged"]
    await sources.end(gate.gate)


async def test_a_prometheus_that_the_settings_do_not_know_is_no_data() -> None:
    metrics = await nodes()
    await metrics.start(at(-600))
    sources = Sources(NOBODY, metrics, {}, lambda: at(70))
    gate = Scene(GateSpec(rules=RULES, source=ELSEWHERE)).gate
    waiting, over = await sources.judged(gate, at(30)), await sources.judged(gate, at(70))
    assert waiting is not None
    assert waiting.verdict is None
    assert over is not None
    assert (over.verdict, over.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA)
    assert "settings know no Prometheus of that name, but none" in over.detail
    await sources.end(gate.gate)


async def test_a_dry_run_reads_the_nodes_or_says_why_it_cannot_read_the_source() -> None:
    metrics = await nodes()
    await metrics.start(T0)
    sources = Sources(NOBODY, metrics, {}, lambda: at(90))
    asked = GateDryRun(component="api", nodes=("n1", "n2"), spec=GateSpec(rules=RULES))
    answer = await sources.dry_run(asked)
    total = answer.metrics[0]
    assert (answer.source, total.metric, total.missing) == ("nodes", "http_requests_total", ())
    elsewhere = await sources.dry_run(
        asked.model_copy(update={"spec": GateSpec(rules=RULES, source=ELSEWHERE)})
    )
    assert elsewhere.source == "prometheus elsewhere"
    assert "no Prometheus of that name" in elsewhere.trouble
    assert elsewhere.metrics[0].missing == ("n1", "n2")


def test_credentials_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"main": {"url": "https://prometheus.example", "token_file": "/etc/token"}}
    monkeypatch.setenv("BUMPLESS_HEALTH_GATE_PROMETHEUS", json.dumps(known))
    found = HealthGateSettings.read().prometheus["main"]
    assert (found.url, str(found.token_file)) == ("https://prometheus.example", "/etc/token")
