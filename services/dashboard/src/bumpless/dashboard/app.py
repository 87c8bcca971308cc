"""The dashboard as a process: settings, broker, web server, life cycle."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from aiohttp import web
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.errors import Refused
from bumpless.common.settings import NatsSettings
from bumpless.common.shell import clock
from bumpless.common.shell.answers import answer_to
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import configure_logging, get_logger
from bumpless.common.shell.ops import serve_ops
from bumpless.common.shell.service import start
from bumpless.common.shell.shared_site import SharedSite
from bumpless.common.shell.turn import Turn, contract
from bumpless.dashboard.doors import Doors
from bumpless.dashboard.feeds import Feeds
from bumpless.dashboard.guarding import Guard
from bumpless.dashboard.one_time import OneTime, secret_at
from bumpless.dashboard.picture import Picture
from bumpless.dashboard.site import Site
from bumpless.dashboard.users import Users
from bumpless.dashboard.views import Views
from bumpless.dashboard.yielding import give_way

NAME = "dashboard"
log = get_logger(__name__)


class DashboardSettings(NatsSettings):
    """Browsers reach it at `host`:`port`, or under `public_url`, where something in front of it speaks HTTPS.

    `users` is the file that `bumpless dashboard user` writes, `login_secret` what links that log in once are signed
    with. Beyond this machine it speaks HTTPS only: with `tls_cert` and `tls_key`, or by a `public_url` with https.
    `gives_way`: it has the processor only while nobody else of its session wants it.
    """

    model_config = SettingsConfigDict(env_prefix="bumpless_dashboard_", extra="forbid", frozen=True)
    ops_port: int = 0
    log_level: str = "info"
    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=1, le=65_535)
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/]+$")
    users: Path | None = None
    login_secret: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    gives_way: bool = True

    def addresses(self) -> frozenset[str]:
        """How browsers call us.

        Raises:
            Refused: passwords would cross a network in the clear.
        """
        if self.public_url is not None:
            found = frozenset({self.public_url})
        else:
            scheme = "http" if self.tls_cert is None else "https"
            names = {self.host, "localhost"} if _local(self.host) else {self.host}
            found = frozenset(f"{scheme}://{name}:{self.port}" for name in names)
        if not _local(self.host) and not all(address.startswith("https:") for address in found):
            raise Refused(
                f"HTTPS on {self.host}",
                "plain HTTP",
                "set BUMPLESS_DASHBOARD_TLS_CERT and _TLS_KEY, or BUMPLESS_DASHBOARD_PUBLIC_URL=https://…",
            )
        return found

    def tls(self) -> ssl.SSLContext | None:
        """Raises: OSError."""
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls_cert, self.tls_key)
        return context


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def run(settings: DashboardSettings) -> None:
    """Run the dashboard until SIGTERM. Once it listens it gives way to other processes."""
    configure_logging(NAME, settings.log_level)
    guard = Guard(settings.addresses())
    links = OneTime(None if settings.login_secret is None else secret_at(settings.login_secret))
    doors = Doors(Users(settings.users), links, clock.now, secure=guard.secure)
    async with Turn.of_this_process() as turn:
        connection = await Connection.connect(settings.broker, name=NAME)

        async def give(order: c.OperatorCommand) -> e.CommandAnswered:
            subject = subjects.subject_for(e.CommandAnswered, rollout=order.rollout)
            return await answer_to(
                connection, order, order.to, e.CommandAnswered, subject, "the rollout's page"
            )

        async def leave(_: web.Request, response: web.StreamResponse) -> None:
            """While another process takes new connections, browsers come on one of those next time."""
            if turn.over.is_set():
                response.force_close()

        picture = Picture()
        feeds = Feeds(connection, picture, clock.now)
        views = Views(picture, feeds.number, feeds.signals, doors, clock.fresh_id())
        site = Site(guard, doors, views, picture, give, clock.now)
        site.app.on_response_prepare.append(leave)
        runner = web.AppRunner(site.app, access_log=None, shutdown_timeout=2)
        ops = await serve_ops(settings.ops_port, feeds.healthy, host=settings.ops_host)
        try:
            feeds.start()
            await runner.setup()
            await _serve(settings, runner, turn)
        finally:
            feeds.signals.end()
            await runner.cleanup()
            await feeds.stop()
            await connection.close()
            if ops is not None:
                await ops.cleanup()


async def _serve(settings: DashboardSettings, runner: web.AppRunner, turn: Turn) -> None:
    """On the sockets that an executor gave us, or on one of our own, until the end."""
    sockets = contract().sockets.get("http", ())
    shared = SharedSite(runner, sockets, settings.tls()) if sockets else None
    if shared is None:
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=settings.tls()).start()
    log.info("serving", addresses=sorted(settings.addresses()))
    if settings.gives_way:
        give_way()
    turn.count = lambda: 0 if runner.server is None else len(runner.server.connections)
    turn.ready("serves")
    try:
        while await turn.mine():
            with turn.working():
                if shared is not None:
                    shared.accept()
                await turn.over.wait()
                if shared is not None:
                    shared.pause()
    finally:
        if shared is not None:
            await shared.close()


def main() -> None:
    start(NAME, lambda: run(DashboardSettings.read()))


if __name__ == "__main__":
    main()
