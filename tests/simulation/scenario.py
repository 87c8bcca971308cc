"""What one seed stands for: a fleet, its releases, a mix of faults, and what people and machines do when.

A scenario is data. The shrinker drops kinds of faults and happenings one by one; what is left is drawn as before,
because every kind draws from a stream of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from bumpless.common.model.gate import GateSpec, OnInconclusive
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.strategy import StrategyKind

FAULTS: dict[str, float] = {
    # messages
    "duplicate": 0.25,
    "drop": 0.2,
    "delay": 0.03,
    "reorder": 0.3,
    "lost-answer": 0.03,
    "away": 0.03,
    # services
    "crash": 0.015,
    "crash-in-recovery": 0.08,
    "pause-leader": 0.006,
    # nodes
    "stage-fails": 0.03,
    "start-fails": 0.04,
    "switch-fails": 0.04,
    "restore-fails": 0.4,
    "executor-crash": 0.01,
    "process-dies": 0.08,
    # gates
    "flap": 0.1,
    "no-data": 0.2,
}
"""How likely each kind is at each occasion, where the seed has it."""

HAPPENINGS = (
    "pause",
    "resume",
    "promote",
    "abort",
    "retry",
    "rollback",
    "approve",
    "alert",
    "drain",
    "undrain",
    "second-release",
    "second-release",
    "second-release",
    "announce-again",
    "store-emptied",
    "store-emptied",
    "store-old",
    "log-gap",
    "node-down",
    "old-disk",
    "crash-loop",
    "skew",
    "crash-service",
    "crash-service",
    "freeze-leader",
    "service-gone",
)
RARE = frozenset({"log-gap", "old-disk", "abort", "skew", "service-gone"})


@dataclass(frozen=True)
class Happening:
    """Something that is done to the system once, `at` seconds after the start. `pick` chooses among what there is."""

    at: float
    kind: str
    pick: int


@dataclass(frozen=True)
class Part:
    """One component of the product."""

    name: str
    depends_on: tuple[str, ...] = ()
    gate: GateSpec | None = None
    strategy: StrategyKind = StrategyKind.ROLLING
    overlap: bool = True
    channel: str = ""
    bad: str = ""
    """How its second version is bad: `start` (does not come up), `gate` (is worse), `loop` (crashes again and again)."""
    new: bool = False
    through: bool = False
    """Whether it may only come to a version through one before it."""
    green: tuple[str, ...] = ()
    """The second set of a blue-green component; the first has the other nodes."""
    one_set: bool = False
    """Whether only the first set runs it at the beginning."""


@dataclass(frozen=True)
class Scenario:
    seed: int
    nodes: tuple[str, ...]
    parts: tuple[Part, ...]
    max_unavailable: int
    policy: RollbackPolicy = RollbackPolicy.AUTO
    approval: bool = False
    approval_between: bool = False
    planners: int = 1
    apart: bool = False
    """Whether a release has either the last part or all others, so that two can be on their way at once."""
    faults: frozenset[str] = frozenset()
    happenings: tuple[Happening, ...] = ()
    safety_s: float = 240.0
    lag_s: float = 0.02
    drained: bool = False
    """Whether the first node is drained long before the first release."""
    drain_s: float = 2.0
    """How long an instance at most takes to drain."""

    def without(self, kind: str) -> Scenario:
        return replace(self, faults=self.faults - {kind})

    def __str__(self) -> str:
        parts = ", ".join(
            f"{p.name}"
            + (f"<-{'+'.join(p.depends_on)}" if p.depends_on else "")
            + ("" if p.overlap else " exclusive")
            + (f" bad:{p.bad}" if p.bad else "")
            + (f" gate:{p.gate.on_inconclusive}" if p.gate else "")
            + (" new" if p.new else "")
            + (" through" if p.through else "")
            + (f" blue-green{' from one set' if p.one_set else ''}" if p.green else "")
            for p in self.parts
        )
        happenings = " ".join(f"{h.kind}@{h.at:.0f}" for h in self.happenings)
        return (
            f"seed {self.seed}: {len(self.nodes)} nodes, {parts}; at most {self.max_unavailable} out; "
            f"rollback {self.policy}; {self.planners} planners; {'releases in two parts; ' if self.apart else ''}"
            f"{'the first node is drained; ' if self.drained else ''}"
            f"faults: {' '.join(sorted(self.faults)) or 'none'}; happenings: {happenings or 'none'}"
        )


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    chance = Random(f"scenario {seed}")
    nodes = tuple(f"n{number}" for number in range(1, chance.choice((1, 2, 2, 3, 3, 4)) + 1))
    names = ("db", "api", "web")[: chance.choice((1, 1, 2, 2, 3))]
    calm = chance.random() < 0.1
    faults = frozenset(
        kind for kind in FAULTS if not calm and chance.random() < chance.choice((0.1, 0.35, 0.6))
    )
    many = 0 if calm else chance.choice((0, 1, 2, 3, 5, 8))
    theme = _theme(seed)
    happenings = []
    for _ in range(many):
        kind = chance.choice(theme)
        if kind in RARE and chance.random() < 0.5:
            kind = chance.choice(theme)
        happenings.append(
            Happening(
                round(chance.uniform(0.5, 150) ** chance.choice((1, 1, 0.7)), 1),
                kind,
                chance.randrange(1 << 16),
            )
        )
    parts, most = _parts(chance, names), chance.randint(1, len(nodes))
    shape = Random(f"shape {seed}")
    parts = tuple(_shaped(shape, part, nodes) for part in parts)
    apart = len(parts) > 1 and shape.random() < 0.3
    return Scenario(
        seed=seed,
        nodes=nodes,
        parts=tuple(replace(part, channel="") for part in parts) if apart else parts,
        max_unavailable=max([most, *(len(nodes) // 2 for part in parts if part.green)]),
        apart=apart,
        drain_s=shape.choice((2.0, 2.0, 2.0, 15.0)),
        drained=shape.random() < 0.1,
        policy=RollbackPolicy.MANUAL if chance.random() < 0.1 else RollbackPolicy.AUTO,
        approval=chance.random() < 0.1,
        approval_between=chance.random() < 0.1,
        planners=chance.choice((1, 2)),
        faults=faults,
        happenings=tuple(sorted(happenings, key=lambda h: (h.at, h.kind, h.pick))),
        lag_s=chance.choice((0.005, 0.02, 0.3)),
    )


def _theme(seed: int) -> tuple[str, ...]:
    """The happenings that the seed may have: half of the seeds have a few of them, again and again."""
    chance = Random(f"theme {seed}")
    if chance.random() < 0.5:
        return HAPPENINGS
    return tuple(chance.sample(sorted(set(HAPPENINGS)), chance.choice((2, 3, 4))))


def _parts(chance: Random, names: tuple[str, ...]) -> tuple[Part, ...]:
    channel = "orders" if len(names) > 1 and chance.random() < 0.4 else ""
    parts = []
    for place, name in enumerate(names):
        gate = None
        if chance.random() < 0.6:
            gate = GateSpec(
                window_s=chance.choice((5, 15)),
                timeout_s=40,
                warm_up_s=0,
                interval_s=5,
                on_inconclusive=chance.choice(tuple(OnInconclusive)),
            )
        parts.append(
            Part(
                name=name,
                depends_on=tuple(other for other in names[:place] if chance.random() < 0.6),
                gate=gate,
                strategy=chance.choice((StrategyKind.ROLLING, StrategyKind.CANARY)),
                overlap=chance.random() < 0.85,
                channel=channel,
                bad=chance.choice(("",) * 9 + ("start", "gate", "loop")),
                new=chance.random() < 0.08 and place > 0,
            )
        )
    return tuple(parts)


def _shaped(shape: Random, part: Part, nodes: tuple[str, ...]) -> Part:
    """`part`, perhaps with a way through versions, or on two sets of nodes."""
    through, sets, one_set = shape.random() < 0.15, shape.random() < 0.15, shape.random() < 0.5
    if sets and part.overlap and not part.new and len(nodes) % 2 == 0:
        return replace(part, green=nodes[len(nodes) // 2 :], one_set=one_set)
    return replace(part, through=through)
