"""What of a stream's settings counts as other than declared."""

from __future__ import annotations

import pytest
from nats.js import api

from bumpless.common.shell.stream_settings import differences, in_words
from bumpless.common.shell.topology import streams

(COMMANDS,) = (each for each in streams(1) if each.name == "CMD")


def answered(**changes: object) -> api.StreamConfig:
    """As a server says it back: texts in place of enumerations, defaults filled in."""
    found = COMMANDS.evolve(
        storage="file", retention="limits", max_age=0, max_bytes=-1, duplicate_window=120.0
    )
    return found.evolve(**changes)


def test_what_a_server_fills_in_is_no_difference() -> None:
    assert differences(COMMANDS, answered()) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_msgs_per_subject": 9}, "max_msgs_per_subject=9 (declared: 1)"),
        ({"republish": None}, "republish=none (declared: {'src':"),
        ({"allow_atomic": None}, "allow_atomic=none (declared: True)"),
        ({"max_age": 60.0}, "max_age=60.0 (declared: none)"),
        ({"num_replicas": 3}, "num_replicas=3 (declared: 1)"),
        ({"subjects": ["cmd.>"]}, "subjects=['cmd.>']"),
    ],
)
def test_what_was_changed_by_hand_is_named(changes: dict[str, object], words: str) -> None:
    assert words in in_words(differences(COMMANDS, answered(**changes)))


def test_what_is_the_keepers_affair_is_left_out() -> None:
    assert differences(COMMANDS, answered(num_replicas=3), besides=("num_replicas",)) == ()


def test_one_copy_may_be_written_late_and_three_may_not() -> None:
    assert {each.name for each in streams(1) if each.persist_mode} == {"EVT", "INV"}
    assert [each.name for each in streams(3) if each.persist_mode] == []
    assert {each.num_replicas for each in streams(3)} == {3}
