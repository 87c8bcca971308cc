"""The container: what is written is read again, and what a reader refuses before it writes anything."""

from __future__ import annotations

import lzma
import os
import resource
import struct
import subprocess
import sys
import unicodedata
from dataclasses import replace

import pytest

from bumpless.common.artifacts import codecs
from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.delta import build_delta, build_full, inspect
from bumpless.common.artifacts.errors import (
    ArtifactError,
    Corrupt,
    TooLarge,
    UnsafePath,
    UnsupportedFormat,
    WrongBase,
)
from bumpless.common.artifacts.leb128 import MAX_BYTES, Reader, encode, unzigzag, zigzag
from bumpless.common.artifacts.limits import MIB, Limits
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.package import (
    CHECK,
    Block,
    Copy,
    Manifest,
    Member,
    open_manifest,
    pack,
    parse,
    result_tree,
)
from bumpless.common.artifacts.streams import xz_compress
from bumpless.common.artifacts.tree import NO_ROOT, Tree, directory_entry, file_entry, link_entry, scan

from .packages import Node, crafted, digest, unrooted
from .test_tree import HOSTILE_PATHS, HOSTILE_TARGETS
from .trees import NEW, OLD, listing, write_tree

LIMITS = Limits()
HEADER = struct.Struct("<4sHHIQ32s32s")


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def old(tmp_path):
    return write_tree(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path):
    return write_tree(tmp_path / "new", NEW)


def opened(package, base=None, limits=LIMITS):
    def read(at, count):
        return package[at : at + count]

    return open_manifest(parse(read, len(package), limits, "package"), base or Tree(()), read, limits)


def raw(columns, *, version=2, codecs=0, rest=0, old_root=NO_ROOT, new_root=NO_ROOT, after=b""):
    """A package whose manifest is `columns`."""
    packed = xz_compress(columns)
    roots = [bytes.fromhex(root.removeprefix("sha256:")) for root in (old_root, new_root)]
    return HEADER.pack(b"BPK1", version, codecs, len(packed), rest, *roots) + packed + after


BASE = Tree(
    (
        file_entry("a", False, digest(b"1"), 1),
        directory_entry("d"),
        file_entry("d/b", True, digest(b"22"), 2),
        link_entry("l", "a"),
    )
)
FULL_OF_EVERYTHING = Manifest(
    kept=(1, 1, 2),
    directories=("e", "e/f"),
    links=(("k", "e/f"), ("m", "a")),
    copies=(Copy("copied", True, 2), Copy("a", False, 0)),
    blocks=(
        Block("raw", (), (Member("n", False, 5),), 5),
        Block(
            "bsdiff4",
            (2, 0),
            (Member("d/b", True, 300), Member("o", False, 0), Member("p", True, 1 << 40)),
            200,
        ),
    ),
)


def test_a_manifest_is_read_as_it_was_written():
    digests = [digest(bytes([i])) for i in range(4)]
    package = pack(BASE, NO_ROOT.replace("0", "1"), FULL_OF_EVERYTHING, digests, [bytes(5), bytes(200)])
    parsed, manifest = opened(package, BASE)
    assert manifest == FULL_OF_EVERYTHING
    assert parsed.checks == b"".join(bytes.fromhex(d)[:CHECK] for d in digests)
    assert parsed.size - parsed.blobs_at == 205
    assert not parsed.is_full


def test_packages_are_the_same_bytes_each_time(old, new):
    assert build_full(new) == build_full(new)
    assert build_delta(old, new) == build_delta(old, new)


def test_inspect_says_what_becomes_of_each_file(old, new):
    packed = build_delta(old, new)
    info = inspect(packed.package, scan(old))
    assert info == packed.info
    ops = {f.path: (f.op, f.codec, f.base) for f in info.files}
    assert ops["lib/app-1.1/same.py"] == ("copy", None, "lib/app-1.0/same.py")
    assert ops["etc/mode.sh"] == ("copy", None, "etc/mode.sh")
    assert ops["lib/app-1.1/blob-99887766.dat"][2] == "lib/app-1.0/blob-0a1b2c3d.dat"
    assert ops["bin/app"][2] == "bin/app"
    assert ops["lib/app-1.1/fresh.py"][0] == "put"
    assert ops["current"] == ("symlink", None, "lib/app-1.1")
    assert (info.old_root, info.new_root) == (scan(old).root, scan(new).root)
    assert info.kept == 5  # bin, data, data/empty, etc, lib
    assert info.format == 2
    assert sum(f.stored or 0 for f in info.files) <= info.size - info.overhead


def test_a_delta_is_inspected_with_its_base_only(old, new):
    package = build_delta(old, new).package
    for base in (None, scan(new)):
        with pytest.raises(WrongBase):
            inspect(package, base)


def test_a_later_format_is_refused_by_its_number(node, new):
    package = build_full(new).package
    for version in (0, 1, 3, 65535):
        other = package[:4] + version.to_bytes(2, "little") + package[6:]
        node.refuse(UnsupportedFormat, other, match=f"format {version}")


def test_a_codec_of_a_later_format_raises_the_version_of_the_package(monkeypatch):
    monkeypatch.setattr(codecs, "CODECS", CODECS | {"xz": replace(CODECS["xz"], since=7)})
    manifest = Manifest(blocks=(Block("xz", (), (Member("x", False, 0),), 0),))
    assert int.from_bytes(unrooted(manifest, digests=[digest(b"")])[4:6], "little") == 7
    plain = Manifest(blocks=(Block("raw", (), (Member("x", False, 0),), 0),))
    assert int.from_bytes(unrooted(plain, digests=[digest(b"")])[4:6], "little") == 2


def test_a_codec_that_the_format_does_not_have_is_refused(node, monkeypatch):
    manifest = Manifest(blocks=(Block("raw", (), (Member("x", False, 0),), 0),))
    package = crafted(manifest, [file_entry("x", False, digest(b""), 0)], [b""], [digest(b"")])
    monkeypatch.setattr(codecs, "CODECS", CODECS | {"raw": replace(CODECS["raw"], since=3)})
    node.refuse(UnsupportedFormat, package, match="codec 0")


def test_an_unknown_codec_is_refused(node):
    node.refuse(
        UnsupportedFormat, raw(encode([0, 0, 0, 0, 1, len(NAMES)]) + bytes(9), after=bytes(4), rest=4)
    )


def test_the_header_says_which_codecs_there_are(node, old, new):
    package = build_delta(old, new).package
    used = {f.codec for f in build_delta(old, new).info.files if f.codec}
    mask = int.from_bytes(package[6:8], "little")
    assert {name for number, name in enumerate(NAMES) if mask >> number & 1} == used
    for other, error in (
        (0, Corrupt),
        (mask | 1 << 2, Corrupt),
        (1 << 15, UnsupportedFormat),
        (0xFFFF, UnsupportedFormat),
    ):
        node.refuse(error, package[:6] + other.to_bytes(2, "little") + package[8:], base=old, match="codecs")


@pytest.mark.parametrize("kind", ["full", "delta"])
def test_every_truncation_is_refused(node, old, new, kind):
    package = build_full(new).package if kind == "full" else build_delta(old, new).package
    root = scan(new).root
    places = range(len(package)) if kind == "delta" else {*range(1200), *range(1200, len(package), 997)}
    for size in {*places, len(package) - 1}:
        node.refuse(ArtifactError, package[:size], root, old)
    node.refuse(Corrupt, package + b"\0", root, old)


def test_lengths_in_the_header_are_held_against_the_file(node):
    for packed, rest in ((2**32 - 1, 0), (0, 2**64 - 1), (0, 2**63), (0, 1), (1, 0), (60 * MIB, 0)):
        node.refuse(ArtifactError, HEADER.pack(b"BPK1", 2, 0, packed, rest, bytes(32), bytes(32)))
    node.refuse(Corrupt, HEADER.pack(b"BPK2", 2, 0, 0, 0, bytes(32), bytes(32)), match="starting with")


@pytest.mark.parametrize(
    "limits",
    [Limits(package=1000), Limits(manifest=100), Limits(tree=1000), Limits(file=1000), Limits(entries=3)],
)
def test_limits_hold_before_anything_is_written(node, new, limits):
    node.refuse(TooLarge, build_full(new).package, scan(new).root, limits=limits)


def test_a_full_disk_is_refused_before_anything_is_written(node, new, monkeypatch):
    package = build_full(new).package
    space = os.statvfs(node.parent)
    for full in (
        os.statvfs_result((*space[:3], 0, 0, *space[5:])),
        os.statvfs_result((*space[:7], 1, *space[8:])),
    ):
        monkeypatch.setattr(os, "statvfs", lambda path, full=full: full)
        node.refuse(TooLarge, package, scan(new).root, match="free")


def claims(path):
    """A manifest for each way to name `path`."""
    return {
        "directory": Manifest(kept=(1,), directories=(path,)),
        "link": Manifest(kept=(1,), links=((path, "x"),)),
        "copy": Manifest(kept=(1,), copies=(Copy(path, False, 0),)),
        "file": Manifest(kept=(1,), blocks=(Block("raw", (), (Member(path, False, 0),), 0),)),
    }


@pytest.mark.parametrize("kind", ["directory", "link", "copy", "file"])
@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_hostile_names_are_refused(tmp_path, node, path, kind):
    base = write_tree(tmp_path / "base", {"base": b"x"})
    manifest = claims(path)[kind]
    digests = [digest(b"")] * sum(len(b.members) for b in manifest.blocks)
    try:
        package = unrooted(manifest, [b""] * len(manifest.blocks), digests, scan(base))
    except UnicodeEncodeError:
        return  # a name that is no text cannot stand in a manifest; the next test has other bytes
    # A NUL ends the name, so that what follows it is a name too many.
    node.refuse(Corrupt if "\0" in path else UnsafePath, package, base=base)


@pytest.mark.parametrize(
    "name", [b"\xff", b"a\x80", b"\xed\xa0\x80", b"\xc0\xae\xc0\xae/x", b"\xf8\x88\x80\x80\x80"]
)
def test_names_that_are_no_text_are_refused(node, name):
    node.refuse(Corrupt, raw(encode([0, 1, 0, 0, 0]) + name + b"\0"), match="UTF-8")


def test_more_path_than_the_system_takes_is_refused(node):
    deep = ["/".join(["d" * 200] * n) for n in range(1, 25)]
    node.refuse(UnsafePath, unrooted(Manifest(directories=tuple(deep))))


def test_names_that_differ_in_case_or_composition_are_different_names(node):
    """Linux file systems tell them apart, and so does a tree."""
    names = ["readme", "README", unicodedata.normalize("NFC", "ü"), unicodedata.normalize("NFD", "ü")]
    entries = [file_entry(name, False, digest(name.encode()), len(name.encode())) for name in names]
    blob = "".join(names).encode()
    members = tuple(Member(e.path, False, e.size) for e in entries)
    manifest = Manifest(blocks=(Block("raw", (), members, len(blob)),))
    out = node.unpack(crafted(manifest, entries, [blob], [e.content for e in entries]))
    assert {p.name: p.read_text() for p in out.iterdir()} == {name: name for name in names}


@pytest.mark.parametrize(("path", "target"), HOSTILE_TARGETS)
def test_links_out_of_the_tree_are_refused(node, path, target):
    directories = tuple({path.rpartition("/")[0]} - {""})
    try:
        package = unrooted(Manifest(directories=directories, links=((path, target),)))
    except UnicodeEncodeError:
        return
    node.refuse(Corrupt if "\0" in target else UnsafePath, package)


def test_a_write_through_a_link_of_the_same_package_is_refused(node):
    block = Block("raw", (), (Member("l/x", False, 0),), 0)
    manifest = Manifest(links=(("l", "d"),), directories=("d",), blocks=(block,))
    node.refuse(UnsafePath, unrooted(manifest, [b""], [digest(b"")]), match="found link")


def test_a_write_through_a_link_of_the_base_is_refused(tmp_path, node):
    base = scan(write_tree(tmp_path / "base", {"d/x": b"", "l": ("link", "d")}))
    manifest = Manifest(kept=(len(base.entries),), blocks=(Block("raw", (), (Member("l/y", False, 0),), 0),))
    node.refuse(
        UnsafePath, unrooted(manifest, [b""], [digest(b"")], base), base=tmp_path / "base", match="found link"
    )


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(directories=("a", "a")),
        Manifest(directories=("a",), links=(("a", "b"),)),
        Manifest(links=(("a", "b"), ("a", "c"))),
        Manifest(blocks=(Block("raw", (), (Member("a", False, 0), Member("a", True, 0)), 0),)),
        Manifest(directories=("a",), blocks=(Block("raw", (), (Member("a", False, 0),), 0),)),
    ],
)
def test_a_path_that_stands_twice_is_refused(node, manifest):
    digests = [digest(b"")] * sum(len(block.members) for block in manifest.blocks)
    node.refuse(UnsafePath, unrooted(manifest, [b""] * len(manifest.blocks), digests), match="once")


def test_kept_entries_need_their_directories(old, node):
    tree = scan(old)
    below = next(i for i, e in enumerate(tree.entries) if "/" in e.path)
    runs = (0, below, 1, len(tree.entries) - below - 1)
    node.refuse(UnsafePath, unrooted(Manifest(kept=runs), old=tree), base=old, match="directory above")


@pytest.mark.parametrize("runs", [(), (1, 1), (1 << 48, 1), (10**6,)])
def test_runs_that_do_not_fit_the_base_are_refused(old, node, runs):
    node.refuse(Corrupt, unrooted(Manifest(kept=runs), old=scan(old)), base=old, match="runs")


def test_only_files_of_the_base_are_bases():
    directory, link, beyond = 1, 3, len(BASE.entries)
    for number in (directory, link, beyond, -1):
        for at in range(2):
            # Numbers are relative to the one before; the first is relative to 0.
            copied = encode([0, 0, 0, 1, 0, zigzag(number), 0, 1]) + b"x\0"
            block = encode([0, 0, 0, 0, 1, NAMES.index("bsdiff4"), 0, 1, 1, zigzag(number), 0, 0, 1]) + b"x\0"
            package = raw((copied, block)[at], old_root=BASE.root, rest=4 * at, after=bytes(4 * at))
            with pytest.raises(Corrupt, match="files among"):
                opened(package, BASE)


BSDIFF, RAW = NAMES.index("bsdiff4"), NAMES.index("raw")

MALFORMED = {
    "nothing": b"",
    "four numbers": bytes(4),
    "a count without end": b"\x80",
    "a count of 8 bytes": b"\x80" * 7 + b"\0" + bytes(4),
    "a count beyond 64 bits": b"\xff" * 10 + b"\x01" + bytes(4),
    "more names than counts": bytes(5) + b"x\0",
    "a name without end": encode([0, 1, 0, 0, 0]) + b"x",
    "a name missing": encode([0, 2, 0, 0, 0]) + b"x\0",
    "a link without target": encode([0, 0, 1, 0, 0]) + b"x\0",
    "runs missing": encode([5, 0, 0, 0, 0]),
    "a flag of 2": encode([0, 0, 0, 0, 1, RAW, 0, 1, 0, 2, 0, 1]) + b"x\0",
    "a file without a name": encode([0, 0, 0, 0, 1, RAW, 0, 1, 0, 0, 0, 0]),
    "a negative size": encode([0, 0, 0, 0, 1, RAW, 0, 1, 0, 0, zigzag(-1), 1]) + b"x\0",
    "a block without members": encode([0, 0, 0, 0, 1, RAW, 0, 0, 0]),
    "more bases than members": encode([0, 0, 0, 0, 1, BSDIFF, 0, 1, 2, 0, 0, 0, 0, 1]) + b"x\0",
    "a codec without its base": encode([0, 0, 0, 0, 1, BSDIFF, 0, 1, 0, 0, 0, 1]) + b"x\0",
    "a base for a codec without": encode([0, 0, 0, 0, 1, RAW, 0, 1, 1, 0, 0, 0, 1]) + b"x\0",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_manifest_that_is_none_is_refused(name):
    for rest in (0, 4, 8):
        with pytest.raises(Corrupt):
            opened(raw(MALFORMED[name], old_root=BASE.root, rest=rest, after=bytes(rest)), BASE)


@pytest.mark.parametrize("column", range(5))
def test_counts_beyond_the_limit_are_refused(node, column):
    counts = [0] * 5
    counts[column] = LIMITS.entries + 1
    node.refuse(TooLarge, raw(encode(counts) + bytes(2 * LIMITS.entries)))


def test_members_beyond_the_limit_are_refused(node):
    blocks = encode([0, 0, 0, 0, 2, 0, 0, 0, 0, LIMITS.entries, LIMITS.entries, 0, 0])
    node.refuse(TooLarge, raw(blocks + bytes(6 * LIMITS.entries)))


def test_blobs_that_do_not_fit_the_package_are_refused(node):
    for length in (1, 1 << 48):
        manifest = encode([0, 0, 0, 0, 1, RAW, length, 1, 0, 0, 0, 1]) + b"x\0"
        node.refuse(Corrupt, raw(manifest, rest=4, after=bytes(4)), match="bytes")


def test_sizes_beyond_the_limits_are_refused(node):
    for size in (1 << 40, (1 << 48) - 1):
        manifest = Manifest(blocks=(Block("raw", (), (Member("x", False, size),), 0),))
        node.refuse(TooLarge, unrooted(manifest, [b""], [digest(b"")]))


def test_a_manifest_that_expands_without_end_is_refused(node):
    bomb = xz_compress(b" " * (8 * MIB))
    package = HEADER.pack(b"BPK1", 2, 0, len(bomb), 0, bytes(32), bytes(32)) + bomb
    node.refuse(TooLarge, package, limits=Limits(manifest=MIB))
    for broken in (bomb[:-1], bomb + b"\0", lzma.compress(bytes(9), format=lzma.FORMAT_ALONE)):
        package = HEADER.pack(b"BPK1", 2, 0, len(broken), 0, bytes(32), bytes(32)) + broken
        node.refuse(ArtifactError, package, limits=Limits(manifest=MIB))


def test_a_manifest_coded_with_a_large_dictionary_is_refused(node):
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 256 * MIB}]
    packed = lzma.compress(bytes(5), format=lzma.FORMAT_XZ, filters=wide)
    node.refuse(
        Corrupt, HEADER.pack(b"BPK1", 2, 0, len(packed), 0, bytes(32), bytes(32)) + packed, match="emory"
    )


_NAMES = """
import resource, sys
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.package import open_manifest, parse
from bumpless.common.artifacts.tree import Tree
package = open(sys.argv[1], "rb").read()
read = lambda at, count: package[at : at + count]
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
try:
    open_manifest(parse(read, len(package), Limits(), "package"), Tree(()), read, Limits())
except ArtifactError as error:
    print(type(error).__name__)
"""


def test_the_names_of_a_bomb_take_no_memory_each(tmp_path):
    """64 MiB of empty names, in less than 10 KiB."""
    (tmp_path / "bomb").write_bytes(raw(bytes(5) + bytes(Limits.manifest - 5)))
    assert (tmp_path / "bomb").stat().st_size < 20_000
    budget = 4 * Limits.manifest
    assert budget < resource.RLIM_INFINITY or resource.RLIM_INFINITY < 0
    done = subprocess.run(
        [sys.executable, "-c", _NAMES, str(tmp_path / "bomb"), str(budget)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "Corrupt\n", done.stderr


def test_a_result_is_held_against_the_limits():
    manifest = Manifest(kept=(4,), blocks=(Block("raw", (), (Member("n", False, 500),), 500),))
    assert result_tree(manifest, BASE, [digest(b"n")], LIMITS).size == 503
    for limits in (Limits(tree=502), Limits(file=499), Limits(entries=4)):
        with pytest.raises(TooLarge):
            result_tree(manifest, BASE, [digest(b"n")], limits)


def test_numbers_of_the_container():
    for value in (0, 1, 127, 128, (1 << 7 * MAX_BYTES) - 1):
        assert Reader(encode([value]), "numbers").number() == value
    for value in (-1, 1 << 7 * MAX_BYTES):
        with pytest.raises(ValueError, match="expected a number"):
            encode([value])
    assert [zigzag(n) for n in (0, -1, 1, -2)] == [0, 1, 2, 3]
    assert all(unzigzag(zigzag(n)) == n for n in (0, 1, -1, 12345, -12345, -(1 << 47)))
    for data in (b"", b"\x80", b"\x80" * 7 + b"\0"):
        with pytest.raises(Corrupt):
            Reader(data, "numbers").number()
    with pytest.raises(Corrupt):
        Reader(bytes(3), "numbers").numbers(1 << 40)


def test_nothing_is_listed_after_a_refusal(node, new):
    """The check that the others rely on."""
    node.unpack(build_full(new).package)
    assert listing(node.parent) != []
