"""Configuration files on a node with real processes: over a switch under load, back to the same bytes, and repaired.

The service reads the file that all versions share for every request, by the name that its own version knows; where the
name is not there, the request fails.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from bumpless.common.compat.configs import ConfigType
from bumpless.common.compat.lenses import read_lens
from bumpless.common.compat.records import RecordType
from bumpless.common.model.config import ConfigContent, ConfigFormat
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.version import Version
from support.http_load import HttpLoad
from support.real_node import QUICK, RealNode
from support.waiting import comes_true

MAIN = """
import json
import os

from bumpless.service import Request, Response, Service

service = Service("probe")
own = json.load(open(os.environ["OWN"]))


async def answer(request: Request) -> Response:
    shared = json.load(open(os.environ["SHARED"]))
    return Response.json({"version": service.version, "ttl": shared[os.environ["NAME"]], "own": own})


service.http(handler=answer)
service.run()
"""
V1, V2 = Version.parse("1.0.0"), Version.parse("2.0.0")
OLD_TEXT = '{\n  "ttl": 60\n}\n'
KIND = ConfigType(
    "app.json",
    ConfigFormat.JSON,
    RecordType(
        "probe: app.json",
        {
            V1: {"type": "object", "required": ["ttl"], "properties": {"ttl": {"type": "integer"}}},
            V2: {"type": "object", "required": ["ttl_s"], "properties": {"ttl_s": {"type": "integer"}}},
        },
        {(V1, V2): read_lens([{"rename": {"ttl": "ttl_s"}}])},
    ),
)
NEW_TEXT = KIND.migrate(OLD_TEXT, V1, V2).text
BOTH_TEXT = KIND.both(NEW_TEXT, V2)


def version(node: RealNode, number: str, name: str, content: str, both: str | None, warm_s: float) -> Target:
    run: dict[str, Any] = {
        "env": {"NAME": name, "OWN": "{config}/app.json", "SHARED": "{config.shared}/app.json"},
        "config": (ConfigContent(path="app.json", content=content, both=both),),
        "timing": QUICK.model_copy(update={"warm_s": warm_s}),
    }
    return node.version(number, main=MAIN, **run)


def shared(node: RealNode) -> str:
    return (node.layout.home / "config" / "app.json").read_text()


def own_of(node: RealNode, target: Target) -> list[Path]:
    files = (node.layout.home / "configs").glob("*/app.json")
    return [f for f in files if f.read_text() == target.run.config[0].content]


async def test_both_names_stand_while_the_old_version_lives_and_the_way_back_is_the_same_bytes(
    node: RealNode,
) -> None:
    v1 = version(node, "1.0.0", "ttl", OLD_TEXT, None, warm_s=0)
    v2 = version(node, "2.0.0", "ttl_s", NEW_TEXT, BOTH_TEXT, warm_s=300)
    await node.apply(v1)
    assert shared(node) == OLD_TEXT
    async with HttpLoad("127.0.0.1", node.port, kept=3, fresh=1) as load:
        await load.more(20, "1.0.0")
        assert (await node.apply(v2, v1)).reason in (None, "")
        await load.more(20, "2.0.0")
        # The replaced instance is kept warm: it may take work at any moment, and reads by the old name.
        assert shared(node) == BOTH_TEXT
        await node.restart()
        assert shared(node) == BOTH_TEXT
        await load.more(20, "2.0.0")
        await node.apply(v1, v2, Direction.REVERT)
        await load.more(20, "1.0.0")
        await comes_true(lambda: shared(node) == OLD_TEXT, "the file of before, byte for byte")
        await load.more(20, "1.0.0")
    assert load.failures == []


async def test_the_old_name_goes_with_the_last_old_instance(node: RealNode) -> None:
    v1 = version(node, "1.0.0", "ttl", OLD_TEXT, None, warm_s=0)
    v2 = version(node, "2.0.0", "ttl_s", NEW_TEXT, BOTH_TEXT, warm_s=0)
    await node.apply(v1)
    async with HttpLoad("127.0.0.1", node.port, kept=3, fresh=1) as load:
        await load.more(20, "1.0.0")
        await node.apply(v2, v1)
        await comes_true(lambda: shared(node) == NEW_TEXT, "the old name to go")
        await load.more(20, "2.0.0")
    assert load.failures == []
    # Both versions' own files are kept: the way back needs the first.
    assert own_of(node, v1)
    assert own_of(node, v2)


async def test_a_change_of_configuration_alone_is_a_change(node: RealNode) -> None:
    v1 = version(node, "1.0.0", "ttl", OLD_TEXT, None, warm_s=0)
    changed = OLD_TEXT.replace("60", "90")
    run = v1.run.model_copy(update={"config": (ConfigContent(path="app.json", content=changed),)})
    v1_changed = v1.model_copy(update={"run": run})
    await node.apply(v1)
    first = node.pid
    await node.apply(v1_changed, v1)
    assert node.pid not in (0, first)
    assert own_of(node, v1_changed)
    await comes_true(lambda: shared(node) == changed, "the changed file")
    await node.apply(v1, v1_changed, Direction.REVERT)
    await comes_true(lambda: shared(node) == OLD_TEXT, "the file of before")


async def test_a_file_that_somebody_changed_is_made_again_before_anything_starts_on_it(
    node: RealNode,
) -> None:
    v1 = version(node, "1.0.0", "ttl", OLD_TEXT, None, warm_s=0)
    await node.apply(v1)
    [file] = own_of(node, v1)
    file.chmod(0o644)
    file.write_text("{}")
    first = node.pid
    os.kill(first, signal.SIGKILL)
    await comes_true(lambda: node.pid not in (0, first), "the service to be started again")
    assert file.read_text() == OLD_TEXT
    assert await node.answers() == "1.0.0"


async def test_what_no_version_needs_any_more_is_removed(node: RealNode) -> None:
    texts = [OLD_TEXT.replace("60", str(n)) for n in (1, 2, 3)]
    targets = [version(node, f"1.0.{n}", "ttl", text, None, warm_s=0) for n, text in enumerate(texts)]
    for before, after in zip([None, *targets], targets, strict=False):
        await node.apply(after, before)
    await comes_true(lambda: not own_of(node, targets[0]), "the oldest files to go")
    assert own_of(node, targets[1])
    assert own_of(node, targets[2])
