"""What holds for any two trees: the delta restores, the output is deterministic, and damage is never accepted."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bumpless.common.artifacts import encode
from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.delta import build_delta, build_full
from bumpless.common.artifacts.errors import ArtifactError, WrongBase
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.package import Block, Manifest, Member, pack
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import scan
from bumpless.common.artifacts.workers import Workers
from support.programs import functions, grown, program
from unit.artifacts.trees import DIRECTORY, executable, link, listing, noise, write_tree

CHECKED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

names = st.sampled_from(["a", "b", "lib", "x-1.0", "x-1.1", "data.bin", "ü", "-f", "run.py"])
contents = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    st.builds(
        lambda a, n, b: a * n + b,
        st.binary(min_size=1, max_size=9),
        st.integers(1, 400),
        st.binary(max_size=9),
    ),
)
values = st.one_of(
    contents,
    contents.map(executable),
    st.sampled_from([link("a"), link("b/lib"), link("."), link("absent")]),
    st.just(DIRECTORY),
)


@st.composite
def trees(draw):
    """Paths of which none lies under something that is no directory."""
    spec = draw(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), values, max_size=8))
    leaves = {path for path, value in spec.items() if value is not DIRECTORY}
    return {
        path: value for path, value in spec.items() if not any(above in leaves for above in ancestors(path))
    }


def ancestors(path):
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


@st.composite
def descendants(draw, old):
    """`old` after a few edits: the pairs real releases consist of."""
    new = dict(old)
    for path in draw(st.lists(st.sampled_from(sorted(old)), max_size=4)) if old else []:
        value = new.pop(path, None)
        match draw(st.sampled_from(["delete", "rename", "edit", "mode", "keep"])):
            case "rename" if value is not None:
                new[f"moved-{len(new)}"] = value
            case "edit" if isinstance(value, bytes):
                new[path] = value + draw(st.binary(max_size=5))
            case "mode" if isinstance(value, bytes):
                new[path] = executable(value)
            case "keep" if value is not None:
                new[path] = value
    return new


pairs = st.one_of(
    st.tuples(trees(), trees()), trees().flatmap(lambda old: st.tuples(st.just(old), descendants(old)))
)


def unpacked(directory: Path, package: bytes, root: str, base: Path | None) -> Path:
    (directory / "package").write_bytes(package)
    rebuild(directory / "package", directory / "node" / "out", expected_root=root, base_dir=base)
    return directory / "node" / "out"


@CHECKED
@given(pairs)
def test_full_and_delta_restore_the_tree(pair):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "node").mkdir()
        old, new = write_tree(directory / "old", pair[0]), write_tree(directory / "new", pair[1])
        tree = scan(new)
        delta = build_delta(old, new).package
        with Workers(4) as workers:
            assert delta == build_delta(old, new, workers=workers).package
        out = unpacked(directory, delta, tree.root, old)
        assert scan(out) == tree
        out.rename(directory / "first")
        assert scan(unpacked(directory, build_full(new).package, tree.root, None)) == tree
        assert scan(old).root == scan(write_tree(directory / "again", pair[0])).root


@CHECKED
@given(pairs, trees())
def test_any_other_base_is_refused(pair, stranger):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "node").mkdir()
        old, new = write_tree(directory / "old", pair[0]), write_tree(directory / "new", pair[1])
        base = write_tree(directory / "base", stranger)
        package, tree = build_delta(old, new).package, scan(new)
        if scan(base).root == scan(old).root:
            assert scan(unpacked(directory, package, tree.root, base)) == tree
            return
        with pytest.raises(WrongBase):
            unpacked(directory, package, tree.root, base)
        assert listing(directory / "node") == []


_FUNCTIONS = functions(1, 30, 20)
_TEXT = b"".join(b"a line of a log: %d\n" % (n * n) for n in range(60))
SMALL_OLD = {
    "app": program(_FUNCTIONS, noise(9, 300)),
    "lib/app-1.0/core.txt": _TEXT,
    "lib/app-1.0/same.txt": b"unchanged\n" * 9,
    "log.gz": gzip.compress(_TEXT * 3, mtime=0),
    "blob.dat": noise(3, 1500),
    "gone": b"",
}
SMALL_NEW = {
    "app": executable(program(grown(_FUNCTIONS, 2), noise(9, 300))),
    "lib/app-1.1/core.txt": _TEXT[500:] + b"more\n",
    "lib/app-1.1/same.txt": b"unchanged\n" * 9,
    "log.gz": gzip.compress(_TEXT * 3 + b"more", mtime=0),
    "blob.dat": noise(3, 1500) + b"!",
    "fresh": noise(4, 50),
    "l": link("app"),
}


@pytest.mark.parametrize("kind", ["full", "delta"])
def test_flipping_any_byte_is_refused_or_changes_nothing(tmp_path, kind):
    (tmp_path / "node").mkdir()
    (tmp_path / "canary").write_bytes(b"canary")
    old, new = write_tree(tmp_path / "old", SMALL_OLD), write_tree(tmp_path / "new", SMALL_NEW)
    packed = build_full(new) if kind == "full" else build_delta(old, new)
    assert kind == "full" or {"predicted", "deflated"} <= {f.codec for f in packed.info.files}
    package, base, root = packed.package, None if kind == "full" else old, scan(new).root
    accepted = 0
    # What is random in a full package is all alike: every 9th byte of it stands for the rest.
    places = range(len(package)) if kind == "delta" else [*range(400), *range(400, len(package), 9)]
    for at in places:
        damaged = bytearray(package)
        damaged[at] ^= 1 << (at % 8)
        try:
            out = unpacked(tmp_path, bytes(damaged), root, base)
        except ArtifactError:
            assert listing(tmp_path / "node") == []
            continue
        assert scan(out).root == root
        shutil.rmtree(out)
        accepted += 1
    assert accepted < len(package) / 10
    assert {p.name for p in tmp_path.iterdir()} == {"node", "canary", "old", "new", "package"}


@pytest.mark.parametrize("codec", NAMES)
def test_flipping_any_byte_of_a_package_of_one_codec_is_refused_or_changes_nothing(tmp_path, codec):
    (tmp_path / "node").mkdir()
    old_data, new_data = _TEXT * 3, _TEXT * 2 + b"more" + _TEXT[:400]
    if codec == "predicted":
        old_data, new_data = SMALL_OLD["app"], SMALL_NEW["app"][1]
    if codec == "deflated":
        old_data, new_data = SMALL_OLD["log.gz"], SMALL_NEW["log.gz"]
    if codec == "raw":
        new_data = new_data[:60]
    base = write_tree(tmp_path / "base", {"x": old_data})
    tree, result = scan(base), scan(write_tree(tmp_path / "result", {"x": new_data}))
    blob = coded(codec, new_data, old_data)
    block = Block(
        codec, (0,) if CODECS[codec].needs_base else (), (Member("x", False, len(new_data)),), len(blob)
    )
    package = pack(
        tree, result.root, Manifest(kept=(0, 1), blocks=(block,)), [result.entries[0].content], [blob]
    )
    assert scan(unpacked(tmp_path, package, result.root, base)) == result
    shutil.rmtree(tmp_path / "node" / "out")
    accepted = 0
    for at in range(len(package)):
        damaged = bytearray(package)
        damaged[at] ^= 1 << (at % 8)
        try:
            out = unpacked(tmp_path, bytes(damaged), result.root, base)
        except ArtifactError:
            assert listing(tmp_path / "node") == []
            continue
        assert scan(out) == result
        shutil.rmtree(out)
        accepted += 1
    # A few bits mean nothing: the padding of bzip2, a tie between two equal bases.
    assert accepted < len(package) / 8


def coded(codec: str, new: bytes, old: bytes) -> bytes:
    """As small as the builder makes it with this codec."""
    match codec:
        case "raw":
            return new
        case "xz":
            return encode.xz_compress(new)
        case "zstd":
            return zstd.compress(new)
    with Workers(1) as workers:
        return min((c.blob for c in encode._against(new, old, workers, True) if c.codec == codec), key=len)


@CHECKED
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "node").mkdir()
        for package in (data, b"BPK1\2\0" + data):
            with pytest.raises(ArtifactError):
                unpacked(directory, package, "sha256:" + "0" * 64, None)
        assert listing(directory / "node") == []
