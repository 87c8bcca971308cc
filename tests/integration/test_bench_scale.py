"""The benchmark of scale works: its phases on a small fleet, its goals, its tables and its picture."""

from __future__ import annotations

from xml.etree import ElementTree

from bench_scale import fleet
from scale.plot import svg
from scale.report import PLANE, curves, markdown, summary

NODES = 40


def test_every_phase_is_measured_on_a_small_fleet() -> None:
    measured = fleet(NODES, gates=False)

    assert measured["nodes"] == NODES
    for phase in ("all_at_once", "rollback", "rolling"):
        assert measured[phase]["whole_s"] > 0
        # One answer of every node at least.
        assert measured[phase]["messages"] > NODES
    assert all(measured["peak_mb"][part] > 0 for part in PLANE)

    found = summary([measured], {"nodes": NODES, "s": 1000.0, "cpu_s": 1.0}, measured["all_at_once"])
    assert [goal["holds"] for goal in found["goals"]] == [True]
    assert "| one batch, times the bare broker |" in markdown(found)


def test_goals_of_large_fleets_are_told_where_those_were_measured() -> None:
    def one(nodes: int, batch_s: float) -> dict[str, object]:
        phase = {
            "cpu_s": dict.fromkeys(PLANE, 0.001 * nodes),
            "plan_s": 1.0,
            "stage_s": 1.0,
            "apply_s": batch_s,
            "apply_cpu_s": {"nats": batch_s},
            "whole_s": 2 + batch_s,
            "messages_per_s": 100.0,
            "took_s": 2 + batch_s,
        }
        return {
            "nodes": nodes,
            "idle": {"cpu_s": dict.fromkeys(PLANE, 0.0001 * nodes), "took_s": 1.0},
            "bare": {"s": 1.0, "cpu_s": {"nats": 1.0}},
            "peak_mb": dict.fromkeys(PLANE, 100.0),
            **{name: dict(phase) for name in ("all_at_once", "rollback", "rolling")},
        }

    found = summary([one(1_000, 1.0), one(10_000, 4.0)], None, None)

    assert [goal["holds"] for goal in found["goals"]] == [False, *[True] * 6]
    picture = ElementTree.fromstring(svg(curves(found), "nodes", "seconds"))
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 4
