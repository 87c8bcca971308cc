"""Peers in trouble are no control, as it was known when the gate was opened."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.contract.alerts import AlertChanged, SilenceChanged
from bumpless.common.contract.base import MessageId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.model.alert import Alert, Silence, fingerprint
from bumpless.common.model.gate import ErrorRateRule, GateSpec
from bumpless.common.model.verdict import Verdict
from bumpless.health_gate.peers import without_troubled
from bumpless.health_gate.sources.registry import Sources
from support.memory_source import MemorySource
from unit.health_gate.scenes import OLD, Load, Scene, at, reports
from unit.health_gate.test_registry import NOBODY

GATE = Scene(control=("n2", "n3")).gate


def alert(
    status: str = "firing", seconds: float = -60, severity: str = "warning", **labels: str
) -> AlertChanged:
    named = {"alertname": "DiskFull", **labels}
    found = Alert.model_validate(
        {
            "fingerprint": fingerprint(named),
            "labels": named,
            "severity": severity,
            "source": "rule",
            "status": status,
            "since": at(seconds),
            "active_since": at(seconds),
        }
    )
    return AlertChanged(id=MessageId(f"{found.fingerprint}-{seconds}"), at=at(seconds), alert=found)


def silence(start: float = -60, end: float = 60, **matched: str) -> SilenceChanged:
    matchers = [{"name": name, "value": value, "isRegex": True} for name, value in matched.items()]
    found = Silence.model_validate(
        {"id": "s", "matchers": matchers, "startsAt": at(start), "endsAt": at(end), "createdBy": "me"}
    )
    return SilenceChanged(id=MessageId(f"s-{start}-{end}"), at=at(start), silence=found)


def peers(*found: AlertChanged | SilenceChanged) -> list[str]:
    chosen = without_troubled(
        GATE,
        [one for one in found if isinstance(one, AlertChanged)],
        [one for one in found if isinstance(one, SilenceChanged)],
    )
    return [member.node for member in chosen.control]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([alert(node="n3")], id="fires"),
        pytest.param([alert("acknowledged", node="n3")], id="somebody takes care of it"),
        pytest.param([alert(node="n3", component="api")], id="of the component"),
        pytest.param([alert(node="n3"), alert("resolved", 5, node="n3")], id="ended later"),
        pytest.param([silence(node="n3")], id="silenced"),
        pytest.param([silence(node="n3", component="a.*")], id="silenced, the component"),
    ],
)
def test_a_peer_in_trouble_is_left_out(found: list[Any]) -> None:
    assert peers(*found) == ["n2"]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([], id="nothing"),
        pytest.param([alert("pending", node="n3")], id="pending"),
        pytest.param([alert(severity="info", node="n3")], id="for information"),
        pytest.param([alert(node="n3"), alert("resolved", -5, node="n3")], id="over"),
        pytest.param([alert(seconds=5, node="n3")], id="fires later"),
        pytest.param([alert(component="api")], id="of no node"),
        pytest.param([alert(node="n3", component="db")], id="of another component"),
        pytest.param([alert(node="n1")], id="of the canary"),
        pytest.param([alert(node="n2"), alert(node="n3")], id="of everybody"),
        pytest.param([silence(node="n3", alertname="DiskFull")], id="one alert is silenced"),
        pytest.param([silence(node="n3", end=-5)], id="a silence that is over"),
        pytest.param([silence(node="n3", start=5)], id="a silence to come"),
        pytest.param([silence(component="api")], id="a silence of no node"),
    ],
)
def test_every_other_peer_stays(found: list[Any]) -> None:
    assert peers(*found) == ["n2", "n3"]


class Choice:
    """A choice that is made by hand."""

    def __init__(self, *found: AlertChanged) -> None:
        self.ready, self._found = False, found

    async def chosen(self, gate: OpenGate) -> OpenGate | None:
        return without_troubled(gate, self._found, ()) if self.ready else None


async def test_a_sick_peer_hides_no_regression() -> None:
    """One peer of two fails as much as the canary does; without it, the canary stands out."""
    found = Scene(GateSpec(rules=(ErrorRateRule(),)), control=("n2", "n3")).on(
        reports("n1", -60, -5, root=OLD),
        reports("n1", -2, 70, Load(requests=50, bad=5)),
        reports("n2", -60, 70, root=OLD),
        reports("n3", -60, 70, Load(requests=50, bad=5), root=OLD),
    )
    metrics = MemorySource()
    for sample in found.samples:
        await metrics.offer(sample)
    await metrics.start(at(-600))
    alike = await Sources(NOBODY, metrics, {}, lambda: at(70)).judged(found.gate, at(70))
    assert alike is not None
    assert alike.verdict is Verdict.PASS

    choice = Choice(alert(node="n3"))
    sources = Sources(NOBODY, metrics, {}, lambda: at(70), choice)
    assert await sources.judged(found.gate, at(70)) is None
    assert await sources.judged(found.gate, found.gate.deadline) is not None
    choice.ready = True
    judged = await sources.judged(found.gate, at(70))
    assert judged is not None
    assert judged.verdict is Verdict.FAIL
