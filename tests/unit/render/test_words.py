"""Numbers, times and names as people read them."""

from __future__ import annotations

import random

import pytest

from bumpless.common.render.words import duration, names, nodes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.2, "less than 1 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (7_500, "2 h 5 min"), (86_399, "23 h 59 min"), (90_000, "1 d 1 h"), (9e6, "104 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (["b"], "b"),
        (["n2", "n1", "n3"], "n1, n2, n3"),
        ([f"node-{n}" for n in range(1, 501)], "node-1 … node-500 (500 nodes)"),
        (["n9", "n10", "n11", "n12"], "n9 … n12 (4 nodes)"),
        (["n1", "n2", "n3", "n5", "n6", "n7", "n8"], "n1, n2, n3, n5 … n8 (7 nodes)"),
        (["n08", "n09", "n10", "n11"], "n08 … n11 (4 nodes)"),
        (["n8", "n09", "n10", "n11"], "n8, n09, n10, n11 (4 nodes)"),
        (["a-1", "b-2", "c-3", "d-4"], "a-1, b-2, c-3, d-4 (4 nodes)"),
        ([f"x{n}" for n in range(1, 21, 2)], "x1, x3, x5, x7, x9 and 5 more (10 nodes)"),
        (["eu-1-web1", "eu-1-web2", "eu-1-web3", "eu-1-web4"], "eu-1-web1 … eu-1-web4 (4 nodes)"),
        ([], ""),
    ],
)
def test_names_of_nodes(found: list[str], text: str) -> None:
    shuffled = random.Random(3).sample(found, len(found))
    assert nodes(shuffled) == text
    assert nodes(shuffled * 2) == text


def test_no_node_is_lost_in_a_run() -> None:
    assert names(f"n{n}" for n in [*range(1, 5), *range(6, 12)]) == "n1 … n4, n6 … n11"
