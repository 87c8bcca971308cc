"""What documents of interfaces say about versions that meet: orders, refusals, findings, waivers."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from bumpless.common.compat.interfaces import compared_apis, compared_messages
from bumpless.common.compat.known import documents
from bumpless.common.contract.base import RolloutId
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.compat import CompatFile, ItemFile, LifecycleFile, PolicyFile
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet, NodeFacts
from bumpless.common.model.interfaces import Break, Calls, Compared, Interface, Interfaces, OneWay, Uses
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component, Release
from bumpless.common.model.statement import Waiver
from bumpless.common.model.version import Version
from bumpless.planner.order import ordered
from bumpless.planner.plan import make_plan
from bumpless.planner.preflight import waivers
from bumpless.planner.preflight.case import Case
from bumpless.planner.preflight.registry import look, look_at
from bumpless.planner.proof.check import check, faults
from bumpless.planner.unplannable import Unplannable
from support.hops import VERSIONS, hop_worlds, moments, over
from support.plans import T0, component, digest, fleet, node, release, target
from support.worlds import World

TEXT = {"type": "string"}


def api(*operations: str, deprecated: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """A document with these operations, such as `GET /a`, that answer `fields`."""
    schema = {"type": "object", "properties": fields, "required": sorted(fields)}
    paths: dict[str, Any] = {}
    for text in operations:
        method, path = text.split()
        body = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
        paths.setdefault(path, {})[method.lower()] = body | (
            {"deprecated": True} if text in deprecated else {}
        )
    return {"openapi": "3.1.0", "paths": paths}


def described(documents: dict[str, dict[str, Any]], name: str = "api", **more: Any) -> Interfaces:
    digests = {version: digest(f"{name} {version}") for version in documents}
    one = Interface(documents=digests, compared=compared_apis(name, documents))
    return Interfaces(components={name: one}, **more)


def product(interfaces: Interfaces, *, web: str = "2.0.0", new: str = "2.0.0", **more: Any) -> Release:
    parts = more.pop("parts", None) or (component("api", new), component("web", web, depends_on=("api",)))
    return release(*parts, version=new, interfaces=interfaces, **more)


def runs(**versions: str) -> Fleet:
    return fleet(node("n1", {name: target(name, version) for name, version in versions.items()}))


def planned(of: Release, on: Fleet) -> Plan:
    made = make_plan(of, digest("release"), on, rollout=RolloutId("r"), generation=9, now=T0)
    assert check(made, of, on) == []
    return made


def found(of: Release, on: Fleet, *codes: Code) -> list[Finding]:
    case = Case(of, digest("release"), on, T0)
    told = [*look(case), *look_at(planned(of, on), case)]
    return [f for f in told if f.code in (codes or (Code.API_BREAK,))]


ADDED = {"1.0.0": api("GET /a"), "2.0.0": api("GET /a", "GET /b")}
REMOVED = {"1.0.0": api("GET /a", "GET /b"), "2.0.0": api("GET /a")}
REPLACED = {"1.0.0": api("GET /a"), "2.0.0": api("GET /b")}
OLD = runs(api="1.0.0", web="1.0.0")


def test_the_provider_goes_first_where_clients_need_what_it_adds() -> None:
    of = product(
        described(ADDED),
        parts=(component("web", "2.0.0"), component("api", "2.0.0")),
    )
    of = of.model_copy(update={"interfaces": described(ADDED, uses=(uses("web", "2.0.0", "2.0.0"),))})
    assert [b.component for b in planned(of, OLD).batches] == ["api", "web"]
    assert found(of, OLD) == []


def uses(client: str, version: str, built: str) -> Uses:
    return Uses(client=client, version=version, provider="api", built=built)


def test_the_client_goes_first_where_the_provider_drops_what_it_used() -> None:
    of = product(described(REMOVED))
    plan = planned(of, OLD)
    assert [(b.component, b.needs) for b in plan.batches] == [("web", ()), ("api", ("web-1",))]
    assert [f.severity for f in found(of, OLD)] == [Severity.WARN]  # for callers outside of the release


def test_what_breaks_in_any_order_is_told_where_and_when_and_can_be_waived() -> None:
    of = product(described(REPLACED))
    plan = planned(of, OLD)
    assert [b.component for b in plan.batches] == ["api", "web"]
    block = next(f for f in found(of, OLD) if f.blocks)
    assert (block.subject, block.waivable) == ("web > api", True)
    assert block.evidence == (
        "once api-1 has started, web 1.0.0, built against api 1.0.0, breaks at 2.0.0: "
        "GET /a: removed without having been deprecated"
    )


def test_a_waiver_lets_it_pass_and_the_plan_is_the_same() -> None:
    of = product(described(REPLACED))
    until = T0 + timedelta(hours=1)
    waiver = Waiver(
        release=digest("release"), code=Code.API_BREAK, subject="web > api", reason="x", by="a", expires=until
    )
    (passed,) = [f for f in waivers.passed(found(of, OLD), [waiver]).findings if f.subject == "web > api"]
    assert (passed.severity, "by a until" in passed.waived) == (Severity.WARN, True)


def test_a_version_between_that_has_both_makes_it_whole() -> None:
    documents = {**REPLACED, "1.5.0": api("GET /a", "GET /b")}
    parts = over("api", "2.0.0", "1.5.0"), component("web", "2.0.0", depends_on=("api",))
    compat = CompatFile(levels={"api": {"1.0.0>1.5.0": Level.FULL, "1.5.0>2.0.0": Level.FULL}})
    of = product(described(documents), parts=parts, compat=compat)
    assert [(b.component, b.hop) for b in planned(of, OLD).batches] == [("api", 1), ("web", 1), ("api", 2)]
    assert [f for f in found(of, OLD) if f.blocks] == []


def test_what_is_stated_against_a_pair_cannot_be_waived() -> None:
    compat = CompatFile.model_validate(
        {
            "pairs": [
                {"client": "web", "provider": "api", "versions": "1", "accepts": "1"},
                {"client": "web", "provider": "api", "versions": "2", "accepts": "2"},
            ]
        }
    )
    with pytest.raises(Unplannable, match="PAIR_BAD"):
        planned(product(described(ADDED), compat=compat), OLD)


@pytest.mark.parametrize(
    ("known", "breaks"),
    [
        ({}, True),
        ({"uses": (uses("web", "1.0.0", "1.0.0"),)}, True),
        ({"uses": (uses("web", "1.0.0", "2.0.0"),)}, False),  # it was built ahead
        ({"calls": (Calls(client="web", provider="api", items=("GET /b",)),)}, True),
        ({"calls": (Calls(client="web", provider="api", items=("GET /a",)),)}, False),
        ({"calls": (Calls(client="web", provider="api", items=("GET /",)),)}, False),
    ],
)
def test_what_a_client_was_built_against_and_calls_counts(known: dict[str, Any], breaks: bool) -> None:
    """The client is not changed, so no order helps it."""
    of = product(described(REMOVED, **known), web="1.0.0")
    assert any(f.blocks for f in found(of, OLD)) is breaks


def test_a_client_outside_of_the_release_is_looked_at_if_it_is_named() -> None:
    of = product(
        described(REMOVED, uses=(uses("batch", "1.0.0", "1.0.0"),)), parts=(component("api", "2.0.0"),)
    )
    on = runs(api="1.0.0", batch="1.0.0")
    assert [f.subject for f in found(of, on) if f.blocks] == ["batch > api"]
    assert [f for f in found(of, OLD) if f.blocks] == []


def test_going_back_is_judged_in_the_other_direction() -> None:
    """1.0.0 lacks what clients of 2.0.0 need, so they go first; the way up needed the provider first."""
    of = product(described(ADDED), web="1.0.0", new="1.0.0")
    on = runs(api="2.0.0", web="2.0.0")
    assert [b.component for b in planned(of, on).batches] == ["web", "api"]
    assert [f for f in found(of, on) if f.blocks] == []


def test_a_rollout_that_was_cut_short_goes_on() -> None:
    """The new client is there already, beside an old and a new provider."""
    half = fleet(
        node("n1", {"api": target("api", "2.0.0"), "web": target("web", "1.0.0")}),
        node("n2", {"api": target("api", "1.0.0"), "web": target("web", "1.0.0")}),
    )
    assert [f for f in found(product(described(ADDED)), half) if f.blocks] == []


@pytest.mark.parametrize(("came", "breaks"), [(("2.0.0", "2.0.0"), False), (("1.9.0", "2.0.0"), True)])
def test_clients_that_this_release_brought_were_built_with_it(came: tuple[str, str], breaks: bool) -> None:
    """Cut short when all clients had moved, or clients that were there before this release came."""
    half = fleet(
        *(
            node(
                name,
                {
                    "api": target("api", version),
                    "web": target("web", "2.0.0").model_copy(update={"release": by}),
                },
            )
            for name, version, by in (("n1", "1.0.0", came[0]), ("n2", "1.0.0", came[1]))
        )
    )
    assert [f.subject for f in found(product(described(REPLACED)), half) if f.blocks] == [
        "web > api"
    ] * breaks


def test_what_has_no_document_is_named() -> None:
    on = runs(api="1.2.0", web="1.0.0")
    (told,) = unknown(product(described(REMOVED)), on)
    assert (told.subject, "no document of api 1.2.0" in told.evidence) == ("api: interface", True)
    outside = product(
        described(REMOVED, uses=(uses("web", "2.0.0", "1.0.0"),)), parts=(component("web", "2.0.0"),)
    )
    assert [f.subject for f in unknown(outside, on)] == ["api: interface"]
    assert unknown(outside, OLD) == unknown(product(described(REMOVED)), OLD) == []


def test_what_a_version_on_the_way_was_built_against_is_asked_for() -> None:
    parts = component("api", "2.0.0"), over("web", "2.0.0", "1.5.0", depends_on=("api",))
    compat = CompatFile(levels={"web": {"1.0.0>1.5.0": Level.FULL, "1.5.0>2.0.0": Level.FULL}})
    (told,) = unknown(product(described(REMOVED), parts=parts, compat=compat), OLD)
    assert told.evidence == "against which version of api web 1.5.0 was built is not known"
    stated = described(REMOVED, uses=(uses("web", "1.5.0", "2.0.0"),))
    assert unknown(product(stated, parts=parts, compat=compat), OLD) == []


def unknown(of: Release, on: Fleet) -> list[Finding]:
    return [f for f in found(of, on, Code.COMPAT_UNSTATED) if f.subject.endswith(": interface")]


def with_calls(on: Fleet, **calls: float) -> Fleet:
    facts = NodeFacts(item_calls={"api": {"GET /b": calls["b"]}})
    return Fleet(nodes=tuple(n.model_copy(update={"facts": facts}) for n in on.nodes))


def test_calls_that_are_seen_block_a_removal() -> None:
    of = product(described(REMOVED))
    (block,) = found(of, with_calls(OLD, b=3), Code.API_REMOVED_IN_USE)
    assert (block.subject, block.blocks, block.waivable) == ("api: GET /b", True, True)
    assert found(of, with_calls(OLD, b=0), Code.API_REMOVED_IN_USE) == []


@pytest.mark.parametrize(
    ("deprecated_in", "majors", "told"),
    [
        ((), 1, True),
        (("1.5.0",), 1, False),
        (("1.0.0", "1.5.0"), 1, False),
        (("1.5.0",), 2, True),
        ((), 0, True),
    ],
)
def test_what_went_without_a_warning(deprecated_in: tuple[str, ...], majors: int, told: bool) -> None:
    documents = {
        version: api("GET /a", "GET /b", deprecated=("GET /b",) if version in deprecated_in else ())
        for version in ("1.0.0", "1.5.0")
    }
    lifecycle = LifecycleFile(policy=PolicyFile(min_deprecated_majors=majors))
    of = product(described({**documents, "2.0.0": api("GET /a")}), lifecycle=lifecycle)
    warned = found(of, OLD, Code.API_NO_DEPRECATION)
    assert [(f.subject, f.severity) for f in warned] == ([("api: GET /b", Severity.WARN)] if told else [])


OLD_NAME = {"type": "string", "deprecated": True}


def test_what_is_newly_deprecated_is_worth_reading() -> None:
    new = api("GET /a", "GET /b", deprecated=("GET /b",), name=OLD_NAME)
    of = product(described({"1.0.0": api("GET /a", "GET /b", name=TEXT), "2.0.0": new}))
    told = found(of, OLD, Code.API_DEPRECATED)
    assert [(f.severity, f.subject) for f in told] == [
        (Severity.INFO, "api: GET /b"),
        (Severity.INFO, "api: parts of its interface"),
    ]
    assert told[0].evidence == "by its documents deprecated in 2.0.0, and not yet in 1.0.0"
    assert "GET /a response 200" in told[1].evidence
    assert "name" in told[1].evidence
    assert found(of, runs(api="2.0.0", web="1.0.0"), Code.API_DEPRECATED) == [], "it runs already"


def test_going_back_below_a_deprecation_is_told_to_nobody() -> None:
    of = product(
        described({"1.0.0": api("GET /a", deprecated=("GET /a",)), "2.0.0": api("GET /a")}), new="1.0.0"
    )
    assert found(of, runs(api="2.0.0", web="1.0.0"), Code.API_DEPRECATED) == []


def test_facts_without_deprecations_are_signed_as_before() -> None:
    (two,) = compared_apis("api", {"1.0.0": api("GET /a"), "2.0.0": api("GET /a")})
    assert two.model_dump(mode="json")["backward"] == {"works": True, "breaks": [], "more": 0, "gone": []}
    (two,) = compared_apis("api", {"1.0.0": api("GET /a"), "2.0.0": api("GET /a", deprecated=("GET /a",))})
    assert Compared.model_validate_json(two.model_dump_json()) == two
    assert two.backward.deprecated == ("GET /a",)


def test_an_item_with_a_life_cycle_is_told_by_that_once() -> None:
    item = ItemFile.model_validate(
        {"kind": "endpoint", "id": "GET /b", "of": "api", "in": "1.0.0", "removed": "2.0.0"}
    )
    of = product(described(REMOVED), lifecycle=LifecycleFile(items=(item,)))
    assert len(found(of, with_calls(OLD, b=3), Code.API_REMOVED_IN_USE, Code.API_NO_DEPRECATION)) == 2


def test_an_item_that_a_client_calls_counts_by_its_life_cycle() -> None:
    item = ItemFile.model_validate(
        {"kind": "endpoint", "id": "GET /b", "of": "api", "in": "1.0.0", "removed": "2.0.0"}
    )
    calls = Interfaces(calls=(Calls(client="web", provider="api", items=("GET /b",)),))
    of = product(calls, web="1.0.0", lifecycle=LifecycleFile(items=(item,)))
    assert ["GET /b: not there any more" in f.evidence for f in found(of, OLD) if f.blocks] == [True]


def test_a_plan_in_a_worse_order_is_told() -> None:
    """What documents say is for a person to let pass, so a plan in a worse order is told, not refused."""
    of = product(described(REMOVED))
    plan = planned(of, OLD)
    hasty = plan.model_copy(
        update={"batches": tuple(b.model_copy(update={"needs": ()}) for b in plan.batches)}
    )
    case = Case(of, digest("release"), OLD, T0)
    assert told(plan, case) == set()
    assert told(hasty, case) == {"web > api"}
    assert {proof for proof, _ in faults(hasty, of, OLD)} == {"dependencies_go_first"}


FILE = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
RENAMED = {"type": "object", "properties": {"title": TEXT}, "required": ["title"]}
MORE = {"type": "object", "properties": {"name": TEXT, "size": TEXT}, "required": ["name"]}
CHANNEL = "file.events"


def messages(**schemas: Any) -> Interfaces:
    by_version = {name.removeprefix("v").replace("_", "."): schema for name, schema in schemas.items()}
    digests = {version: digest(version) for version in by_version}
    one = Interface(documents=digests, compared=compared_messages(CHANNEL, by_version))
    return Interfaces(messages={CHANNEL: one})


def producer(form: str, **more: Any) -> Component:
    return component("api", f"{form}.0.0", produces=(Produces(channel=CHANNEL, writes=form),), **more)


def consumer(reads: str, version: str, **more: Any) -> Component:
    return component("zz", version, consumes=(Consumes(channel=CHANNEL, reads=reads),), **more)


def running_messages(reads: str = "*") -> Fleet:
    """A producer that writes 1, and a consumer that says it reads `reads`."""
    made = target("api", "1.0.0").model_copy(update={"produces": producer("1").produces})
    read = target("zz", "1.0.0").model_copy(update={"consumes": consumer(reads, "1.0.0").consumes})
    return fleet(node("n1", {"api": made, "zz": read}))


@pytest.mark.parametrize(
    ("new", "reads", "order"),
    [(RENAMED, "*", ["zz", "api"]), (MORE, "*", ["api", "zz"]), (RENAMED, "<2", ["zz", "api"])],
)
def test_consumers_go_first_where_schemas_say_what_ranges_do_not(
    new: Any, reads: str, order: list[str]
) -> None:
    known = messages(v1=FILE, v2=new)
    of = release(producer("2"), consumer(">=1,<3", "2.0.0"), version="2.0.0", interfaces=known)
    assert [c.name for c in ordered(of, running_messages(reads))] == order


def test_a_consumer_that_stays_and_says_more_than_schemas_is_a_warning() -> None:
    parts = (producer("2"),)
    known = messages(v1=FILE, v2=RENAMED)
    of = release(*parts, version="2.0.0", interfaces=known)
    (told,) = found(of, running_messages())
    assert (told.subject, told.severity) == ("file.events: api > zz", Severity.WARN)
    assert "name: required by the reader" in told.evidence
    assert (
        found(release(*parts, version="2.0.0", interfaces=messages(v1=FILE, v2=MORE)), running_messages())
        == []
    )


SOME = settings(
    max_examples=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@st.composite
def described_worlds(draw: st.DrawFn) -> World:
    """Worlds over hops, where documents of every provider fit in some directions and not in others."""
    world = draw(hop_worlds())
    known = {}
    for part in world.release.components:
        ways = [OneWay(works=True), OneWay(works=False, breaks=(Break(where="GET /a", text="removed"),))]
        compared = tuple(
            Compared(old=a, new=b, backward=draw(st.sampled_from(ways)), forward=draw(st.sampled_from(ways)))
            for a, b in combinations(VERSIONS, 2)
        )
        known[part.name] = Interface(documents={v: digest(v) for v in VERSIONS}, compared=compared)
    of = world.release.model_copy(update={"interfaces": Interfaces(components=known)})
    return World(of, world.fleet)


@SOME
@given(described_worlds())
def test_whatever_documents_say_against_a_plan_is_told(world: World) -> None:
    """Found by looking at every order in which the plan may run, and told by pair."""
    try:
        plan = world.plan()
    except Unplannable:
        assume(False)
    assume(len(plan.batches) <= 7)
    assert check(plan, world.release, world.fleet) == []
    of = {b.id: b.component for b in plan.batches}
    hasty = [
        b.model_copy(update={"needs": tuple(need for need in b.needs if of[need] == b.component)})
        for b in plan.batches
    ]
    for one in (plan, plan.model_copy(update={"batches": tuple(hasty)})):
        case = Case(world.release, digest("release"), world.fleet, T0)
        assert told(one, case) == breaking_pairs(one, world)


def told(plan: Plan, case: Case) -> set[str]:
    return {f.subject for f in look_at(plan, case) if f.code is Code.API_BREAK}


def breaking_pairs(plan: Plan, world: World) -> set[str]:
    """What meets in some order, and did not before."""
    known = documents(world.release, world.fleet)
    start: dict[str, set[Version]] = {}
    for place in world.fleet.nodes:
        for name, seen in place.components.items():
            if seen.target is not None:
                start.setdefault(name, set()).add(Version.parse(seen.target.version))
    return {
        f"{client} > {provider}"
        for now in moments(plan, world.fleet)
        for client, provider in known.edges
        for used in now.get(client, ())
        for offered in now.get(provider, ())
        if not (used in start.get(client, ()) and offered in start.get(provider, ()))
        and (word := known.about(client, used, provider, offered)) is not None
        and not word.fits
    }
