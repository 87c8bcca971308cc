"""Whose turn it is: a pause waits for the work to end, and the end is for good."""

from __future__ import annotations

import asyncio

import pytest

from bumpless.common.shell import turn as module
from bumpless.common.shell.service_manager import ServiceManager
from bumpless.common.shell.turn import Turn
from bumpless.service.contract import Contract


def started() -> Turn:
    turn = Turn(Contract(managed=True), ServiceManager(None))
    turn.ready("works")
    return turn


async def test_a_pause_is_answered_when_the_work_has_ended_and_a_resume_begins_it_anew() -> None:
    turn, began = started(), asyncio.Event()

    async def work() -> int:
        turns = 0
        while await turn.mine():
            with turn.working():
                turns += 1
                began.set()
                await turn.over.wait()
        return turns

    working = asyncio.create_task(work())
    await began.wait()
    assert (turn.state, turn.unacknowledged, turn.paused) == ("serving", 1, False)
    await turn.pause()
    assert (turn.state, turn.unacknowledged, turn.paused) == ("paused", 0, True)
    began.clear()
    await turn.resume()
    await began.wait()
    assert (turn.state, turn.unacknowledged, turn.paused) == ("serving", 1, False)
    turn.end()
    assert await working == 2
    assert turn.state == "draining"


async def test_a_pause_does_not_wait_for_ever_and_says_that_something_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    turn = started()
    with turn.working():
        await turn.pause()
        assert turn.unacknowledged == 1


async def test_who_is_told_to_end_while_paused_does_not_wait_for_its_turn() -> None:
    turn = started()
    await turn.pause()
    waiting = asyncio.create_task(turn.mine())
    turn.end()
    assert not await waiting


async def test_what_was_not_ready_is_paused_by_nobody() -> None:
    assert Turn(Contract(managed=True), ServiceManager(None)).state == "starting"
