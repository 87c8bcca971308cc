"""`bumpless artifact`: from trees in any form to packages, and back by hand."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from bumpless.cli.app import main
from bumpless.cli.applying import Wanted, parse_plain
from bumpless.cli.artifact_diff import Change, changes
from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.tree import scan
from unit.artifacts.trees import NEW, OLD, listing, noise, write_tree


class Desk:
    """A person's folder: a home with keys, trees, and what the command said last."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.path, self._monkeypatch, self._capsys = path, monkeypatch, capsys
        monkeypatch.chdir(path)
        monkeypatch.setenv("BUMPLESS_HOME", str(path / "home"))
        home = Home.find(None)
        home.path.mkdir()
        generate_keys(home)
        self.old, self.new = write_tree(path / "old", OLD), write_tree(path / "new", NEW)
        self.out = self.err = ""

    def run(self, *words: object) -> int:
        self._monkeypatch.setattr("sys.argv", ["bumpless", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        self.out, self.err = self._capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code

    def json(self, *words: object, code: int = 0):
        assert self.run(*words, "-o", "json") == code, self.err
        return json.loads(self.out)

    def build(self, tree: object, version: str, *words: object):
        return self.json("artifact", "build", tree, "--name", "api", "--version", version, *words)

    def package(self, digest: str) -> Path:
        return self.path / "dist/blobs" / digest.removeprefix("sha256:")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def test_a_build_tells_of_every_file_and_codec(desk: Desk) -> None:
    desk.build("old", "1")
    built = desk.build("new", "2", "--from", "0.9=old")
    assert desk.err.count("packed") == 0
    assert [d["from_version"] for d in built["deltas"]] == ["0.9"]  # version 1 has the same tree
    assert built["root"] == scan(desk.new).root
    delta = built["packages"]["from 0.9"]
    files = {f["path"]: f for f in delta["files"]}
    assert files["bin/app"]["base"] == "bin/app"
    assert sum(f["stored"] or 0 for f in files.values()) + delta["overhead"] <= delta["size"]
    assert sum(c["stored"] for c in delta["codecs"]) == sum(f["stored"] or 0 for f in files.values())
    assert listing(desk.path / "dist") == sorted(
        ["api-1.artifact.json", "api-2.artifact.json", "blobs"]
        + [str(p.relative_to(desk.path / "dist")) for p in (desk.path / "dist/blobs").iterdir()]
    )


def test_in_a_pipe_a_line_per_package(desk: Desk) -> None:
    desk.build("old", "1")
    assert desk.run("artifact", "build", "new", "--name", "api", "--version", "2") == 0
    assert [line.partition(":")[0] for line in desk.err.splitlines() if "packed" in line] == [
        "full",
        "from 1",
    ]
    assert "from 1: " in desk.out


def test_the_largest_files_or_all(desk: Desk) -> None:
    write_tree(desk.path / "many", {f"file{n:02}": noise(n, 100) for n in range(20)})
    words = ("artifact", "build", "many", "--name", "api", "--version", "1")
    assert desk.run(*words) == 0
    assert desk.out.count("file") == 15
    assert "5 more" in desk.out
    assert desk.run(*words, "--verbose") == 0
    assert desk.out.count("file") == 20


def test_deltas_from_what_was_built_last(desk: Desk) -> None:
    for version in "abcd":
        write_tree(desk.path / version, OLD | {"own": noise(ord(version), 3000)})
        desk.build(version, version, "--keep-last", 0)
    shutil.copytree(desk.path / "dist", desk.path / "again")
    assert [d["from_version"] for d in desk.build("new", "e")["deltas"]] == ["d", "c", "b"]
    built = desk.build("new", "f", "--keep-last", 1, "--from", "d=d", "--from", "dist/api-a.artifact.json")
    assert [d["from_version"] for d in built["deltas"]] == ["d", "a"]  # e has this tree
    built = desk.build("new", "d", "--out", "again", "--keep-last", 1)
    assert [d["from_version"] for d in built["deltas"]] == ["c"]


def test_what_cannot_be_a_base_is_said(desk: Desk) -> None:
    first = desk.build("old", "1")
    desk.package(first["full"]["digest"]).unlink()
    assert desk.build("new", "2")["deltas"] == []
    assert "no delta from dist/api-1.artifact.json: expected blob" in desk.err
    assert (
        desk.run(
            "artifact",
            "build",
            "new",
            "--name",
            "api",
            "--version",
            "3",
            "--from",
            "dist/api-1.artifact.json",
        )
        == 1
    )
    assert "expected blob" in desk.err


def test_an_artifact_of_strangers_is_no_base(desk: Desk) -> None:
    stranger = desk.path / "stranger.key"
    SigningKey.generate().save(stranger)
    desk.build("old", "1", "--key", stranger)
    words = ("artifact", "build", "new", "--name", "api", "--version", "2")
    assert desk.run(*words, "--from", "1=dist/api-1.artifact.json") == 1
    assert "unknown keys" in desk.err
    assert desk.run(*words, "--key", stranger, "--from", "1=dist/api-1.artifact.json") == 0


def test_a_tar_gives_the_same_packages_as_its_tree(desk: Desk) -> None:
    with tarfile.open("new.tar.gz", "w:gz") as tar:
        tar.add(desk.new, "inside/new")
    from_tree, from_tar = desk.build("new", "1"), desk.build("new.tar.gz", "1", "--subpath", "inside/new")
    assert from_tree["full"] == from_tar["full"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing", "--name", "api", "--version", "1"), "nothing at nothing"),
        (("new", "--name", "A b", "--version", "1"), "small letters"),
        (("new", "--name", "api", "--version", "../1"), "--version"),
        (("new", "--name", "api", "--version", "1", "--from", "old"), "VERSION=TREE"),
        (("new", "--name", "api", "--version", "1", "--from", "../x=old"), "VERSION=TREE"),
        (("new", "--name", "api", "--version", "1", "--jobs", "0"), "--jobs"),
    ],
)  # fmt: skip
def test_errors_teach(desk: Desk, words: tuple[str, ...], said: str) -> None:
    assert desk.run("artifact", "build", *words) == 1
    assert desk.err.startswith("error: ")
    assert said in desk.err
    assert not list(desk.path.glob("dist/*.json"))


@pytest.mark.parametrize("sandbox", [(), ("--no-sandbox",)], ids=["sandbox", "in process"])
def test_a_delta_made_and_applied_by_hand(desk: Desk, sandbox: tuple[str, ...]) -> None:
    found = desk.json("artifact", "diff", "old", "new", "--out", "api.patch")
    assert Path("api.patch").stat().st_size == found["delta"]["size"]
    before = {p: p.stat().st_ino for p in desk.old.rglob("*")}
    root = scan(desk.new).root
    assert desk.run("artifact", "apply", "old", "api.patch", "out/tree", "--root", root, *sandbox) == 0, (
        desk.err
    )
    assert desk.out == f"out/tree: {root}\n"
    assert scan(desk.path / "out/tree").root == root
    files = [p for p in (desk.path / "out/tree").rglob("*") if p.is_file() and not p.is_symlink()]
    assert not {p.stat().st_ino for p in files} & set(before.values())
    assert scan(desk.old).root == found["delta"]["old_root"]
    made = desk.json("artifact", "apply", "old", "api.patch", "other", *sandbox)
    assert made == {"root": root, "path": "other"}


def test_a_full_package_needs_no_old_tree(desk: Desk) -> None:
    built = desk.build("new", "1")
    assert desk.run("artifact", "apply", "-", desk.package(built["full"]["digest"]), "out") == 0
    assert scan(desk.path / "out").root == built["root"]


def test_what_apply_refuses(desk: Desk) -> None:
    desk.json("artifact", "diff", "old", "new", "--out", "api.patch")
    zeros = "sha256:" + "0" * 64
    for words, said in (
        (("new", "api.patch", "out"), "the base tree"),
        (("-", "api.patch", "out"), "no base"),
        (("old", "api.patch", "out", "--root", zeros), zeros),
        (("old", "api.patch", "out", "--root", "abc"), "64 hex digits"),
        (("old", "api.patch", "new"), "something at new"),
        (("old", "none.patch", "out"), "nothing at none.patch"),
        (("none", "api.patch", "out"), "nothing at none"),
    ):
        assert desk.run("artifact", "apply", *words) == 1
        assert said in desk.err
        assert not Path("out").exists()


def test_a_damaged_patch_leaves_nothing(desk: Desk) -> None:
    desk.json("artifact", "diff", "old", "new", "--out", "api.patch")
    data = bytearray(Path("api.patch").read_bytes())
    data[-20] ^= 1
    Path("api.patch").write_bytes(data)
    assert desk.run("artifact", "apply", "old", "api.patch", "out") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("a b c", Wanted("a", "b", "c")),
        ("- b --no-sandbox c --root r", Wanted("-", "b", "c", "r", False)),
        ("a --share b c", Wanted("a", "b", "c", None, True, True)),
        ("a b", None),
        ("a b c d", None),
        ("a b c --root", None),
        ("a b c --help", None),
        ("a b c --root=r", None),
    ],
)
def test_the_plain_form_of_apply(words: str, wanted: Wanted | None) -> None:
    assert parse_plain(words.split()) == wanted


def test_what_differs(desk: Desk) -> None:
    found = changes(scan(desk.old), scan(desk.new))
    assert Change("changed", "bin/app", 120_002, 120_009) in found
    assert Change("mode", "etc/mode.sh", 10, 10, "0644", "0755") in found
    same = len(OLD["lib/app-1.0/same.py"])
    assert Change("moved", "lib/app-1.1/same.py", same, same, moved_from="lib/app-1.0/same.py") in found
    assert Change("added", "lib/app-1.1/fresh.py", size=len(NEW["lib/app-1.1/fresh.py"])) in found
    assert Change("removed", "data/gone.txt", old_size=4) in found
    assert not [c for c in found if c.path == "lib/app-1.0/same.py"]
    assert changes(scan(desk.new), scan(desk.new)) == []


def test_a_moved_file_keeps_its_name_if_it_can(tmp_path: Path) -> None:
    old = write_tree(tmp_path / "o", {"a/x": b"same", "a/y": b"same"})
    new = write_tree(tmp_path / "n", {"b/y": b"same", "b/x": b"same"})
    moved = {c.path: c.moved_from for c in changes(scan(old), scan(new)) if c.what == "moved"}
    assert moved == {"b/x": "a/x", "b/y": "a/y"}


def test_diff_takes_artifacts_and_tells_people(desk: Desk) -> None:
    desk.build("old", "1")
    assert desk.run("artifact", "diff", "dist/api-1.artifact.json", "new") == 0
    assert "moved" in desk.out
    assert "delta: " in desk.out
    assert desk.run("artifact", "diff", "new", "new") == 0
    assert "the trees are the same" in desk.out


def test_verify_finds_what_was_damaged(desk: Desk) -> None:
    desk.build("old", "1")
    built = desk.build("new", "2")
    paths = ("dist/api-1.artifact.json", "dist/api-2.artifact.json")
    rows = desk.json("artifact", "verify", *paths, "--deep")
    assert [row["result"] for row in rows] == ["ok", "ok"]
    assert "2 packages, 2 rebuilt" in rows[1]["reason"]
    package = desk.package(built["deltas"][0]["digest"])
    package.write_bytes(package.read_bytes() + b"\0")
    rows = desk.json("artifact", "verify", *paths, code=1)
    assert [row["result"] for row in rows] == ["ok", "wrong"]
    assert package.name in rows[1]["reason"]


def test_verify_of_a_folder(desk: Desk) -> None:
    built = desk.build("new", "1")
    verify = ("artifact", "verify", "new")
    assert desk.run(*verify, "--root", built["root"]) == 0
    assert desk.run(*verify, "--against", "dist/api-1.artifact.json") == 0
    write_tree(desk.new / "__pycache__", {"x.pyc": b"1"})
    assert "bytecode" in desk.json(*verify, "--root", built["root"], code=1)[0]["reason"]
    assert desk.run(*verify) == 1
    assert "--root or --against" in desk.err


def test_inspect_of_artifact_and_packages(desk: Desk) -> None:
    desk.build("old", "1")
    built = desk.build("new", "2")
    said = desk.json("artifact", "inspect", "dist/api-2.artifact.json")
    assert said == {k: v for k, v in built.items() if k not in ("packages", "dropped")}
    full = desk.json("artifact", "inspect", desk.package(built["full"]["digest"]))
    assert full["files"] == built["packages"]["full"]["files"]
    delta = desk.package(built["deltas"][0]["digest"])
    head = desk.json("artifact", "inspect", delta)
    assert (head["old_root"], head["new_root"]) == (scan(desk.old).root, scan(desk.new).root)
    for base in ("old", "dist/api-1.artifact.json"):
        assert (
            desk.json("artifact", "inspect", delta, "--base", base)["files"]
            == built["packages"]["from 1"]["files"]
        )
    assert desk.run("artifact", "inspect", "none") == 1
