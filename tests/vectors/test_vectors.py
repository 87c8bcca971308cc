"""Packages that every reader must be able to unpack, as files, with their trees.

`--bless` writes packages and `vectors.json` again from the trees; look at the diff: a package that changes means that
nodes and builders of different versions no longer agree on its bytes, or that a library packs differently.
"""

from __future__ import annotations

import _lzma
import json
import zlib
from ctypes import CDLL, c_char_p
from pathlib import Path

import bsdiff4
import pytest
from backports import zstd

from bumpless.common.artifacts.decoder import in_process
from bumpless.common.artifacts.delta import build_delta, build_full, inspect
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.package import Block, Manifest, Member, codecs_of, pack
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.sandbox.decoder import sandboxed
from bumpless.common.artifacts.tree import Tree, scan

HERE = Path(__file__).parent
INDEX = HERE / "vectors.json"
VECTORS = sorted(path.parent.name for path in HERE.glob("*/new"))
UNPREDICTED = "delta-aligned"
BY_HAND = {"full-zstd": "zstd", "delta-bsdiff4": "bsdiff4"}
"""Codecs that a builder seldom or never finds to be the smallest: packages of one file that changed."""


def versions():
    """The libraries that decide the bytes of a package."""
    liblzma = CDLL(_lzma.__file__).lzma_version_string
    liblzma.restype = c_char_p
    return {
        "bsdiff4": bsdiff4.__version__,
        "liblzma": liblzma().decode(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zstd": zstd.zstd_version,
    }


def built(name):
    old, new = HERE / name / "old", HERE / name / "new"
    if name in BY_HAND:
        return by_hand(BY_HAND[name], old, new)
    if not old.exists():
        return build_full(new).package
    return build_delta(old, new, predict=name != UNPREDICTED).package


def by_hand(codec, old, new):
    (path,) = (p.name for p in new.iterdir())
    data = (new / path).read_bytes()
    blob = zstd.compress(data, level=19) if codec == "zstd" else bsdiff4.diff((old / path).read_bytes(), data)
    base, result = scan(old) if old.exists() else None, scan(new)
    block = Block(codec, (0,) if base else (), (Member(path, False, len(data)),), len(blob))
    return pack(
        base,
        result.root,
        Manifest(kept=(0, 1) if base else (), blocks=(block,)),
        [result.entries[0].content],
        [blob],
    )


def described(name):
    old, new = HERE / name / "old", HERE / name / "new"
    base = scan(old) if old.exists() else Tree(())
    info = inspect((HERE / name / "package").read_bytes(), base)
    return {
        "old_root": info.old_root,
        "new_root": scan(new).root,
        "format": info.format,
        "codecs": sorted({f.codec for f in info.files if f.codec}),
        "size": info.size,
    }


@pytest.fixture(scope="module")
def index(request):
    if request.config.getoption("--bless"):
        for name in VECTORS:
            (HERE / name / "package").write_bytes(built(name))
        found = {"libraries": versions(), "vectors": {name: described(name) for name in VECTORS}}
        INDEX.write_text(json.dumps(found, indent=2) + "\n")
    return json.loads(INDEX.read_text())


@pytest.mark.parametrize("decoding", [in_process, sandboxed])
@pytest.mark.parametrize("name", VECTORS)
def test_a_reader_unpacks_it(index, name, decoding, tmp_path):
    vector = index["vectors"][name]
    package, new_root = HERE / name / "package", vector["new_root"]
    base = HERE / name / "old" if vector["old_root"] else None
    with decoding(codecs_of(package), 1 << 20) as decoder:
        root = rebuild(package, tmp_path / "out", expected_root=new_root, base_dir=base, decoder=decoder)
    assert root == vector["new_root"] == scan(tmp_path / "out").root == scan(HERE / name / "new").root
    assert described(name) == vector


@pytest.mark.parametrize("name", VECTORS)
def test_a_builder_makes_the_same_bytes(index, name):
    if index["libraries"] != versions():
        pytest.skip(f"the vectors were made with {index['libraries']}, this is {versions()}")
    assert built(name) == (HERE / name / "package").read_bytes()


def test_every_codec_has_a_vector(index):
    vectors = index["vectors"].values()
    assert {codec for vector in vectors for codec in vector["codecs"]} == {*NAMES}
    assert [*index["vectors"]] == VECTORS
