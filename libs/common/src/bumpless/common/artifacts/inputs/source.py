"""Opens what a person names as a tree: a directory as it is, everything else unpacked for a while.

The formats are imported when one is met: a directory needs none of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bumpless.common.artifacts.errors import UnsafePath
from bumpless.common.artifacts.limits import Limits
from bumpless.common.errors import Refused

if TYPE_CHECKING:
    from .contents import Contents

PREFIX = "oci:"
_LAYOUT, _INDEX = "oci-layout", "index.json"
_ZIP = b"PK\x03\x04"


@contextmanager
def open_tree(
    source: str | Path, work: Path, *, subpath: str | None = None, limits: Limits | None = None
) -> Iterator[Path]:
    """A directory with the tree that `source` names. Unless it is a directory already, it is made in `work` and removed
    at the end.

    `source` is a directory; a tar, plain or compressed with gzip, xz, zstd or bzip2; a wheel; or an OCI image layout, as
    a directory or a tar. "oci:PATH" and "oci:PATH:SUBPATH" say that it is a layout; `subpath` and SUBPATH choose a
    folder in any of them.

    Raises:
        Refused: there is nothing, or nothing of these; or no folder `subpath` in it.
        UnsafePath, TooLarge: it holds what no tree may hold, or too much.
        Corrupt: it is damaged.
    """
    path, inner, image = _parse(str(source), subpath)
    if path.is_dir() and not image and not _is_layout(path):
        yield _folder(path, inner)
        return
    work.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(dir=work, prefix=".unpacked-"))
    try:
        yield _unpack(path, inner, image, out, limits)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _parse(source: str, subpath: str | None) -> tuple[Path, str, bool]:
    image = source.startswith(PREFIX)
    rest = source.removeprefix(PREFIX)
    if image and not os.path.exists(rest):
        rest, _, inside = rest.rpartition(":")
        if inside and subpath is not None:
            raise Refused("a folder of the image once", f"{inside} and {subpath}")
        subpath = subpath or inside
    path = Path(rest)
    if not rest or not path.exists():
        raise Refused(
            "a directory, a tar, a wheel or an OCI image layout", f"nothing at {source.removeprefix(PREFIX)}"
        )
    return path, (subpath or "").strip("/"), image


def _folder(path: Path, inner: str) -> Path:
    found = path / inner
    if not found.is_dir():
        raise Refused(f"a folder {inner} in {path}", "nothing" if not found.exists() else "a file")
    return found


def _unpack(path: Path, inner: str, image: bool, out: Path, limits: Limits | None) -> Path:
    from .contents import Contents
    from .oci import layers
    from .tar import TarContainer

    contents = Contents(limits)
    if path.is_dir():
        layout = path
    elif _is_zip(path):
        from .wheel import WheelContainer

        if path.suffix != ".whl":
            raise Refused("a wheel", f"another zip at {path}", "unpack it and name the directory")
        contents.add(WheelContainer(path))
        return _write(contents, out, inner, str(path))
    else:
        contents.add(TarContainer(path))
        if not image and not contents.holds(_LAYOUT, _INDEX):
            return _write(contents, out, inner, str(path))
        layout = out / "layout"
        layout.mkdir()
        contents.write(layout)
    if not _is_layout(layout):
        raise Refused(
            f"an OCI image layout at {path}",
            f"no {_LAYOUT} and {_INDEX}",
            "make one with `skopeo copy`",
        )
    image_contents = Contents(limits)
    for layer in layers(layout):
        image_contents.add(TarContainer(layer), whiteouts=True)
    try:
        return _write(image_contents, out, inner, f"the image at {path}")
    except UnsafePath as error:
        # Whole images hold what a tree may not: absolute links, set-user-id programs, devices.
        raise UnsafePath(
            error.path, f"{error.reason}; name the folder of the image that is meant with --subpath"
        ) from None


def _write(contents: Contents, out: Path, inner: str, where: str) -> Path:
    tree = out / "tree"
    tree.mkdir()
    try:
        contents.write(tree, inner)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Refused(f"a folder {inner} in {where}", str(error)) from None
    return tree


def _is_layout(path: Path) -> bool:
    return (path / _LAYOUT).is_file() and (path / _INDEX).is_file()


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP
