"""What was measured, put together: goals, tables for people, and the curves over the size of the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SMALL, LARGE = 1_000, 10_000
"""Between these the cost of a node is to stay the same."""
PLANE = ("planner", "rollback", "health-gate", "nats", "redis")
PHASES = {
    "all_at_once": "one batch of all",
    "rollback": "rollback of all",
    "rolling": "20 batches",
    "gated": "two batches with gates",
}

FIGURES = {
    "plan_s": ("plan (s)", ".2f"),
    "stage_s": ("stage (s)", ".2f"),
    "apply_s": ("apply (s)", ".2f"),
    "whole_s": ("whole (s)", ".2f"),
    "messages_per_s": ("messages/s", ",.0f"),
    "plane_cpu_ms_per_node": ("CPU of the control plane per node (ms)", ".2f"),
    "added_cpu_ms_per_node": ("the same without that of an idle fleet (ms)", ".2f"),
}

Found = dict[str, Any]


def summary(fleets: Sequence[Found], peer: Found | None, ours_at_peer: Found | None) -> Found:
    """All figures in JSON types. `peer` is Ansible on as many nodes as `ours_at_peer`; None: not measured."""
    by_size = {fleet["nodes"]: fleet for fleet in fleets}
    for fleet in fleets:
        fleet["batch_ratio"] = fleet["all_at_once"]["apply_s"] / fleet["bare"]["s"]
        fleet["batch_cpu_ratio"] = sum(fleet["all_at_once"]["apply_cpu_s"].values()) / sum(
            fleet["bare"]["cpu_s"].values()
        )
        idle = fleet["idle"]["plane_cpu_per_s"] = plane_cpu_s(fleet["idle"]) / fleet["idle"]["took_s"]
        fleet["idle"]["plane_cpu_ms_per_node"] = idle / fleet["nodes"] * 1000  # per second
        for name in PHASES:
            if name in fleet:
                used, anyway = plane_cpu_s(fleet[name]), idle * fleet[name]["took_s"]
                fleet[name]["plane_cpu_ms_per_node"] = used / fleet["nodes"] * 1000
                fleet[name]["added_cpu_ms_per_node"] = max(used - anyway, 0) / fleet["nodes"] * 1000
    found: Found = {"goals": goals(by_size, peer, ours_at_peer), "fleets": list(fleets)}
    if peer is not None and ours_at_peer is not None:
        found["ansible"], found["beside_ansible"] = peer, ours_at_peer
    return found


def plane_cpu_s(phase: Found) -> float:
    """CPU seconds of everything but the simulated nodes."""
    return float(sum(phase["cpu_s"][part] for part in PLANE))


def goals(by_size: dict[int, Found], peer: Found | None, ours_at_peer: Found | None) -> list[Found]:
    """What was wanted and what was found, as far as it was measured."""
    found: list[Found] = []
    if large := by_size.get(LARGE):
        at = f"{LARGE:,} nodes: "
        found += [
            goal(
                at + "one batch commanded and answered, times the bare broker", 3, large["batch_ratio"], "×"
            ),
            goal(at + "rolling upgrade in 20 batches", 600, large["rolling"]["whole_s"], "s"),
            goal(at + "rollback commanded and answered", 30, large["rollback"]["whole_s"], "s"),
            goal(at + "memory of the planner", 1000, large["peak_mb"]["planner"], "MB"),
        ]
        if small := by_size.get(SMALL):
            for phase, key, what in (
                (
                    "rolling",
                    "added_cpu_ms_per_node",
                    "CPU per node that a rolling upgrade adds to an idle fleet's",
                ),
                ("idle", "plane_cpu_ms_per_node", "CPU per node of an idle fleet"),
                (
                    "rolling",
                    "plane_cpu_ms_per_node",
                    "CPU per node while a rolling upgrade lasts, with that of an idle fleet",
                ),
            ):
                times = large[phase][key] / small[phase][key]
                found.append(goal(f"{what}, {LARGE:,} nodes over {SMALL:,}", 1.5, times, "×"))
    if peer is not None and ours_at_peer is not None:
        what = f"{peer['nodes']} nodes: seconds of orchestration per node, over Ansible's"
        found.append(goal(what, 0.1, ours_at_peer["whole_s"] / peer["s"], "×"))
    return found


def goal(name: str, most: float, measured: float, unit: str) -> Found:
    return {
        "name": name,
        "goal": f"<= {most:g}",
        "measured": round(measured, 3),
        "unit": unit,
        "holds": measured <= most,
    }


def markdown(found: Found) -> str:
    """The tables of a report."""
    fleets = found["fleets"]
    head = ["", *(f"{fleet['nodes']:,} nodes" for fleet in fleets)]
    rows = [
        [
            "idle: CPU of the control plane (ms per second)",
            *(f"{fleet['idle']['plane_cpu_per_s'] * 1000:.0f}" for fleet in fleets),
        ],
        ["bare broker, the same messages (s)", *(f"{fleet['bare']['s']:.2f}" for fleet in fleets)],
        *_phase_rows(fleets),
        ["one batch, times the bare broker", *(f"{fleet['batch_ratio']:.2f}" for fleet in fleets)],
        ["the same in CPU seconds of all parts", *(f"{fleet['batch_cpu_ratio']:.2f}" for fleet in fleets)],
        *([f"peak memory of {part} (MB)", *_peaks(fleets, part)] for part in PLANE),
    ]
    wanted = [
        [one["name"], f"{one['goal']} {one['unit']}", f"{one['measured']:g}", "yes" if one["holds"] else "no"]
        for one in found["goals"]
    ]
    parts = [_table(head, rows), _table(["Goal", "Wanted", "Measured", "Holds"], wanted)]
    if peer := found.get("ansible"):
        parts.append(_beside(peer, found["beside_ansible"]))
    return "\n\n".join(parts) + "\n"


def _phase_rows(fleets: Sequence[Found]) -> list[list[str]]:
    """A fleet on which a phase did not come to its end has a dash there."""
    rows = []
    for name, words in PHASES.items():
        there = [fleet[name] for fleet in fleets if name in fleet]
        for key, (unit, form) in FIGURES.items():
            if there and key in there[0]:
                figures = [format(fleet[name][key], form) if name in fleet else "–" for fleet in fleets]
                rows.append([f"{words}: {unit}", *figures])
    return rows


def _peaks(fleets: Sequence[Found], part: str) -> list[str]:
    return [f"{fleet['peak_mb'][part]:.0f}" for fleet in fleets]


def _beside(peer: Found, ours: Found) -> str:
    nodes = peer["nodes"]
    rows = [
        [
            "Ansible, one playbook",
            f"{peer['s']:.2f}",
            f"{peer['s'] / nodes * 1000:.0f}",
            f"{peer['cpu_s']:.1f}",
        ],
        [
            "Bumpless, plan, stage and apply",
            f"{ours['whole_s']:.2f}",
            f"{ours['whole_s'] / nodes * 1000:.0f}",
            f"{sum(ours['cpu_s'].values()):.1f}",
        ],
    ]
    return _table([f"{nodes} nodes", "whole (s)", "per node (ms)", "CPU (s)"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def curves(found: Found) -> dict[str, list[tuple[float, float]]]:
    """Seconds over nodes, by what was done."""
    fleets = found["fleets"]
    lines = {"bare broker": [(float(fleet["nodes"]), float(fleet["bare"]["s"])) for fleet in fleets]}
    lines["one batch, applied"] = [(fleet["nodes"], fleet["all_at_once"]["apply_s"]) for fleet in fleets]
    for name in ("rollback", "rolling"):
        lines[PHASES[name]] = [(fleet["nodes"], fleet[name]["whole_s"]) for fleet in fleets]
    return lines
