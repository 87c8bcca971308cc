"""What every state store does, in memory and on a real Redis."""

from __future__ import annotations

import pytest

from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.shell.state import Conflict, Fenced, RedisState, Stored
from support.plans import at
from support.servers import RedisServer
from support.tcp_proxy import Proxies
from support.waiting import eventually

LONG_S = 60.0


def value(revision: int = 1, *outbox: bytes) -> Stored:
    return Stored(version=1, revision=revision, state=b'{"a":1}\x00', outbox=outbox, log_sequence=5)


async def test_what_was_saved_is_loaded(stores) -> None:
    await stores.mine.acquire(LONG_S)
    assert await stores.mine.load("r1") is None
    saved = value(1, b'{"m":1}', b'{"m":2}')
    await stores.mine.save("r1", saved, None)
    assert await stores.other.load("r1") == saved
    assert await stores.foreign.load("r1") is None


@pytest.mark.parametrize("revision", [0, 1, 3])
async def test_only_the_next_revision_is_written(stores, revision: int) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(1), None)
    with pytest.raises(Conflict):
        await stores.mine.save("r1", value(revision, b"x"), Deadline("x", at(0)))
    assert await stores.mine.load("r1") == value(1)
    assert (await stores.mine.unpublished(), await stores.mine.waiting()) == ([], [])
    await stores.mine.save("r1", value(2), None)


async def test_a_first_write_wants_nothing_there(stores) -> None:
    await stores.mine.acquire(LONG_S)
    with pytest.raises(Conflict):
        await stores.mine.save("r1", value(2), None)


async def test_without_the_lease_nothing_is_written_or_forgotten(stores) -> None:
    with pytest.raises(Fenced):
        await stores.mine.save("r1", value(), None)
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(), None)
    with pytest.raises(Fenced):
        await stores.other.save("r1", value(2), None)
    with pytest.raises(Fenced):
        await stores.other.forget("r1")
    assert await stores.other.load("r1") == value()


async def test_the_lease_has_one_holder_until_it_is_given_back(stores) -> None:
    assert await stores.mine.acquire(LONG_S)
    assert await stores.mine.acquire(LONG_S)
    assert not await stores.other.acquire(LONG_S)
    assert await stores.foreign.acquire(LONG_S)
    await stores.other.release()
    assert not await stores.other.acquire(LONG_S)
    await stores.mine.release()
    assert await stores.other.acquire(LONG_S)
    assert not await stores.mine.acquire(LONG_S)


async def test_a_lease_that_runs_out_is_taken_over_and_fences_its_old_holder(stores) -> None:
    assert await stores.mine.acquire(0.05)
    await eventually(lambda: stores.other.acquire(LONG_S), bool, "the lease to run out")
    with pytest.raises(Fenced):
        await stores.mine.save("r1", value(), None)
    await stores.other.save("r1", value(), None)


async def test_what_a_process_that_has_ended_holds_is_free(stores) -> None:
    held, later, stranger = map(stores.mine.next_term, ("first.term", "second.term", "third.term"))
    assert await held.acquire(LONG_S)
    await held.save("r1", value(1), None)
    await held.mark()
    for wrong in ("second", "firs", "third", ""):
        assert not await stranger.acquire(LONG_S, wrong)
    assert await later.acquire(LONG_S, "first")
    assert not await later.known()  # what the first one did last is read from the log
    with pytest.raises(Fenced):
        await held.save("r1", value(2), None)
    assert not await held.renew(LONG_S)
    assert not await stranger.acquire(LONG_S, "first")
    await later.mark()
    assert await later.acquire(LONG_S, "first")
    assert await later.known()
    await later.save("r1", value(2), None)


async def test_who_holds_the_lease_can_renew_it_and_nobody_else(stores) -> None:
    assert not await stores.mine.renew(LONG_S)
    await stores.mine.acquire(0.5)
    assert await stores.mine.renew(LONG_S)
    assert not await stores.other.renew(LONG_S)
    assert not await stores.other.acquire(LONG_S)
    await stores.mine.release()
    assert not await stores.mine.renew(LONG_S)


async def test_a_lease_that_ran_out_is_not_renewed_even_if_nobody_took_it(stores) -> None:
    """Who was stopped for that long knows too little of what happened to go on as if nothing had."""
    await stores.mine.acquire(0.001)
    await eventually(lambda: stores.mine.renew(0.001), lambda ours: not ours, "the lease to run out")
    with pytest.raises(Fenced):
        await stores.mine.save("r1", value(), None)


async def test_what_was_begun_in_an_earlier_term_cannot_write_in_the_next(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(1), None)
    await stores.mine.release()
    later = stores.mine.next_term("another token")
    assert await later.acquire(LONG_S)
    with pytest.raises(Fenced):
        await stores.mine.save("r1", value(2), None)
    await later.save("r1", value(2), None)


async def test_an_emptied_store_is_noticed_and_holds_no_lease(stores) -> None:
    assert not await stores.mine.known()
    await stores.mine.acquire(LONG_S)
    await stores.mine.mark()
    await stores.mine.mark()
    assert await stores.other.known()
    await stores.empty()
    assert not await stores.mine.known()
    assert not await stores.mine.renew(LONG_S)
    with pytest.raises(Fenced):
        await stores.mine.save("r1", value(), None)


async def test_who_takes_the_lease_anew_does_not_know_the_store(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.mark()
    await stores.mine.acquire(LONG_S)
    assert await stores.mine.known()
    await stores.mine.release()
    await stores.other.acquire(LONG_S)
    assert not await stores.other.known()


async def test_the_outbox_says_what_is_unpublished(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r2", value(1, b"x"), None)
    await stores.mine.save("r1", value(1, b"x"), None)
    await stores.mine.save("r3", value(1), None)
    assert await stores.other.unpublished() == ["r1", "r2"]
    await stores.mine.save("r1", value(2), None)
    assert await stores.other.unpublished() == ["r2"]


async def test_deadlines_are_due_when_their_moment_has_come(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(), Deadline("staging", at(10.25)))
    await stores.mine.save("r2", value(), Deadline("bake:api-1", at(5)))
    await stores.mine.save("r3", value(), None)
    assert await stores.mine.due(at(4)) == []
    assert await stores.mine.due(at(5)) == [("r2", Deadline("bake:api-1", at(5)))]
    assert await stores.mine.due(at(11)) == [
        ("r2", Deadline("bake:api-1", at(5))),
        ("r1", Deadline("staging", at(10.25))),
    ]
    assert await stores.other.waiting() == ["r2", "r1"]
    await stores.mine.save("r2", value(2), Deadline("pause", at(20)))
    assert await stores.mine.waiting() == ["r1", "r2"]
    await stores.mine.save("r1", value(2), None)
    assert await stores.mine.due(at(99)) == [("r2", Deadline("pause", at(20)))]


async def test_what_is_forgotten_is_gone_and_still_looked_after(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(), Deadline("staging", at(1)))
    await stores.mine.forget("r1")
    await stores.mine.forget("never-there")
    assert await stores.mine.load("r1") is None
    assert await stores.mine.waiting() == ["r1"]
    await stores.mine.save("r1", value(1), None)


async def test_what_never_began_leaves_nothing(stores) -> None:
    await stores.mine.acquire(LONG_S)
    await stores.mine.save("r1", value(1, b"x"), Deadline("x", at(0)))
    with pytest.raises(Fenced):
        await stores.other.discard("r1")
    await stores.mine.discard("r1")
    assert await stores.mine.load("r1") is None
    assert (await stores.mine.unpublished(), await stores.mine.waiting()) == ([], [])
    assert await stores.mine.due(at(1)) == []
    await stores.mine.discard("r1")
    await stores.mine.save("r1", value(1), None)


async def test_a_redis_that_is_away_is_retryable_and_what_it_kept_comes_back(
    redis_server: RedisServer,
) -> None:
    state = RedisState(redis_server.url, "planner", "mine")
    await state.acquire(LONG_S)
    await state.save("r1", value(1, b"x"), Deadline("staging", at(1)))
    redis_server.stop()
    for attempt in (
        state.load("r1"),
        state.save("r1", value(2), None),
        state.forget("r1"),
        state.unpublished(),
        state.due(at(1)),
        state.waiting(),
        state.acquire(1),
        state.release(),
        state.known(),
        state.mark(),
    ):
        with pytest.raises(Retryable):
            await attempt
    redis_server.start()
    assert await state.load("r1") == value(1, b"x")
    assert await state.due(at(1)) == [("r1", Deadline("staging", at(1)))]
    await state.close()


async def test_a_lease_that_runs_out_in_the_middle_of_a_write_fences_it(redis_url: str) -> None:
    """The way to the store is so slow that the lease is gone between reading and writing; nobody else took it."""
    with Proxies() as proxies:
        link = proxies.open(redis_url)
        state = RedisState(link.url, "planner", "mine")
        await state.acquire(LONG_S)
        await state.save("r1", value(1), None)
        link.slow(0.15)
        assert await state.renew(
            0.75
        )  # reading the lease and the revision takes 0.9 s more, then writing begins
        with pytest.raises(Fenced):
            await state.save("r1", value(2), None)
        link.heal()
        found = await state.load("r1")
        assert found is not None
        assert found.revision == 1
        await state.close()
