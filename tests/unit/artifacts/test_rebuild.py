"""Packing and unpacking, and what an unpacker refuses."""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import os
import struct

import bsdiff4
import pytest
from backports import zstd

from bumpless.common.artifacts import codecs
from bumpless.common.artifacts.codecs import CODECS, best, xz_compress
from bumpless.common.artifacts.delta import build_delta, build_full, inspect
from bumpless.common.artifacts.errors import (
    ArtifactError,
    Corrupt,
    TooLarge,
    UnsafePath,
    UnsupportedFormat,
    WrongBase,
)
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.limits import MIB, PIECE, Limits
from bumpless.common.artifacts.package import CopyRow, FileRow, Manifest, SolidRow, pack
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import NO_ROOT, directory_entry, file_entry, link_entry, scan, tree_of

from .trees import NEW, OLD, listing, noise, write_tree

ZERO = b"\0" * PIECE


@pytest.fixture
def old(tmp_path):
    return write_tree(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path):
    return write_tree(tmp_path / "new", NEW)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "node").mkdir()
    return tmp_path / "node" / "out"


def unpack(package, out, root, base=None, limits=None):
    path = out.parent.parent / "package.bpk"
    path.write_bytes(package)
    rebuild(path, out, expected_root=root, base_dir=base, limits=limits)


def refuse(error, package, out, root, base=None, limits=None, match=None):
    with pytest.raises(error, match=match):
        unpack(package, out, root, base, limits)
    assert listing(out.parent) == []


def test_a_full_package_restores_the_tree(new, out):
    package = build_full(new)
    unpack(package, out, scan(new).root)
    assert scan(out) == scan(new)
    assert os.stat(out).st_mode & 0o777 == 0o755
    assert not inspect(package).old_root


def test_a_delta_restores_the_tree_from_its_base(old, new, out):
    package = build_delta(old, new)
    unpack(package, out, scan(new).root, old)
    assert scan(out) == scan(new)
    assert len(package) < len(build_full(new)) / 20


def test_modes_do_not_depend_on_the_umask(new, out):
    previous = os.umask(0o077)
    try:
        unpack(build_full(new), out, scan(new).root)
    finally:
        os.umask(previous)
    assert {os.stat(out / p).st_mode & 0o777 for p in ("bin/app", "lib", "etc/mode.sh")} == {0o755}
    assert os.stat(out / "etc/app.conf").st_mode & 0o777 == 0o644


def test_packages_are_the_same_bytes_each_time(old, new):
    assert build_full(new) == build_full(new)
    assert build_delta(old, new) == build_delta(old, new)


def test_inspect_says_what_becomes_of_each_file(old, new):
    info = inspect(build_delta(old, new))
    ops = {f.path: (f.op, f.codec, f.base) for f in info.files}
    assert ops["lib/app-1.1/same.py"] == ("copy", None, "lib/app-1.0/same.py")
    assert ops["etc/mode.sh"] == ("copy", None, "etc/mode.sh")
    assert ops["lib/app-1.1/blob-99887766.dat"][2] == "lib/app-1.0/blob-0a1b2c3d.dat"
    assert ops["bin/app"][2] == "bin/app"
    assert ops["lib/app-1.1/fresh.py"][0] == "put"
    assert ops["current"] == ("symlink", None, "lib/app-1.1")
    assert (info.old_root, info.new_root) == (scan(old).root, scan(new).root)
    assert info.kept == 5  # bin, data, data/empty, etc, lib
    assert info.format == 1


def test_a_kept_file_is_a_copy_not_the_same_inode(old, out):
    unpack(build_delta(old, old), out, scan(old).root, old)
    assert os.stat(out / "bin/app").st_ino != os.stat(old / "bin/app").st_ino


def test_caches_an_interpreter_left_in_the_base_do_no_harm(old, new, out):
    package = build_delta(old, new)
    (old / "lib/__pycache__").mkdir()
    (old / "lib/__pycache__/core.pyc").write_bytes(b"x")
    unpack(package, out, scan(new).root, old)
    assert scan(out) == scan(new)


@pytest.mark.parametrize("change", ["content", "mode", "extra", "missing", "another", "gone", "none"])
def test_a_wrong_base_is_refused(old, new, out, change):
    package, root = build_delta(old, new), scan(new).root
    base = old
    match change:
        case "content":
            (old / "data/gone.txt").write_bytes(b"Gone")
        case "mode":
            (old / "etc/app.conf").chmod(0o755)
        case "extra":
            (old / "extra").write_bytes(b"")
        case "missing":
            (old / "data/gone.txt").unlink()
        case "another":
            base = new
        case "gone":
            base = old / "absent"
        case "none":
            base = None
    refuse(WrongBase, package, out, root, base)


def test_another_tree_than_the_promised_one_is_refused(old, new, out):
    refuse(Corrupt, build_full(old), out, scan(new).root)


def test_an_existing_directory_is_left_alone(new, out):
    out.mkdir()
    (out / "mine").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        unpack(build_full(new), out, scan(new).root)
    assert listing(out) == ["mine"]


def test_every_truncation_is_refused(old, new, out):
    package, root = build_delta(old, new), scan(new).root
    for size in {*range(0, len(package), 97), *range(130), len(package) - 1}:
        refuse(ArtifactError, package[:size], out, root, old)
    refuse(Corrupt, package + b"\0", out, root, old)


def test_a_later_format_is_refused_by_its_number(new, out):
    package = build_full(new)
    later = package[:4] + (2).to_bytes(2, "little") + package[6:]
    refuse(UnsupportedFormat, later, out, scan(new).root, match="format 2")


def test_a_codec_of_a_later_format_raises_the_version_of_the_package(new, monkeypatch):
    later = dataclasses.replace(CODECS["xz"], name="xz2", since=2)
    monkeypatch.setattr(codecs, "CODECS", {"raw": CODECS["raw"], "xz2": later})
    assert int.from_bytes(build_full(new, format_version=2)[4:6], "little") == 2
    assert int.from_bytes(build_full(new, format_version=1)[4:6], "little") == 1


@pytest.mark.parametrize(
    "limits",
    [Limits(package=1000), Limits(manifest=100), Limits(tree=1000), Limits(file=1000), Limits(entries=3)],
)
def test_limits_hold_before_anything_is_written(new, out, limits):
    refuse(TooLarge, build_full(new), out, scan(new).root, limits=limits)


def test_a_full_disk_is_refused_before_anything_is_written(new, out, monkeypatch):
    space = os.statvfs(out.parent)
    full = os.statvfs_result((*space[:3], 0, 0, *space[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    refuse(TooLarge, build_full(new), out, scan(new).root, match="free space")


def hostile(manifest, entries, blobs, digests, old_root=NO_ROOT):
    """A package whose promised root is that of `entries`, so that only the unpacker's own checks can refuse it."""
    root = tree_of(entries).root
    return pack(old_root, root, manifest, digests, blobs), root


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//x", "a\0", ".", "x" * 300])
def test_hostile_paths_in_a_manifest_are_refused(out, path):
    manifests = (
        Manifest(directories=(path,)),
        Manifest(links=((path, "x"),)),
        Manifest(solid=(SolidRow(path, False, 0),)),
        Manifest(files=(FileRow(path, False, 0, "raw", None, 0),)),
    )
    for manifest in manifests:
        digests = [digest(b"")] * (len(manifest.solid) + len(manifest.files))
        blobs = [b""] * (1 + len(manifest.files))
        refuse(UnsafePath, pack(NO_ROOT, NO_ROOT, manifest, digests, blobs), out, NO_ROOT)


def test_a_write_through_a_link_of_the_same_package_is_refused(out):
    manifest = Manifest(links=(("l", "d"),), directories=("d",), solid=(SolidRow("l/x", False, 0),))
    package = pack(NO_ROOT, NO_ROOT, manifest, [digest(b"")], [b""])
    refuse(UnsafePath, package, out, NO_ROOT, match="found link")


def test_a_link_out_of_the_tree_is_refused(out):
    package = pack(NO_ROOT, NO_ROOT, Manifest(links=(("l", "../../etc"),)), [], [b""])
    refuse(UnsafePath, package, out, NO_ROOT)


def test_a_base_outside_the_base_tree_is_refused(old, out):
    tree = scan(old)
    for manifest, digests in (
        (Manifest(copies=(CopyRow("x", False, "../secret"),)), []),
        (Manifest(files=(FileRow("x", False, 0, "bsdiff4", "/etc/passwd", 0),)), [digest(b"")]),
    ):
        kept = manifest.model_copy(update={"kept": (0, len(tree.entries))})
        package = pack(tree.root, NO_ROOT, kept, digests, [b""] * (1 + len(digests)))
        refuse(Corrupt, package, out, NO_ROOT, old, match="a file .* in the base")


def test_runs_that_do_not_fit_the_base_are_refused(old, out):
    package = pack(scan(old).root, NO_ROOT, Manifest(kept=(1, 1)), [], [b""])
    refuse(Corrupt, package, out, NO_ROOT, old, match="runs")


def test_a_manifest_that_expands_without_end_is_refused(out):
    bomb = xz_compress(b" " * (8 * MIB))
    header = struct.pack("<4sHIIQ32s32s", b"BPK1", 1, len(bomb), 0, 0, bytes(32), bytes(32))
    refuse(TooLarge, header + bomb, out, NO_ROOT, limits=Limits(manifest=MIB))


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"{}", b"null", b'{"kept":[-1]}', b'{"kept":["1"]}', b'{"more":1}', b"\xff", b""]
)
def test_a_manifest_that_is_none_is_refused(out, text):
    packed = xz_compress(text)
    header = struct.pack("<4sHIIQ32s32s", b"BPK1", 1, len(packed), 0, 0, bytes(32), bytes(32))
    refuse(ArtifactError, header + packed, out, NO_ROOT)


def test_lengths_in_the_header_are_held_against_the_file(out):
    for lengths in ((2**32 - 1, 0, 0), (0, 2**32 - 1, 0), (0, 0, 2**64 - 1), (0, 1, 0)):
        header = struct.pack("<4sHIIQ32s32s", b"BPK1", 1, *lengths, bytes(32), bytes(32))
        refuse(ArtifactError, header, out, NO_ROOT)


def whole_bomb(codec):
    data = ZERO * 32
    return {"xz": xz_compress, "zstd": zstd.compress}[codec](data)


@pytest.mark.parametrize("codec", ["xz", "zstd"])
@pytest.mark.parametrize("where", ["solid", "file"])
def test_a_blob_that_expands_beyond_its_file_is_refused(out, codec, where):
    bomb, content = whole_bomb(codec), b"\0" * 10
    entries = [file_entry("x", False, digest(content), 10)]
    if where == "solid":
        manifest = Manifest(solid_codec=codec, solid_blob=len(bomb), solid=(SolidRow("x", False, 10),))
        blobs = [bomb]
    else:
        manifest, blobs = Manifest(files=(FileRow("x", False, 10, codec, None, len(bomb)),)), [b"", bomb]
    package, root = hostile(manifest, entries, blobs, [digest(content)])
    refuse(Corrupt, package, out, root)


def test_a_zstd_window_beyond_the_cap_is_refused(out):
    wide = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=wide)
    blob = compressor.compress(b"x" * 10) + compressor.flush()
    manifest = Manifest(files=(FileRow("x", False, 10, "zstd", None, len(blob)),))
    entries = [file_entry("x", False, digest(b"x" * 10), 10)]
    package, root = hostile(manifest, entries, [b"", blob], [digest(b"x" * 10)])
    refuse(Corrupt, package, out, root)


def bsdiff_blob(size, control, diff=b"", extra=b""):
    parts = [bz2.compress(part) for part in (control, diff, extra)]
    return b"BSDIFF40" + struct.pack("<QQQ", len(parts[0]), len(parts[1]), size) + b"".join(parts)


def entry(add, copy, seek):
    return b"".join(bsdiff4.core.encode_int64(n) for n in (add, copy, seek))


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"BSDIFF41" + bytes(24), id="magic"),
        pytest.param(bsdiff_blob(2**40, entry(4, 0, 0), b"\0" * 4), id="result of 2^40"),
        pytest.param(b"BSDIFF40" + struct.pack("<QQQ", 2**63 + 8, 0, 4), id="negative control length"),
        pytest.param(b"BSDIFF40" + struct.pack("<QQQ", 2**40, 2**40, 4), id="blocks beyond the blob"),
        pytest.param(
            bsdiff_blob(4, entry(0, 0, -100) + entry(4, 0, 0), b"\0" * 4), id="seek before the base"
        ),
        pytest.param(bsdiff_blob(4, entry(0, 0, 10**9) + entry(4, 0, 0), b"\0" * 4), id="seek past the base"),
        pytest.param(bsdiff_blob(4, entry(-1, 5, 0), b"", b"\0" * 5), id="negative add"),
        pytest.param(bsdiff_blob(4, entry(5, -1, 0), b"\0" * 5), id="negative copy"),
        pytest.param(bsdiff_blob(4, entry(0, 0, 0) * 10**6), id="endless empty entries"),
        pytest.param(bsdiff_blob(4, b"", b""), id="no control"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0), b"\0" * 3), id="short diff"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0), ZERO * 8), id="diff bomb"),
        pytest.param(bsdiff_blob(4, entry(0, 4, 0), b"", ZERO * 8), id="extra bomb"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0) + ZERO, b"\0" * 4), id="control bomb"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0), b"\1\1\1\1"), id="other bytes"),
    ],
)
def test_hostile_bsdiff_patches_are_refused(tmp_path, out, blob):
    base = write_tree(tmp_path / "base", {"x": b"abcd"})
    manifest = Manifest(kept=(0, 1), files=(FileRow("y", False, 4, "bsdiff4", "x", len(blob)),))
    entries = [file_entry("y", False, digest(b"abcd"), 4)]
    package, root = hostile(manifest, entries, [b"", blob], [digest(b"abcd")], scan(base).root)
    refuse(Corrupt, package, out, root, base)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 5000, 3 * MIB + 17])
def test_each_codec_decodes_what_it_encoded(tmp_path, name, size):
    codec = CODECS[name]
    old = noise(7, max(size, 8))
    middle = size // 2
    new = (old[middle:size] + b"!" + old[: max(0, middle - 1)])[:size]
    blob = codec.encode(new, old)
    assert blob is not None
    (tmp_path / "blob").write_bytes(b"skipped" + blob)
    (tmp_path / "old").write_bytes(old)
    with open(tmp_path / "blob", "rb") as b, open(tmp_path / "old", "rb") as o:
        base = Extent(o.fileno(), 0, len(old), "old") if codec.needs_base else None
        pieces = list(codec.decode(Extent(b.fileno(), 7, len(blob), "blob"), base, size))
    assert b"".join(pieces) == new
    assert max(map(len, pieces), default=0) <= 2 * PIECE


def test_the_smallest_coding_wins():
    data = noise(9, 4000)
    assert best(data, None, version=1)[0].name == "raw"
    assert best(b"a" * 4000, None, version=1)[0].name in ("xz", "zstd")
    codec, blob = best(data + b"tail", data, version=1)
    assert codec.needs_base
    assert len(blob) < 200


def test_a_file_that_changes_while_it_is_packed_is_refused(new, monkeypatch):
    tree = scan(new)
    (new / "etc/app.conf").write_bytes(b"later")
    monkeypatch.setattr("bumpless.common.artifacts.delta.scan", lambda root, bytecode: tree)
    with pytest.raises(Corrupt, match="changed while"):
        build_full(new)


def test_the_kernel_copy_is_optional(old, out, monkeypatch):
    def unsupported(*arguments):
        raise OSError(18, "cross-device")

    monkeypatch.setattr(os, "copy_file_range", unsupported)
    unpack(build_delta(old, old), out, scan(old).root, old)
    assert scan(out) == scan(old)


@pytest.mark.parametrize("call", ["write", "fsync", "symlink", "fchmod"])
def test_a_failing_machine_leaves_nothing_behind(new, out, monkeypatch, call):
    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    package, root = build_full(new), scan(new).root
    path = out.parent.parent / "package.bpk"
    path.write_bytes(package)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        rebuild(path, out, expected_root=root)
    assert listing(out.parent) == []


def test_an_empty_tree_is_a_tree(tmp_path, out):
    empty = write_tree(tmp_path / "empty", {})
    unpack(build_full(empty), out, scan(empty).root)
    assert listing(out) == []


def test_directory_and_link_entries_alone(out):
    entries = [directory_entry("d"), link_entry("l", "d")]
    package, root = hostile(Manifest(directories=("d",), links=(("l", "d"),)), entries, [b""], [])
    unpack(package, out, root)
    assert os.readlink(out / "l") == "d"
