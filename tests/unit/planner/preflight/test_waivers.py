"""Which statements count, and what they let pass."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.contract.base import canonical_json
from bumpless.common.contract.envelope import STATEMENT_TYPE
from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.statement import Rehearsed, Waiver
from bumpless.planner.preflight.waivers import passed, read
from support.plans import T0, digest

KEYS = {role: SigningKey.generate() for role in Role}
TRUST = TrustStore.of(**{role.value: key.public for role, key in KEYS.items()})
RELEASE = digest("release")
CLOSED = blocking(Code.WINDOW, "the fleet", "closed", "wait", waivable=True)
LOCKED = blocking(Code.LOCKED, "r1", "locked", "wait")


def waiver(**more: Any) -> Waiver:
    fields = {
        "release": RELEASE,
        "code": Code.WINDOW,
        "subject": "the fleet",
        "by": "ann",
        "reason": "incident 41",
        "expires": T0 + timedelta(hours=1),
    }
    return Waiver.model_validate({**fields, **more})


REHEARSED = Rehearsed.model_validate(
    {"release": RELEASE, "fleet": "staging", "rollout": "r1", "by": "ann", "at": T0}
)


def signed(said: Waiver | Rehearsed, key: SigningKey, kind: str = STATEMENT_TYPE) -> str:
    return key.sign(kind, canonical_json(said.model_dump(mode="json"))).to_bytes().decode()


def codes(findings: tuple[Finding, ...]) -> list[tuple[Code, Severity]]:
    return [(finding.code, finding.severity) for finding in findings]


def test_a_waiver_makes_a_block_a_warning_that_says_by_whom() -> None:
    said = read([signed(waiver(), KEYS[Role.WAIVER])], TRUST, RELEASE, T0)
    assert (said.waivers, said.findings) == ((waiver(),), ())
    through = passed([CLOSED, LOCKED], said.waivers)
    assert codes(through.findings) == [(Code.WINDOW, Severity.WARN), (Code.LOCKED, Severity.BLOCK)]
    assert "by ann until 2030-01-01 13:00 UTC: incident 41" in through.findings[0].waived
    assert through.used == (waiver(),)


def test_a_waiver_of_any_subject_is_for_one_code() -> None:
    other = CLOSED.model_copy(update={"subject": "the release"})
    frozen = blocking(Code.FREEZE, "the fleet", "closed", "wait", waivable=True)
    through = passed([CLOSED, other, frozen], [waiver(subject="*")])
    assert [finding.severity for finding in through.findings] == ["warn", "warn", "block"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (signed(waiver(), SigningKey.generate()), "unknown keys"),
        (signed(waiver(), KEYS[Role.RELEASE]), "of role release"),
        (signed(waiver(), KEYS[Role.REHEARSAL]), "a waiver key, found one of a rehearsal key"),
        (signed(REHEARSED, KEYS[Role.WAIVER]), "a rehearsal key"),
        (signed(waiver(), KEYS[Role.WAIVER], "application/x"), "application/x"),
        (signed(waiver(release=digest("other")), KEYS[Role.WAIVER]), "it is for the release"),
        (signed(waiver(expires=T0), KEYS[Role.WAIVER]), "expired at 2030-01-01 12:00"),
        ("{}", "envelope"),
        ("no json", "envelope"),
    ],
)
def test_what_does_not_count_is_a_finding(text: str, told: str) -> None:
    said = read([text], TRUST, RELEASE, T0)
    assert (said.waivers, said.rehearsed) == ((), ())
    [finding] = said.findings
    assert (finding.code, finding.severity) == (Code.STATEMENT_INVALID, Severity.WARN)
    assert told in finding.evidence


def test_a_rehearsal_is_signed_by_a_key_for_it() -> None:
    said = read([signed(REHEARSED, KEYS[Role.REHEARSAL])], TRUST, RELEASE, T0)
    assert said.rehearsed == (REHEARSED,)


@pytest.mark.parametrize(
    ("subject", "code"), [("r1", Code.LOCKED), ("nobody", Code.WINDOW), ("*", Code.LOCKED)]
)
def test_what_a_waiver_cannot_let_pass_stays(subject: str, code: Code) -> None:
    through = passed([CLOSED, LOCKED], [waiver(subject=subject, code=code)])
    assert codes(through.findings) == [
        (Code.WINDOW, Severity.BLOCK),
        (Code.LOCKED, Severity.BLOCK),
        (Code.STATEMENT_INVALID, Severity.WARN),
    ]
    assert through.used == ()
