"""The way of a whole fleet: everything fits together at every moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.compat.fleet_path import Move, NoFleetPath, fleet_path
from bumpless.common.compat.matrix import Matrix
from bumpless.common.compat.pairs import Accepts, Pairs, Stated
from bumpless.common.model.version import Version
from unit.compat.stating import MATRIX_B, accepts, matrix, v


def chain(component: str, last: int, level: str = "backward") -> Matrix:
    return matrix(component, *((str(n), str(n + 1), level) for n in range(1, last)))


def moves(path: Iterable[Move]) -> list[str]:
    return [f"{m.component} {m.source.core[0]}>{m.target.core[0]}" for m in path]


def test_the_fixture_without_a_path_says_what_is_missing() -> None:
    fleet = {"metadata-service": [v("1.0.0")], "data-service": [v("1.1.0")], "client-sdk": [v("1.0.0")]}
    with pytest.raises(NoFleetPath) as caught:
        fleet_path({"metadata-service": MATRIX_B}, Pairs((), ()), fleet, {"metadata-service": v("2.0.0")})
    (reason,) = caught.value.reasons
    assert "reachable from 1.0.0: 1.1.0, 1.2.0" in reason
    assert "missing is the hop 1.2.0 > 2.0.0" in reason


def test_providers_and_clients_go_in_steps_that_fit() -> None:
    """The client takes the same major or the next; so neither can run ahead by two."""
    stated = [accepts("api", f"{n}.x", "db", f"{n}.x || {n + 1}.x") for n in (1, 2, 3)]
    pairs = Pairs([("api", "db")], [Stated(stated)])
    matrices = {"db": chain("db", 3), "api": chain("api", 3)}
    path = fleet_path(matrices, pairs, {"db": [v("1")], "api": [v("1")]}, {"db": v("3"), "api": v("3")})
    assert moves(path) == ["db 1>2", "api 1>2", "db 2>3", "api 2>3"]


def test_a_way_through_another_version_of_a_neighbour() -> None:
    """db 2 is only spoken by api 2, db 1 by api 1 and 2: so api moves first, although it stands behind."""
    stated = [accepts("api", "1.x", "db", "1.x"), accepts("api", "2.x", "db", "1.x || 2.x")]
    pairs = Pairs([("api", "db")], [Stated(stated)])
    path = fleet_path(
        {"db": chain("db", 2), "api": chain("api", 2)},
        pairs,
        {"db": [v("1")], "api": [v("1")]},
        {"db": v("2"), "api": v("2")},
    )
    assert moves(path) == ["api 1>2", "db 1>2"]


def test_a_mixed_fleet_starts_from_where_each_node_is() -> None:
    matrices = {"api": chain("api", 3, "full")}
    path = fleet_path(matrices, Pairs((), ()), {"api": [v("1"), v("2")]}, {"api": v("3")})
    assert moves(path) == ["api 1>2", "api 2>3"], (
        "1 and 3 must not run side by side: nothing is stated about them"
    )


def test_down_again() -> None:
    path = fleet_path({"api": chain("api", 3)}, Pairs((), ()), {"api": [v("3")]}, {"api": v("1")})
    assert moves(path) == ["api 3>2", "api 2>1"]


def test_a_dead_end_says_who_refuses_what() -> None:
    stated = [accepts("api", f"{n}.x", "db", f"{n}.x") for n in (1, 2)]
    with pytest.raises(NoFleetPath) as caught:
        fleet_path(
            {"db": chain("db", 2), "api": chain("api", 2)},
            Pairs([("api", "db")], [Stated(stated)]),
            {"db": [v("1")], "api": [v("1")]},
            {"db": v("2"), "api": v("2")},
        )
    text = str(caught.value)
    assert "the fleet gets as far as db 1.0.0, api 1.0.0" in text
    assert "api 1.0.0 accepts db 1.x, not 2.0.0" in text


def test_a_component_nobody_states_anything_about_cannot_move() -> None:
    with pytest.raises(NoFleetPath, match=r"missing is the hop 1\.0\.0 > 2\.0\.0"):
        fleet_path({}, Pairs((), ()), {"api": [v("1")]}, {"api": v("2")})


def test_the_search_gives_up_with_a_reason() -> None:
    with pytest.raises(NoFleetPath, match="no way was found after 2 moments"):
        fleet_path({"api": chain("api", 6)}, Pairs((), ()), {"api": [v("1")]}, {"api": v("6")}, max_moments=2)


LAST = 4
NAMES = ("a", "b", "c")


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Mapping[str, Matrix], list[Accepts], dict[str, list[Version]]]:
    matrices = {}
    for name in NAMES:
        ends = [(i, j) for i in range(1, LAST + 1) for j in range(i + 1, LAST + 1)]
        used = draw(st.lists(st.sampled_from(ends), min_size=2, max_size=6, unique=True))
        levels = draw(
            st.lists(st.sampled_from(["full", "backward", "forward", "none"]), min_size=6, max_size=6)
        )
        matrices[name] = matrix(
            name, *((str(i), str(j), lv) for (i, j), lv in zip(used, levels, strict=False))
        )
    stated = [
        accepts(client, f"{n}.x", provider, f">={draw(st.integers(1, n))},<={draw(st.integers(n, LAST))}")
        for client, provider in (("b", "a"), ("c", "b"))
        for n in range(1, LAST + 1)
    ]
    return matrices, stated, {name: [v("1")] for name in NAMES}


@given(fleets())
def test_every_moment_of_a_path_holds(
    given_: tuple[Mapping[str, Matrix], list[Accepts], dict[str, list[Version]]],
) -> None:
    """Walked by hand, with nothing of the search: each hop is stated and mixes, each pair fits, the end is the end."""
    matrices, stated, fleet = given_
    says = Stated(stated)
    wanted = {name: v(str(LAST)) for name in NAMES}
    try:
        path = fleet_path(matrices, Pairs([("b", "a"), ("c", "b")], [says]), fleet, wanted)
    except NoFleetPath:
        return
    running = {name: {versions[0]} for name, versions in fleet.items()}
    for move in path:
        assert move.source in running[move.component]
        stated_here = {(s.old, s.new): s.level for s in matrices[move.component].statements}
        stated_here |= {(new, old): level.reversed for (old, new), level in stated_here.items()}
        assert stated_here[move.source, move.target].mixes
        running[move.component] |= {move.target}
        for client, provider in (("b", "a"), ("c", "b")):
            for used in running[client]:
                for offered in running[provider]:
                    word = says.about(client, used, provider, offered)
                    assert word is not None
                    assert word.fits
        running[move.component] -= {move.source}
    assert running == {name: {version} for name, version in wanted.items()}
    assert all(one != other for one, other in pairwise(path))


def test_what_stays_is_met_at_every_moment() -> None:
    """api 1 is moved here, and stays elsewhere: db 2 must fit it as well."""
    stated = [accepts("api", "1.x", "db", "1.x"), accepts("api", "2.x", "db", "*")]
    pairs = Pairs([("api", "db")], [Stated(stated)])
    matrices = {"db": chain("db", 2), "api": chain("api", 2)}
    fleet, wanted = {"db": [v("1")], "api": [v("1")]}, {"db": v("2"), "api": v("2")}
    assert moves(fleet_path(matrices, pairs, fleet, wanted)) == ["api 1>2", "db 1>2"]
    assert moves(fleet_path(matrices, pairs, fleet, wanted, stays={"api": [v("2")]})) == ["api 1>2", "db 1>2"]
    with pytest.raises(NoFleetPath, match=r"api 1\.0\.0 accepts db 1\.x, not 2\.0\.0"):
        fleet_path(matrices, pairs, fleet, wanted, stays={"api": [v("1")]})
