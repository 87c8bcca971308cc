"""Hooks that alerts start on nodes: over a real broker, by signed orders, and never more than the node allows."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bumpless.alerts import acting
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.contract.alert_hook import RunAlertHook
from bumpless.common.contract.envelope import ALERT_HOOK_TYPE, COMMAND_TYPE
from bumpless.common.model.alert import ActionRun, Alert
from bumpless.common.model.alerting import ActionFile
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.webhooks.post import Outcome
from bumpless.executor.drivers.alert_hooks import AlertHooks
from unit.alerts.scenes import World, observed, wanted

KEY = SigningKey.generate()
SCRIPT = (
    "import json, os, sys; open(sys.argv[1], 'a').write(os.environ['BUMPLESS_ALERT_JSON'] + '\\n'); "
    "print('degraded', os.environ['BUMPLESS_NODE'])"
)


@dataclass
class Site:
    connection: Connection
    hooks: AlertHooks
    out: Path

    @property
    def ran(self) -> list[Any]:
        return [json.loads(line) for line in self.out.read_text().splitlines()] if self.out.exists() else []


@pytest.fixture
async def site(nats_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    connection = await Connection.connect(nats_url, name="test")
    out = tmp_path / "out"
    programs = {
        "degrade": [sys.executable, "-c", SCRIPT, str(out)],
        "broken": [sys.executable, "-c", "import sys; print('no'); sys.exit(3)"],
    }
    hooks = AlertHooks("n1", programs, TrustStore.of(deploy=KEY.public), tmp_path / "log", clock.now)
    await hooks.start(connection)
    await connection.nc.flush()
    yield Site(connection, hooks, out)
    await hooks.close()
    await connection.close()


def fired() -> tuple[Alert, ActionRun]:
    world = World().give(observed(actions=wanted("node-hook")), 0)
    assert world.alert is not None
    return world.alert, world.alert.actions[0]


async def run(site: Site, *, key: SigningKey | None = KEY, **fields: Any) -> Outcome:
    raw = {
        "name": "degrade",
        "match": 'alertname="DiskFull"',
        "do": "node-hook",
        "hook": "degrade",
        "timeout_s": 30,
    }
    config = ActionFile.model_validate({**raw, **fields})
    alert, action = fired()
    return await acting.run_on_nodes(site.connection, key, config, alert, action, clock.now())


async def test_a_node_runs_its_hook_once_for_an_action(site: Site) -> None:
    first = await run(site)
    assert first == Outcome(True, "n1: degraded n1")
    assert await run(site) == first
    (given,) = site.ran
    alert, action = fired()
    assert (given["id"], given["alert"]["fingerprint"]) == (action.id, alert.fingerprint)


async def test_one_that_fails_is_run_again(site: Site) -> None:
    for _ in range(2):
        outcome = await run(site, hook="broken")
        assert not outcome.ok
        assert "no" in outcome.detail


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hook": "another"}, "expected a hook of this node (broken, degrade), found another"),
        ({"nodes": ["n1", "n2"], "timeout_s": 3.0}, "n2: expected an answer"),
        ({"key": None}, "expected a key"),
        ({"key": SigningKey.generate()}, "expected a signature of a trusted deploy key"),
    ],
)
async def test_what_is_not_allowed_is_said(site: Site, fields: dict[str, Any], said: str) -> None:
    outcome = await run(site, **fields)
    assert not outcome.ok
    assert said in outcome.detail
    assert fields.get("nodes") or site.ran == []


@pytest.mark.parametrize("wrong", ["unsigned", "type", "node", "old", "form"])
async def test_orders_that_are_no_orders_are_refused(site: Site, wrong: str) -> None:
    order = RunAlertHook(
        node="n2" if wrong == "node" else "n1",
        hook="degrade",
        action="a1",
        alert="{}",
        timeout_s=30,
        expires_at=clock.now() + timedelta(seconds=-1 if wrong == "old" else 60),
    )
    body = b"{}" if wrong == "form" else order.model_dump_json().encode()
    kind = COMMAND_TYPE if wrong == "type" else ALERT_HOOK_TYPE
    answer = await site.hooks.run(body if wrong == "unsigned" else KEY.sign(kind, body).to_bytes())
    assert not answer.ok
    assert answer.detail.startswith("refused: expected")
    assert site.ran == []


def test_a_label_that_names_no_node_reaches_no_subject() -> None:
    with pytest.raises(ValueError, match="node"):
        RunAlertHook(
            node="n1.stage-check", hook="degrade", action="a", alert="{}", timeout_s=1, expires_at=clock.now()
        )
