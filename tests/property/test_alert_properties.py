"""What holds for every alert, whatever happens to it in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.alerts import machine
from bumpless.alerts.inputs import Muted
from bumpless.common.contract.alerts import AlertChanged
from bumpless.common.contract.base import derive_id
from bumpless.common.model.alert import Alert, AlertStatus
from unit.alerts.scenes import LADDER, T0, World, acknowledge, at, observed, wanted

WORDS = st.tuples(
    st.sampled_from(["holds", "holds for 30", "over", "ack", "wait", "mute", "broken", "works"]),
    st.integers(1, 700),
)
LIVES = st.lists(WORDS, min_size=1, max_size=12)


def lived(life: list[tuple[str, int]], *, mutes: bool = True) -> World:
    world = World()
    second = 0.0
    for word, wait in life:
        match word:
            case "holds":
                world.give(observed(second=second, actions=wanted("note")), second)
            case "holds for 30":
                world.give(observed(second=second, for_s=30, actions=wanted("note")), second)
            case "over":
                world.give(observed(False, second=second), second)
            case "ack" if world.alert is not None:
                world.give(acknowledge(second), second)
            case "mute" if mutes:
                world.mute = (second, second + wait)
            case "broken":
                world.works = False
            case "works":
                world.works = True
            case _:
                pass
        second += wait
        world.until(second)
    return world


def statuses(world: World) -> list[tuple[AlertStatus, int]]:
    found: list[tuple[AlertStatus, int]] = []
    for message in world.sent:
        if isinstance(message, AlertChanged):
            now = (message.alert.status, message.alert.episode)
            if not found or found[-1] != now:
                found.append(now)
    return found


@given(LIVES)
@settings(max_examples=60, deadline=None)
def test_people_are_told_in_the_order_of_the_steps_and_never_of_what_does_not_fire(
    life: list[tuple[str, int]],
) -> None:
    world = lived(life)
    order = [told.channel for step in LADDER.steps for told in step.channels]
    last = -1
    for _, channel, about in world.told:
        if about == "resolved" or channel == "chat":
            last = 0
            continue
        assert order.index(channel) <= last + 2
        last = max(last, order.index(channel))
    if world.told:
        assert any(status is AlertStatus.FIRING for status, _ in statuses(world))


@given(LIVES)
@settings(max_examples=60, deadline=None)
def test_silences_change_neither_status_nor_episode(life: list[tuple[str, int]]) -> None:
    assert statuses(lived(life)) == statuses(lived(life, mutes=False))


@given(LIVES)
@settings(max_examples=60, deadline=None)
def test_a_muted_alert_takes_no_step(life: list[tuple[str, int]]) -> None:
    world = lived(life)
    before: Alert | None = None
    for message in world.sent:
        if isinstance(message, AlertChanged):
            if before is not None and before.muted_by and message.alert.muted_by:
                assert message.alert.told == before.told or message.alert.episode > before.episode
            before = message.alert


@given(LIVES, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_state_survives_a_restart_and_goes_on_the_same(life: list[tuple[str, int]], seed: int) -> None:
    world = lived(life)
    if world.alert is None:
        return
    again = Alert.model_validate_json(world.alert.model_dump_json())
    assert again == world.alert
    due = machine.next_deadline(again)
    assert due == machine.next_deadline(world.alert)
    assert again.status is not AlertStatus.RESOLVED or due is None or due.name in ("send", "act", "outcome")
    message = Muted(id=derive_id(str(seed)), at=at(10), by=("s",), until=at(20))
    assert machine.decide(again, message, T0) == machine.decide(world.alert, message, T0)


@given(LIVES)
@settings(max_examples=40, deadline=None)
def test_whoever_was_told_hears_that_it_is_over_unless_muted(life: list[tuple[str, int]]) -> None:
    world = lived([*life, ("works", 1)])
    world.mute = None
    second = 20_000.0
    world.until(second)
    world.give(observed(False, second=second), second)
    world.until(second + 1)
    if world.alert is None or not any(d.about == "resolved" for d in world.alert.deliveries):
        return
    told = {d.channel for d in world.alert.deliveries if d.about == "firing" and d.status == "delivered"}
    assert told == {d.channel for d in world.alert.deliveries if d.about == "resolved"}
