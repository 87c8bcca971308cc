"""An aiohttp application on listening sockets on which the process of another version accepts too.

What was accepted is served, and nothing is done to the sockets but accepting (docs/service-contract.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

from bumpless.common.shell.log import get_logger
from bumpless.service.acceptor import Acceptor

log = get_logger(__name__)


class SharedSite:
    """`runner` is set up. The descriptors are copied, so another site can be made of the same sockets later."""

    def __init__(
        self, runner: web.AppRunner, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
    ) -> None:
        self._runner, self._tls = runner, tls
        self._acceptor = Acceptor([given.dup() for given in sockets], self._attach)
        self._attaching: set[asyncio.Task[None]] = set()

    def accept(self) -> None:
        self._acceptor.accept()

    def pause(self) -> None:
        """Take no further connection; those that are open are served."""
        self._acceptor.pause()

    async def close(self) -> None:
        """Take none ever again. To be called before the runner is cleaned up."""
        self._acceptor.close(sweep=False)
        if self._attaching:
            await asyncio.wait(self._attaching)

    def _attach(self, accepted: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        serving = self._runner.server
        assert serving is not None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(serving, accepted, ssl=self._tls)
        except OSError as error:
            log.info("a connection ended before it was served", reason=repr(error))
            accepted.close()
