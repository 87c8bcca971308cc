"""Strategies in a release file: what contradicts itself or the rest of the file is refused with its line."""

from __future__ import annotations

import pytest

from bumpless.common.model.strategy import NodeSet, StrategyKind
from bumpless.common.release_file import ReleaseInvalid, parse_release_file

HEAD = """version: v1
components:
  api:
    run:
      command: [bin/api]
"""
SETS = "kind: blue-green, blue: [n1], green: [n2]"


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ReleaseInvalid) as caught:
        parse_release_file(text, "release.yaml")
    return [(p.line, p.where, p.text) for p in caught.value.problems]


def test_every_kind_is_read() -> None:
    for written, kind in (
        ("all-at-once", StrategyKind.ALL_AT_ONCE),
        ("{kind: canary, canary: {labels: {zone: a}}, observe_s: 60}", StrategyKind.CANARY),
        ("{kind: waves, waves: [{name: one, share: 10%}, {name: two, rest: true}]}", StrategyKind.WAVES),
        ("{kind: priority, priority: rank, spread: zone}", StrategyKind.PRIORITY),
        (f"{{{SETS}}}", StrategyKind.BLUE_GREEN),
    ):
        (api,) = parse_release_file(f"{HEAD}    strategy: {written}\n", "release.yaml").components
        assert api.strategy is not None
        assert api.strategy.kind is kind
    named = parse_release_file(f"{HEAD}    strategy: {{kind: canary, canary: [n1]}}\n", "r.yaml")
    (api,) = named.components
    assert api.strategy is not None
    assert api.strategy.canary == NodeSet(nodes=("n1",))


@pytest.mark.parametrize(
    ("strategy", "line", "where", "said"),
    [
        (
            "\n      kind: rolling\n      canary: 2",
            8,
            "api.strategy.canary",
            "only with kind canary, found rolling",
        ),
        ("\n      kind: canary\n      hold_s: 9", 8, "api.strategy.hold_s", "only with kind blue-green"),
        ("waves", 6, "components.api.strategy", "expected `waves` with kind waves"),
        (
            "\n      kind: waves\n      waves:\n      - {name: a, rest: true}\n      - {name: b, share: 101%}",
            10,
            "components.api.strategy.waves.1.share",
            "expected a count such as 2",
        ),
        (
            "\n      kind: waves\n      waves:\n      - {name: a, nodes: [n1], rest: true}",
            9,
            "components.api.strategy.waves.0",
            "expected one of nodes, labels, share and rest, found nodes and rest",
        ),
        ("\n      kind: canary\n      canary: none", 8, "components.api.strategy.canary", "expected a count"),
    ],
)
def test_a_contradiction_has_its_line(strategy: str, line: int, where: str, said: str) -> None:
    ((found, place, text),) = problems(f"{HEAD}    strategy: {strategy}\n")
    assert (found, place) == (line, where)
    assert said in text


def test_the_strategy_of_the_release_has_its_line_too() -> None:
    ((line, where, _),) = problems("strategy: {kind: rolling, observe_s: 60}\n" + HEAD)
    assert (line, where) == (1, "strategy.observe_s")


@pytest.mark.parametrize(
    ("more", "line", "where", "said"),
    [
        ("    place: {nodes: [n1]}\n", 7, "api.place", "expected no place with blue-green"),
        ("      overlap: false\n", 7, "api.strategy", "what cannot run twice cannot be held, or hold_s: 0"),
        ("      listen: {http: 'tcp://0.0.0.0:80'}\n", 7, "api.strategy", "expected run.proxy"),
        (
            "  web:\n    run: {command: [web], env: {API: '{peers.api}'}}\n",
            8,
            "web.run.env.API",
            "expected the address of the proxy of api",
        ),
    ],
)
def test_what_blue_green_cannot_do_is_refused(more: str, line: int, where: str, said: str) -> None:
    strategy = f"    strategy: {{{SETS}}}\n"
    text = HEAD + more + strategy if more.startswith("      ") else HEAD + strategy + more
    ((found, place, words),) = problems(text)
    assert (found, place) == (line, where)
    assert said in words


def test_without_a_hold_more_is_possible() -> None:
    text = f"{HEAD}      overlap: false\n      listen: {{http: 'tcp://0.0.0.0:80'}}\n    strategy: {{{SETS}, hold_s: 0}}\n"
    assert parse_release_file(text, "release.yaml")


def test_an_executor_cannot_be_taken_off_a_node() -> None:
    run = "    run: {driver: executor}\n"
    ((line, where, said),) = problems(
        f"version: v1\ncomponents:\n  executor:\n{run}    strategy: {{{SETS}}}\n"
    )
    assert (line, where) == (5, "executor.strategy")
    assert "cannot be taken off a node" in said


@pytest.mark.parametrize(
    ("queues", "line", "said"),
    [
        (
            "    produces: [{channel: file.events, writes: 2}]\n    consumes: [{channel: a b, reads: '*'}]\n",
            7,
            "channel",
        ),
        ("    consumes: [{channel: file.events, reads: two}]\n", 6, "expected a version"),
    ],
)
def test_queues_have_versions_and_ranges(queues: str, line: int, said: str) -> None:
    ((found, where, text),) = problems(HEAD + queues)
    assert found == line
    assert said in where + text
