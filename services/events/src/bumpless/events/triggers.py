"""From `artifact.published` to the announcement that the planner knows.

Nothing is believed here. The event says where a signed release lies; the planner verifies its signature as that of every
announcement. A rollout is known by product, digest and attempt, and only what was refused is attempted again, so whatever is
sent twice starts once.
"""

from __future__ import annotations

import hashlib

from pydantic import ConfigDict

from bumpless.common.artifacts.errors import ArtifactError, BlobMissing
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.contract import cloudevents
from bumpless.common.contract.announcing import announcement, opened
from bumpless.common.contract.base import Model
from bumpless.common.contract.cdevents import Published, published
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES, Envelope
from bumpless.common.contract.subjects import release_published
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.release import Release
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.rollouts import attempt_of

log = get_logger(__name__)


class Arrived(Model):
    """A message as it lies in the stream."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    subject: str
    headers: dict[str, str]
    body: bytes


class Triggers:
    """Takes triggers that are in the stream. Each may come again at any time."""

    def __init__(self, connection: Connection, store: BlobReader, clock: Clock) -> None:
        self._connection, self._store, self._clock = connection, store, clock

    async def take(self, arrived: Arrived) -> None:
        """Announce what was published.

        Raises:
            Refused: it is no such event, or names another release than there is.
            Retryable: the broker or the store is away.
        """
        try:
            found = published(cloudevents.read(arrived.headers, arrived.body).data)
        except ValueError as error:
            raise Refused("artifact.published of a signed release", str(error)) from error
        if arrived.subject != release_published(found.product):
            raise Refused(
                f"releases of {found.product} on {release_published(found.product)}", arrived.subject
            )
        envelope, release = _opened(await self._envelope(found))
        if release.product != found.product:
            raise Refused(f"a release of {found.product}", f"one of {release.product}")
        message = announcement(
            release.product,
            release.digest,
            envelope,
            at=self._clock(),
            by=f"event from {found.source}"[:256],
            attempt=await attempt_of(self._connection, release.product, release.digest),
        )
        await self._connection.publish(message, source="events")
        log.info("announced", product=message.product, digest=message.digest, source=found.source)

    async def _envelope(self, found: Published) -> bytes:
        if found.envelope is not None:
            data = found.envelope.encode()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            if found.digest not in (None, digest):
                raise Refused(f"an envelope with the digest {found.digest}", digest)
            return data
        assert found.digest is not None
        try:
            return await self._store.get(found.digest, max_size=MAX_ENVELOPE_BYTES)
        except BlobMissing as error:
            hint = "upload it first: `bumpless release build`"
            raise Refused(
                f"the signed release {found.digest} in the artifact store", "nothing", hint
            ) from error
        except ArtifactError as error:
            raise Retryable(f"{found.digest} cannot be read: {error}") from error


def _opened(data: bytes) -> tuple[Envelope, Release]:
    try:
        return opened(data)
    except ValueError as error:
        raise Refused("a signed release", str(error)) from error
