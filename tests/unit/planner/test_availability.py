"""Orders about nodes: what is commanded, and what is answered."""

from __future__ import annotations

from datetime import timedelta

from bumpless.common.contract.base import MessageId, derive_id
from bumpless.common.contract.commands import DrainNode, SetAvailability, UndrainNode
from bumpless.common.model.fleet import Drain, Fleet, Node
from bumpless.planner.availability import REMEMBERED, Answer, decide
from support.plans import T0, at, fleet, node, target


def serving(name: str, *components: str) -> Node:
    found = node(name, {component: target(component, "v1") for component in components})
    return found.model_copy(
        update={"components": {k: v.model_copy(update={"instances": 1}) for k, v in found.components.items()}}
    )


TWO = fleet(serving("n1", "api"), serving("n2", "api"))


def drain(number: int = 1, **more: object) -> DrainNode:
    given = {"id": derive_id("drain", str(number)), "at": T0, "node": "n1", "by": "ada", "reason": "new disk"}
    return DrainNode.model_validate(given | more)


def undrain(number: int = 1) -> UndrainNode:
    return UndrainNode(id=derive_id("undrain", str(number)), at=T0, node="n1", by="ada")


def word(answer: Answer) -> SetAvailability:
    assert answer.accepted, answer.text
    assert answer.word is not None
    return answer.word


def test_a_drain_says_who_why_and_until_when() -> None:
    said = word(decide(drain(for_s=7200), None, TWO, T0))
    assert (said.drained, said.by, said.reason, said.sequence) == (True, "ada", "new disk", 1)
    assert (said.since, said.until) == (T0, T0 + timedelta(hours=2))


def test_numbers_rise_above_what_the_broker_and_the_node_know() -> None:
    standing = word(decide(drain(), None, TWO, T0))
    assert word(decide(undrain(), standing, TWO, T0)).sequence == 2
    ahead = Fleet(nodes=tuple(n.model_copy(update={"ordered": 9}) for n in TWO.nodes))
    assert word(decide(drain(2), standing, ahead, T0)).sequence == 10


def test_an_order_that_comes_again_is_not_obeyed_again() -> None:
    first = word(decide(drain(), None, TWO, T0))
    back = word(decide(undrain(), first, TWO, T0))
    assert decide(drain(), back, TWO, T0).word is None
    assert decide(undrain(), back, TWO, T0).word is None
    standing = back
    for number in range(2, 2 + 2 * REMEMBERED):
        standing = word(decide(drain(number), standing, TWO, T0))
    assert len(standing.orders) == REMEMBERED


def test_a_drain_that_is_renewed_keeps_its_beginning() -> None:
    first = word(decide(drain(), None, TWO, T0))
    again = word(decide(drain(2, reason="and a new fan", for_s=60), first, TWO, at(100)))
    assert (again.since, again.until, again.reason) == (T0, at(160), "and a new fan")


def test_one_that_is_over_begins_anew() -> None:
    over = word(decide(drain(for_s=10), None, TWO, T0))
    assert decide(undrain(), over, TWO, at(20)).word is None
    assert word(decide(drain(2), over, TWO, at(20))).since == at(20)


def test_a_node_in_service_is_not_ordered_back() -> None:
    answer = decide(undrain(), None, TWO, T0)
    assert (answer.accepted, answer.word) == (True, None)


def test_a_node_whose_word_the_broker_has_lost_comes_back_all_the_same() -> None:
    lost = TWO.nodes[0].model_copy(update={"drain": Drain(by="ada", since=T0), "ordered": 4})
    assert word(decide(undrain(), None, fleet(lost, TWO.nodes[1]), T0)).sequence == 5


def test_an_unknown_node_is_refused_with_those_that_there_are() -> None:
    answer = decide(drain(node="n9"), None, TWO, T0)
    assert (answer.accepted, answer.text) == (
        False,
        "expected a node of the fleet, found n9; known are n1, n2",
    )


def test_the_last_node_that_serves_something_is_kept_unless_forced() -> None:
    where = fleet(serving("n1", "api", "db"), serving("n2", "api"))
    answer = decide(drain(), None, where, T0)
    assert (answer.accepted, "db" in answer.text, "--force" in answer.text) == (False, True, True)
    assert "api" not in answer.text
    assert word(decide(drain(force=True), None, where, T0)).drained


def test_who_is_drained_or_silent_does_not_stand_in() -> None:
    out = TWO.nodes[1].model_copy(update={"drain": Drain(by="bob", since=T0)})
    assert not decide(drain(), None, fleet(TWO.nodes[0], out), T0).accepted
    silent = TWO.nodes[1].model_copy(update={"observed_at": T0 - timedelta(hours=1)})
    assert not decide(drain(), None, fleet(TWO.nodes[0], silent), T0).accepted


def test_a_silent_node_is_drained_when_it_is_back() -> None:
    silent = TWO.nodes[0].model_copy(update={"observed_at": T0 - timedelta(hours=1)})
    answer = decide(drain(), None, fleet(silent, TWO.nodes[1]), T0)
    assert "silent" in answer.text
    assert word(answer).orders == (MessageId(drain().id),)
