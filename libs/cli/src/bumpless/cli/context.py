"""What every command is given: the home directory, the broker, the way to print.

Every command imports this, so it imports the broker's client, keys and logs only for those that ask for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bumpless.cli.home import Home
from bumpless.cli.output import Output
from bumpless.common.errors import Refused

if TYPE_CHECKING:
    from bumpless.cli.client import Client
    from bumpless.common.artifacts.signing import SigningKey, TrustStore

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    home: Home
    nats: str | None
    output: Output
    debug: bool = False
    store: str | None = None

    def configure_logging(self) -> None:
        from bumpless.common.shell.log import configure_logging

        configure_logging("cli", "debug" if self.debug else "critical")

    def client(self) -> AbstractAsyncContextManager[Client]:
        from bumpless.cli.client import client

        self.configure_logging()
        return client(self.home.entry(self.nats), store=self.store)

    def with_client(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run `work` with a client."""
        import asyncio

        async def run() -> T:
            async with self.client() as found:
                return await work(found)

        return asyncio.run(run())

    def release_key(self, given: Path | None) -> SigningKey:
        from bumpless.common.artifacts.signing import SigningKey

        path = given or self.home.release_key
        if not path.exists():
            raise Refused("a release key", f"nothing at {path}", "make one with `bumpless keys generate`")
        return SigningKey.load(path)

    def trust(self) -> TrustStore:
        from bumpless.common.artifacts.signing import TrustStore

        if not self.home.trust.exists():
            raise Refused(
                "trusted keys", f"nothing at {self.home.trust}", "make keys with `bumpless keys generate`"
            )
        return TrustStore.load(self.home.trust)
