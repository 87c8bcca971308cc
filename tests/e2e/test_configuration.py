"""Configuration through a whole fleet: a form that changes with the version, values alone, and a bad value."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import check_log, ended, on_fleet, publish
from support.waiting import comes_true

pytestmark = pytest.mark.timeout(300)
FIXTURE = Path(__file__).parents[1] / "fixtures" / "config"
SINCE = {"1.0.0": "app1", "2000000.0.0": "app2"}


def write(folder: Path, release: str, version: str, file: str, text: str) -> Path:
    """A release whose core has a configuration file; its form changes at version 2000000.0.0."""
    if not (folder / "schemas").exists():
        shutil.copytree(FIXTURE / "schemas", folder / "schemas")
    (folder / file).write_text(text)
    path = write_release(folder, release, core=version, front=None, gate=None, timing={"warm_s": 0.5})
    body = json.loads(path.read_text())
    [core] = body["components"]
    core["run"]["env"] = {"CONFIG": "{config}/app.yaml", "SHARED": "{config.shared}/app.yaml"}
    edges = {"from": "1.0.0", "to": "2000000.0.0", "lens": [{"rename": {"cache.ttl": "cache.ttl_seconds"}}]}
    schemas = {version: f"schemas/{name}.json" for version, name in SINCE.items()}
    core["config"] = [{"path": "app.yaml", "file": file, "schemas": schemas, "edges": [edges]}]
    path.write_text(json.dumps(body))
    return path


def shared(lab: Lab) -> set[str]:
    """What the shared file of core says, on every node."""
    files = [lab.home.node_dir(n) / "components" / "core" / "config" / "app.yaml" for n in lab.nodes]
    return {file.read_text() if file.exists() else "" for file in files}


async def test_configuration_goes_with_the_version_and_comes_back_with_it(lab: Lab, folder: Path) -> None:
    one, two = lab.fresh(), "2000000.0.0"
    old = "# settings\ncache:\n  ttl: 60\nowner: me\n"
    new = "# settings\ncache:\n  ttl_seconds: 60\nowner: me\n"
    other = new.replace("60", "90")
    async with lab.client() as found, lab.load():
        await ended(found, await publish(lab, found, write(folder, one, one, "one.yaml", old)), "succeeded")
        await comes_true(lambda: shared(lab) == {old}, "the file of the first version")

        rollout = await publish(lab, found, write(folder, lab.fresh(), two, "two.yaml", new))
        await check_log(found, await ended(found, rollout, "succeeded"))
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, two)
        await comes_true(lambda: shared(lab) == {new}, "the old name to go with the last old instance")

        values = await publish(lab, found, write(folder, lab.fresh(), two, "other.yaml", other))
        log = await ended(found, values, "succeeded")
        await check_log(found, log)
        await comes_true(lambda: shared(lab) == {other}, "the changed value alone")

        bad = write(folder, lab.fresh(), two, "bad.yaml", new.replace("60", "soon"))
        refused = await lab.cli("release", "publish", str(bad))
        assert refused.code == 1
        assert "bad.yaml:3: cache.ttl_seconds: expected integer, found 'soon'" in refused.err
        assert shared(lab) == {other}

        done = await lab.cli("rollback", values)
        assert done.code == 0, done.err
        await ended(found, values, "reverted")
        await comes_true(lambda: shared(lab) == {new}, "the same bytes as before")


async def test_records_are_asked_of_the_release_that_was_published(lab: Lab, folder: Path) -> None:
    text = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    (folder / "file1.json").write_text(json.dumps(text))
    (folder / "file2.json").write_text(json.dumps({**text, "required": ["title"]}))
    edge = {"from": "1", "to": "2", "lens": [{"rename": {"name": "title"}}]}
    records = {"file": {"schemas": {"1": "file1.json", "2": "file2.json"}, "edges": [edge]}}
    new = lab.fresh()
    path = write_release(folder, new, core=new, front=None, gate=None, records=records)
    async with lab.client() as found:
        await ended(found, await publish(lab, found, path), "succeeded")
    (folder / "file1.json").unlink()
    (folder / "record.json").write_text('{"name": "a"}')
    product = json.loads(path.read_text())["product"]
    for release in (f"{product}@{new}", f"{product}@"):
        done = await lab.cli("record", "migrate", release, "file", "1", "2", str(folder / "record.json"))
        assert done.code == 0, done.err
        assert json.loads(done.out) == {"title": "a"}
    strange = await lab.cli("record", "path", f"{product}@0.0.0-none", "file", "1", "2")
    assert strange.code == 1
    assert f"expected a published release of {product}" in strange.err
