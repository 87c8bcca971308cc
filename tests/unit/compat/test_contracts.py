"""Contracts as evidence of pairs: a table of what one release knows, and how it goes together with what is stated."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bumpless.common.compat.contracts import Contracts, State, row_of
from bumpless.common.compat.pairs import Accepts, Pairs, Stated
from bumpless.common.model.contracts import Contract
from bumpless.common.model.statement import Verified
from bumpless.common.model.version import Version, VersionRange
from support.contracts import row, verified
from support.plans import T0, digest

A, B = digest("pact a"), digest("pact b")
ROWS = (
    row("sdk@2.3.0", "api@2.0.0", verified()),
    row("sdk@2.4.0", "api@2.1.0", verified(failures=("$.size: missing",))),
    row("sdk@2.4.0", "api@3.0.0", verified()),
    row("sdk@2.5.0", "api@3.0.0", verified(), pact=A),
    row("sdk@2.5.0", "api@3.0.0", None, pact=B),
)


def v(text: str) -> Version:
    return Version.parse(text)


@pytest.mark.parametrize(
    ("used", "offered", "state", "evidence"),
    [
        ("2.3.0", "2.0.0", State.VERIFIED, "contract verified by ann at 2030-01-01 12:00 UTC"),
        ("v2.3", "2", State.VERIFIED, "contract verified by ann"),
        ("2.3.0", "3.0.0", State.UNVERIFIED, "nobody verified the contract of sdk 2.3.0 with api 3.0.0"),
        ("2.4.0", "2.1.0", State.FAILED, "as ann found at 2030-01-01 12:00 UTC: $.size: missing"),
        ("2.4.0", "3.0.0", State.VERIFIED, "contract verified"),
        ("2.5.0", "3.0.0", State.UNVERIFIED, "nobody verified"),
        ("2.6.0", "3.0.0", State.UNVERIFIED, "no contract of sdk 2.6.0 with api is in the release"),
    ],
)
def test_where_a_pair_stands(used: str, offered: str, state: State, evidence: str) -> None:
    known = Contracts(ROWS)
    found = known.standing("sdk", v(used), "api", v(offered))
    assert found.state is state
    assert evidence in found.evidence
    word = known.about("sdk", v(used), "api", v(offered))
    assert word is not None
    assert (word.fits, word.unproven) == (state is State.VERIFIED, state is State.UNVERIFIED)


def test_of_two_pacts_the_one_that_is_missing_is_named() -> None:
    assert Contracts(ROWS).standing("sdk", v("2.5.0"), "api", v("3.0.0")).pacts == (B,)


def test_nothing_is_known_of_others_nor_of_the_other_way_round() -> None:
    known = Contracts(ROWS)
    assert known.about("web", v("1"), "api", v("3")) is None
    assert known.about("api", v("3"), "sdk", v("2.4")) is None
    assert set(known.edges) == {("sdk", "api")}
    assert known.named == {
        "sdk": {v("2.3.0"), v("2.4.0"), v("2.5.0")},
        "api": {v("2.0.0"), v("2.1.0"), v("3.0.0")},
    }
    assert known.verified_pairs("sdk", "api") == ((v("2.3.0"), v("2.0.0")), (v("2.4.0"), v("3.0.0")))


@pytest.mark.parametrize(("first", "state"), [(0, State.VERIFIED), (2, State.FAILED), (1, State.FAILED)])
def test_the_latest_of_several_verifications_counts(first: int, state: State) -> None:
    """At the same moment, the one that failed."""
    failed = verified(at=T0 + timedelta(hours=first), failures=("x",))
    later = verified(at=T0 + timedelta(hours=1))
    for said in ([failed, later], [later, failed]):
        known = Contracts(row("sdk@1.0.0", "api@1.0.0", one) for one in said)
        assert known.standing("sdk", v("1"), "api", v("1")).state is state


def test_a_verification_counts_for_the_pact_that_the_release_names() -> None:
    known = Contracts([row("sdk@1.0.0", "api@1.0.0", None, pact=A)])

    def said(**more: Any) -> Verified:
        return Verified.model_validate({**_said(row("sdk@1", "api@2.0.0", verified(), pact=A)), **more})

    assert known.wants(said())
    assert not known.wants(said(pact=B))
    assert not known.wants(said(consumer_version="2.0.0"))
    assert not known.wants(said(provider="db"))
    more = Contracts([row("sdk@1.0.0", "api@1.0.0", None, pact=A), row_of(said())])
    assert more.standing("sdk", v("1.0"), "api", v("2.0.0")).state is State.VERIFIED


def _said(made: Contract) -> dict[str, Any]:
    assert made.verified is not None
    return made.verified.model_dump()


@pytest.mark.parametrize(
    ("used", "offered", "fits", "unproven", "lenient"),
    [
        ("2.4.0", "3.0.0", True, False, True),
        ("2.3.0", "3.0.0", False, True, True),
        ("2.4.0", "2.1.0", False, False, False),
        # Not verified, and stated not to fit: no person can let that pass.
        ("2.3.0", "4.0.0", False, False, False),
    ],
)
def test_all_that_speak_must_agree(
    used: str, offered: str, fits: bool, unproven: bool, lenient: bool
) -> None:
    stated = Accepts("sdk", VersionRange.parse("*"), "api", VersionRange.parse("<4"))
    pairs = Pairs([], [Stated([stated]), Contracts(ROWS)])
    assert pairs.edges == (("sdk", "api"),)
    verdict = pairs.judge("sdk", v(used), "api", v(offered))
    assert (verdict.fits, verdict.known, verdict.unproven) == (fits, True, unproven)
    assert pairs.lenient().judge("sdk", v(used), "api", v(offered)).fits is lenient


def test_a_pair_that_no_contract_mentions_stays_unknown() -> None:
    verdict = Pairs([("web", "db")], [Contracts(ROWS)]).judge("web", v("1"), "db", v("9"))
    assert (verdict.fits, verdict.known) == (True, False)
