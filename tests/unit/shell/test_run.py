"""The loop around every decision: saved before published, published before acknowledged, rebuilt when stale."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from bumpless.common.contract.base import Message
from bumpless.common.contract.events import AlertFired
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import StaleSequence
from bumpless.common.shell.run import Runner
from bumpless.common.shell.state import StateStore
from bumpless.common.shell.taken import Taken
from support.ledger import Ledger, LedgerKind, MemoryOutbound, alert
from support.plans import T0, batch, plan


class Bench:
    def __init__(
        self, store: StateStore, outbound: MemoryOutbound | None = None, around: Around | None = None
    ) -> None:
        self.store = store
        self.outbound = outbound or MemoryOutbound()
        self.kind = LedgerKind(self.outbound)
        self.fenced = 0
        self.runner = Runner(self.kind, store, self.outbound, lambda: T0, self._fenced, around)

    def _fenced(self) -> None:
        self.fenced += 1

    def again(self) -> Bench:
        """The process after a crash: the same store and broker, nothing in memory."""
        return Bench(self.store, self.outbound)

    async def names(self) -> tuple[str, ...]:
        found = await self.runner.peek("r1")
        return () if found is None else found.names


@pytest.fixture
async def bench(stores) -> Bench:
    await stores.mine.acquire(60)
    return Bench(stores.mine)


async def test_a_message_is_decided_saved_and_published(bench: Bench) -> None:
    await bench.runner.handle("r1", alert("a"))
    await bench.runner.handle("r1", alert("b"))
    assert await bench.names() == ("a", "b")
    assert bench.outbound.confirmed() == ["a", "b"]
    assert [entry.version for entry in bench.outbound.entries] == [1, 2]
    assert await bench.store.unpublished() == []
    assert await bench.store.waiting() == ["r1"]


class Around:
    """`Surroundings` that tell every ledger what it does not know yet."""

    def __init__(self) -> None:
        self.known: list[tuple[str, ...]] = []
        self.dropped: list[str] = []

    def news(self, state: Ledger, now: datetime) -> Message | None:
        return None if "told" in state.names else alert("told")

    def is_news(self, message: Message) -> bool:
        return isinstance(message, AlertFired) and message.name == "told"

    def opening(self, message: Message) -> Message:
        assert isinstance(message, AlertFired)
        return message.model_copy(update={"name": message.name + " and told"})

    def decided(self, state: Ledger) -> None:
        self.known.append(state.names)

    def never_was(self, aggregate: str) -> None:
        self.dropped.append(aggregate)


async def test_what_a_first_message_has_to_know_stands_in_it_and_in_the_log(bench: Bench) -> None:
    around = Around()
    bench.runner = Runner(bench.kind, bench.store, bench.outbound, lambda: T0, surroundings=around)
    await asyncio.gather(bench.runner.handle("r1", alert("a")), bench.runner.handle("r1", alert("b")))
    await bench.runner.handle("r1", alert("c"))
    assert await bench.names() == ("a and told", "b", "told", "c")
    assert [item.message["name"] for item in bench.outbound.entries[0].inputs] == ["a and told", "b"]
    rebuilt = await bench.kind.rebuild("r1")
    assert rebuilt is not None
    assert rebuilt.state.names == around.known[-1]


async def test_news_that_waited_are_made_again_when_it_is_their_turn(bench: Bench) -> None:
    around = Around()
    bench = Bench(bench.store, bench.outbound, around)
    await bench.runner.handle("r1", alert("a"))
    await bench.runner.handle("r1", alert("b"))
    assert await bench.names() == ("a and told", "told", "b")
    stale = around.news(Ledger(), T0)
    assert stale is not None
    await asyncio.gather(bench.runner.handle("r1", stale), bench.runner.handle("r1", alert("c")))
    await bench.runner.handle("r1", stale)
    assert await bench.names() == ("a and told", "told", "b", "c")
    assert [len(entry.inputs) for entry in bench.outbound.entries] == [1, 2, 1]


async def test_what_is_only_published_or_read_is_no_decision(bench: Bench) -> None:
    """It may be behind what is decided beside it, and would be taken for the newest."""
    around = Around()
    bench = Bench(bench.store, bench.outbound, around)
    await bench.runner.handle("r1", alert("a"))
    known = list(around.known)
    assert await bench.runner.drain("r1") is not None
    assert await bench.runner.restore("r1") is not None
    assert around.known == known


async def test_messages_that_wait_together_are_saved_once(bench: Bench) -> None:
    await asyncio.gather(*(bench.runner.handle("r1", alert(name)) for name in "abcd"))
    assert await bench.names() == ("a", "b", "c", "d")
    assert len(bench.outbound.entries) < 4
    assert [len(entry.inputs) for entry in bench.outbound.entries][-1] > 1


async def test_aggregates_do_not_mix(bench: Bench) -> None:
    names = ["r1", "r2", "r3"]
    await asyncio.gather(*(bench.runner.handle(name, alert("a", name)) for name in names))
    assert sorted(entry.rollout for entry in bench.outbound.entries) == names


async def test_what_changes_nothing_leaves_no_trace(bench: Bench) -> None:
    await bench.runner.handle("r1", alert("ignored"))
    assert await bench.store.load("r1") is None
    await bench.runner.handle("r1", alert("a"))
    known = await bench.store.load("r1")
    await bench.runner.handle("r1", alert("a"))
    assert await bench.store.load("r1") == known
    assert len(bench.outbound.entries) == 1


@pytest.mark.parametrize("where", ["log", "send"])
async def test_a_crash_between_save_and_publish_is_made_good(bench: Bench, where: str) -> None:
    setattr(bench.outbound, f"fail_{where}", Retryable("broker is away"))
    with pytest.raises(Retryable, match="broker is away"):
        await bench.runner.handle("r1", alert("a"))
    assert bench.outbound.confirmed() == []
    assert await bench.store.unpublished() == ["r1"]
    after = bench.again()
    for aggregate in await after.store.unpublished():
        await after.runner.drain(aggregate)
    assert after.outbound.confirmed() == ["a"]
    assert len(after.outbound.entries) == 1
    assert await after.store.unpublished() == []
    await after.runner.handle("r1", alert("a"))
    await after.runner.handle("r1", alert("b"))
    assert after.outbound.confirmed() == ["a", "b"]


async def test_the_next_message_publishes_what_was_left_first(bench: Bench) -> None:
    bench.outbound.fail_log = Retryable("broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    await bench.runner.handle("r1", alert("ignored"))
    assert bench.outbound.confirmed() == ["a"]
    await bench.runner.handle("r1", alert("b"))
    assert bench.outbound.confirmed() == ["a", "b"]


async def test_draining_what_is_not_there_does_nothing_and_says_so(bench: Bench, stores) -> None:
    assert await bench.runner.drain("r1") is None
    assert bench.outbound.sent == []
    bench.outbound.fail_log = Retryable("broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    after = bench.again()
    await stores.empty()
    await after.store.acquire(60)
    assert await after.runner.drain("r1") is None, "the store lost it before the log had it"
    await after.runner.handle("r1", alert("a"))
    assert await after.runner.drain("r1") == Ledger(("a",))


async def test_a_store_behind_its_log_is_rebuilt(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    older = await bench.store.load("r1")
    await bench.runner.handle("r1", alert("b"))
    await stores.empty()
    await bench.store.acquire(60)
    assert older is not None
    await bench.store.save("r1", type(older)(**{**vars(older), "revision": 1}), None)
    assert await bench.names() == ("a",)
    await bench.runner.handle("r1", alert("c"))
    assert await bench.names() == ("a", "b", "c")
    assert [entry.version for entry in bench.outbound.entries] == [1, 2, 3]
    assert bench.outbound.confirmed() == ["a", "b", "c"]


async def test_draining_a_store_behind_its_log_rebuilds_it(bench: Bench) -> None:
    """Somebody else appended to the log while we were dead with an unpublished change."""
    await bench.runner.handle("r1", alert("a"))
    bench.outbound.fail_log = Retryable("broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("b"))
    theirs = bench.kind.logged("r1", 2, None, Ledger(("a", "x")), [alert("x")], (), T0)
    assert theirs is not None
    await bench.outbound.log(theirs, 1)
    after = bench.again()
    await after.runner.drain("r1")
    assert await after.names() == ("a", "x")
    assert await after.store.unpublished() == []
    assert "b" not in after.outbound.confirmed()


async def test_an_emptied_store_is_filled_from_the_log(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    await stores.empty()
    await bench.store.acquire(60)
    assert await bench.runner.restore("r1") == Ledger(("a",))
    assert await bench.runner.restore("unheard-of") is None
    assert await bench.names() == ("a",)
    assert await bench.store.waiting() == ["r1"]


class Slow(MemoryOutbound):
    """Publishing takes once longer than the lease lasts."""

    def __init__(self, store: StateStore) -> None:
        super().__init__()
        self._lease: StateStore | None = store

    async def send(self, messages: Sequence[Message]) -> None:
        await super().send(messages)
        if messages and self._lease is not None:
            await self._lease.release()
            self._lease = None


async def test_what_was_published_as_the_lease_ran_out_leaves_the_outbox_later(stores) -> None:
    await stores.mine.acquire(60)
    bench = Bench(stores.mine, Slow(stores.mine))
    with pytest.raises(Retryable, match="the lease is lost"):
        await bench.runner.handle("r1", alert("a"))
    assert (bench.fenced, await stores.mine.unpublished()) == (1, ["r1"])
    await stores.mine.acquire(60)
    await bench.runner.publish_again()
    assert await stores.mine.unpublished() == []
    assert bench.outbound.confirmed() == ["a"]


async def test_what_is_under_way_is_known_although_the_store_was_emptied(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    await bench.runner.handle("r2", alert("b", "r2"))
    await stores.empty()
    await stores.mine.acquire(60)
    await bench.runner.handle("r3", alert("c", "r3"))
    assert [state.names for state in await bench.runner.unfinished()] == [("a",), ("b",), ("c",)]
    found = await bench.runner.look("r1")
    assert found is not None
    assert found.names == ("a",)


async def test_what_is_asked_for_is_said_before_it_is_told(bench: Bench) -> None:
    bench.outbound.fail_log = Retryable("the broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    assert [state.names for state in await bench.runner.unfinished()] == [("a",)]
    assert bench.outbound.confirmed() == ["a"]


async def test_a_log_that_cannot_be_read_hides_nothing_else_that_is_under_way(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    await bench.runner.handle("r2", alert("b", "r2"))
    await stores.empty()
    await stores.mine.acquire(60)
    bench.kind.unreadable.add("r1")
    assert [state.names for state in await bench.runner.unfinished()] == [("b",)]


@pytest.mark.parametrize("again", [False, True])
async def test_a_log_that_cannot_be_read_does_not_keep_what_others_left(bench: Bench, again: bool) -> None:
    """`a` has to be rebuilt before what it left can be published."""
    for name in ("a", "b"):
        bench.outbound.fail_log = Retryable("the broker is away")
        with pytest.raises(Retryable):
            await bench.runner.handle(name, alert(name, name))
    process = bench if again else bench.again()
    process.kind.unreadable.add("a")
    process.outbound.fail_log = StaleSequence("a")
    await (process.runner.publish_again() if again else process.runner.publish_left())
    assert process.outbound.confirmed() == ["b"]


async def test_a_message_to_an_emptied_store_finds_its_aggregate(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    await stores.empty()
    await bench.store.acquire(60)
    await bench.runner.handle("r1", alert("b"))
    assert await bench.names() == ("a", "b")


async def test_a_lost_lease_is_said_and_nothing_is_written(bench: Bench, stores) -> None:
    await bench.runner.handle("r1", alert("a"))
    await stores.mine.release()
    await stores.other.acquire(60)
    with pytest.raises(Retryable, match="lease"):
        await bench.runner.handle("r1", alert("b"))
    assert bench.fenced == 1
    assert await bench.names() == ("a",)
    assert bench.outbound.confirmed() == ["a"]
    await stores.other.release()
    await stores.mine.acquire(60)
    await bench.runner.handle("r1", alert("b"))
    assert await bench.names() == ("a", "b")


async def test_what_cannot_begin_is_said_and_nothing_is_kept_of_it(bench: Bench) -> None:
    around = Around()
    bench = Bench(bench.store, bench.outbound, around)
    bench.outbound.fail_log = Taken(plan(batch("api-1", ["n1"])), "rolling", T0)
    with pytest.raises(Taken, match="is rolling on the same places since 12:00:00 UTC"):
        await bench.runner.handle("r1", alert("a"))
    assert around.known == [("a and told",)]
    assert around.dropped == ["r1"]
    assert (await bench.names(), bench.runner.statuses) == ((), {})
    assert (await bench.store.unpublished(), await bench.store.waiting()) == ([], [])
    await bench.runner.handle("r1", alert("a"))
    assert [entry.version for entry in bench.outbound.entries] == [1]


@pytest.mark.parametrize("way", ["a message", "a start"])
async def test_what_was_saved_and_cannot_begin_any_more_is_dropped(bench: Bench, way: str) -> None:
    """The process died before it could say that it begins, and meanwhile others have begun."""
    bench.outbound.fail_log = Retryable("away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    later = bench.again()
    later.outbound.fail_log = Taken(plan(batch("api-1", ["n1"])), "rolling", T0)
    if way == "a start":
        await later.runner.publish_left()
        assert await later.store.unpublished() == []
    else:
        await later.runner.handle("r1", alert("ignored"))
    assert (await later.names(), await later.store.waiting()) == ((), [])
    assert later.outbound.entries == []


async def test_what_another_gave_up_does_not_begin(bench: Bench) -> None:
    """We were paused between reading what was saved and writing it; whoever leads now has dropped it since."""
    bench.outbound.fail_log = Retryable("away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    later = bench.again()

    async def dropped() -> None:
        await later.store.discard("r1")

    later.outbound.meanwhile = dropped
    assert await later.runner.drain("r1") is None
    assert later.outbound.entries == []


async def test_what_a_deadline_led_to_leaves_later_although_nobody_asks_again(bench: Bench) -> None:
    """A deadline that is handled is over, so its handler is not called again when the broker was away."""
    bench.outbound.fail_send = Retryable("broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    assert bench.outbound.confirmed() == []
    await bench.runner.publish_again()
    assert bench.outbound.confirmed() == ["a"]
    assert await bench.store.unpublished() == []
    bench.outbound.sent.clear()
    await bench.runner.publish_again()
    assert bench.outbound.sent == []


@pytest.mark.parametrize("way", ["drain", "restore"])
async def test_recovery_without_the_lease_stands_back(bench: Bench, stores, way: str) -> None:
    bench.outbound.fail_log = Retryable("broker is away")
    with pytest.raises(Retryable):
        await bench.runner.handle("r1", alert("a"))
    await bench.runner.drain("r1")
    if way == "drain":
        bench.outbound.fail_send = Retryable("broker is away")
        with pytest.raises(Retryable):
            await bench.runner.handle("r1", alert("b"))
    else:
        await stores.empty()
    await stores.mine.release()
    with pytest.raises(Retryable, match="lease"):
        await getattr(bench.runner, way)("r1")
    assert bench.fenced == 1


async def test_one_that_cannot_be_handled_does_not_take_others_with_it(bench: Bench) -> None:
    first = asyncio.create_task(bench.runner.handle("r1", alert("a")))
    rest = [asyncio.create_task(bench.runner.handle("r1", alert(name))) for name in ("b", "poison", "c")]
    found = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(result) for result in found] == [type(None), type(None), RuntimeError, type(None)]
    assert set(await bench.names()) == {"a", "b", "c"}
    assert sorted(bench.outbound.confirmed()) == ["a", "b", "c"]


async def test_two_processes_at_once_lose_nothing(stores) -> None:
    await stores.mine.acquire(60)
    mine = Bench(stores.mine)
    other = Bench(stores.mine, mine.outbound)
    await asyncio.gather(
        *(mine.runner.handle("r1", alert(f"a{i}")) for i in range(5)),
        *(other.runner.handle("r1", alert(f"b{i}")) for i in range(5)),
    )
    assert sorted(await mine.names()) == sorted([f"{x}{i}" for x in "ab" for i in range(5)])
    assert sorted(mine.outbound.confirmed()) == sorted(await mine.names())
