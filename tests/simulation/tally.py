"""What many runs amount to: added up seed by seed, kept as JSON, told as a table."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel

from simulation.run import Result


class Broken(BaseModel):
    """A seed that broke an invariant."""

    seed: int
    invariant: str
    text: str

    def __str__(self) -> str:
        return f"VIOLATION seed {self.seed}: {self.invariant}: {self.text} - make simulate SEED={self.seed}"


class Tally(BaseModel):
    """The seeds from `first` on, in their order. `cpu_s` is user and system time of the runs alone."""

    first: int
    traces: list[str] = []
    """The beginning of the trace hash of every seed."""
    ends: Counter[str] = Counter()
    """How many rollouts ended how."""
    struck: Counter[str] = Counter()
    """How often each kind of fault and happening struck."""
    checked: Counter[str] = Counter()
    """How often each invariant was asked."""
    events: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    broken: list[Broken] = []

    @property
    def seeds(self) -> int:
        return len(self.traces)

    @property
    def rollouts(self) -> int:
        return sum(self.ends.values())

    @property
    def digest(self) -> str:
        """The same for the same seeds on the same program, however they were split."""
        return hashlib.sha256("".join(self.traces).encode()).hexdigest()[:16]

    def add(self, result: Result) -> None:
        """The next seed."""
        self.traces.append(result.trace[:16])
        self.ends.update(result.ends)
        self.struck.update(result.struck)
        self.checked.update(result.seen)
        self.events += result.events
        self.simulated_s += result.simulated_s
        if result.violation is not None:
            name, text = result.violation.name, result.violation.text
            self.broken.append(Broken(seed=result.scenario.seed, invariant=name, text=text))

    @classmethod
    def of(cls, parts: Iterable[Tally], first: int) -> Self:
        """All of `parts`, which follow each other."""
        whole = cls(first=first)
        for part in parts:
            whole.traces += part.traces
            whole.ends += part.ends
            whole.struck += part.struck
            whole.checked += part.checked
            whole.events += part.events
            whole.simulated_s += part.simulated_s
            whole.cpu_s += part.cpu_s
            whole.broken += part.broken
        return whole

    def __str__(self) -> str:
        ends = " ".join(f"{end}:{number}" for end, number in sorted(self.ends.items()))
        return (
            f"{self.seeds} seeds from {self.first} on, {self.rollouts} rollouts ({ends}), {self.events} events, "
            f"{self.cpu_s:.1f} s of CPU; traces {self.digest}; violations: "
            f"{' '.join(str(one.seed) for one in self.broken) or 'none'}"
        )

    @property
    def mix(self) -> str:
        """How often each kind of fault and happening struck, in a thousand seeds."""
        often = {kind: 1000 * number / max(self.seeds, 1) for kind, number in sorted(self.struck.items())}
        return "in 1,000 seeds: " + " ".join(f"{kind}:{number:.0f}" for kind, number in often.items())

    def table(self) -> str:
        """As Markdown."""
        rows = [
            ("seeds", f"{self.seeds:,}"),
            ("rollouts", f"{self.rollouts:,}"),
            *((f"- {end}", f"{number:,}") for end, number in sorted(self.ends.items())),
            ("events", f"{self.events:,}"),
            ("faults and happenings", f"{sum(self.struck.values()):,}"),
            *((f"- {kind}", f"{number:,}") for kind, number in sorted(self.struck.items())),
            ("questions to invariants", f"{sum(self.checked.values()):,}"),
            ("simulated time", f"{self.simulated_s / 86400:,.0f} days"),
            ("CPU time", f"{self.cpu_s:,.0f} s, {self.cpu_s / max(self.rollouts, 1):.4f} s per rollout"),
            ("violations", ", ".join(f"{b.seed} ({b.invariant})" for b in self.broken) or "none"),
            ("digest of the traces", f"`{self.digest}`"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
