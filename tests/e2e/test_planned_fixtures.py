"""The worked-out situations of compatibility, and input that is wrong, asked of `bumpless plan` as text and as JSON.

One control plane, and nodes that only say what they run: nothing is started, so every situation costs a plan.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bumpless.cli.commands import run
from bumpless.common.contract.events import NodeObserved
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.fleet import Node
from bumpless.common.model.level import Level, weakest
from bumpless.common.shell import clock
from support.fleet_lab import Lab
from support.plans import node, target

pytestmark = pytest.mark.timeout(300)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "compat"
FILES = (FIXTURES / "files.yaml").read_text()
MINIMAL = """
components:
  - {name: database, version: v2}
  - {name: cache, version: v2, depends_on: [database]}
  - {name: api, version: v2, depends_on: [cache]}
  - {name: gateway, version: v2, depends_on: [api]}
strategy: rolling
rollback_policy: auto
"""
Planned = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(0) as lab:
        yield lab


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the schemas of the fixtures, and one tree for everything."""
    shutil.copytree(FIXTURES / "s", tmp_path / "s")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "main.py").write_text("raise SystemExit('never started')\n")
    return tmp_path


@pytest.fixture
def planned(lab: Lab, folder: Path, capsys: pytest.CaptureFixture[str]) -> Planned:
    """Exit code, the answer as data, and the page; `text` is the release file, completed by `whole` if it can be.

    `also`: more words of the command.
    """

    def asked(
        text: str, *, where: str = "", through: Sequence[str] = (), also: Sequence[str] = ()
    ) -> tuple[int, dict[str, Any], str]:
        file = folder / "release.yaml"
        file.write_text(whole(text, where, through))
        words = ["--home", str(lab.home.path), "--nats", lab.nats_url]
        code = run([*words, "-o", "json", "plan", str(file), *also])
        said = capsys.readouterr()
        assert run([*words, "plan", str(file), *also]) == code
        page = capsys.readouterr()
        assert "Traceback" not in said.err + page.err
        data: dict[str, Any] = json.loads(said.out)
        for finding in data["findings"]:
            assert f"{finding['severity']} {finding['code']} {finding['subject']}: " in page.out
            assert finding["code"] == "NODE_SILENT" or finding["evidence"] in page.out  # its seconds go on
            assert f"do: {finding['recommendation']}" in page.out
        return code, data, page.out

    return asked


def whole(text: str, where: str, through: Sequence[str]) -> str:
    """What a fixture leaves out because it says nothing about it: trees, commands, and on which nodes."""
    if not where:
        return text
    raw = YAML(typ="safe").load(text)
    parts = raw["components"]
    listed = (
        parts if isinstance(parts, list) else [{"name": name, **(body or {})} for name, body in parts.items()]
    )
    for part in listed:
        part.setdefault("version", raw.get("version"))
        part |= {"artifact": "tree", "run": {"command": ["python3", "main.py"]}}
        part["place"] = {"labels": {"fixture": where}}
        if through and part is listed[0]:
            part["through"] = [{"version": version, "artifact": "tree"} for version in through]
    return json.dumps({**raw, "components": listed})


def observe(lab: Lab, where: str, *running: Mapping[str, str], seen_before_s: float = 0) -> list[str]:
    """A node of the fixture `where` for each of `running`; the names."""
    nodes = [
        node(
            f"{where}-{number}", {name: target(name, text) for name, text in versions.items()}, fixture=where
        )
        for number, versions in enumerate(running, start=1)
    ]
    asyncio.run(say(lab, nodes, seen_before_s))
    return [one.name for one in nodes]


async def say(lab: Lab, nodes: Sequence[Node], seen_before_s: float = 0) -> None:
    """As executors do; in time for any test, however slow the machine is."""
    at = clock.now() + (timedelta(hours=1) if not seen_before_s else -timedelta(seconds=seen_before_s))
    async with lab.client() as found:
        for start in range(0, len(nodes), 500):
            some = nodes[start : start + 500]
            await asyncio.gather(
                *(
                    found.connection.publish(
                        NodeObserved(
                            id=clock.fresh_id(), at=at, node=one.model_copy(update={"observed_at": at})
                        ),
                        source="executor",
                    )
                    for one in some
                )
            )


def told(data: dict[str, Any], *codes: str) -> list[tuple[str, str, str]]:
    """Severity, subject and evidence of the findings with these codes."""
    return [(f["severity"], f["subject"], f["evidence"]) for f in data["findings"] if f["code"] in codes]


def blocks(data: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in data["findings"] if finding["severity"] == "block"}


def test_matrix_a_goes_over_four_hops_and_says_where_the_way_back_ends(lab: Lab, planned: Planned) -> None:
    observe(lab, "matrix-a", {"metadata-service": "1.0.0"})
    code, data, page = planned(
        (FIXTURES / "matrix-a.yaml").read_text(), where="matrix-a", through=("1.1.0", "2.0.0", "2.1.0")
    )
    assert code == 0, data
    hops = data["plan"]["hops"]
    assert [hop["target"] for hop in hops] == ["1.1.0", "2.0.0", "2.1.0", "3.0.0"]
    assert [hop["level"] for hop in hops] == ["full", "backward", "full", "backward"]
    horizons = told(data, "ROLLBACK_LOSSY")
    assert [severity for severity, _, _ in horizons] == ["warn", "warn"]
    assert "from batch metadata-service-2 on there is no free way back" in horizons[0][2]
    assert "does not read what 2.0.0 writes" in horizons[0][2]
    assert "4. metadata-service 2.1.0 -> 3.0.0 (backward, readers first)" in page
    assert weakest(Level(hop["level"]) for hop in hops) is Level.BACKWARD


def test_matrix_b_has_no_way_and_names_the_hop_that_is_missing(lab: Lab, planned: Planned) -> None:
    observe(
        lab,
        "matrix-b",
        {"metadata-service": "1.0.0", "data-service": "1.1.0", "client-sdk": "1.0.0"},
    )
    text = (FIXTURES / "matrix-b.yaml").read_text()
    for through in ((), ("1.1.0", "1.2.0")):
        code, data, page = planned(text, where="matrix-b", through=through)
        assert (code, data["plan"], blocks(data)) == (1, None, {"PATH_NONE"})
        ((_, subject, evidence),) = told(data, "PATH_NONE")
        assert subject == "metadata-service"
        assert "no path from 1.0.0, which matrix-b-1 run, to 2.0.0" in evidence
        assert "reachable from 1.0.0: 1.1.0, 1.2.0; missing is the hop 1.2.0 > 2.0.0" in evidence
        assert '"1.2.0>2.0.0": LEVEL' in page


def test_the_lifecycle_tells_what_goes_and_what_will(lab: Lab, planned: Planned) -> None:
    observe(lab, "lifecycle", {"files": "1.0.0"})
    code, data, _ = planned(without_records(FILES), where="lifecycle")
    assert code == 0, data
    assert told(data, "API_NO_DEPRECATION") == [
        ("warn", "files: DELETE /api/v1/files/{id}", "removed in 3.0.0, and it was never deprecated")
    ]
    ((severity, subject, _),) = told(data, "API_DEPRECATED")
    assert (severity, subject) == ("info", "files: POST /api/v1/files")
    (advice,) = [f["recommendation"] for f in data["findings"] if f["code"] == "API_DEPRECATED"]
    assert "use POST /api/v2/files/upload" in advice
    assert "POST /api/v2/files/upload" not in {subject for _, subject, _ in told(data, "API_DEPRECATED")}


def test_a_record_that_gets_no_group_is_refused_and_one_that_does_is_not(lab: Lab, planned: Planned) -> None:
    observe(lab, "records", {"files": "1.0.0"})
    code, data, _ = planned(FILES, where="records")
    assert (code, blocks(data)) == (1, {"RECORD_MISFIT"})
    ((_, subject, evidence),) = told(data, "RECORD_MISFIT")
    assert subject == "file 1.0.0 > 3.0.0"
    assert "is refused at 3.0.0: ownership.group: expected a value, found none" in evidence
    lossy = {subject for _, subject, _ in told(data, "ROLLBACK_LOSSY")}
    assert lossy == {"file 1.0.0 > 3.0.0", "file-with-group 1.0.0 > 3.0.0"}


def test_the_minimal_release_file_becomes_a_plan_in_its_order(lab: Lab, planned: Planned) -> None:
    names = ["database", "cache", "api", "gateway"]
    observe(lab, "minimal", dict.fromkeys(names, "v1"))
    code, data, _ = planned(MINIMAL, where="minimal")
    assert code == 0, data
    batches = data["plan"]["batches"]
    assert [batch["component"] for batch in batches] == names
    assert [batch["needs"] for batch in batches] == [[], ["database-1"], ["cache-1"], ["api-1"]]
    assert data["plan"]["rollback_policy"] == "auto"
    assert {finding["code"] for finding in data["findings"]} == {"DRIFT"}
    code, data, _ = planned(MINIMAL)
    assert (code, blocks(data)) == (1, {"RELEASE_UNREADABLE"})
    assert "database: a `run` section" in told(data, "RELEASE_UNREADABLE")[0][2]


def without_records(text: str) -> str:
    raw = YAML(typ="safe").load(text)
    del raw["records"]
    return json.dumps(raw)


ONE = "product: bad\nversion: 2.0.0\ncomponents: {api: {}}\n"
ITEM = "{kind: endpoint, id: GET /a, of: api, in: 2.0.0, removed: 1.0.0}"
LENS = """
records:
  note:
    of: api
    schemas: {"1": s/any.json, "2": s/any.json}
    edges: [{from: "1", to: "2", lens: [{py: "lenses:up"}]}]
"""


@pytest.mark.parametrize(
    ("text", "code", "subject", "evidence", "advice"),
    [
        (
            ONE + "compat: {levels: {api: {'1.0.0>2.0.0': mostly}}}\n",
            "RELEASE_UNREADABLE",
            "release.yaml:1: compat.levels.api.1.0.0>2.0.0",
            "'full', 'backward', 'forward' or 'none'",
            "correct this line",
        ),
        (
            ONE.replace("{api: {}}", "{api: {depends_on: [apj]}}"),
            "RELEASE_UNREADABLE",
            "release.yaml:1: api.depends_on",
            "expected one of api, found 'apj'",
            "correct this line",
        ),
        (
            ONE + "compat: {levels: {api: {'1.0.0>2.0.0': full, '2.0.0>1.0.0': none}}}\n",
            "COMPAT_INVALID",
            "compat.levels",
            "one level of api",
            "correct it in the release file",
        ),
        (
            ONE + f"lifecycle: {{items: [{ITEM}]}}\n",
            "LIFECYCLE_INVALID",
            "api: GET /a",
            "removed in 1.0.0, and introduced in 2.0.0",
            "correct the item",
        ),
        (ONE + LENS, "ROLLBACK_LOSSY", "note 1.0.0 > 2.0.0", "has no way back", "under `back`"),
        (
            ONE + LENS.replace("s/any.json", "s/bad.json"),
            "RECORD_INVALID",
            "note",
            "the schema of note 1.0.0 is none: $.properties.a.type: 'text' is not valid",
            "correct them in the release",
        ),
        (
            ONE + LENS.replace("s/any.json", "s/nowhere.json"),
            "RECORD_INVALID",
            "note",
            "s/nowhere.json",
            "records.note",
        ),
        (
            ONE + "strategy: {kind: rolling, batch_size: 0}\n",
            "RELEASE_UNREADABLE",
            "release.yaml:1: strategy.batch_size",
            "expected at least 1, found 0",
            "correct this line",
        ),
    ],
)
def test_what_is_wrong_is_a_finding_that_says_where_and_what_to_do(
    lab: Lab, folder: Path, planned: Planned, text: str, code: str, subject: str, evidence: str, advice: str
) -> None:
    observe(lab, "bad", {"api": "1.0.0"})
    (folder / "s" / "any.json").write_text('{"type": "object"}')
    (folder / "s" / "bad.json").write_text('{"type": "object", "properties": {"a": {"type": "text"}}}')
    exit_code, data, _ = planned(text, where="bad")
    assert exit_code == 1, data
    found = [f for f in data["findings"] if f["code"] == code and f["severity"] == "block"]
    assert found, data["findings"]
    assert found[0]["subject"].endswith(subject)
    assert evidence in found[0]["evidence"]
    assert advice in found[0]["recommendation"]
    assert found[0]["recommendation"]


def test_constraints_that_contradict_each_other_are_named_with_a_way_out(lab: Lab, planned: Planned) -> None:
    """The reader has to learn the new format before it is written, and is said to depend on the writer."""
    reads = target("reader", "1.0.0").model_copy(update={"consumes": (Consumes(channel="notes", reads="1"),)})
    writes = target("api", "1.0.0").model_copy(update={"produces": (Produces(channel="notes", writes="1"),)})
    asyncio.run(say(lab, [node("knot-1", {"reader": reads, "api": writes}, fixture="knot")]))
    parts = {
        "api": {"produces": [{"channel": "notes", "writes": "2"}]},
        "reader": {"depends_on": ["api"], "consumes": [{"channel": "notes", "reads": ">=1,<3"}]},
    }
    code, data, _ = planned(json.dumps({"version": "2.0.0", "components": parts}), where="knot")
    assert (code, blocks(data)) == (1, {"ORDER_CYCLE"})
    ((_, subject, evidence),) = told(data, "ORDER_CYCLE")
    assert subject == "api > reader > api"
    assert "reader depends on api" in evidence
    assert "reader as it runs reads 1" in evidence


def test_scripts_and_names_that_were_looked_at_when_it_was_built_are_told(
    lab: Lab, folder: Path, planned: Planned
) -> None:
    observe(lab, "looked", {"db": "1.0.0"})
    (folder / "m.sql").write_text("SET lock_timeout = '2s';\nALTER TABLE files DROP COLUMN size;\n")
    (folder / "app.yaml").write_text("ttl: 5\n")
    (folder / "s" / "app.json").write_text('{"properties": {"ttl": {"type": "integer"}}}')
    item = {"kind": "config", "id": "ttl", "of": "db", "in": "1.0.0", "deprecated": "2.0.0"}
    db = {
        "migrations": [{"id": "size", "sql": "m.sql"}],
        "config": [{"path": "app.yaml", "file": "app.yaml", "schemas": {"1": "s/app.json"}}],
    }
    release = {"version": "2.0.0", "components": {"db": db}, "lifecycle": {"items": [item]}}
    code, data, _ = planned(json.dumps(release), where="looked")
    assert (code, blocks(data)) == (1, {"SQL_UNSAFE"})
    rules = {
        subject: evidence for severity, subject, evidence in told(data, "SQL_UNSAFE") if severity == "block"
    }
    assert list(rules) == ["db: m.sql: ban-drop-column"]
    assert rules["db: m.sql: ban-drop-column"].startswith("line 2: ")
    assert [(severity, subject) for severity, subject, _ in told(data, "CONFIG_OLD_KEY")] == [
        ("warn", "app.yaml:1: ttl")
    ]


def test_a_configuration_that_does_not_fit_is_told_with_file_and_key(
    lab: Lab, folder: Path, planned: Planned
) -> None:
    observe(lab, "unfit", {"db": "1.0.0", "web": "1.0.0"})
    (folder / "app.yaml").write_text("cache:\n  ttl: soon\n")
    (folder / "web.ini").write_text("port = many\n")
    number = {"type": "integer"}
    schemas = {
        "app": {"properties": {"cache": {"properties": {"ttl": number}}}},
        "web": {"properties": {"port": {"enum": ["80", "443"]}}},
    }
    for name, schema in schemas.items():
        (folder / "s" / f"{name}.json").write_text(json.dumps(schema))
    parts = {
        name: {"config": [{"path": file, "file": file, "schemas": {"1": f"s/{schema}.json"}}]}
        for name, file, schema in (("db", "app.yaml", "app"), ("web", "web.ini", "web"))
    }
    code, data, _ = planned(json.dumps({"version": "2.0.0", "components": parts}), where="unfit")
    assert (code, data["plan"], blocks(data)) == (1, None, {"CONFIG_INVALID"})
    assert [(subject, evidence) for _, subject, evidence in told(data, "CONFIG_INVALID")] == [
        ("app.yaml:2: cache.ttl", "expected integer, found 'soon'; db 2.0.0 reads it so"),
        ("web.ini:1: port", "expected one of 80, 443, found 'many'; web 2.0.0 reads it so"),
    ]


def test_an_interface_that_breaks_its_clients_blocks_until_somebody_waives_it(
    lab: Lab, folder: Path, planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    """No order helps: the new provider lacks what old clients call, the old one what new clients call."""
    observe(lab, "breaks", {"store": "1.0.0", "front": "1.0.0"})
    answers = {"responses": {"200": {"description": "fine"}}}
    for version, path in (("1.0.0", "/old"), ("2.0.0", "/new")):
        document = {"openapi": "3.1.0", "paths": {path: {"get": answers}}}
        (folder / f"{version}.json").write_text(json.dumps(document))
    release = {
        "version": "2.0.0",
        "components": {"store": {}, "front": {"depends_on": ["store"]}},
        "interfaces": {"components": {"store": {"openapi": {"1.0.0": "1.0.0.json", "2.0.0": "2.0.0.json"}}}},
    }
    code, data, _ = planned(json.dumps(release), where="breaks")
    assert (code, blocks(data)) == (1, {"API_BREAK"})
    (block,) = [evidence for severity, _, evidence in told(data, "API_BREAK") if severity == "block"]
    assert "front 1.0.0, built against store 1.0.0, breaks at 2.0.0: GET /old: removed" in block
    waiver = folder / "waiver.json"
    signed = ["--release", data["plan"]["release_digest"], "--reason", "a proxy maps it", "--until", "2h"]
    words = ["waive", "API_BREAK", "front > store", *signed, "--out", str(waiver)]
    assert not run(["--home", str(lab.home.path), *words])
    capsys.readouterr()
    code, passed, page = planned(json.dumps(release), where="breaks", also=("--waiver", str(waiver)))
    assert (code, blocks(passed), passed["runs"]) == (0, set(), True)
    assert passed["plan_hash"] == data["plan_hash"]
    assert "a proxy maps it" in page


def test_a_large_fleet_with_nodes_missing_names_them_and_nothing_else(lab: Lab, planned: Planned) -> None:
    many = [node(f"big-{number:05}", {}, fixture="big") for number in range(10_000)]
    gone = {"big-00007", "big-05000", "big-09999"}
    asyncio.run(say(lab, [one for one in many if one.name not in gone]))
    asyncio.run(say(lab, [one for one in many if one.name in gone], seen_before_s=600))
    code, data, page = planned(ONE, where="big")
    assert (code, blocks(data)) == (1, {"NODE_SILENT"})
    ((_, subject, evidence),) = told(data, "NODE_SILENT")
    assert subject == "big-00007, big-05000, big-09999"
    assert re.search(r"big-05000 \(\d{3,} s ago\)", evidence)
    assert len(page) < 2000
