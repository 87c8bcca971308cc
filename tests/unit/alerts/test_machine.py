"""The life of an alert, as tables: what every input does in every status, and whom it is told to when."""

from __future__ import annotations

import pytest

from bumpless.alerts import escalation, machine
from bumpless.alerts.inputs import Sent
from bumpless.common.contract.alerts import AlertChanged, AlertingAnswered
from bumpless.common.model.alert import Alert, AlertStatus, DeliveryStatus, Route, Step, Told
from bumpless.common.shell.deadlines import deadline_message
from unit.alerts.scenes import LADDER, World, acknowledge, at, observed


def in_status(status: str) -> World:
    world = World()
    match status:
        case "pending":
            world.give(observed(for_s=60), 0)
        case "firing":
            world.give(observed(), 0).until(0)
        case "acknowledged":
            world.give(observed(), 0).until(0).give(acknowledge(10), 10)
        case "resolved":
            world.give(observed(), 0).until(0).give(observed(False, second=20), 20).until(20)
    assert world.alert is None or world.alert.status == status
    return world


@pytest.mark.parametrize(
    ("status", "word", "after"),
    [
        ("none", "holds", "firing"),
        ("none", "holds for 60", "pending"),
        ("none", "over", None),
        ("none", "ack", None),
        ("pending", "holds", "pending"),
        ("pending", "over", "resolved"),
        ("pending", "ack", "pending"),
        ("pending", "60 s", "firing"),
        ("firing", "holds", "firing"),
        ("firing", "over", "resolved"),
        ("firing", "ack", "acknowledged"),
        ("acknowledged", "holds", "acknowledged"),
        ("acknowledged", "over", "resolved"),
        ("acknowledged", "ack", "acknowledged"),
        ("acknowledged", "1800 s", "firing"),
        ("resolved", "holds", "firing"),
        ("resolved", "holds for 60", "pending"),
        ("resolved", "over", "resolved"),
        ("resolved", "ack", "resolved"),
    ],
)
def test_every_word_in_every_status(status: str, word: str, after: str | None) -> None:
    world = in_status(status)
    match word:
        case "holds":
            world.give(observed(second=30), 30)
        case "holds for 60":
            world.give(observed(second=30, for_s=60), 30)
        case "over":
            world.give(observed(False, second=30), 30)
        case "ack":
            world.give(acknowledge(30, "bob"), 30)
            answers = [m for m in world.sent if isinstance(m, AlertingAnswered)]
            assert answers[-1].accepted == (status in ("firing", "acknowledged"))
        case _:
            world.until(float(word.removesuffix(" s")) + 10)
    assert (None if world.alert is None else world.alert.status) == after


def test_nobody_acknowledges() -> None:
    world = World().give(observed(), 0).until(10_000)
    assert world.told == [
        (0, "chat", "firing"),
        (300, "oncall", "firing"),
        (900, "lead", "firing"),
        (900, "oncall", "firing"),
        (1500, "lead", "firing"),
        (1500, "oncall", "firing"),
        (2100, "lead", "firing"),
        (2100, "oncall", "firing"),
    ]
    world.give(observed(False, second=10_001), 10_001).until(10_001)
    assert sorted(world.told[8:]) == [(10_001, c, "resolved") for c in ("chat", "lead", "oncall")]


def test_an_acknowledgement_stops_the_escalation_until_it_runs_out() -> None:
    world = World().give(observed(), 0).until(100).give(acknowledge(100), 100).until(1899)
    assert world.told == [(0, "chat", "firing")]
    world.until(2300)
    assert world.told[1:] == [(1900, "chat", "firing"), (2200, "oncall", "firing")]


def test_an_acknowledgement_may_say_how_long() -> None:
    world = World().give(observed(), 0).until(0).give(acknowledge(10, hold_s=5), 10).until(16)
    assert world.alert is not None
    assert world.alert.status is AlertStatus.FIRING
    assert world.told == [(0, "chat", "firing"), (15, "chat", "firing")]


def test_for_is_respected() -> None:
    world = World().give(observed(for_s=60), 0).until(59.9)
    assert world.told == []
    world.give(observed(False, second=59.95), 59.95).until(1000)
    assert world.told == []
    world.give(observed(second=2000, for_s=60), 2000).until(2060)
    assert world.told == [(2060, "chat", "firing")]


def test_a_silence_mutes_and_the_ladder_begins_when_it_ends() -> None:
    world = World(mute=(0, 600)).give(observed(), 0).until(599)
    assert world.told == []
    assert world.alert is not None
    assert world.alert.status is AlertStatus.FIRING
    assert world.alert.muted_by == ("s1",)
    world.until(900)
    assert world.told == [(600, "chat", "firing"), (900, "oncall", "firing")]


def test_a_silence_that_comes_later_holds_the_next_step_back() -> None:
    world = World(mute=(100, 1000)).give(observed(), 0).until(999)
    assert world.told == [(0, "chat", "firing")]
    world.until(1000)
    assert world.told[1:] == [(1000, "chat", "firing")]


def test_a_muted_alert_ends_in_silence() -> None:
    world = World(mute=(10, 1000)).give(observed(), 0).until(50)
    world.give(observed(False, second=60), 60).until(2000)
    assert world.told == [(0, "chat", "firing")]


def test_after_an_outage_people_still_get_their_time() -> None:
    """The service was away from second 10 to second 5000: one step is taken at once, the next after its delay."""
    world = World().give(observed(), 0).until(10)
    assert world.alert is not None
    due = machine.next_deadline(world.alert)
    assert due is not None
    world.give(deadline_message("a", due), 5000).until(5599)
    assert world.told == [(0, "chat", "firing"), (5000, "oncall", "firing")]
    world.until(5600)
    assert [channel for _, channel, _ in world.told[2:]] == ["lead", "oncall"]


def test_what_cannot_be_sent_is_tried_again_and_again_and_given_up() -> None:
    one = Route(steps=(Step(after_s=0, channels=(Told(channel="chat"),)),))
    world = World(works=False).give(observed(route=one), 0).until(10_000)
    assert world.alert is not None
    (delivery,) = world.alert.deliveries
    assert (delivery.status, delivery.tries) == (DeliveryStatus.GIVEN_UP, escalation.TRIES)
    world.works = True
    world.give(observed(False, second=10_001), 10_001).until(20_000)
    assert world.told == []


def test_what_was_not_sent_in_time_is_not_sent_at_all() -> None:
    world = World(works=False).give(observed(), 0).until(3).give(acknowledge(4), 4)
    world.works = True
    world.until(1000)
    assert world.told == []


def test_an_alertmanager_is_told_again_and_then_that_it_is_over() -> None:
    kept = Route(
        steps=(Step(after_s=0, channels=(Told(channel="am", again_s=60),)),), repeat_s=30, repeat_times=9
    )
    world = World(mute=(200, 290)).give(observed(route=kept), 0).until(150).give(acknowledge(150), 150)
    world.until(250).give(observed(False, second=250), 250).until(1000)
    assert world.told == [
        (0, "am", "firing"),
        (60, "am", "firing"),
        (120, "am", "firing"),
        (180, "am", "firing"),
        (240, "am", "firing"),
        (250, "am", "resolved"),
    ]


def test_a_delivery_that_was_recorded_is_not_made_again() -> None:
    world = World().give(observed(), 0).until(1)
    assert world.alert is not None
    (delivery,) = world.alert.deliveries
    again = Sent(id=delivery.id, at=at(2), delivery=delivery.id, ok=False)  # type: ignore[arg-type]
    before = world.alert
    assert world.give(again, 2).alert is before


def test_deliveries_that_are_remembered_are_few_and_prove_who_was_told() -> None:
    endless = Route(steps=LADDER.steps, repeat_s=1, repeat_times=100)
    world = World().give(observed(route=endless), 0).until(2000)
    assert world.alert is not None
    assert len(world.alert.deliveries) <= escalation.KEPT
    world.give(observed(False, second=2001), 2001).until(2001)
    assert {c for _, c, about in world.told if about == "resolved"} == {"chat", "oncall", "lead"}


def test_one_who_is_not_the_source_cannot_end_it() -> None:
    world = in_status("firing").give(observed(False, second=5, source="alertmanager"), 5)
    assert world.alert is not None
    assert world.alert.status is AlertStatus.FIRING


def test_what_nobody_says_again_ends_by_itself() -> None:
    world = World().give(observed(source="alertmanager", ends_at=at(100)), 0).until(99)
    assert world.alert is not None
    assert world.alert.active
    world.until(100)
    assert world.alert.status is AlertStatus.RESOLVED


def test_every_change_is_told_and_the_last_word_is_the_state() -> None:
    world = World().give(observed(for_s=5), 0).until(400).give(acknowledge(400), 400)
    world.give(observed(False, second=500), 500).until(600)
    changes = [m for m in world.sent if isinstance(m, AlertChanged)]
    assert [m.alert.revision for m in changes] == list(range(1, len(changes) + 1))
    assert changes[-1].alert == world.alert
    assert all(m.why for m in changes)
    assert len({m.id for m in changes}) == len(changes)
    assert Alert.model_validate_json(changes[-1].alert.model_dump_json()) == world.alert
