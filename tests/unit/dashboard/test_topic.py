"""Numbered changes: what a browser that was away is given, and when it has to begin anew."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bumpless.dashboard import topic as module
from bumpless.dashboard.topic import KEPT_FRAMES, Topic


def said(frames: list[tuple[int, bytes]] | None) -> list[Any]:
    assert frames is not None
    return [json.loads(data)["values"] for _, data in frames]


def test_what_was_set_between_two_frames_is_one_change() -> None:
    topic = Topic()
    topic.set("a", 1)
    topic.set("b", 2)
    topic.set("a", 3)
    assert topic.frame()
    assert said(topic.after(0)) == [{"a": 3, "b": 2}]
    assert not topic.frame()
    assert topic.number == 1


def test_the_same_value_again_is_no_change() -> None:
    topic = Topic()
    topic.set("a", [1])
    topic.frame()
    topic.set("a", [1])
    assert not topic.frame()


def test_what_is_taken_away_is_told_as_null_and_gone_from_snapshots() -> None:
    topic = Topic()
    topic.set("a", 1)
    topic.frame()
    topic.set("a", None)
    topic.set("never there", None)
    topic.frame()
    assert said(topic.after(1)) == [{"a": None}]
    assert json.loads(topic.snapshot()) == {"number": 2, "values": {}}


def test_numbers_that_are_not_kept_or_never_were_mean_beginning_anew() -> None:
    topic = Topic()
    assert topic.after(0) == []
    assert topic.after(1) is None
    for number in range(KEPT_FRAMES + 5):
        topic.set("a", number)
        topic.frame()
    assert topic.after(4) is None
    assert len(topic.after(5) or ()) == KEPT_FRAMES


def test_large_changes_are_kept_by_their_bytes() -> None:
    topic = Topic()
    for number in range(5):
        topic.set("a", f"{number}" * (module.KEPT_BYTES // 2))
        topic.frame()
    assert topic.after(topic.number - 1) is not None
    assert topic.after(topic.number - 3) is None


def test_a_topic_that_takes_the_place_of_another_goes_on_above_its_numbers() -> None:
    topic = Topic(7)
    assert topic.after(3) is None
    topic.set("a", 1)
    topic.frame()
    assert topic.number == 8
    assert said(topic.after(7)) == [{"a": 1}]


values = st.none() | st.integers(0, 3)


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), values), max_size=4), max_size=12),
    st.integers(0, 12),
)
def test_a_snapshot_and_what_follows_it_are_what_there_is(
    frames: list[list[tuple[str, int | None]]], taken: int
) -> None:
    """Wherever a browser comes in, it ends with the same values."""
    topic = Topic()
    snapshot = json.loads(topic.snapshot())
    for place, sets in enumerate(frames):
        for key, value in sets:
            topic.set(key, value)
        topic.frame()
        if place == taken:
            snapshot = json.loads(topic.snapshot())
    shown = dict(snapshot["values"])
    for change in said(topic.after(snapshot["number"])):
        shown |= change
    assert {key: value for key, value in shown.items() if value is not None} == json.loads(topic.snapshot())[
        "values"
    ]
