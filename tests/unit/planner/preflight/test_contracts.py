"""Contracts in plans: the way through verified pairs, what is told where there is none, and whose word counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.compat.contracts import Contracts, State
from bumpless.common.contract.base import RolloutId
from bumpless.common.model.compat import CompatFile
from bumpless.common.model.contracts import Contract
from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Component, Release
from bumpless.common.model.statement import Verified, Waiver
from bumpless.planner.plan import make_plan
from bumpless.planner.preflight.case import Case
from bumpless.planner.preflight.contracts import check, judged
from bumpless.planner.preflight.waivers import passed, read
from bumpless.planner.proof import check as proven
from bumpless.planner.unplannable import Unplannable
from support.contracts import row, signed, verified
from support.hops import hop_worlds, moments, over
from support.plans import T0, component, digest, fleet, node, release, target
from support.worlds import World

WEB = component("web", "2.0.0", depends_on=("api",))
API = component("api", "2.0.0")
BOTH_OLD = fleet(
    *(node(n, {"api": target("api", "1.0.0"), "web": target("web", "1.0.0")}) for n in ("n1", "n2"))
)
KEYS = {role: SigningKey.generate() for role in Role}
TRUST = TrustStore.of(**{role.value: key.public for role, key in KEYS.items()})


def web(used: str, offered: str, said: dict[str, Any] | None = None) -> Contract:
    return row(f"web@{used}", f"api@{offered}", verified() if said is None else said)


OLD, NEW = web("1.0.0", "1.0.0"), web("2.0.0", "2.0.0")


def planned(
    parts: Sequence[Component], running: Fleet, rows: Sequence[Contract], **compat: Any
) -> tuple[Plan, list[Finding]]:
    """The plan, which the checker accepts, and what it tells of its contracts."""
    made = release(*parts, version="9", compat=CompatFile.model_validate(compat), contracts=tuple(rows))
    plan = make_plan(made, digest("release"), running, rollout=RolloutId("rollout-1"), generation=9, now=T0)
    assert proven(plan, made, running) == []
    return plan, list(check(plan, _case(made, running)))


def _case(made: Release, running: Fleet) -> Case:
    return Case(made, digest("release"), running, T0)


def order(plan: Plan) -> list[str]:
    return list(dict.fromkeys(batch.component for batch in plan.batches))


def subjects(findings: Sequence[Finding]) -> list[str]:
    return [finding.subject for finding in findings]


def test_providers_go_first_where_the_old_consumer_was_verified_with_the_new_provider() -> None:
    plan, findings = planned([API, WEB], BOTH_OLD, [OLD, NEW, web("1.0.0", "2.0.0")])
    assert (order(plan), findings) == (["api", "web"], [])


def test_consumers_go_first_where_only_that_was_verified() -> None:
    plan, findings = planned([API, WEB], BOTH_OLD, [OLD, NEW, web("2.0.0", "1.0.0")])
    assert (order(plan), findings) == (["web", "api"], [])


def test_where_neither_was_verified_the_plan_tells_which_pair_would_meet_when_and_what_to_do() -> None:
    plan, (found,) = planned([API, WEB], BOTH_OLD, [OLD, NEW])
    assert order(plan) == ["api", "web"]
    assert (found.code, found.severity, found.waivable) == (Code.CONTRACT_UNVERIFIED, Severity.BLOCK, True)
    assert found.subject == "web@1.0.0 with api@2.0.0"
    assert f"nobody verified the contract of {'web 1.0.0 with api 2.0.0'}" in found.evidence
    first = plan.batches[0].id
    assert f"once {first} has started (then there are web 1.0.0, api 1.0.0 and 2.0.0)" in found.evidence
    assert "verified are web 1.0.0 with api 1.0.0, web 2.0.0 with api 2.0.0" in found.evidence
    assert (
        "bumpless contract verify PACT --provider-url URL --consumer web --consumer-version 1.0.0 --provider api "
        "--provider-version 2.0.0" in found.recommendation
    )
    assert digest("pact of web 1.0.0 with api")[:19] in found.recommendation


def test_a_consumer_without_a_pact_in_the_release_is_asked_for_one() -> None:
    _, findings = planned([API, WEB], BOTH_OLD, [NEW])
    assert subjects(findings) == ["web@1.0.0 with api@2.0.0"]
    assert "no contract of web 1.0.0 with api is in the release" in findings[0].evidence
    assert "name the pact under contracts" in findings[0].recommendation


def test_a_waiver_lets_it_pass_and_the_plan_stays_the_same() -> None:
    plan, findings = planned([API, WEB], BOTH_OLD, [OLD, NEW])
    waiver = Waiver(
        release=digest("release"),
        code=Code.CONTRACT_UNVERIFIED,
        subject="web@1.0.0 with api@2.0.0",
        by="ann",
        reason="tested by hand",
        expires=T0 + timedelta(hours=1),
    )
    through = passed(findings, [waiver])
    assert [(found.severity, bool(found.waived)) for found in through.findings] == [(Severity.WARN, True)]
    assert through.used == (waiver,)
    other = waiver.model_copy(update={"subject": "web@2.0.0 with api@1.0.0"})
    assert passed(findings, [other]).findings[0].blocks
    # Once it is verified, the same plan has nothing to tell.
    again, nothing = planned([API, WEB], BOTH_OLD, [OLD, NEW, web("1.0.0", "2.0.0")])
    assert (again.hash, nothing) == (plan.hash, [])


def test_a_contract_that_failed_is_never_passed() -> None:
    failed = web("1.0.0", "2.0.0", verified(failures=("$.size: missing",)))
    plan, findings = planned([API, WEB], BOTH_OLD, [OLD, NEW, failed])
    # The other way round nobody verified: that is left to ask for.
    assert (order(plan), subjects(findings)) == (["web", "api"], ["web@2.0.0 with api@1.0.0"])
    both = [failed, web("2.0.0", "1.0.0", verified(failures=("$.id: missing",)))]
    with pytest.raises(Unplannable) as caught:
        planned([API, WEB], BOTH_OLD, [OLD, NEW, *both])
    assert {found.code for found in caught.value.findings} == {Code.PAIR_BAD}
    told = " ".join(map(str, caught.value.findings))
    assert "the contract of web 1.0.0 with api 2.0.0 failed, as ann found" in told
    assert not any(found.waivable for found in caught.value.findings)


SHORT = {"2.0.0>2.1.0": "full", "2.1.0>3.0.0": "full"}
LONG = {"2.0.0>2.2.0": "full", "2.2.0>2.3.0": "full", "2.3.0>3.0.0": "full"}
FULL = over("api", "3.0.0", "2.1.0", "2.2.0", "2.3.0")
AT_2 = fleet(node("n1", {"api": target("api", "2.0.0")}))


def sdk(version: str, *offered: str) -> list[Contract]:
    return [row(f"sdk@{version}", f"api@{api}", verified()) for api in offered]


def test_a_client_outside_meets_every_version_on_the_way() -> None:
    """What it meets already, before the plan begins, is not held against it."""
    plan, findings = planned([FULL], AT_2, sdk("2.4.0", "3.0.0"), levels={"api": SHORT})
    assert subjects(findings) == ["sdk@2.4.0 with api@2.1.0"]
    assert [hop.target for hop in plan.hops] == ["2.1.0", "3.0.0"]
    plan, findings = planned([FULL], AT_2, sdk("2.4.0", "2.1.0", "3.0.0"), levels={"api": SHORT})
    assert findings == []


def test_a_longer_way_through_verified_versions_is_preferred() -> None:
    rows = sdk("2.4.0", "2.2.0", "2.3.0", "3.0.0")
    plan, findings = planned([FULL], AT_2, rows, levels={"api": {**SHORT, **LONG}})
    assert findings == []
    assert [hop.target for hop in plan.hops] == ["2.2.0", "2.3.0", "3.0.0"]


def test_of_ways_that_all_ask_for_something_the_one_that_asks_for_least_is_taken() -> None:
    rows = [*sdk("2.4.0", "2.2.0", "3.0.0"), *sdk("2.5.0", "2.2.0", "2.3.0", "3.0.0")]
    plan, findings = planned([FULL], AT_2, rows, levels={"api": {**SHORT, **LONG}})
    assert [hop.target for hop in plan.hops] == ["2.2.0", "2.3.0", "3.0.0"]
    assert subjects(findings) == ["sdk@2.4.0 with api@2.3.0"]
    # As many on the short one: then it is the shorter.
    plan, findings = planned([FULL], AT_2, [*rows, *sdk("2.5.0", "2.1.0")], levels={"api": {**SHORT, **LONG}})
    assert [hop.target for hop in plan.hops] == ["2.1.0", "3.0.0"]
    assert subjects(findings) == ["sdk@2.4.0 with api@2.1.0"]


def test_every_version_of_a_client_that_has_a_contract_counts_unless_the_fleet_says_what_runs() -> None:
    rows = [*sdk("2.4.0", "2.1.0", "3.0.0"), *sdk("2.3.0", "2.0.0")]
    _, findings = planned([FULL], AT_2, rows, levels={"api": SHORT})
    assert subjects(findings) == ["sdk@2.3.0 with api@2.1.0", "sdk@2.3.0 with api@3.0.0"]
    elsewhere = fleet(*AT_2.nodes, node("m1", {"sdk": target("sdk", "2.4.0")}))
    only = over("api", "3.0.0", "2.1.0", place={"nodes": ["n1"]})
    _, findings = planned([only], elsewhere, rows, levels={"api": SHORT})
    assert findings == []


def test_a_provider_outside_meets_every_version_of_its_consumer() -> None:
    rows = [row("api@3.0.0", "bank@5.0.0", verified())]
    _, findings = planned([FULL], AT_2, rows, levels={"api": SHORT})
    assert subjects(findings) == ["api@2.1.0 with bank@5.0.0"]


def test_a_plan_that_forgets_the_order_is_told_though_a_better_one_exists() -> None:
    rows = [OLD, NEW, web("2.0.0", "1.0.0")]
    made = release(API, WEB, version="9", contracts=tuple(rows))
    plan, findings = planned([API, WEB], BOTH_OLD, rows)
    assert findings == []
    loose = plan.model_copy(
        update={"batches": tuple(batch.model_copy(update={"needs": ()}) for batch in plan.batches)}
    )
    assert "web@1.0.0 with api@2.0.0" in subjects(list(check(loose, _case(made, BOTH_OLD))))
    failed = [OLD, NEW, web("2.0.0", "1.0.0"), web("1.0.0", "2.0.0", verified(failures=("x",)))]
    worse = made.model_copy(update={"contracts": tuple(failed)})
    assert any("may meet" in text for text in proven(loose, worse, BOTH_OLD))


def test_without_contracts_nothing_is_told_and_the_digest_is_what_it_was() -> None:
    _, findings = planned([API, WEB], BOTH_OLD, [])
    assert findings == []
    plain = release(API, WEB)
    assert "contracts" not in plain.model_dump(mode="json")
    assert plain.digest != plain.model_copy(update={"contracts": (OLD,)}).digest


# whose word counts ----------------------------------------------------------------------------------------


def statement(made: Contract) -> Verified:
    assert made.verified is not None
    return made.verified


TRUE = row("web@1.0.0", "api@2.0.0", verified(), key=KEYS[Role.VERIFICATION])


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (TRUE, ""),
        (row("web@1.0.0", "api@2.0.0", None), ""),
        (row("web@1.0.0", "api@2.0.0", verified()), "envelope"),
        (row("web@1.0.0", "api@2.0.0", verified(), key=SigningKey.generate()), "unknown keys"),
        (row("web@1.0.0", "api@2.0.0", verified(), key=KEYS[Role.RELEASE]), "of role release"),
        (row("web@1.0.0", "api@2.0.0", verified(), key=KEYS[Role.WAIVER]), "a verification key, found one"),
        (TRUE.model_copy(update={"provider_version": "3.0.0"}), "it is about web@1.0.0 with api@2.0.0"),
        (TRUE.model_copy(update={"pact": digest("other")}), "or about another pact"),
        (
            row("web@1.0.0", "api@2.0.0", verified(failures=("x",)), key=KEYS[Role.VERIFICATION]).model_copy(
                update={"verified": statement(TRUE)}
            ),
            "something else than what the release says",
        ),
    ],
)
def test_a_row_counts_only_as_somebody_with_the_right_key_signed_it(made: Contract, told: str) -> None:
    written = release(API, WEB, contracts=(made,))
    believed, findings = judged(written, (), TRUST)
    assert (believed.contracts[0].verified is None) == bool(told or made.verified is None)
    assert [(f.code, f.severity) for f in findings] == (
        [(Code.STATEMENT_INVALID, Severity.WARN)] if told else []
    )
    assert all(told in finding.evidence for finding in findings)


def test_a_verification_that_comes_with_the_announcement_counts_for_a_pact_of_the_release() -> None:
    said = statement(TRUE)
    other = said.model_copy(update={"pact": digest("other")})
    found = read(
        [signed(said, KEYS[Role.VERIFICATION]), signed(other, KEYS[Role.VERIFICATION])],
        TRUST,
        digest("any"),
        T0,
    )
    assert (found.verified, found.findings) == ((said, other), ())
    written = release(API, WEB, contracts=(OLD, NEW))
    keep = OLD.model_copy(update={"verified": None})
    believed, findings = judged(written.model_copy(update={"contracts": (keep,)}), found.verified, TRUST)
    assert [str(made) for made in believed.contracts] == [str(keep), "web@1.0.0 with api@2.0.0"]
    assert [finding.subject for finding in findings] == ["verification of web@1.0.0 with api@2.0.0"]
    refused = read([signed(said, KEYS[Role.WAIVER])], TRUST, digest("any"), T0)
    assert refused.verified == ()
    # Of a release without contracts there is nothing to verify.
    assert [f.code for f in judged(release(API), [said], TRUST)[1]] == [Code.STATEMENT_INVALID]


# any world ------------------------------------------------------------------------------------------------


@st.composite
def contract_worlds(draw: st.DrawFn) -> World:
    world = draw(hop_worlds())
    names = [part.name for part in world.release.components]
    pairs = [(b, a) for at, a in enumerate(names) for b in names[at + 1 :]]
    rows = [
        row(f"{client}@{used}.0.0", f"{provider}@{offered}.0.0", said)
        for client, provider in pairs
        if draw(st.booleans())
        for used in range(1, 5)
        for offered in range(1, 5)
        if (said := draw(st.sampled_from([verified(), verified(), None, verified(failures=("x",))])))
        is not None
        or draw(st.booleans())
    ]
    compat = world.release.compat.model_copy(update={"pairs": ()})
    return World(world.release.model_copy(update={"contracts": tuple(rows), "compat": compat}), world.fleet)


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(contract_worlds(), st.booleans())
def test_whatever_is_seen_of_a_plan_was_verified_or_is_told(world: World, spoilt: bool) -> None:
    """Every moment is looked at one by one, in another way than the checker's; also of plans that forget to wait."""
    try:
        plan = world.plan()
    except Unplannable:
        return
    if len(plan.batches) > 8:
        return
    assert proven(plan, world.release, world.fleet) == []
    if spoilt:
        own = {batch.id: batch.component for batch in plan.batches}
        loose = (
            b.model_copy(update={"needs": tuple(n for n in b.needs if own[n] == b.component)})
            for b in plan.batches
        )
        plan = plan.model_copy(update={"batches": tuple(loose)})
    told = subjects(list(check(plan, _case(world.release, world.fleet))))
    seen = _met(plan, world)
    assert set(told) == seen[State.UNVERIFIED]
    faults = {
        text.split(": the contract")[0]
        for text in proven(plan, world.release, world.fleet)
        if "failed" in text
    }
    assert {text.replace(" may meet ", "@").replace(" ", "@") for text in faults} == {
        pair.replace(" with ", "@") for pair in seen[State.FAILED]
    }
    assert spoilt or not faults


def _met(plan: Plan, world: World) -> dict[State, set[str]]:
    """Which pairs meet in some moment and did not before the plan, by where they stand."""
    known = Contracts(world.release.contracts)
    before = next(iter(moments(plan.model_copy(update={"batches": ()}), world.fleet)))
    found: dict[State, set[str]] = {state: set() for state in State}
    for seen in moments(plan, world.fleet):
        for client, provider in known.edges:
            for used in seen.get(client, ()):
                for offered in seen.get(provider, ()):
                    if used in before.get(client, ()) and offered in before.get(provider, ()):
                        continue
                    state = known.standing(client, used, provider, offered).state
                    found[state].add(f"{client}@{used} with {provider}@{offered}")
    return found
