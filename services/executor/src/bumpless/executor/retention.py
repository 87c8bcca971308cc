"""What of a component stays on a node: the sockets that are held, the trees that run, may run again, or are kept. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from bumpless.common.contract.base import Digest
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Keep
from bumpless.executor.record import RESTING, ComponentRecord


def spared(
    arrived: Mapping[Digest, datetime], named: Collection[Digest], keep: Keep, now: datetime
) -> frozenset[Digest]:
    """The trees of `arrived` (when each came here) to keep for the policy, beside those `named`, which stay anyway.

    The newest first; which of two that came at once is the same every time.
    """
    oldest = now - timedelta(days=keep.days)
    others = [root for root, came in arrived.items() if root not in named and came >= oldest]
    others.sort(key=lambda root: (arrived[root], root), reverse=True)
    return frozenset(others[: keep.versions])


def listening(record: ComponentRecord) -> list[Target]:
    """Whose sockets are held: those of a component that was removed, or drained, must refuse, not queue for nobody."""
    coming = record.command.target if record.command and record.state not in RESTING else None
    if record.out and record.fresh is None:
        coming = None
    current = None if record.out else record.current
    targets = [current, coming, *(i.target for i in record.instances)]
    return [t for t in targets if t is not None]


def spoken(record: ComponentRecord) -> list[Target]:
    """Everything that runs, may run again, or is spoken of by the standing command."""
    commands = [c for c in (record.command, record.waiting) if c is not None]
    spoken = [t for c in commands for t in (c.target, c.before)]
    targets = [record.current, record.previous, *spoken, *(i.target for i in record.instances)]
    return [t for t in targets if t is not None]


def named(record: ComponentRecord) -> list[Digest]:
    """The trees of those, and of the hops that are still to come."""
    commands = [c for c in (record.command, record.waiting) if c is not None]
    return [t.root for t in spoken(record)] + [root for c in commands for root in c.keep]
