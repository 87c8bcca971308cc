"""Scenes for the judge: nodes that report every five seconds, before and after a switch at T0."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bumpless.common.contract.base import BatchId, Digest, MessageId, RolloutId
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import ErrorRateRule, GateSpec, LatencyRule, RestartsRule, Rule, VersionRule
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.window import SampleWindow

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEP = 5.0
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
RATIO: tuple[Rule, ...] = (ErrorRateRule(), LatencyRule(), VersionRule(), RestartsRule())
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Load:
    """What one instance serves between two scrapes; the rest of `requests` is good and takes about 30 ms."""

    requests: int = 50
    bad: int = 0
    slow: int = 0
    endless: int = 0
    gauge: float | None = None


def sample(
    node: str, seconds: float, sequence: int, samples: dict[str, float] | None = None, **more: Any
) -> MetricsSampled:
    root = more.pop("root", NEW)
    version = more.pop("version", "2" if root == NEW else "1")
    instance = more.pop("instance", f"{node}-{version}")
    return MetricsSampled(
        id=MessageId(f"{instance}/{sequence}"),
        at=at(seconds),
        node=node,
        component=more.pop("component", "api"),
        instance=instance,
        version=version,
        root=Digest(root),
        sequence=sequence,
        up=more.pop("up", True),
        samples=samples or {},
        **more,
    )


def counters(total: Load) -> dict[str, float]:
    """The cumulative series after `total`."""
    buckets = dict.fromkeys(BOUNDS, 0)
    fast = total.requests - total.slow - total.endless
    for bound in BOUNDS:
        buckets[bound] += fast if bound >= 0.05 else 0
        buckets[bound] += total.slow if bound >= 1.0 else 0
    found: dict[str, float] = {
        'http_requests_total{method="GET",status="200"}': total.requests - total.bad,
        'http_request_duration_seconds_bucket{le="+Inf"}': total.requests,
    }
    if total.bad:
        found['http_requests_total{method="GET",status="503"}'] = total.bad
    for bound, count in buckets.items():
        found[f'http_request_duration_seconds_bucket{{le="{bound}"}}'] = count
    if total.gauge is not None:
        found["queue_length"] = total.gauge
    return found


def reports(
    node: str,
    start: float,
    end: float,
    load: Load = Load(),
    *,
    first: int = 1,
    already: Load = Load(requests=0),
    **more: Any,
) -> list[MetricsSampled]:
    """One instance's scrapes from `start` to `end`, `load` more at each."""
    found, now, sequence, total = [], start, first, already
    while now <= end:
        total = Load(
            total.requests + load.requests,
            total.bad + load.bad,
            total.slow + load.slow,
            total.endless + load.endless,
            load.gauge,
        )
        found.append(sample(node, now, sequence, counters(total), **more))
        now, sequence = now + STEP, sequence + 1
    return found


@dataclass(frozen=True)
class Scene:
    """A gate over `canary`, with `control`, and what was reported."""

    spec: GateSpec = field(default_factory=lambda: GateSpec(rules=RATIO))
    canary: tuple[str, ...] = ("n1",)
    control: tuple[str, ...] = ("n2",)
    samples: tuple[MetricsSampled, ...] = ()

    def on(self, *lists: list[MetricsSampled]) -> Scene:
        return replace(self, samples=(*self.samples, *(s for found in lists for s in found)))

    @property
    def gate(self) -> OpenGate:
        def members(nodes: tuple[str, ...], version: str, root: str) -> tuple[GateMember, ...]:
            return tuple(GateMember(node=n, component="api", version=version, root=root) for n in nodes)

        return OpenGate(
            id=MessageId("open"),
            at=T0,
            gate=MessageId("gate"),
            rollout=RolloutId("rollout"),
            batch=BatchId("batch"),
            spec=self.spec,
            canary=members(self.canary, "2", NEW),
            control=members(self.control, "1", OLD),
            switched_at=T0,
            deadline=at(self.spec.timeout_s),
        )

    def judged(self, seconds: float) -> Judgement:
        window = SampleWindow()
        for found in self.samples:
            window.add(found)
        return judge(self.gate, window, at(seconds))


def scene(
    canary: Load = Load(),
    control: Load = Load(),
    *,
    until: float = 70,
    **spec: Any,
) -> Scene:
    """One canary node, switched at T0, and one peer that serves the old version all along; ratio rules by default."""
    return Scene(GateSpec(**{"rules": RATIO, **spec})).on(
        reports("n1", -60, -5, control, root=OLD),
        reports("n1", -2, until, canary),
        reports("n2", -60, until, control, root=OLD),
    )
