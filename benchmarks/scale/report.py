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

Found = dict[str, Any]


def summary(fleets: Sequence[Found], peer: Found | None, ours_at_peer: Found | None) -> Found:
    """All figures in JSON types. `peer` is Ansible on as many nodes as `ours_at_peer`; None: not measured."""
    by_size = {fleet["nodes"]: fleet for fleet in fleets}
    for fleet in fleets:
        fleet["batch_ratio"] = fleet["all_at_once"]["apply_s"] / fleet["bare"]["s"]
        fleet["batch_cpu_ratio"] = fleet["all_at_once"]["apply_cpu_s"] / fleet["bare"]["cpu_s"]
        for name in PHASES:
            if name in fleet:
                fleet[name]["plane_cpu_ms_per_node"] = plane_cpu_s(fleet[name]) / fleet["nodes"] * 1000
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
            times = (large["rolling"]["plane_cpu_ms_per_node"]) / small["rolling"]["plane_cpu_ms_per_node"]
            what = f"CPU of the control plane per node of a rolling upgrade, {LARGE:,} nodes over {SMALL:,}"
            found.append(goal(what, 1.5, times, "×"))
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
    rows = []
    for name, words in PHASES.items():
        if not all(name in fleet for fleet in fleets):
            continue
        for key, unit in (("plan_s", "plan (s)"), ("stage_s", "stage (s)"), ("apply_s", "apply (s)")):
            if key in fleets[0][name]:
                rows.append([f"{words}: {unit}", *(f"{fleet[name][key]:.2f}" for fleet in fleets)])
        rows += [
            [f"{words}: whole (s)", *(f"{fleet[name]['whole_s']:.2f}" for fleet in fleets)],
            [f"{words}: messages/s", *(f"{fleet[name]['messages_per_s']:,.0f}" for fleet in fleets)],
            [
                f"{words}: CPU of the control plane per node (ms)",
                *(f"{fleet[name]['plane_cpu_ms_per_node']:.2f}" for fleet in fleets),
            ],
        ]
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
