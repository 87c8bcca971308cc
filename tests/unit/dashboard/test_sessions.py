"""How long a login lasts, and how wrong passwords are slowed down."""

from __future__ import annotations

from datetime import timedelta

from bumpless.dashboard.sessions import FREE_BY_NAME, IDLE, LONGEST, LONGEST_WAIT_S, MOST, Sessions, Throttle
from bumpless.dashboard.users import Role
from support.plans import T0, at

ROLES = frozenset({Role.OPERATOR})


def test_a_session_is_found_by_its_cookie_alone_and_until_it_is_closed() -> None:
    sessions = Sessions()
    cookie, session = sessions.open("ada", ROLES, T0)
    other, _ = sessions.open("ada", ROLES, T0)
    assert cookie != other
    assert session.csrf not in (cookie, other)
    assert sessions.find(cookie, T0) == session
    assert sessions.find(cookie + "x", T0) is None
    sessions.close(cookie)
    assert sessions.find(cookie, T0) is None
    assert sessions.find(other, T0) is not None


def test_a_session_ends_when_it_rests_too_long() -> None:
    sessions = Sessions()
    cookie, _ = sessions.open("ada", ROLES, T0)
    assert sessions.find(cookie, T0 + IDLE) is not None
    assert sessions.find(cookie, T0 + 2 * IDLE) is not None  # it was used meanwhile
    assert sessions.find(cookie, T0 + 3 * IDLE + timedelta(seconds=1)) is None


def test_a_session_ends_however_busy_it_is() -> None:
    sessions = Sessions()
    cookie, _ = sessions.open("ada", ROLES, T0)
    now = T0
    while now < T0 + LONGEST:
        assert sessions.find(cookie, now) is not None
        now += IDLE / 2
    assert sessions.find(cookie, T0 + LONGEST + timedelta(seconds=1)) is None


def test_the_sessions_that_were_used_last_are_kept() -> None:
    sessions = Sessions()
    first, _ = sessions.open("first", ROLES, T0)
    second, _ = sessions.open("second", ROLES, T0)
    sessions.find(first, T0)
    for number in range(MOST - 1):
        sessions.open(str(number), ROLES, T0)
    assert sessions.find(first, T0) is not None
    assert sessions.find(second, T0) is None


def test_the_wait_doubles_after_some_free_tries() -> None:
    throttle = Throttle(FREE_BY_NAME)
    waits = []
    for _ in range(FREE_BY_NAME + 4):
        throttle.failed("ada", T0)
        waits.append(throttle.wait_s("ada", T0))
    assert waits == [0.0] * (FREE_BY_NAME - 1) + [1, 2, 4, 8, 16]
    assert throttle.wait_s("ada", at(10)) == 6
    assert throttle.wait_s("ada", at(16)) == 0
    assert throttle.wait_s("bob", T0) == 0
    for _ in range(2_000):
        throttle.failed("ada", T0)
    assert throttle.wait_s("ada", T0) == LONGEST_WAIT_S
    throttle.passed("ada")
    assert throttle.wait_s("ada", T0) == 0
