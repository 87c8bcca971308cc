"""Fuzzes unpacking as a whole, on a file system in memory: whatever is claimed, nothing is left and nothing is written
elsewhere. The promised root is one that no tree has, so every package is refused in the end."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from harness import ArtifactError, main
from packages import BASE, FILES, read_from, stored

from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.package import CHECK, open_manifest, parse
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import Tree, scan

LIMITS = Limits(entries=200, tree=1 << 20)
HOME = Path(tempfile.mkdtemp(dir="/dev/shm"))
NODE, PACKAGE, BASE_DIR = HOME / "node", HOME / "package", HOME / "base"


def prepare() -> None:
    NODE.mkdir()
    for path, content in FILES.items():
        (BASE_DIR / path).parent.mkdir(exist_ok=True, parents=True)
        (BASE_DIR / path).write_bytes(content)
    (BASE_DIR / "d/b").chmod(0o755)
    (BASE_DIR / "l").symlink_to("d/b")
    assert scan(BASE_DIR).root == BASE.root


def one(data: bytes) -> None:
    if not data:
        return
    delta = bool(data[0] & 1)
    package = bytearray(stored(data[1:], delta=delta))
    read = read_from(bytes(package))
    parsed = parse(read, len(package), LIMITS, "package")
    checks_at = parsed.blobs_at
    parsed, manifest = open_manifest(parsed, BASE if delta else Tree(()), read, LIMITS)
    # The checks of files that are not compressed are made right, so that these are written.
    at = parsed.blobs_at
    for block in manifest.blocks:
        place = at
        for member in block.members:
            if block.codec == "raw":
                found = hashlib.sha256(package[place : place + member.size]).digest()
                package[checks_at : checks_at + CHECK] = found[:CHECK]
                place += member.size
            checks_at += CHECK
        at += block.blob
    PACKAGE.write_bytes(package)
    before = os.listdir(HOME), os.listdir("/dev/shm")
    try:
        rebuild(PACKAGE, NODE / "out", base_dir=BASE_DIR, limits=LIMITS, share=bool(data[0] & 2))
    except ArtifactError:
        pass
    else:
        raise AssertionError("a root of zeros was accepted")
    finally:
        assert os.listdir(NODE) == []
        assert (os.listdir(HOME), os.listdir("/dev/shm")) == before


if __name__ == "__main__":
    prepare()
    try:
        main("rebuild", one)
    finally:
        shutil.rmtree(HOME)
