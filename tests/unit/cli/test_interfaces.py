"""Documents of a release file: read, compared, signed; and everything that is refused, with what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.commands import run
from bumpless.cli.documents import read_document
from bumpless.cli.interfaces import signed_interfaces
from bumpless.cli.publishing import build_release
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.interfaces import Interfaces
from bumpless.common.model.release import Release
from bumpless.common.release_file import ReleaseInvalid, parse_release_file
from support.plans import component, release

FILE = """
version: 2.0.0
components:
  api: {artifact: a, run: {command: [a]}, produces: [{channel: file.events, writes: 2}]}
  web: {version: 5.0.0, artifact: a, depends_on: [api], run: {command: [a]}}
interfaces:
  components:
    api:
      openapi: {"1.0.0": old.json, "2.0.0": new.yaml}
    web:
      uses: {api: {"4.0.0": "1.0.0", "5.0.0": 2.0}}
      calls: {api: [GET /a]}
  messages:
    file.events: {"1": e1.json, "2": e2.json}
"""
GOOD = {"responses": {"200": {"description": "good"}}}
OLD = {"openapi": "3.0.3", "paths": {"/a": {"get": GOOD}, "/b": {"get": GOOD}}}
NEW = """
openapi: 3.1.0
paths:
  /a:
    get:
      responses:
        200: {description: good}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "old.json").write_text(json.dumps(OLD))
    (tmp_path / "new.yaml").write_text(NEW)
    (tmp_path / "e1.json").write_text(
        json.dumps({"type": "object", "properties": {"a": {}}, "required": ["a"]})
    )
    (tmp_path / "e2.json").write_text(json.dumps({"type": "object", "properties": {"a": {}}}))
    return tmp_path


def signed(base: Path, text: str = FILE) -> Interfaces:
    return signed_interfaces(base, parse_release_file(text, "release.yaml"))


def test_facts_are_signed_and_no_documents(base: Path) -> None:
    found = signed(base)
    (two,) = found.components["api"].compared
    assert (two.old, two.new, two.backward.works, two.forward.works) == ("1.0.0", "2.0.0", False, True)
    assert [str(b) for b in two.backward.breaks] == ["GET /b: removed without having been deprecated"]
    assert [(g.where, g.announced) for g in two.backward.gone] == [("GET /b", False)]
    (two,) = found.messages["file.events"].compared
    assert (two.backward.works, two.forward.works) == (True, False)
    assert all(d.startswith("sha256:") for one in found.components.values() for d in one.documents.values())
    assert {(u.client, u.version, u.provider, u.built) for u in found.uses} == {
        ("web", "4.0.0", "api", "1.0.0"),
        ("web", "5.0.0", "api", "2.0"),
    }
    assert len(found.model_dump_json()) < 2000


def test_one_path_alone_is_that_of_the_version_of_the_release(base: Path) -> None:
    text = FILE.replace('{"1.0.0": old.json, "2.0.0": new.yaml}', "new.yaml").replace(
        '{"4.0.0": "1.0.0", "5.0.0": 2.0}', "2.0"
    )
    found = signed(base, text)
    assert list(found.components["api"].documents) == ["2.0.0"]
    assert [(u.version, u.built) for u in found.uses] == [("5.0.0", "2.0")]


async def test_a_release_is_built_with_the_facts_of_its_documents(base: Path) -> None:
    (base / "a").mkdir()
    (base / "a" / "main").write_text("x")
    (base / "release.yaml").write_text(FILE)
    key = SigningKey.generate()
    built = await build_release(
        base / "release.yaml",
        key=key,
        trust=TrustStore.of(release=key.public),
        work=base / "work",
        fleet=Fleet(nodes=()),
        store=None,
        tell=lambda text: None,
    )
    assert built.release.interfaces == signed(base)
    assert Release.model_validate_json(built.envelope.payload).digest == built.digest


def test_a_release_without_interfaces_is_what_it_was(base: Path) -> None:
    plain = release(component("api"))
    assert "interfaces" not in plain.model_dump(mode="json")
    with_facts = plain.model_copy(update={"interfaces": signed(base)})
    assert with_facts.digest != plain.digest
    again = Release.model_validate_json(json.dumps(with_facts.model_dump(mode="json")))
    assert again.digest == with_facts.digest


@pytest.mark.parametrize(
    ("change", "line", "expected"),
    [
        (('"2.0.0": new.yaml', '"1.5.0": new.yaml'), 9, "a document of 2.0.0, the version of this release"),
        (('"2.0.0": new.yaml', '"2.0.0": new.yaml, "1": new.yaml'), 9, "one entry for 1.0.0"),
        (('"2.0.0": new.yaml', '"blue": new.yaml'), 9, "version"),
        (
            ('"4.0.0": "1.0.0"', '"4.0.0": "1.7.0"'),
            11,
            "a version of api with a document (1.0.0, 2.0.0), found 1.7.0",
        ),
        (('{api: {"4.0.0"', '{db: {"4.0.0"'), 11, "documents of db under interfaces.components.db.openapi"),
        (("{api: [GET /a]}", "{db: [GET /a]}"), 12, "documents of db"),
        (('{"1": e1.json, "2": e2.json}', '{"1": e1.json}'), 14, "a schema of 2, which api writes"),
        (("    file.events: {", "    other: {"), 14, "a component that produces or consumes it"),
        (("openapi: {", "openapy: {"), 9, "unknown field"),
        (("    api:\n      openapi", "    db:\n      openapi"), 11, "documents of api"),
        (('{api: {"4.0.0": "1.0.0", "5.0.0": 2.0}}', "{web: 2.0}"), 11, "another component"),
    ],
)
def test_what_contradicts_the_rest_of_the_file(change: tuple[str, str], line: int, expected: str) -> None:
    text = FILE.replace(*change)
    assert text != FILE
    with pytest.raises(ReleaseInvalid) as caught:
        parse_release_file(text, "release.yaml")
    assert any(p.line == line and expected in p.text for p in caught.value.problems), str(caught.value)


BOMB = "a: &a [1, 2]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("new.yaml", "", "an object"),
        ("new.yaml", "swagger: '2.0'\n", "an OpenAPI document, openapi: 3.0.x or 3.1.x"),
        ("new.yaml", "openapi: 3.1\npaths: {}\n", "an OpenAPI document"),
        ("new.yaml", "openapi: 2.0.0\n", "an OpenAPI document"),
        ("new.yaml", BOMB, "no aliases"),
        ("new.yaml", "[" * 200 + "]" * 200, "100 levels"),
        ("new.yaml", "a: b: c\n", "YAML"),
        ("new.yaml", "a: 1\na: 2\n", "YAML"),
        ("new.yaml", "a: !!python/object/apply:os.system [ls]\n", "YAML"),
        ("new.yaml", "# " + "x" * (1 << 20), "bytes of YAML"),
        (
            "new.yaml",
            NEW + "      x: {$ref: '#/components/schemas/Nowhere'}\n",
            "something that $ref leads to",
        ),
        ("new.yaml", NEW + "      x: {$ref: 'https://a.example/b.json'}\n", "references within the document"),
        ("old.json", "{", "JSON"),
        ("old.json", "[]", "an object"),
        ("old.json", "[" * 100_000, "JSON"),
        ("old.json", " " * ((4 << 20) + 1), "bytes in"),
        ("old.json", "\xff", "UTF-8"),
        ("e1.json", None, "nothing at"),
    ],
)
def test_what_cannot_be_read_is_refused(base: Path, name: str, content: str | None, expected: str) -> None:
    file = base / name
    file.unlink() if content is None else file.write_bytes(content.encode("latin-1"))
    with pytest.raises(Refused) as caught:
        signed(base)
    assert expected in str(caught.value)
    assert any(word in str(caught.value) for word in (name, "api 2.0.0"))


def test_too_many_documents_are_refused(base: Path) -> None:
    many = ", ".join(f'"1.{n}.0": old.json' for n in range(11))
    with pytest.raises(Refused, match="at most 10 documents"):
        signed(base, FILE.replace('"1.0.0": old.json', many))


def test_yaml_and_json_read_the_same(base: Path) -> None:
    document, _ = read_document(base / "new.yaml")
    (base / "same.json").write_text(json.dumps(document))
    assert read_document(base / "same.json")[0] == document
    assert list(document["paths"]["/a"]["get"]["responses"]) == ["200"]


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = run(["-o", "json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_the_facts_of_a_file_on_the_command_line(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = base / "release.yaml"
    file.write_text(FILE)
    code, found = ask(capsys, "compat", "interfaces", str(file))
    assert (code, found["components"]["api"]["compared"][0]["forward"]["works"]) == (1, True)
    assert run(["compat", "interfaces", str(file)]) == 1
    text = capsys.readouterr().out
    assert "api 1.0.0 > 2.0.0: forward (writers first)" in text
    assert "clients of 1.0.0 at 2.0.0: GET /b: removed without having been deprecated" in text
    assert "readers of 2 with 1: a: required" not in text
    assert "readers of 1 with 2: a: required by the reader" in text


@pytest.mark.parametrize("client", ["4.0.0", "4.1.0"])
def test_a_path_goes_by_the_documents(base: Path, capsys: pytest.CaptureFixture[str], client: str) -> None:
    """The client that used what goes is moved before the provider."""
    file = base / "release.yaml"
    text = FILE.replace("      calls: {api: [GET /a]}\n", "")
    levels = {"api": {"1.0.0>2.0.0": "full"}, "web": {"4.0.0>5.0.0": "full", "4.1.0>5.0.0": "full"}}
    file.write_text(f"{text}compat: {json.dumps({'levels': levels})}\n")
    words = ("compat", "path", str(file), "--from", "api=1.0.0", "--from", f"web={client}")
    found = ask(capsys, *words)
    assert (found[0], [m["component"] for m in found[1]["path"]]) == (0, ["web", "api"])
