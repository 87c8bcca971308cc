"""The announcement of a signed release: from whichever door it comes, the same release gives the same message."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from bumpless.common.contract.base import Digest, derive_id
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.events import ReleaseAnnounced
from bumpless.common.model.release import Release


def announcement(
    product: str,
    digest: Digest,
    envelope: Envelope,
    *,
    at: datetime,
    by: str,
    attempt: int = 0,
    expected_plan: str | None = None,
    statements: Sequence[str] = (),
) -> ReleaseAnnounced:
    """The event; the same envelope and attempt give the same id, so repeats are dropped.

    The id covers the signatures: otherwise a copy without them, which the planner refuses, would keep the real one out.
    That a release is started once rests on the id of its rollout.
    """
    whole = hashlib.sha256(envelope.to_bytes()).hexdigest()
    return ReleaseAnnounced.model_validate(
        {
            "id": derive_id(
                "announce", product, digest, str(attempt), expected_plan or "", whole, *statements
            ),
            "at": at,
            "product": product,
            "digest": digest,
            "envelope": envelope.to_bytes().decode(),
            "attempt": attempt,
            "expected_plan": expected_plan,
            "statements": tuple(statements),
            "by": by,
        }
    )


def opened(data: bytes) -> tuple[Envelope, Release]:
    """What is said to be a signed release, DSSE JSON. Its signature is not looked at here: the planner does.

    Raises:
        ValueError: it is no envelope, or has no release in it.
    """
    envelope = Envelope.from_bytes(data)
    return envelope, Release.model_validate_json(envelope.payload)
