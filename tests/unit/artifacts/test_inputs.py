"""Tars, wheels and images as trees: what comes out, and everything hostile or damaged is refused with nothing outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import platform
import stat
import tarfile
import zipfile
from bz2 import compress as bz2_compress
from contextlib import ExitStack
from pathlib import Path

import pytest
from backports import zstd

from bumpless.common.artifacts.errors import Corrupt, TooLarge, UnsafePath
from bumpless.common.artifacts.inputs.source import open_tree
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.tree import scan
from bumpless.common.errors import Refused

from .trees import NEW, listing, noise, write_tree

COMPRESSIONS = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstd.compress,
    "tar.bz2": bz2_compress,
    "two gzip members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "two zstd frames": lambda data: zstd.compress(data[:700]) + zstd.compress(data[700:]),
}


def member(name: str, data: bytes = b"", *, mode: int = 0o644, type: bytes = tarfile.REGTYPE, link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = type, mode, link
    info.size = len(data)
    return info, data


def folder(name: str):
    return member(name, type=tarfile.DIRTYPE, mode=0o755)


def symlink(name: str, target: str):
    return member(name, type=tarfile.SYMTYPE, link=target, mode=0o777)


def hard_link(name: str, target: str):
    return member(name, type=tarfile.LNKTYPE, link=target)


def tar_of(*members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def wheel_of(path: Path, *rows: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, mode in rows:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


class Layout:
    """An OCI image layout that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.index([])

    def blob(self, data: bytes, media: str = "application/octet-stream", **more) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}

    def image(self, *layers: bytes, **more) -> dict:
        manifest = {"schemaVersion": 2, "layers": [self.blob(layer) for layer in layers]}
        return self.blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json", **more)

    def index(self, manifests: list[dict]) -> None:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))

    def of(self, *layers: bytes) -> Path:
        self.index([self.image(*layers)])
        return self.path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def unpacked(source, work: Path, **options) -> dict[str, object]:
    """path -> bytes, target of a link, or None for a directory; and that nothing is left and nothing is outside."""
    before = listing(work.parent)
    found: dict[str, object] = {}
    with open_tree(source, work, **options) as root:
        for e in scan(root).entries:
            path = root / e.path
            found[e.path] = path.readlink().as_posix() if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                found[e.path] = path.read_bytes()
    left = [path for path in listing(work.parent) if path not in before]
    assert left in ([], [work.name])
    return found


def refused(kind: type[Exception], source, work: Path, **options) -> str:
    outside = listing(work.parent)
    with pytest.raises(kind) as caught, ExitStack() as stack:
        stack.enter_context(open_tree(source, work, **options))
    assert [p for p in listing(work.parent) if p not in outside] in ([], [work.name])
    return str(caught.value)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tar_is_the_tree_it_was_made_from(tmp_path: Path, compression: str) -> None:
    tree = write_tree(tmp_path / "tree", NEW)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(tree, ".")
    path = tmp_path / "file"
    path.write_bytes(COMPRESSIONS[compression](packed.getvalue()))
    with open_tree(path, tmp_path / "work") as root:
        assert scan(root).root == scan(tree).root


def test_a_directory_is_itself(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", NEW)
    with open_tree(tree, tmp_path / "work") as root:
        assert root == tree
    assert not (tmp_path / "work").exists()


def test_a_folder_of_a_directory_or_a_tar(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a/b/file": b"1", "c": b"2"})
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of(member("a/b/file", b"1"), member("c", b"2")))
    for source in (tree, path):
        assert unpacked(source, tmp_path / "work", subpath="a/b") == {"file": b"1"}


def test_hard_links_are_copies_of_what_they_named_then(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(
        tar_of(member("x/a", b"first", mode=0o755), hard_link("b", "./x/a"), member("x/a", b"second"))
    )
    with open_tree(path, tmp_path / "work") as root:
        assert (root / "b").read_bytes() == b"first"
        assert (root / "x/a").read_bytes() == b"second"
        assert (root / "b").stat().st_nlink == 1
        assert stat.S_IMODE((root / "b").stat().st_mode) == 0o755


def test_one_content_under_two_names_is_not_one_file(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of(member("a", b"same"), hard_link("b", "a"), hard_link("c", "b")))
    with open_tree(path, tmp_path / "work") as root:
        assert {(root / name).stat().st_ino for name in "abc"} != {(root / "a").stat().st_ino}
        assert [(root / name).read_bytes() for name in "abc"] == [b"same"] * 3


HOSTILE = {
    "absolute": [member("/etc/x", b"x")],
    "climbs": [member("../x", b"x")],
    "climbs inside": [member("a/../../x", b"x")],
    "dots inside": [member("a/./x", b"x")],
    "control character": [member("a\nb", b"x")],
    "long name": [member("n" * 256, b"x")],
    "no UTF-8": [member(b"\xff".decode(errors="surrogateescape"), b"x")],
    "absolute link": [symlink("a", "/etc")],
    "link that climbs": [symlink("a", "../..")],
    "link that climbs out of a link": [symlink("a", "b/..")],
    "write through a link": [symlink("a", "."), member("a/x", b"x")],
    "write through a file": [member("a", b""), member("a/x", b"x")],
    "write below what became a link": [folder("a"), member("a/x", b"x"), symlink("a", ".")],
    "hard link to nothing": [hard_link("a", "b")],
    "hard link to outside": [hard_link("a", "../b")],
    "hard link to /": [hard_link("a", "/etc/passwd")],
    "hard link to a later member": [hard_link("a", "b"), member("b", b"x")],
    "hard link to a folder": [folder("b"), hard_link("a", "b")],
    "device": [member("a", type=tarfile.CHRTYPE)],
    "block device": [member("a", type=tarfile.BLKTYPE)],
    "pipe": [member("a", type=tarfile.FIFOTYPE)],
    "unknown type": [member("a", type=b"Z")],
    "setuid": [member("a", b"x", mode=0o4755)],
    "setgid": [member("a", b"x", mode=0o2755)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_tree_may_hold_is_refused_before_anything_is_written(tmp_path: Path, case: str) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of(member("fine", b"x"), *HOSTILE[case]))
    assert "remove it from the tree" in refused(UnsafePath, path, tmp_path / "work")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_tar_is_refused(tmp_path: Path, compression: str) -> None:
    whole = COMPRESSIONS[compression](tar_of(member("a", noise(1, 5000)), member("b", noise(2, 5000))))
    path = tmp_path / "t.tar"
    for share in (0.3, 0.5, 0.9):
        path.write_bytes(
            whole[: int(len(whole) * share)] if compression != "tar" else whole[: int(12_000 * share)]
        )
        refused(Corrupt, path, tmp_path / "work")


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    data = bytearray(tar_of(member("a", b"1"), member("b", b"2"), member("c", b"3")))
    data[1024 + 10] ^= 1
    path = tmp_path / "t.tar"
    path.write_bytes(data)
    assert "damaged" in refused(Corrupt, path, tmp_path / "work")


@pytest.mark.parametrize(
    "limits", [Limits(tree=10), Limits(file=5), Limits(entries=1)], ids=["tree", "file", "entries"]
)
def test_limits(tmp_path: Path, limits: Limits) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of(member("a", b"123456"), member("b", b"123456")))
    refused(TooLarge, path, tmp_path / "work", limits=limits)


def test_a_huge_extended_header_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "t.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(TooLarge, path, tmp_path / "work")


def test_what_is_no_tree_at_all(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 200)
    (tmp_path / "empty").write_bytes(b"")
    wheel_of(tmp_path / "other.zip", ("a", b"x", 0o644))
    for name in ("text", "empty", "other.zip", "missing"):
        assert "expected a" in refused(Refused, tmp_path / name, tmp_path / "work")


def test_a_wheel_is_the_tree_in_it(tmp_path: Path) -> None:
    path = wheel_of(
        tmp_path / "app-1.0-py3-none-any.whl",
        ("app/__init__.py", b"x = 1\n" * 100, stat.S_IFREG | 0o644),
        ("app-1.0.data/scripts/run", b"#!python\n", stat.S_IFREG | 0o755),
        ("app/empty/", b"", stat.S_IFDIR | 0o755),
        ("plain", b"", 0),
    )
    with open_tree(path, tmp_path / "work") as root:
        assert (root / "app-1.0.data/scripts/run").stat().st_mode & 0o777 == 0o755
        assert (root / "app/__init__.py").stat().st_mode & 0o777 == 0o644
    assert unpacked(path, tmp_path / "work") == {
        "app": None,
        "app/__init__.py": b"x = 1\n" * 100,
        "app/empty": None,
        "app-1.0.data": None,
        "app-1.0.data/scripts": None,
        "app-1.0.data/scripts/run": b"#!python\n",
        "plain": b"",
    }


@pytest.mark.parametrize(
    "row",
    [
        ("../x", b"x", 0o644),
        ("/x", b"x", 0o644),
        ("link", b"/etc", stat.S_IFLNK | 0o777),
        ("setuid", b"x", stat.S_IFREG | 0o4755),
        ("fine/x", b"x", 0o644),
    ],
    ids=lambda row: row[0],
)
def test_hostile_wheels(tmp_path: Path, row: tuple[str, bytes, int]) -> None:
    path = wheel_of(tmp_path / "a.whl", ("fine", b"x", 0o644), row)
    refused(UnsafePath, path, tmp_path / "work")


def test_a_wheel_that_holds_more_than_it_says(tmp_path: Path) -> None:
    path = wheel_of(tmp_path / "a.whl", ("bomb", bytes(1 << 20), 0o644))
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    refused(Corrupt, path, tmp_path / "work")


def test_the_layers_of_an_image_are_laid_over_each_other(tmp_path: Path, layout: Layout) -> None:
    lower = tar_of(
        folder("app"),
        member("app/kept", b"1"),
        member("app/gone", b"2"),
        member("app/dir/a", b"3"),
        member("app/cleared/old", b"4"),
        member("app/becomes-file/x", b"5"),
        symlink("app/link", "kept"),
        member("dev", type=tarfile.CHRTYPE),
    )
    upper = tar_of(
        member("app/.wh.gone"),
        member("app/.wh.dir"),
        member("app/cleared/new", b"6"),
        member("app/cleared/.wh..wh..opq"),
        member("app/becomes-file", b"7"),
        hard_link("app/same", "app/kept"),
        member("app/.wh..wh.plnk/x", b""),
        member(".wh.dev"),
    )
    path = layout.of(gzip.compress(lower), zstd.compress(upper))
    expected = {
        "becomes-file": b"7",
        "cleared": None,
        "cleared/new": b"6",
        "kept": b"1",
        "link": "kept",
        "same": b"1",
    }
    assert unpacked(path, tmp_path / "work", subpath="app") == expected
    assert unpacked(f"oci:{path}:/app/", tmp_path / "work") == expected
    packed = tmp_path / "image.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(path, ".")
    assert unpacked(packed, tmp_path / "work", subpath="app") == expected
    assert unpacked(f"oci:{packed}:app", tmp_path / "work") == expected
    assert set(unpacked(path, tmp_path / "work")) == {"app", *(f"app/{name}" for name in expected)}


def test_a_layer_that_writes_through_a_link_of_a_lower_one(tmp_path: Path, layout: Layout) -> None:
    path = layout.of(tar_of(folder("usr/lib"), symlink("lib", "usr/lib")), tar_of(member("lib/x", b"1")))
    assert "'lib/x'" in refused(UnsafePath, path, tmp_path / "work", subpath="usr")


def test_a_whole_image_says_what_stands_in_the_way(tmp_path: Path, layout: Layout) -> None:
    path = layout.of(
        tar_of(
            member("bin/su", b"x", mode=0o4755), symlink("etc/mtab", "/proc/mounts"), member("opt/a", b"1")
        )
    )
    message = refused(UnsafePath, path, tmp_path / "work")
    assert "'bin/su'" in message
    assert "--subpath" in message
    assert unpacked(path, tmp_path / "work", subpath="opt") == {"a": b"1"}


@pytest.mark.parametrize(
    ("subpath", "found"), [("no", "nothing"), ("opt/a", "no folder"), ("l", "a link to opt")]
)
def test_a_folder_that_is_none(tmp_path: Path, layout: Layout, subpath: str, found: str) -> None:
    path = layout.of(tar_of(member("opt/a", b"1"), symlink("l", "opt")))
    assert found in refused(Refused, path, tmp_path / "work", subpath=subpath)


def test_blobs_are_checked(tmp_path: Path, layout: Layout) -> None:
    path = layout.of(tar_of(member("a", b"1")))
    for blob in (path / "blobs/sha256").iterdir():
        data = blob.read_bytes()
        blob.write_bytes(data + b"\0")
        assert "sha256:" in refused(Corrupt, path, tmp_path / "work")
        blob.unlink()
        assert "nothing" in refused(Corrupt, path, tmp_path / "work")
        blob.write_bytes(data)
    assert unpacked(path, tmp_path / "work") == {"a": b"1"}


def test_a_digest_is_no_path(tmp_path: Path, layout: Layout) -> None:
    layout.index([{"mediaType": "x", "digest": "sha256:../../../oci-layout", "size": 1}])
    refused(Corrupt, layout.path, tmp_path / "work")


def test_the_image_of_this_machine_is_taken(tmp_path: Path, layout: Layout) -> None:
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    nested = {
        "manifests": [
            layout.image(tar_of(member("a", b"mine")), platform={"os": "linux", "architecture": here}),
            layout.image(tar_of(member("a", b"other")), platform={"os": "linux", "architecture": "pdp11"}),
            layout.image(
                tar_of(member("a", b"proof")), platform={"os": "unknown", "architecture": "unknown"}
            ),
        ]
    }
    layout.index([layout.blob(json.dumps(nested).encode(), "application/vnd.oci.image.index.v1+json")])
    assert unpacked(layout.path, tmp_path / "work") == {"a": b"mine"}


def test_none_of_several_images_is_guessed(tmp_path: Path, layout: Layout) -> None:
    name = "org.opencontainers.image.ref.name"
    layout.index(
        [
            layout.image(tar_of(member("a", b"1")), annotations={name: "one"}),
            layout.image(tar_of(member("a", b"2")), annotations={name: "two"}),
        ]
    )
    message = refused(Refused, layout.path, tmp_path / "work")
    assert "one, two" in message
    layout.index([])
    assert "found none" in refused(Refused, layout.path, tmp_path / "work")


def test_a_directory_called_an_image(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    assert "oci-layout" in refused(Refused, f"oci:{tree}", tmp_path / "work")


@pytest.mark.parametrize(
    "manifests",
    [
        ["text"],
        [{}],
        [{"digest": "sha256:" + "0" * 64}],
        [{"digest": "sha256:" + "0" * 64, "size": "many"}],
        [{"platform": []}],
        7,
    ],
    ids=str,
)
def test_documents_of_another_shape(tmp_path: Path, layout: Layout, manifests) -> None:
    layout.index(manifests)
    refused(Corrupt, layout.path, tmp_path / "work")
