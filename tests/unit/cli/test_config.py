"""Configuration files on the command line, as text and as JSON; and a release that carries them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.commands import run
from bumpless.cli.configuring import FilesRefused
from bumpless.cli.publishing import BuiltRelease, build_release
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.compat import written
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Release
from bumpless.common.release_file import ReleaseInvalid, parse_release_file

FIXTURE = Path(__file__).parents[2] / "fixtures" / "config"
RELEASE, NOW, BEFORE = (str(FIXTURE / p) for p in ("release.yaml", "conf/app.yaml", "conf/app-1.yaml"))
WRITTEN = (FIXTURE / "conf" / "app.yaml").read_text()
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Exit code, and what was printed: JSON read back, or the text."""

    def asked(*words: str, text: bool = False) -> tuple[int, Any]:
        code = run(list(words) if text else ["-o", "json", *words])
        out = capsys.readouterr().out
        return code, out if text else json.loads(out)

    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the fixture, with a tree."""
    shutil.copytree(FIXTURE, tmp_path / "release")
    (tmp_path / "release" / "tree").mkdir()
    (tmp_path / "release" / "tree" / "main.py").write_text("pass\n")
    return tmp_path / "release"


def test_a_file_is_carried_on_and_back(ask: Ask, tmp_path: Path) -> None:
    code, text = ask("config", "migrate", RELEASE, "api", "1.0.0", "3.0.0", BEFORE, text=True)
    assert code == 0
    assert "  policy: lru  # since 2.0.0\n" in text
    newer = tmp_path / "app.yaml"
    newer.write_text(text)
    code, found = ask("config", "migrate", RELEASE, "api", "3.0.0", "1.0.0", str(newer))
    assert code == 1
    assert "loses data" in found["reason"]
    code, found = ask("config", "migrate", RELEASE, "api", "3.0.0", "1.0.0", str(newer), "--lossy")
    assert (code, found["versions"], found["lossy"]) == (0, ["3.0.0", "2.0.0", "1.0.0"], True)
    assert found["text"] == Path(BEFORE).read_text()
    assert found["kept"] == {"cache.policy": "lru", "group": "users"}


def test_a_file_is_checked_with_its_lines(ask: Ask) -> None:
    assert ask("config", "check", RELEASE, "api", text=True) == (0, "it fits\n")
    code, found = ask("config", "check", RELEASE, "api", BEFORE, "--at", "2.0.0")
    assert code == 1
    assert [f["code"] for f in found["findings"]] == ["CONFIG_OLD_KEY"]
    assert found["findings"][0]["subject"] == f"{BEFORE}:5: cache.ttl"


def test_a_deprecated_key_warns(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(WRITTEN.replace("  size: 3\n", "  size: 3\n  policy: lru\n"))
    code, found = ask("config", "check", RELEASE, "api", str(file))
    assert code == 0
    assert [(f["severity"], f["recommendation"]) for f in found["findings"]] == [
        ("warn", "use cache.eviction")
    ]


def test_a_file_for_a_mixed_fleet_has_both_names(ask: Ask) -> None:
    assert ask("config", "render", RELEASE, "api", text=True) == (0, WRITTEN)
    code, found = ask("config", "render", RELEASE, "api", "--compat")
    assert (code, found["form"]) == (0, "3.0.0")
    assert "  ttl: 60  # the name before 2.0.0\n" in found["text"]
    assert "\nowner: me  # the name before 3.0.0\n" in found["text"]
    code, found = ask("config", "render", RELEASE, "api", "--compat", "--old", "2.0.0")
    assert "ttl: 60" not in found["text"]
    assert "owner: me" in found["text"]


def test_both_names_that_differ_name_both_lines(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(WRITTEN + "owner: you\n")
    code, text = ask("config", "render", RELEASE, "api", str(file), text=True)
    assert code == 1
    assert text == (
        f"{file}:10: owner: expected the value of ownership.user, its successor on line 8, which is 'me', found 'you'\n"
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["config", "check", RELEASE, "web"], r"expected a component of .* \(api\), found web"),
        (["config", "check", RELEASE, "api", "nowhere.yaml"], "nothing at nowhere.yaml"),
        (
            ["config", "check", RELEASE, "api", "--path", "b"],
            r"expected --path with one of app.yaml, found b",
        ),
    ],
)
def test_what_is_not_there_is_refused(words: list[str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        run(words)


async def built(folder: Path) -> BuiltRelease:
    key = SigningKey.generate()
    return await build_release(
        folder / "release.yaml",
        key=key,
        trust=TrustStore.of(release=key.public),
        work=folder.parent / "work",
        fleet=Fleet(nodes=()),
        store=None,
        tell=lambda text: None,
    )


async def test_a_release_carries_the_file_of_its_version(folder: Path) -> None:
    [found] = (await built(folder)).release.components[0].run.config
    assert found.content == WRITTEN
    assert found.both is not None
    assert "\nowner: me" in found.both


async def test_a_file_of_an_older_form_is_carried_on_when_the_release_is_built(folder: Path) -> None:
    text = (folder / "release.yaml").read_text()
    text = text.replace("file: conf/app.yaml", "file: conf/app-1.yaml\n        written_for: 1.0.0")
    (folder / "release.yaml").write_text(text)
    [found] = (await built(folder)).release.components[0].run.config
    assert "  policy: lru  # since 2.0.0\n" in found.content


async def test_a_bad_value_is_refused_before_anything_is_signed(folder: Path, ask: Ask) -> None:
    file = folder / "conf" / "app.yaml"
    file.write_text(file.read_text().replace("60", "soon"))
    with pytest.raises(Refused, match=r"conf/app.yaml:5: cache.ttl_seconds: expected integer, found 'soon'"):
        await built(folder)
    code, linted = ask("release", "lint", str(folder / "release.yaml"))
    assert (code, linted["findings"]) == (
        1,
        [
            {
                "code": "CONFIG_INVALID",
                "severity": "block",
                "subject": "conf/app.yaml:5: cache.ttl_seconds",
                "evidence": "expected integer, found 'soon'; api 3.0.0 reads it so",
                "recommendation": "correct line 5 of conf/app.yaml",
                "waivable": False,
                "waived": "",
            }
        ],
    )


def no_file(folder: Path) -> None:
    (folder / "conf" / "app.yaml").unlink()


def no_yaml(folder: Path) -> None:
    (folder / "conf" / "app.yaml").write_text("cache: {ttl_seconds: 60\n")


def an_old_name_and_a_bad_value(folder: Path) -> None:
    file = folder / "conf" / "app.yaml"
    file.write_text(file.read_text().replace("ttl_seconds", "ttl").replace("size: 3", "size: many"))


def no_lenses(folder: Path) -> None:
    file = folder / "release.yaml"
    head, _, rest = file.read_text().partition("        edges:")
    file.write_text(head + "        written_for: 1.0.0\n" + rest[rest.index("lifecycle:") :])
    shutil.copy(folder / "conf" / "app-1.yaml", folder / "conf" / "app.yaml")


def no_schema(folder: Path) -> None:
    (folder / "schemas" / "app3.json").write_text('{"type": "text"}')


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_file, [("CONFIG_INVALID", "conf/app.yaml", "nothing at")]),
        (no_yaml, [("CONFIG_INVALID", "conf/app.yaml:", "expected")]),
        (
            an_old_name_and_a_bad_value,
            [
                ("CONFIG_INVALID", "conf/app.yaml:6: cache.size", "expected integer, found 'many'"),
                ("CONFIG_OLD_KEY", "conf/app.yaml:5: cache.ttl", "reads cache.ttl_seconds"),
            ],
        ),
        (no_lenses, [("CONFIG_INVALID", "conf/app.yaml", "no lenses carry it up to api 3.0.0")]),
        (no_schema, [("CONFIG_INVALID", "conf/app.yaml", "the schema of api: app.yaml 3.0.0 is none")]),
    ],
)
async def test_what_is_wrong_with_a_file_is_a_finding(
    folder: Path, spoil: Callable[[Path], None], told: list[tuple[str, str, str]]
) -> None:
    spoil(folder)
    with pytest.raises(FilesRefused) as caught:
        await built(folder)
    findings = sorted(caught.value.findings, key=lambda f: f.code)
    assert [f.code for f in findings] == [code for code, _, _ in told]
    for finding, (_, subject, evidence) in zip(findings, told, strict=True):
        assert finding.subject.startswith(subject)
        assert evidence in finding.evidence
        assert finding.recommendation


async def test_files_are_bounded(folder: Path) -> None:
    file = folder / "conf" / "app.yaml"
    file.write_text(file.read_text() + "# " + "x" * (16 << 10) + "\n")
    with pytest.raises(Refused, match="at most 16384 bytes"):
        await built(folder)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("path: app.yaml", "path: ../app.yaml", "expected a relative path"),
        ("path: app.yaml", "path: /etc/app.yaml", "expected a relative path"),
        ("    run:\n", "    run:\n      config: [{path: a, content: b}]\n", "expected configuration files in the component's config"),
        ("    config:\n", "    strange:\n", "unknown field 'strange'"),
    ],
)  # fmt: skip
def test_the_release_file_is_strict(old: str, new: str, reason: str) -> None:
    text = Path(RELEASE).read_text().replace(old, new)
    with pytest.raises(ReleaseInvalid, match=reason):
        parse_release_file(text, "release.yaml")


def test_the_word_config_needs_files() -> None:
    text = Path(RELEASE).read_text().split("    config:")[0]
    with pytest.raises(
        ReleaseInvalid, match=r"expected config with the files that \{config\} is to hold, found none"
    ):
        parse_release_file(text, "release.yaml")


async def test_a_signed_release_is_read_as_it_was_written(folder: Path) -> None:
    text = (folder / "release.yaml").read_text()
    edge = '{from: "1.0.0", to: "2.0.0", lens: [{rename: {owner: who}}]}'
    schemas = '{"1.0.0": schemas/app1.json, "2.0.0": schemas/app2.json}'
    hops = "{api: {blocked: [{from: 1.x, to: 3.x, why: ISSUE-41}]}}"
    text += f"records: {{file: {{schemas: {schemas}, edges: [{edge}]}}}}\ncompat: {{hops: {hops}}}\n"
    (folder / "release.yaml").write_text(text)
    made = (await built(folder)).release
    assert Release.model_validate_json(made.model_dump_json()) == made
    assert Release.model_validate_json(made.model_dump_json()).digest == made.digest
    assert written.signed_record_type("file", made.records["file"]).lenses
