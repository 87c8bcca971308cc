"""The configuration files of one component on a node, beside its trees.

    components/NAME/configs/HEX   the files of one version, named by their digest; never changed after they came here
                    config -> configs/HEX   what {config.shared} names: a link for instances of several versions

While instances that read different files live, the link names files with the names of both. Files are small and come
with the command, so a damaged one is written again from the record that is in the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.model.config import config_digest
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.executor.durable import exchange, place_link, sync_directory
from bumpless.executor.layout import remove

OWN, SHARED = "{config}", "{config.shared}"


class Configs:
    """`home` is the directory of the component. Nothing is made there for one without configuration files."""

    def __init__(self, home: Path) -> None:
        self._home, self._all, self._link = home, home / "configs", home / "config"

    def words(self, run: Run) -> Mapping[str, str]:
        """What stands for the placeholders in `run`."""
        if not run.config:
            return {}
        return {OWN: str(self._place(_own(run)).resolve()), SHARED: str(self._home.resolve() / "config")}

    def put(self, run: Run) -> None:
        """See that the files of `run` are here, whole and flushed. Raises: OSError."""
        if run.config:
            self._put(_own(run))

    def share(self, targets: Iterable[Target]) -> None:
        """Let the link name files that an instance of every one of `targets` can read. Raises: OSError."""
        files = shared_by(targets)
        if files is None:
            return
        place = self._put(files)
        wanted = f"configs/{place.name}"
        if not self._link.is_symlink() or os.readlink(self._link) != wanted:
            place_link(self._link, wanted)
            sync_directory(self._home)

    def collect(self, targets: Iterable[Target]) -> None:
        """Remove the files that none of `targets` and not the link names."""
        if not self._all.is_dir():
            return
        kept = {_name(_own(target.run)) for target in targets if target.run.config}
        if self._link.is_symlink():
            kept.add(os.path.basename(os.readlink(self._link)))
        for path in self._all.iterdir():
            if path.name not in kept:
                remove(path)

    def _put(self, files: Mapping[str, str]) -> Path:
        place = self._place(files)
        if _holds(place, files):
            # A disk that takes nothing more must not keep a service down whose files are here.
            with suppress(OSError):
                sync_directory(self._all)
        else:
            self._all.mkdir(exist_ok=True, mode=0o700)
            part = self._all / f".{place.name}.part"
            remove(part)
            _write(part, files)
            if place.exists():
                # Somebody changed it, and an instance may be reading it: its name never goes away.
                if not exchange(part, place):
                    remove(place)
                    os.rename(part, place)
                remove(part)
            else:
                os.rename(part, place)
            sync_directory(self._all)
            sync_directory(self._home)
        return place

    def _place(self, files: Mapping[str, str]) -> Path:
        return self._all / _name(files)


def shared_by(targets: Iterable[Target]) -> Mapping[str, str] | None:
    """The files for instances of all `targets` at once; None: none of them has any.

    Where they read different files, the newest version has a rendering with the older names as well.
    """
    found = [target for target in targets if target.run.config]
    if not found:
        return None
    newest = max(found, key=lambda t: (_order(t.version), any(f.both is not None for f in t.run.config)))
    if all(_own(target.run) == _own(newest.run) for target in found):
        return _own(newest.run)
    return {file.path: file.content if file.both is None else file.both for file in newest.run.config}


def _order(text: str) -> tuple[bool, Version]:
    try:
        return True, Version.parse(text)
    except InvalidVersion:
        return False, Version.parse("0")


def _own(run: Run) -> dict[str, str]:
    return {file.path: file.content for file in run.config}


def _name(files: Mapping[str, str]) -> str:
    digest: Digest = config_digest(files.items())
    return digest.removeprefix("sha256:")


def _holds(place: Path, files: Mapping[str, str]) -> bool:
    """Whether exactly these files are there, with these bytes."""
    try:
        there = {str(p.relative_to(place)) for p in place.rglob("*") if not p.is_dir() or p.is_symlink()}
        return there == set(files) and all(
            not (place / path).is_symlink() and (place / path).read_bytes() == content.encode()
            for path, content in files.items()
        )
    except OSError:
        return False


def _write(root: Path, files: Mapping[str, str]) -> None:
    root.mkdir(mode=0o755)
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with open(file, "wb") as out:
            out.write(content.encode())
            out.flush()
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
    for directory in (root, *(p for p in root.rglob("*") if p.is_dir())):
        sync_directory(directory)
