"""Shows rollouts live, from the broker alone: an example for dashboards, with nats-py and nothing of Bumpless.

    python examples/subscriber.py [nats-url]

It may join at any time: the stream PROG keeps the last value of every subject, so the picture is whole at once.
Without a URL it takes the one in `.bumpless/cluster.json` of the current folder. Ends on Ctrl-C.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy
from nats.js.errors import Error as JetStreamError

last_id: dict[str, str] = {}
"""The id of what was shown last for each subject; after a reconnect the last values come again."""
versions: dict[str, int] = {}
"""The highest `version` seen of each rollout; lower ones are late and dropped."""


def line(body: dict[str, Any]) -> str | None:
    """What one progress message means, in a line; None if it is old or of a kind this example does not know."""
    short = body["rollout"][:8]
    match body["type"]:
        case "rollout-progressed":
            if body["version"] < versions.get(body["rollout"], 0):
                return None
            versions[body["rollout"]] = body["version"]
            done = f"{body['steps_done']}/{body['steps_total']}"
            busy = [f"{name} {state}" for name, state in body["batches"].items() if state != "pending"]
            until = f" until {body['until'][11:19]}" if body["until"] else ""
            why = f": {body['reason']}" if body["reason"] else ""
            return (
                f"{short} {body['direction']} {body['product']} {body['release_version']} {body['status']} "
                f"{done}{until}{why} [{', '.join(busy)}]"
            )
        case "step-progressed":
            where = f"{body['node']}/{body['component']}"
            return f"{short}   {where} {body['state']} {body['share']:.0%} {body['detail']}".rstrip()
        case "gate-progressed":
            return f"{short}   gate {body['batch']}: {body['verdict'] or 'judging'} {body['detail']}"
        case _:
            return None  # a newer Bumpless may say more


async def show(message: Msg) -> None:
    body = json.loads(message.data)
    if last_id.get(message.subject) == body["id"]:
        return
    last_id[message.subject] = body["id"]
    text = line(body)
    if text is not None:
        print(f"{body['at'][11:19]} {text}", flush=True)


async def main(url: str) -> None:
    again = asyncio.Event()

    async def reconnected() -> None:
        again.set()

    async def failed(error: Exception) -> None:
        print(f"broker: {error or type(error).__name__}", file=sys.stderr)

    broker = await nats.connect(url, max_reconnect_attempts=-1, reconnected_cb=reconnected, error_cb=failed)
    while True:
        again.clear()
        try:
            following = await broker.jetstream().subscribe(
                "prog.>",
                stream="PROG",
                ordered_consumer=True,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                cb=show,
            )
        except (JetStreamError, nats.errors.Error):
            await asyncio.sleep(1)  # PROG is in memory: after a restart of the broker it is made again
            continue
        await again.wait()
        with contextlib.suppress(JetStreamError, nats.errors.Error):
            await following.unsubscribe()


def embedded() -> str:
    """The broker that `bumpless up` started from this folder."""
    return str(json.loads(Path(".bumpless/cluster.json").read_text())["nats_url"])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else embedded()))
