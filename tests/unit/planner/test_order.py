"""The order of components: what is stated, what follows from the messages between them, and what has no order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.contract.base import RolloutId
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan, Target
from bumpless.common.model.release import Component, Placement
from bumpless.common.model.rollout import Rollout
from bumpless.common.model.version import Version, VersionRange
from bumpless.planner.order import ordered
from bumpless.planner.plan import make_plan
from bumpless.planner.queues import queue_findings
from bumpless.planner.unplannable import Unplannable
from bumpless.rollback.reverse import reverse
from support.plans import T0, component, digest, fleet, node, release, target
from support.walk import Walk

CHANNEL = "file.events"


def writes(*formats: str) -> tuple[Produces, ...]:
    return tuple(Produces(channel=CHANNEL, writes=form) for form in formats)


def reads(*ranges: str) -> tuple[Consumes, ...]:
    return tuple(Consumes(channel=CHANNEL, reads=text) for text in ranges)


def runs(name: str, *, made: str | None = None, used: str | None = None, version: str = "v1") -> Target:
    return target(name, version).model_copy(
        update={"produces": writes(made) if made else (), "consumes": reads(used) if used else ()}
    )


def names(*parts: Component, on: Fleet) -> list[str]:
    return [c.name for c in ordered(release(*parts), on)]


def found(*parts: Component, on: Fleet) -> tuple[Finding, ...]:
    with pytest.raises(Unplannable) as caught:
        ordered(release(*parts), on)
    return caught.value.findings


UP = fleet(node("n1", {"api": runs("api", made="1"), "zz": runs("zz", used="<2")}))
"""The producer would come first by its name."""
DOWN = fleet(node("n1", {"zz": runs("zz", made="2"), "api": runs("api", used="<3")}))


def test_consumers_before_producers_where_the_format_goes_up() -> None:
    parts = component("api", produces=writes("2")), component("zz", consumes=reads(">=1,<3"))
    assert names(*parts, on=UP) == ["zz", "api"]
    assert [c.depends_on for c in ordered(release(*parts), UP)] == [(), ("zz",)]


def test_producers_before_consumers_where_it_goes_down() -> None:
    parts = component("zz", produces=writes("1")), component("api", consumes=reads("<2"))
    assert names(*parts, on=DOWN) == ["zz", "api"]
    (warned,) = queue_findings(release(*parts), DOWN)
    assert (warned.code, warned.severity) == (Code.QUEUE_ORDER, Severity.WARN)
    assert "read the channel out" in warned.recommendation


def test_a_format_that_both_read_asks_for_no_order() -> None:
    both = fleet(node("n1", {"api": runs("api", made="1"), "zz": runs("zz", used="<3")}))
    parts = component("api", produces=writes("2")), component("zz", consumes=reads(">=1,<3"))
    assert names(*parts, on=both) == ["api", "zz"]


def test_of_what_is_new_or_stays_as_it_is_no_order_is_asked() -> None:
    parts = component("api", produces=writes("2")), component("zz", consumes=reads("2"))
    assert names(*parts, on=fleet(node("n1", {}))) == ["api", "zz"]
    same = fleet(
        node("n1", {"api": runs("api", version="v2"), "zz": runs("zz", version="v2")}),
    )
    assert names(*parts, on=same) == ["api", "zz"]


def test_who_stops_reading_goes_before_what_it_could_not_read() -> None:
    assert names(component("api", produces=writes("2")), component("zz"), on=UP) == ["zz", "api"]


def test_who_stops_writing_goes_before_who_cannot_read_it_any_more() -> None:
    assert names(component("zz"), component("api", consumes=reads("<2")), on=DOWN) == ["zz", "api"]


def test_where_nothing_is_known_consumers_go_first_unless_it_is_said_otherwise() -> None:
    mute = fleet(node("n1", {"api": target("api", "v1"), "zz": target("zz", "v1")}))
    api, reader = component("api", produces=writes("2")), component("zz", consumes=reads("<3"))
    assert names(api, reader, on=mute) == ["zz", "api"]
    stated = reader.model_copy(update={"depends_on": ("api",)})
    assert names(api, stated, on=mute) == ["api", "zz"]


@pytest.mark.parametrize(
    ("parts", "on", "said"),
    [
        (
            [component("api", produces=writes("3")), component("zz", consumes=reads("<3"))],
            UP,
            "what the release writes is 3, what it reads is <3",
        ),
        (
            [component("zz", consumes=reads("2"))],
            UP,
            "what goes on writing beside the release is 1, what it reads is 2",
        ),
        (
            [component("api", produces=writes("2"))],
            UP,
            "what the release writes is 2, what goes on reading beside it is <2",
        ),
        (
            [component("own", produces=writes("2"), consumes=reads("2"))],
            fleet(node("n1", {"own": runs("own", made="1", used="1")})),
            "the new version writes is 2, the old one beside it reads is 1",
        ),
        (
            [
                component("api", produces=writes("2"), place=Placement(nodes=("n2",))),
                component("zz", consumes=reads("2")),
            ],
            fleet(*UP.nodes, node("n2", {})),
            "what goes on writing beside the release is 1, what it reads is 2",
        ),
    ],
)
def test_what_nobody_could_read_is_a_finding(parts: list[Component], on: Fleet, said: str) -> None:
    (only,) = found(*parts, on=on)
    assert (only.code, only.severity, only.evidence) == (Code.QUEUE_ORDER, Severity.BLOCK, said)
    assert only.recommendation.startswith("release a ")


def test_a_cycle_names_every_edge_and_where_to_cut_it() -> None:
    api = component("api", produces=writes("2"), depends_on=())
    reader = component("zz", consumes=reads("<3"), depends_on=("mid",))
    mid = component("mid", depends_on=("api",))
    (only,) = found(api, reader, mid, on=UP)
    assert (only.code, only.subject) == (Code.ORDER_CYCLE, "api > mid > zz > api")
    assert only.evidence == (
        "api before mid, because mid depends on api; mid before zz, because zz depends on mid; zz before api, because "
        "api begins to write file.events 2, and zz as it runs reads <2"
    )
    assert only.recommendation.startswith(
        "split it: release a zz first that reads file.events 1 and 2; after that"
    )


def test_a_format_that_is_replaced_at_both_ends_at_once_is_a_cycle() -> None:
    parts = component("api", produces=writes("2")), component("zz", consumes=reads("2"))
    (only,) = found(*parts, on=UP)
    assert (only.code, only.subject) == (Code.ORDER_CYCLE, "api > zz > api")
    assert "release a zz first that reads file.events 1 and 2" in only.recommendation


def test_a_cycle_that_is_stated_has_nothing_to_split() -> None:
    parts = component("a", depends_on=("b",)), component("b", depends_on=("a",))
    (only,) = found(*parts, on=fleet())
    assert (only.code, only.recommendation) == (Code.ORDER_CYCLE, "take one of these out of depends_on")


def test_a_revert_goes_the_other_way_round() -> None:
    parts = component("api", produces=writes("2")), component("zz", consumes=reads(">=1,<3"))
    plan: Plan = make_plan(
        release(*parts), digest("r"), UP, rollout=RolloutId("rollout-1"), generation=4, now=T0
    )
    assert {b.id: b.needs for b in plan.batches} == {"zz-1": (), "api-1": ("zz-1",)}
    walk = Walk(plan)
    walk.start()
    for name in ("zz-1", "api-1"):
        walk.feed(walk.finished(name, plan.batch(name).steps[0]))
    state: Rollout = walk.state
    back = reverse(state, revert=RolloutId("revert-1"), number=0)
    assert {b.id: b.needs for b in back.batches} == {"api-back-1": (), "zz-back-1": ("api-back-1",)}


FORMATS = st.sampled_from(["1", "2", "3"])
RANGES = st.sampled_from(["<2", "<3", "*", ">=2", "2"])


@given(st.lists(st.tuples(FORMATS, RANGES, FORMATS, RANGES), min_size=1, max_size=4))
def test_at_no_moment_something_is_written_that_nobody_reads(
    ends: list[tuple[str, str, str, str]],
) -> None:
    """Every component both writes to the channel of the next one and reads its own; or there is a finding."""
    parts, running = [], {}
    for number, (made, used, will_make, will_use) in enumerate(ends):
        mine, following = f"q{number}", f"q{(number + 1) % len(ends)}"
        old = target(f"c{number}", "v1").model_copy(
            update={
                "produces": (Produces(channel=following, writes=made),),
                "consumes": (Consumes(channel=mine, reads=used),),
            }
        )
        running[f"c{number}"] = old
        parts.append(
            component(
                f"c{number}",
                produces=(Produces(channel=following, writes=will_make),),
                consumes=(Consumes(channel=mine, reads=will_use),),
            )
        )
    where = fleet(node("n1", running))
    try:
        order = [c.name for c in ordered(release(*parts), where)]
    except Unplannable:
        return
    now = {name: (found_.produces[0], found_.consumes[0]) for name, found_ in running.items()}
    new = {part.name: (part.produces[0], part.consumes[0]) for part in parts}

    def unread() -> set[str]:
        return {
            str(number)
            for number in range(len(ends))
            if not _admits(now[f"c{(number + 1) % len(ends)}"][1], now[f"c{number}"][0])
        }

    broken = unread()
    for name in order:
        now[name] = new[name]
        assert unread() <= broken
        broken &= unread()
    assert not broken


def _admits(used: Consumes, made: Produces) -> bool:

    return Version.parse(made.writes) in VersionRange.parse(used.reads)
