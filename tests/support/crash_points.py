"""Runs a service that kills itself with SIGKILL at chosen effects; what is tested is not changed.

    python tests/support/crash_points.py FOLDER MODULE

`FOLDER/armed.json` (see `Armed`) may be written and removed while the service runs. Every transition is hit once: what
has been hit is in `FOLDER/hits`, a line each, which outlives the process.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

Effect = Literal["save", "publish"]
Side = Literal["before", "after"]
AGAIN = "again: "
"""Begins the line of a kill while the service recovered from the one before."""
_NO_TRANSITION = ("PROG", "CORE")
"""Streams of what is told on the way, on which nothing depends."""
_STATE = re.compile(rb'"(?:status|state|phase)":"([a-z_-]+)"')
_TYPE = re.compile(rb'"type":"([a-z-]+)"')


@dataclass(frozen=True)
class Armed:
    """Kill on this side of this effect; `again`: also at the first such effect of the process that comes after."""

    effect: Effect
    side: Side
    again: bool = False


class Points:
    """What the wrapped effects ask whether to go on."""

    def __init__(self, folder: Path) -> None:
        self._armed, self._hits = folder / "armed.json", folder / "hits"
        self._fresh = True
        """No armed effect has been reached by this process."""

    def reach(self, effect: Effect, side: Side, label: str) -> None:
        """Ends the process where this point is armed and the transition has not been hit yet."""
        try:
            armed = Armed(**json.loads(self._armed.read_text()))
        except FileNotFoundError:
            return
        if (armed.effect, armed.side) != (effect, side):
            return
        hits = self._hits.read_text().splitlines() if self._hits.exists() else []
        recovers = armed.again and self._fresh and bool(hits) and not hits[-1].startswith(AGAIN)
        self._fresh = False
        if recovers:
            label = AGAIN + label
        elif label in hits:
            return
        with open(self._hits, "a") as file:
            file.write(label + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


def saved_label(state: bytes, outbox: tuple[bytes, ...]) -> str:
    """A transition by the state it leads to and the kinds of messages it sends."""
    found = _STATE.search(state)
    kinds = sorted({kind[1].decode() for message in outbox if (kind := _TYPE.search(message))})
    return f"{found[1].decode() if found else 'open'} ({', '.join(kinds) or 'outbox sent'})"


def published_label(body: bytes) -> str:
    kind, state = _TYPE.search(body), _STATE.search(body)
    return (kind[1].decode() if kind else "node command") + (f" {state[1].decode()}" if state else "")


def arrange(points: Points) -> None:
    """Put the points around the store, the broker and the executor's journal."""
    from bumpless.common.contract import wire
    from bumpless.common.contract.base import Message
    from bumpless.common.contract.subjects import ROUTES
    from bumpless.common.shell.broker import Connection
    from bumpless.common.shell.state import RedisState

    def around(effect: Effect, call: Callable[..., Awaitable[Any]], name: Callable[..., str | None]) -> Any:
        @wraps(call)
        async def wrapped(self: Any, *args: Any, **more: Any) -> Any:
            label = name(*args)
            if label is None:
                return await call(self, *args, **more)
            points.reach(effect, "before", label)
            found = await call(self, *args, **more)
            points.reach(effect, "after", label)
            return found

        return wrapped

    def published(message: Message) -> str | None:
        if ROUTES[type(message)].stream.value in _NO_TRANSITION or "observed" in wire.type_of(message):
            return None
        return published_label(wire.encode(message))

    RedisState.save = around(
        "save", RedisState.save, lambda _, value, __: saved_label(value.state, value.outbox)
    )  # type: ignore[method-assign]
    Connection.publish = around("publish", Connection.publish, published)  # type: ignore[method-assign]
    Connection.publish_bytes = around(  # type: ignore[method-assign]
        "publish", Connection.publish_bytes, lambda stream, subject, *_: f"{stream.value} {subject}"
    )
    Connection.publish_batch = around(  # type: ignore[method-assign]
        "publish", Connection.publish_batch, lambda items: published_label(items[-1][1])
    )


def arrange_journal(points: Points) -> None:
    from bumpless.executor.journal import Journal

    save = Journal.save

    def wrapped(self: Any, record: Any) -> None:
        label = saved_label(
            record.model_dump_json().encode(),
            tuple(said.model_dump_json().encode() for said in record.outbox),
        )
        points.reach("save", "before", label)
        save(self, record)
        points.reach("save", "after", label)

    Journal.save = wrapped  # type: ignore[method-assign]


def main() -> None:
    folder, module = Path(sys.argv[1]), sys.argv[2]
    sys.path.pop(0)  # this folder, which the service does not know
    sys.argv = [module]
    points = Points(folder)
    arrange(points)
    if module.startswith("bumpless.executor"):
        arrange_journal(points)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
