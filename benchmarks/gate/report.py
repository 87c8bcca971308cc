"""What was measured, put together: shares with bounds, delays, goals, and a table for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bumpless.health_gate.offline.bounds import clopper_pearson
from bumpless.health_gate.offline.sizing import LEAST_TICKS, requests_needed
from gate.grid import CELLS, FAULT_NOISE, FAULTS, HEALTHY_NOISES, SCENARIOS, TICK_S
from gate.ours import ALPHA_BATCH
from gate.peers import PEERS
from gate.statistics import quantile
from gate.work import ALONE, OURS, Found

AHEAD = ("errors x3", "errors x10", "latency x2", "crash")
"""The faults at which ours is to be ahead of every peer."""


def summary(parts: Iterable[Found]) -> dict[str, Any]:
    """All figures of the benchmark, in JSON types.

    Raises:
        SystemExit: nothing was measured yet of some scenario.
    """
    grid: list[Found] = []
    edge: list[Found] = []
    for part in parts:
        (grid if "scenario" in part else edge).append(part)
    delays: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    passed: dict[str, list[float | None]] = defaultdict(list)
    for part in sorted(grid, key=lambda part: (part["scenario"], part["cell"])):
        passed[part["scenario"]] += part["passed"]
        for name, times in part["gates"].items():
            delays[part["scenario"]][name] += times
    if missing := sorted(set(SCENARIOS) - set(passed)):
        raise SystemExit(
            f"expected figures of every scenario, found none of {', '.join(missing)}: measure first"
        )
    found: dict[str, Any] = {
        "false_alarms": {
            noise: {name: _share(values) for name, values in delays[noise].items()}
            for noise in HEALTHY_NOISES
        },
        "detection": {
            fault: {name: _detected(values) for name, values in delays[fault].items()} for fault in FAULTS
        },
        "passes": {scenario: _passed(values) for scenario, values in passed.items()},
        "unstable_history": {
            noise: sum(part["unstable"] for part in grid if part["scenario"] == noise)
            for noise in HEALTHY_NOISES
        },
        "boundary": _boundary(edge),
        "sizing": _sizing(grid),
        "ours_by_cell": _by_cell(grid),
        "cpu_s": round(sum(part["cpu_s"] for part in (*grid, *edge)), 1),
    }
    return {"goals": goals(found), "behind": behind(found), **found}


def _share(delays: Sequence[float | None]) -> dict[str, float]:
    hits = sum(delay is not None for delay in delays)
    low, high = clopper_pearson(hits, len(delays))
    return {
        "runs": len(delays),
        "alarms": hits,
        "rate": hits / max(1, len(delays)),
        "low_95": low,
        "high_95": high,
    }


def _detected(delays: Sequence[float | None]) -> dict[str, Any]:
    share = sum(delay is not None for delay in delays) / max(1, len(delays))
    median, most = quantile(delays, 0.5), quantile(delays, 0.9)
    return {"runs": len(delays), "share": share, "median_s": median, "p90_s": most}


def _passed(times: Sequence[float | None]) -> dict[str, Any]:
    hits = sum(at is not None for at in times)
    low, high = clopper_pearson(hits, len(times))
    return {
        "runs": len(times), "share": hits / max(1, len(times)), "low_95": low, "high_95": high,
        "median_s": quantile(times, 0.5), "p90_s": quantile(times, 0.9),
    }  # fmt: skip


def _boundary(parts: Sequence[Found]) -> dict[str, float]:
    count, failed = sum(part["releases"] for part in parts), sum(part["failed"] for part in parts)
    low, high = clopper_pearson(failed, count)
    return {
        "releases": count, "alarms": failed, "rate": failed / max(1, count), "low_95": low, "high_95": high,
        "unstable_batches": sum(part["unstable_batches"] for part in parts),
    }  # fmt: skip


def _sizing(grid: Sequence[Found]) -> dict[str, Any]:
    """Median requests to detection over what the formula says, by cell in which half of the runs found the fault."""
    found: dict[str, Any] = {}
    for fault, ratio in (("errors x3", 3.0), ("errors x10", 10.0)):
        times = []
        for part in grid:
            if part["scenario"] != fault:
                continue
            (canary, control), rps, rate = CELLS[part["cell"]]
            least = LEAST_TICKS * TICK_S * rps * canary
            median = quantile(part["requests"], 0.5)
            if median is not None:
                times.append(median / max(least, requests_needed(rate, ratio, canary, control, ALPHA_BATCH)))
        found[fault] = {
            "cells": len(times), "median_times": quantile(times, 0.5), "most_times": max(times, default=None)
        }  # fmt: skip
    return found


def _by_cell(grid: Sequence[Found]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in sorted(grid, key=lambda part: part["cell"]):
        (canary, control), rps, rate = CELLS[part["cell"]]
        at = {"nodes": f"{canary}v{control}", "rps": rps, "error_rate": rate}
        delays = part["gates"][OURS]
        figures = _share(delays) if part["scenario"] in HEALTHY_NOISES else _detected(delays)
        found[part["scenario"]].append({**at, **figures})
    return dict(found)


def behind(found: dict[str, Any]) -> dict[str, list[str]]:
    """By fault, the peers that are as soon as ours, or sooner, with no more false alarms; and, apart from them, those
    that are with more."""
    alarms = found["false_alarms"][FAULT_NOISE]
    by_fault: dict[str, list[str]] = {}
    for fault, gates in found["detection"].items():
        mine = _late(gates[OURS])
        sooner = [
            name for name in PEERS if _late(gates[name]) <= mine and gates[name]["median_s"] is not None
        ]
        by_fault[fault] = [name for name in sooner if alarms[name]["rate"] <= alarms[OURS]["rate"]]
        by_fault[f"{fault}, with more false alarms"] = [
            name for name in sooner if name not in by_fault[fault]
        ]
        more = [name for name in PEERS if gates[name]["share"] > gates[OURS]["share"]]
        by_fault[f"{fault}, more of them in all"] = more
    return by_fault


def _late(figures: dict[str, Any]) -> float:
    return float("inf") if figures["median_s"] is None else float(figures["median_s"])


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures that were promised."""
    edge, alarms, faults = found["boundary"], found["false_alarms"], found["detection"]
    healthy, tenfold = found["passes"].get(FAULT_NOISE), found["passes"].get("errors x10")
    listed = [
        at_most(
            "false alarms of releases at the null's boundary, upper 95 % bound",
            1.0,
            percent(edge["high_95"]),
            "%",
        )
    ]
    for noise, most in (("real", 0.05), ("unseen", 1.5)):
        listed.append(
            at_most(
                f"false alarms of a batch, {noise} noise", most, percent(alarms[noise][OURS]["rate"]), "%"
            )
        )
    for fault, which, most in (
        ("crash", "p90_s", 40), ("latency x2", "median_s", 55), ("latency x2", "p90_s", 65), ("errors x10", "median_s", 55),
        ("errors x10", "p90_s", 130), ("errors x3", "median_s", 150),
    ):  # fmt: skip
        figure = faults[fault][OURS][which]
        listed.append(
            at_most(f"{fault}, {'median' if which == 'median_s' else 'p90'} delay", most, figure, "s")
        )
    for fault, sizes in found["sizing"].items():
        listed.append(
            at_most(
                f"{fault}, requests over the sizing formula, median cell", 2.0, sizes["median_times"], "times"
            )
        )
    if healthy and tenfold:
        listed.append(at_least("healthy releases passed", 99.0, percent(healthy["share"]), "%"))
        listed.append(at_most("healthy releases, median time to the pass", 120, healthy["median_s"], "s"))
        listed.append(at_most("errors x10 passed", 0.1, percent(tenfold["share"]), "%"))
    lost = behind(found)
    for fault in AHEAD:
        listed.append(
            at_most(
                f"peers at least as soon, with no more false alarms: {fault}", 0, len(lost[fault]), "gates"
            )
        )
    return listed


def percent(share: float) -> float:
    return 100 * share


def at_most(name: str, most: float, measured: float | None, unit: str) -> dict[str, Any]:
    return _goal(name, f"<= {most:g}", measured, unit, measured is not None and measured <= most)


def at_least(name: str, least: float, measured: float | None, unit: str) -> dict[str, Any]:
    return _goal(name, f">= {least:g}", measured, unit, measured is not None and measured >= least)


def _goal(name: str, goal: str, measured: float | None, unit: str, holds: bool) -> dict[str, Any]:
    shown = None if measured is None else round(measured, 4)
    return {"name": name, "goal": goal, "measured": shown, "unit": unit, "holds": holds}


def markdown(found: dict[str, Any]) -> str:
    """The tables of the figures page."""
    names = [OURS, ALONE, *PEERS]
    head = ["Gate", *(f"False alarms, {noise}" for noise in HEALTHY_NOISES), *FAULTS]
    rows = [
        [name, *(_alarm(found["false_alarms"][noise][name]) for noise in HEALTHY_NOISES),
         *(_delay(found["detection"][fault][name]) for fault in FAULTS)]
        for name in names
    ]  # fmt: skip
    edge = found["boundary"]
    healthy = min(found["false_alarms"][noise][OURS]["runs"] for noise in HEALTHY_NOISES)
    faulty = min(found["detection"][fault][OURS]["runs"] for fault in FAULTS)
    lines = [
        f"{healthy:,} healthy batches for each noise and {faulty:,} for each fault.", "",
        *_table(head, rows), "",
        "False alarms: percent of healthy batches, in brackets the upper 95 % bound. Faults: percent found within 15 "
        "minutes, median and 90th percentile of the seconds from the switch, over all runs; – where not so many were "
        "found.", "",
        f"Releases at the null's boundary: {edge['alarms']} of {edge['releases']:,} failed, {percent(edge['rate']):.3g} %, "
        f"upper 95 % bound {percent(edge['high_95']):.3g} %.", "",
        *_table(
            ["Scenario", "Passed", "Median", "90th percentile"],
            [[name, f"{percent(one['share']):.3g} %", _seconds(one["median_s"]), _seconds(one["p90_s"])]
             for name, one in found["passes"].items()],
        ), "",
        *_table(
            ["Goal", "Wanted", "Measured", "Holds"],
            [[one["name"], f"{one['goal']} {one['unit']}", "–" if one["measured"] is None else f"{one['measured']:g}",
              "yes" if one["holds"] else "**no**"] for one in found["goals"]],
        ), "",
        *_table(
            ["Fault", "As soon or sooner, no more false alarms", "As soon or sooner, more false alarms", "Find more in all"],
            [[fault, *(", ".join(found["behind"][key]) or "none" for key in (
                fault, f"{fault}, with more false alarms", f"{fault}, more of them in all"))] for fault in FAULTS],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _alarm(figures: dict[str, float]) -> str:
    return f"{percent(figures['rate']):.2g} ({percent(figures['high_95']):.2g})"


def _delay(figures: dict[str, Any]) -> str:
    return f"{percent(figures['share']):.0f} % {_seconds(figures['median_s'])} / {_seconds(figures['p90_s'])}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
