"""The real dashboard against a real broker, a browser beside it, and words for both.

Where no rollout has to happen, `Stage` publishes the messages of one itself: those that services would publish.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import pytest

from bumpless.cli.embedded import free_port
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import Message, PlanHash
from bumpless.common.model.plan import Direction, Plan
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.rollouts import Plans
from bumpless.dashboard.one_time import link, make_token, secret_at
from bumpless.dashboard.users import Role, User, UsersFile, write_users
from support.waiting import comes_true

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="expected chromium on PATH, found none; on Debian: apt-get install chromium"
)
CHEAP = 1 << 10
PASSWORD = "correct horse battery"
LIMIT_MS = 90_000
START_S = 120.0
STOP_S = 20.0


class Dashboard:
    """A process of its own on a port that was free. `address` is where browsers find it.

    Unless told otherwise it does not give way: tests that run beside it would be let go first.
    """

    def __init__(
        self, folder: Path, nats_url: str, seed: Path | None = None, *, gives_way: bool = False
    ) -> None:
        self.folder, self.nats_url, self._seed, self._gives_way = folder, nats_url, seed, gives_way
        self.users, self.secret = folder / "users.json", folder / "login.secret"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        secret_at(self.secret, make=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        prefix = "BUMPLESS_DASHBOARD_"
        settings = {
            "NATS_URL": self.nats_url,
            "PORT": str(self.port),
            "USERS": str(self.users),
            "LOGIN_SECRET": str(self.secret),
            "GIVES_WAY": str(self._gives_way).lower(),
        }
        if self._seed is not None:
            settings["NATS_SEED"] = str(self._seed)
        env = {key: value for key, value in os.environ.items() if not key.startswith("BUMPLESS_")}
        with open(self.folder / "dashboard.log", "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bumpless.dashboard.app"],
                env={**env, **{prefix + name: value for name, value in settings.items()}},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def answers(self) -> None:
        def listens() -> bool:
            assert self._process is not None
            code = self._process.poll()
            assert code is None, f"it ended with {code}: {self.log()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            return False

        await comes_true(listens, "the dashboard to listen", START_S)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        return (self.folder / "dashboard.log").read_text()[-3000:]

    def link(self, who: str = "ada@here") -> str:
        return link(self.address, make_token(secret_at(self.secret), who, clock.now()))

    def let_in(self, **people: Sequence[Role]) -> None:
        """These may log in, with `PASSWORD`, which is cheap to guess here, and nobody else."""
        made = (User.of(name, roles, PASSWORD, n=CHEAP) for name, roles in people.items())
        write_users(self.users, UsersFile(users={user.name: user for user in made}))


class Stage:
    """A rollout as dashboards see it, told by a test."""

    def __init__(self, connection: Connection, plan: Plan) -> None:
        self._connection, self.plan = connection, plan
        self._version = 0
        self.began = clock.now()

    async def planned(self, *, by: str = "ci", reason: str = "") -> None:
        await Plans(JetStreamBlobs(self._connection.js, subjects.PLAN_BUCKET)).put(self.plan)
        await self.say(
            e.RolloutPlanned(
                id=clock.fresh_id(),
                at=self.began,
                rollout=self.plan.rollout,
                product=self.plan.product,
                release_version=self.plan.release_version,
                direction=Direction.FORWARD,
                plan_hash=PlanHash(self.plan.hash),
                generation=self.plan.generation,
                by=by,
                reason=reason,
            )
        )

    async def progress(
        self,
        status: str,
        batches: dict[str, str],
        *,
        reason: str = "",
        done: int = 0,
        until_s: float | None = 60,
    ) -> None:
        self._version += 1
        now = clock.now()
        await self.say(
            e.RolloutProgressed(
                id=clock.fresh_id(),
                at=now,
                rollout=self.plan.rollout,
                product=self.plan.product,
                release_version=self.plan.release_version,
                direction=Direction.FORWARD,
                status=status,
                since=self.began,
                until=None if until_s is None else now + timedelta(seconds=until_s),
                reason=reason,
                batches={batch.id: batches.get(batch.id, "pending") for batch in self.plan.batches},
                steps_done=done,
                steps_total=sum(1 for _ in self.plan.steps()),
                version=self._version,
            )
        )

    async def step(
        self, node: str, component: str, state: str, detail: str = "", at: datetime | None = None
    ) -> None:
        await self.say(
            e.StepProgressed(
                id=clock.fresh_id(),
                at=at or clock.now(),
                rollout=self.plan.rollout,
                node=node,
                component=component,
                state=state,
                detail=detail,
                share=1.0 if state == "serving" else 0.5,
            )
        )

    async def say(self, message: Message) -> None:
        await self._connection.publish(message, source="test")

    async def flush(self) -> None:
        await self._connection.nc.flush()


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[object]:
    """Debian's Chromium without a window. Playwright is imported here: it is there for tests only."""
    from playwright.async_api import async_playwright

    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=LIMIT_MS,
        )
        try:
            yield found
        finally:
            await found.close()
