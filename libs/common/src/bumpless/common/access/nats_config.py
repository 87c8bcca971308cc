"""The accounts of a nats-server, written from who there is. JSON, which the server reads as its own format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bumpless.common.access import rights
from bumpless.common.access.entry import OPEN_INBOX
from bumpless.common.access.rights import Rights

STREAMS = "ORCHESTRATION"
NODES = "NODES"
SYSTEM = "SYSTEM"
ANSWER_WITHIN = "1h"
"""How long after a question it may be answered; a node that checks a large tree takes its time."""

Keys = Mapping[str, Sequence[str]]
"""Names to the public keys that are theirs; two while a key is exchanged."""


def accounts(services: Keys, nodes: Keys) -> str:
    """The text of a file that the server's configuration includes.

    Streams and services are in one account, nodes in another that has no streams. A reply that a node asks for goes to
    the node's own account, so no answer of a stream can be written to somebody's subject.
    """
    to_nodes, to_streams = [NODES], [STREAMS]
    content = {
        "system_account": SYSTEM,
        "accounts": {
            SYSTEM: {},
            STREAMS: {
                "jetstream": "enabled",
                "users": _users({name: (keys, rights.of_service(name)) for name, keys in services.items()}),
                "exports": [
                    *({"stream": each, "accounts": to_nodes} for each in rights.NODES_HEAR),
                    *({"service": each, "accounts": to_nodes} for each in rights.NODES_ASK),
                ],
                "imports": [
                    {"service": {"account": NODES, "subject": each}} for each in rights.ASKED_OF_NODES
                ],
            },
            NODES: {
                "users": _users({name: (keys, rights.of_node(name)) for name, keys in nodes.items()}),
                "exports": [{"service": each, "accounts": to_streams} for each in rights.ASKED_OF_NODES],
                "imports": [
                    *({"stream": {"account": STREAMS, "subject": each}} for each in rights.NODES_HEAR),
                    *({"service": {"account": STREAMS, "subject": each}} for each in rights.NODES_ASK),
                ],
            },
        },
    }
    return "".join(f"{json.dumps(key)}: {json.dumps(value, indent=1)}\n" for key, value in content.items())


def _users(known: Mapping[str, tuple[Sequence[str], Rights]]) -> list[dict[str, Any]]:
    return [_user(key, having) for _, (keys, having) in sorted(known.items()) for key in keys]


def _user(key: str, having: Rights) -> dict[str, Any]:
    publish: dict[str, list[str]] = {"allow": list(having.publish)}
    if having.refused:
        publish["deny"] = list(having.refused)
    permissions: dict[str, Any] = {
        "publish": publish,
        "subscribe": {"allow": [*having.hear, f"{OPEN_INBOX}_{key}.>"]},
    }
    if having.answers:
        permissions["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"nkey": key, "permissions": permissions}
