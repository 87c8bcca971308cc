"""Who is logged in, and how often somebody may try. Pure: kept in memory, times are given."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bumpless.dashboard.users import Role

IDLE = timedelta(hours=1)
LONGEST = timedelta(hours=12)
MOST = 2_000
FREE_BY_NAME, FREE_BY_ADDRESS = 5, 50
"""Tries. Many people may share an address, of a proxy for one, and none of them is to wait for another's mistakes."""
LONGEST_WAIT_S = 900.0
MOST_TRIED = 10_000


@dataclass(frozen=True)
class Session:
    """`csrf` must come with every request that changes something. `local`: logged in by a link of this machine."""

    name: str
    roles: frozenset[Role]
    csrf: str
    local: bool
    began: datetime
    used: datetime


class Sessions:
    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Session] = OrderedDict()

    def open(
        self, name: str, roles: frozenset[Role], now: datetime, *, local: bool = False
    ) -> tuple[str, Session]:
        """The cookie's value, of which only a hash is kept, and the session."""
        cookie = secrets.token_urlsafe(32)
        session = Session(name, roles, secrets.token_urlsafe(32), local, now, now)
        self._known[_hashed(cookie)] = session
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return cookie, session

    def find(self, cookie: str, now: datetime) -> Session | None:
        key = _hashed(cookie)
        session = self._known.get(key)
        if session is None:
            return None
        if now - session.used > IDLE or now - session.began > LONGEST:
            del self._known[key]
            return None
        session = self._known[key] = replace(session, used=now)
        self._known.move_to_end(key)
        return session

    def close(self, cookie: str) -> None:
        self._known.pop(_hashed(cookie), None)


class Throttle:
    """After `free` failures the wait before the next try doubles with each; by key, which is a name or an address."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._failed: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    def wait_s(self, key: str, now: datetime) -> float:
        """Seconds until the next try; 0: now."""
        tries, last = self._failed.get(key, (0, now))
        if tries < self._free:
            return 0.0
        wait = min(2.0 ** min(tries - self._free, 30), LONGEST_WAIT_S)
        return max(0.0, wait - (now - last).total_seconds())

    def failed(self, key: str, now: datetime) -> None:
        tries, _ = self._failed.pop(key, (0, now))
        self._failed[key] = (tries + 1, now)
        while len(self._failed) > MOST_TRIED:
            self._failed.popitem(last=False)

    def passed(self, key: str) -> None:
        self._failed.pop(key, None)


def _hashed(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
