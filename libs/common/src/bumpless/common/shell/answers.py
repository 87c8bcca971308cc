"""A person's order, and its one answer."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from bumpless.common.contract.base import Message
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.reading import read

M = TypeVar("M", bound=Message)
ANSWER_S = 15.0
"""Longer than a lease: a service that just died has been replaced by then."""
AGAIN_S = 0.25
log = get_logger(__name__)


async def answer_to(
    connection: Connection, order: Message, owner: str, kind: type[M], subject: str, see: str
) -> M:
    """Publish `order` to its `owner` and wait for the message of `kind` on `subject` that it caused.

    Raises:
        Retryable: nobody answered in time; the order is kept and will be answered when its owner is back. `see` says
            where that will show.
    """
    answered: asyncio.Future[M] = asyncio.get_running_loop().create_future()

    async def heard(item: Received) -> None:
        message = read(item)
        if isinstance(message, kind) and message.cause == order.id and not answered.done():
            answered.set_result(message)

    listening = await connection.subscribe(subject, heard)
    try:
        async with asyncio.timeout(ANSWER_S):
            await _sent(connection, order)
            return await answered
    except TimeoutError as error:
        raise Retryable(
            f"expected an answer from the {owner} within {ANSWER_S:g} s, found none; the command is kept "
            f"and will be carried out when it is back: see {see}"
        ) from error
    finally:
        await listening.unsubscribe()


async def _sent(connection: Connection, order: Message) -> None:
    """Publish it once the broker is there: one that is being started again is no reason to ask a person twice."""
    while True:
        try:
            await connection.nc.flush()  # whoever answers finds us listening
            await connection.publish(order, source="operator")
            return
        except (Retryable, *Away) as error:
            log.info("an order is sent again", reason=str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)
