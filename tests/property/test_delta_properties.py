"""What holds for any two trees: the delta restores, the output is deterministic, and damage is never accepted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bumpless.common.artifacts.delta import build_delta, build_full
from bumpless.common.artifacts.errors import ArtifactError, WrongBase
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import scan
from unit.artifacts.trees import DIRECTORY, NEW, OLD, executable, link, listing, write_tree

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
        delta = build_delta(old, new)
        assert delta == build_delta(old, new)
        out = unpacked(directory, delta, tree.root, old)
        assert scan(out) == tree
        out.rename(directory / "first")
        assert scan(unpacked(directory, build_full(new), tree.root, None)) == tree
        assert scan(old).root == scan(write_tree(directory / "again", pair[0])).root


@CHECKED
@given(pairs, trees())
def test_any_other_base_is_refused(pair, stranger):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "node").mkdir()
        old, new = write_tree(directory / "old", pair[0]), write_tree(directory / "new", pair[1])
        base = write_tree(directory / "base", stranger)
        package, tree = build_delta(old, new), scan(new)
        if scan(base).root == scan(old).root:
            assert scan(unpacked(directory, package, tree.root, base)) == tree
            return
        with pytest.raises(WrongBase):
            unpacked(directory, package, tree.root, base)
        assert listing(directory / "node") == []


SMALL_OLD = {path: OLD[path] for path in OLD if path != "bin/app"}
SMALL_NEW = {path: NEW[path] for path in NEW if path != "bin/app"}


@pytest.mark.parametrize("kind", ["full", "delta"])
def test_flipping_any_byte_is_refused_or_changes_nothing(tmp_path, kind):
    (tmp_path / "node").mkdir()
    old, new = write_tree(tmp_path / "old", SMALL_OLD), write_tree(tmp_path / "new", SMALL_NEW)
    package = build_full(new) if kind == "full" else build_delta(old, new)
    root = scan(new).root
    accepted = 0
    # The noise in the middle of a full package's solid blob is all alike: every 7th byte of it stands for the rest.
    places = range(len(package)) if kind == "delta" else [*range(1000), *range(1000, len(package), 7)]
    for at in places:
        damaged = bytearray(package)
        damaged[at] ^= 1 << (at % 8)
        try:
            out = unpacked(tmp_path, bytes(damaged), root, old)
        except ArtifactError:
            assert listing(tmp_path / "node") == []
            continue
        assert scan(out).root == root
        out.rename(tmp_path / f"accepted-{accepted}")
        accepted += 1
    assert accepted < len(package) / 10


@CHECKED
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "node").mkdir()
        for package in (data, b"BPK1\1\0" + data):
            with pytest.raises(ArtifactError):
                unpacked(directory, package, "sha256:" + "0" * 64, None)
        assert listing(directory / "node") == []
