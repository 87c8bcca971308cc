"""Makes pairs on the disk: fetched once through the package clients, checked, unpacked, and packed as tars.

Invariants: a download is used only if it has the expected SHA-256; trees and tars are canonical (modes 0755 and 0644,
time 0, and in tars also sorted, owner 0), so no tool pays or gains by what differs between two machines.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .pairs import Client, Pair, Version

CLIENT_LIMIT_S = 900


class Unavailable(Exception):
    """A version cannot be had here, or not any more; the message says why."""


@dataclass(frozen=True)
class Side:
    """One version on the disk. `tree` is its directory, `tar` the same as one file."""

    tree: Path
    tar: Path

    @cached_property
    def tar_digest(self) -> str:
        return sha256(self.tar)

    @cached_property
    def listing(self) -> str:
        return listing(self.tree)

    @cached_property
    def entries(self) -> int:
        return sum(1 for _ in self.tree.rglob("*"))

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(p.lstat().st_size for p in self.tree.rglob("*") if p.is_file() and not p.is_symlink())


def prepare(pair: Pair, root: Path) -> tuple[Side, Side]:
    """Old and new version of `pair` below `root`, made on first use.

    Raises:
        Unavailable: a version could not be fetched or is not the one that is expected.
    """
    return _prepare(pair, pair.old, root / pair.name / "old"), _prepare(
        pair, pair.new, root / pair.name / "new"
    )


def _prepare(pair: Pair, version: Version, folder: Path) -> Side:
    side = Side(folder / "tree", folder / "tree.tar")
    if side.tar.exists():
        return side
    download = _fetch(pair, version, folder / "download")
    shutil.rmtree(side.tree, ignore_errors=True)
    side.tree.mkdir(parents=True)
    _UNPACK[pair.client](download, side.tree)
    _canonical(side.tree)
    part = side.tar.with_suffix(".part")
    _pack(side.tree, part)
    part.rename(side.tar)
    return side


def _fetch(pair: Pair, version: Version, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        argv, program = _command(pair, version, folder)
        if shutil.which(program) is None:
            raise Unavailable(f"{pair.package} {version.number}: expected {program} on PATH, found none")
        try:
            done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=CLIENT_LIMIT_S)
        except subprocess.TimeoutExpired:
            shutil.rmtree(folder)
            raise Unavailable(
                f"{pair.package} {version.number}: {program} took over {CLIENT_LIMIT_S} s"
            ) from None
        if done.returncode != 0:
            shutil.rmtree(folder)
            raise Unavailable(
                f"{pair.package} {version.number}: {program} said: {done.stderr.strip()[-300:]}"
            )
    files = list(folder.iterdir())
    if len(files) != 1 or (found := sha256(files[0])) != version.sha256:
        shutil.rmtree(folder)
        found = found if len(files) == 1 else f"{len(files)} files"
        raise Unavailable(f"{pair.package} {version.number}: expected sha256 {version.sha256}, found {found}")
    return files[0]


def _command(pair: Pair, version: Version, folder: Path) -> tuple[list[str], str]:
    match pair.client:
        case Client.PIP:
            # With a hash pip takes the one file that has it, whatever this machine would prefer.
            wanted = folder.with_name("requirements.txt")
            wanted.write_text(f"{pair.package}=={version.number} --hash=sha256:{version.sha256}\n")
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
            ]
            return [
                *pip,
                "--disable-pip-version-check",
                "--dest",
                str(folder),
                "-r",
                str(wanted),
            ], sys.executable
        case Client.NPM:
            return ["npm", "pack", f"{pair.package}@{version.number}"], "npm"
        case Client.APT:
            return ["apt-get", "download", f"{pair.package}={version.number}"], "apt-get"


def _unpack_wheel(source: Path, tree: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        for item in archive.infolist():
            path = archive.extract(item, tree)
            if item.external_attr >> 16 & 0o100:
                os.chmod(path, 0o755)


def _unpack_tgz(source: Path, tree: Path) -> None:
    with tarfile.open(source) as archive:
        archive.extractall(tree)


def _unpack_deb(source: Path, tree: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", source, tree], check=True)


_UNPACK: dict[Client, Callable[[Path, Path], None]] = {
    Client.PIP: _unpack_wheel,
    Client.NPM: _unpack_tgz,
    Client.APT: _unpack_deb,
}


def _canonical(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            os.chmod(path, 0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)


def _pack(tree: Path, tar: Path) -> None:
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*"), key=lambda p: p.relative_to(tree).as_posix()):
            info = archive.gettarinfo(path, path.relative_to(tree).as_posix())
            info.mtime = info.uid = info.gid = 0
            info.uname = info.gname = ""
            if info.isreg():
                with open(path, "rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(tree: Path) -> str:
    """SHA-256 over every path, kind, mode and content below `tree`; a tool may have made what it wrote read-only."""
    hasher = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            content, mode = os.readlink(path), 0
        else:
            content, mode = sha256(path) if stat.S_ISREG(info.st_mode) else "", info.st_mode & 0o555
        name = path.relative_to(tree).as_posix()
        hasher.update(f"{name}\0{stat.S_IFMT(info.st_mode):o}\0{mode:o}\0{content}\0".encode())
    return hasher.hexdigest()
