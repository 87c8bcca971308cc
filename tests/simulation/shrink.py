"""From a failing scenario to a small one that breaks the same invariant: drop happenings, faults, parts and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from simulation.run import simulate
from simulation.scenario import Scenario

PLAINER_PARTS: tuple[dict[str, Any], ...] = (
    {"gate": None},
    {"bad": ""},
    {"overlap": True},
    {"channel": ""},
    {"through": False},
    {"green": (), "one_set": False},
)
PLAINER: tuple[dict[str, Any], ...] = (
    {"approval": False},
    {"approval_between": False},
    {"apart": False},
    {"drained": False},
    {"drain_s": 2.0},
)


def shrunk(scenario: Scenario) -> Scenario:
    """The smallest scenario found; the same one where it does not fail at all."""
    found = simulate(scenario).violation
    if found is None:
        return scenario
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(scenario):
            again = simulate(candidate).violation
            if again is not None and again.name == found.name:
                scenario, smaller = candidate, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.happenings:
        half = len(scenario.happenings) // 2
        if half:
            yield replace(scenario, happenings=scenario.happenings[:half])
            yield replace(scenario, happenings=scenario.happenings[half:])
        for dropped in scenario.happenings:
            yield replace(scenario, happenings=tuple(h for h in scenario.happenings if h is not dropped))
    for kind in sorted(scenario.faults):
        yield replace(scenario, faults=scenario.faults - {kind})
    if len(scenario.parts) > 1:
        for part in scenario.parts:
            rest = tuple(
                replace(p, depends_on=tuple(d for d in p.depends_on if d != part.name), channel="")
                for p in scenario.parts
                if p is not part
            )
            yield replace(scenario, parts=rest)
    for number, part in enumerate(scenario.parts):
        for plainer in PLAINER_PARTS:
            plain = replace(part, **plainer)
            if plain != part:
                yield replace(
                    scenario, parts=(*scenario.parts[:number], plain, *scenario.parts[number + 1 :])
                )
    if len(scenario.nodes) > 1:
        nodes = scenario.nodes[:-1]
        parts = tuple(
            replace(part, green=tuple(n for n in part.green if n in nodes)) for part in scenario.parts
        )
        yield replace(
            scenario, nodes=nodes, parts=parts, max_unavailable=min(scenario.max_unavailable, len(nodes))
        )
    if scenario.planners > 1:
        yield replace(scenario, planners=1)
    for plainer in PLAINER:
        plain_one = replace(scenario, **plainer)
        if plain_one != scenario:
            yield plain_one
