"""What the rules that count requests share: measuring a pool, choosing a baseline, and setting a limit by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bumpless.common.model.probe import NoTraffic
from bumpless.common.model.verdict import Reason
from bumpless.health_gate import tryouts
from bumpless.health_gate.histogram import Histogram, Quantile, pooled
from bumpless.health_gate.series import selector, total
from bumpless.health_gate.view import Finding, Pool, View, finding
from bumpless.health_gate.window import Family, increase


class Counted(Protocol):
    @property
    def requests(self) -> float: ...


@dataclass(frozen=True)
class Errors:
    requests: float
    bad: float

    @property
    def rate(self) -> float:
        return self.bad / self.requests if self.requests else 0.0


C = TypeVar("C", bound=Counted)


def grown(pool: Pool, name: str) -> tuple[list[Family], list[str]]:
    """The family's increase on every instance that tells it, and the nodes of which none does."""
    families: list[Family] = []
    silent: list[str] = []
    for member, instances in pool.items():
        found = [
            family for family in (increase(readings, name) for readings in instances) if family is not None
        ]
        families += found
        if not found:
            silent.append(member.node)
    return families, silent


def errors(pool: Pool, name: str, bad: str) -> tuple[Errors | None, list[str]]:
    families, silent = grown(pool, name)
    if not families:
        return None, silent
    requests = sum(total(family.items()) for family in families)
    return Errors(requests, sum(total(family.items(), selector(bad)) for family in families)), silent


def latencies(pool: Pool, name: str) -> tuple[Histogram | None, list[str]]:
    families, silent = grown(pool, name + "_bucket")
    return pooled(families), silent


def baseline(
    view: View, measure: Callable[[Pool], tuple[C | None, list[str]]], pinned: C | None = None
) -> C | Reason:
    """What to compare with, or why there is nothing: LOW_TRAFFIC may still change, BASELINE_MISSING will not.

    Peers come first. The canary's own past stands in where there are no peers, or where none has said anything by
    the end of the window; never before that, because what troubles everybody at the time of a switch is not the
    release's fault. `pinned` is what stands in for all of them where the spec says so.
    """
    if view.spec.baseline.mode == "pinned":
        return Reason.BASELINE_MISSING if pinned is None or pinned.requests < view.few else pinned
    if view.spec.baseline.mode == "concurrent" and view.gate.control:
        control, _ = measure(view.control)
        if control is not None and control.requests >= view.few:
            return control
        if (control is not None and control.requests > 0) or not view.over:
            return Reason.LOW_TRAFFIC
    history, _ = measure(view.history)
    if history is not None and history.requests >= view.few:
        return history
    return Reason.BASELINE_MISSING


@dataclass(frozen=True)
class Bound:
    """The limit of one rule now; None: there is none. `lacking`: why, where there should be one.

    `vague`: the baseline lies above its histogram's last bound, so the true limit is higher by who knows how much.
    """

    limit: float | None = None
    base: float | None = None
    lacking: Reason | None = None
    vague: bool = False


def bound(
    view: View,
    measure: Callable[[Pool], tuple[C | None, list[str]]],
    value: Callable[[C], Quantile | None],
    *,
    ratio: float | None,
    floor: float,
    absolute: float | None = None,
    without: float | None = None,
    pinned: C | None = None,
) -> Bound:
    """The lower of `absolute` and max(`ratio` x baseline, `floor`).

    Where no baseline can be had, `absolute` alone stands; else `without` does if the spec lets a gate pass without
    a baseline; else the bound is lacking.
    """
    if ratio is None:
        return Bound(absolute)
    chosen = baseline(view, measure, pinned)
    if isinstance(chosen, Reason):
        if absolute is not None and (view.over or chosen is Reason.BASELINE_MISSING):
            return Bound(absolute)
        if chosen is Reason.BASELINE_MISSING and not view.spec.baseline.required:
            return Bound(without)
        return Bound(absolute, lacking=chosen)
    base = value(chosen)
    if base is None:
        return Bound(absolute, lacking=Reason.NO_DATA)
    limit = max(ratio * base.value, floor)
    if absolute is not None and absolute <= limit:
        return Bound(absolute, base.value)
    return Bound(limit, base.value, vague=base.beyond)


def pinned_errors(view: View, rule: str) -> Errors | None:
    """The pinned error rate of the rule of that name."""
    found = view.spec.baseline.pinned.get(rule)
    if found is None or found.requests is None or found.bad is None:
        return None
    return Errors(found.requests, found.bad)


def pinned_latencies(view: View, rule: str) -> Histogram | None:
    """The pinned histogram of the rule of that name."""
    found = view.spec.baseline.pinned.get(rule)
    if found is None or not found.buckets:
        return None
    return Histogram(tuple(found.cumulative), tuple(found.cumulative.values()))


def unseen(view: View, rule: str, seen: Counted | None, silent: list[str], what: str) -> Finding | None:
    """The finding where the canary itself tells nothing; None: there are requests to judge."""
    if seen is not None and seen.requests > 0:
        return None
    nowhere = seen is not None or len(silent) == len(view.canary)
    if view.spec.no_traffic == "allowed" and nowhere:
        return finding(rule, Reason.PASSED, "no requests, which the gate allows")
    if isinstance(view.spec.no_traffic, NoTraffic) and nowhere:
        return tryouts.instead_of_requests(view, rule, view.spec.no_traffic)
    if seen is None or silent:
        where = f" on {', '.join(silent)}" if silent else ""
        return finding(rule, Reason.NO_DATA, f"expected {what}, found none{where}")
    return finding(rule, Reason.LOW_TRAFFIC, "no requests")


def unmet(view: View, requests: float, silent: list[str]) -> tuple[Reason, str] | None:
    """What a rule that crosses no limit still lacks for a pass."""
    if silent and view.spec.no_traffic != "allowed":
        return Reason.NO_DATA, f"; nothing from {', '.join(silent)}"
    if requests < view.spec.min_samples:
        return Reason.LOW_TRAFFIC, f"; {requests:.0f} of {view.spec.min_samples} requests"
    return None
