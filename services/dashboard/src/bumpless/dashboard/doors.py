"""Logging in and out, and who a request is from."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from bumpless.common.errors import ReleaseError
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.dashboard.one_time import OneTime
from bumpless.dashboard.sessions import FREE_BY_ADDRESS, FREE_BY_NAME, Session, Sessions, Throttle
from bumpless.dashboard.users import LONGEST, NOBODY, Role, User, Users

log = get_logger(__name__)
CSRF_HEADER = "X-CSRF-Token"
LOCAL_ROLES = frozenset({Role.OPERATOR, Role.APPROVER})
HASHING_AT_ONCE = 2
MOST_WAITING = 20


class Doors:
    """`secure`: cookies are for HTTPS only. Passwords are hashed in threads, few at once."""

    def __init__(self, users: Users, links: OneTime, clock: Clock, *, secure: bool) -> None:
        self._users, self._links, self._clock, self._secure = users, links, clock, secure
        self._sessions = Sessions()
        self._by_name, self._by_address = Throttle(FREE_BY_NAME), Throttle(FREE_BY_ADDRESS)
        self._hashing = asyncio.Semaphore(HASHING_AT_ONCE)
        self._waiting = 0
        # The prefix has browsers refuse a cookie of this name that another host or plain HTTP sets.
        self.cookie = "__Host-bumpless" if secure else "bumpless-session"

    def session(self, request: web.Request) -> Session | None:
        """Whose request it is, with the roles that the users file gives now."""
        cookie = request.cookies.get(self.cookie)
        session = None if cookie is None else self._sessions.find(cookie, self._clock())
        if session is None or cookie is None or session.local:
            return session
        try:
            user = self._users.find(session.name)
        except (ReleaseError, OSError) as error:
            log.error("nobody is let in: the users file cannot be read", reason=str(error))
            return None
        if user is None or user.roles != session.roles:
            self._sessions.close(cookie)
            return None
        return session

    def required(self, request: web.Request, role: Role | None = None) -> Session:
        """The session, which must have `role`; a request that changes something must bring its CSRF token.

        Raises: HTTPUnauthorized, HTTPForbidden.
        """
        session = self.session(request)
        if session is None:
            raise web.HTTPUnauthorized(reason="log in first")
        if request.method not in ("GET", "HEAD") and request.headers.get(CSRF_HEADER) != session.csrf:
            raise web.HTTPForbidden(reason="expected the CSRF token of this session; load the page again")
        if role is not None and role not in session.roles:
            raise web.HTTPForbidden(reason=f"expected the role {role}, found {_named(session.roles)}")
        return session

    async def who(self, request: web.Request) -> web.Response:
        session = self.session(request)
        return web.json_response(None if session is None else _shown(session))

    async def log_in(self, request: web.Request) -> web.Response:
        said = await _object(request)
        token = said.get("token")
        if isinstance(token, str):
            return self._by_link(request, token)
        name, password = said.get("name"), said.get("password")
        if not isinstance(name, str) or not isinstance(password, str) or len(password) > LONGEST:
            raise web.HTTPBadRequest(reason="expected a name and a password")
        tries = ((self._by_name, name[:64]), (self._by_address, str(request.remote)))
        wait = max(throttle.wait_s(key, self._clock()) for throttle, key in tries)
        if wait > 0 or self._waiting >= MOST_WAITING:
            return web.json_response(
                {"error": f"too many tries; wait {max(1, round(wait))} s"},
                status=429,
                headers={"Retry-After": str(max(1, round(wait)))},
            )
        user = await self._user(name, password)
        if user is None:
            log.warning("login refused", name=name[:64], remote=request.remote)
            for throttle, key in tries:
                throttle.failed(key, self._clock())
            return web.json_response({"error": "expected a known name and its password"}, status=401)
        for throttle, key in tries:
            throttle.passed(key)
        return self._open(request, user.name, user.roles, local=False)

    async def log_out(self, request: web.Request) -> web.Response:
        self.required(request)
        self._sessions.close(request.cookies[self.cookie])
        answer = web.json_response(None)
        answer.del_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="Strict")
        return answer

    def _by_link(self, request: web.Request, token: str) -> web.Response:
        who = self._links.take(token, self._clock())
        if who is None:
            log.warning("login link refused", remote=request.remote)
            return web.json_response(
                {"error": "this link was used or is too old; `bumpless dashboard link` makes a new one"},
                status=401,
            )
        return self._open(request, who, LOCAL_ROLES, local=True)

    async def _user(self, name: str, password: str) -> User | None:
        try:
            found = self._users.find(name)
        except (ReleaseError, OSError) as error:
            log.error("nobody is let in: the users file cannot be read", reason=str(error))
            found = None
        self._waiting += 1
        try:
            async with self._hashing:
                knows = await asyncio.to_thread((found or NOBODY).knows, password)
        finally:
            self._waiting -= 1
        return found if knows else None

    def _open(self, request: web.Request, name: str, roles: frozenset[Role], *, local: bool) -> web.Response:
        before = request.cookies.get(self.cookie)
        if before is not None:
            self._sessions.close(before)
        cookie, session = self._sessions.open(name, roles, self._clock(), local=local)
        log.info("logged in", name=name, roles=sorted(roles), local=local, remote=request.remote)
        answer = web.json_response(_shown(session))
        answer.set_cookie(
            self.cookie, cookie, path="/", secure=self._secure, httponly=True, samesite="Strict"
        )
        return answer


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        said = await request.json()
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="expected JSON") from error
    if not isinstance(said, dict):
        raise web.HTTPBadRequest(reason="expected a JSON object")
    return said


def _shown(session: Session) -> dict[str, Any]:
    return {"name": session.name, "roles": sorted(session.roles), "csrf": session.csrf}


def _named(roles: frozenset[Role]) -> str:
    return ", ".join(sorted(roles)) or "none"
