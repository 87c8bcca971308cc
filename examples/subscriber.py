"""Shows rollouts live, from the broker alone: an example for dashboards, with nats-py and nothing of Bumpless.

    python examples/subscriber.py [nats-url [seed]]

It may join at any time: the stream PROG keeps the last value of every subject, so the picture is whole at once.
`seed` is the file with the key that looks and changes nothing (`services/reader.seed` of the installation). Without a URL
it takes the broker that `bumpless up` started from the current folder, and that key there. Ends on Ctrl-C.
"""

import asyncio
import contextlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
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


async def main(url: str, seed: str | None) -> None:
    again = asyncio.Event()

    async def reconnected() -> None:
        again.set()

    async def failed(error: Exception) -> None:
        print(f"broker: {error or type(error).__name__}", file=sys.stderr)

    broker = await nats.connect(
        url, nkeys_seed=seed, max_reconnect_attempts=-1, reconnected_cb=reconnected, error_cb=failed
    )
    while True:
        again.clear()
        try:
            await follow(broker.jetstream(), again)
        except (JetStreamError, nats.errors.Error):
            await asyncio.sleep(1)  # PROG is in memory: after a restart of the broker it is made again


async def follow(js: JetStreamContext, again: asyncio.Event) -> None:
    """Show the last values and then what changes, until there was another connection."""
    consumer = ConsumerConfig(
        name=f"subscriber-{secrets.token_hex(8)}",  # only consumers with a name may be made
        filter_subject="prog.>",
        deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=60,
        mem_storage=True,
    )
    await js.add_consumer("PROG", consumer)
    following = await js.pull_subscribe_bind(consumer.name, stream="PROG")
    while not again.is_set():
        try:
            messages = await following.fetch(100, timeout=5)
        except nats.errors.TimeoutError:
            continue  # nothing changed
        for message in messages:
            await show(message)


def embedded() -> tuple[str, str]:
    """The broker that `bumpless up` started from this folder, and the key to look with."""
    home = Path(".bumpless")
    url = json.loads((home / "cluster.json").read_text())["nats_url"]
    return str(url), str(home / "access/services/reader.seed")


def given(words: list[str]) -> tuple[str, str | None]:
    """What was asked for: broker and key."""
    match words:
        case []:
            return embedded()
        case [url]:
            return url, None
        case _:
            return words[0], words[1]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*given(sys.argv[1:])))
