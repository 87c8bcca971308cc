"""Tools of level TREE: ours, OSTree and casync."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed
from pathlib import Path

from .fetch import Side
from .measure import Figures, run
from .tool import Level, answer, fresh, same_tree

BUMPLESS = Path(sys.executable).with_name("bumpless")


@dataclass(frozen=True)
class Bumpless:
    """Makes and applies one delta package through the command line, start of the interpreter included. Unchanged files
    are shared with the old tree, as on nodes, and as OSTree does."""

    name: str
    options: tuple[str, ...] = ()
    level = Level.TREE

    @property
    def settings(self) -> str:
        return " ".join(self.options)

    @property
    def version(self) -> str | None:
        return installed("bumpless-common")

    def make(self, old: Side, new: Side, work: Path) -> Figures:
        patch = ("--out", work / "patch")
        return run(_artifact("diff", old.tree, new.tree, *patch, *self.options), with_workers=True)

    def size(self, work: Path) -> int:
        return (work / "patch").stat().st_size

    def apply(self, old: Side, new: Side, work: Path) -> Figures:
        base = work / "base"  # What is shared becomes read-only, and a mode is part of what others compare.
        if not base.exists():
            shutil.copytree(old.tree, base, symlinks=True)
        figures = run(_artifact("apply", "--share", base, work / "patch", work / "out"))
        same_tree(self.name, work / "out", new)
        return figures


class Ostree:
    """A static delta between two commits, forced to use bsdiff for files of any size.

    The repository with the old commit is there before; committing the new version is not counted either. Applying
    ends with the objects in the repository; checking the tree out is not counted, but checked.
    """

    name = "OSTree"
    level = Level.TREE
    _generate = ("--min-fallback-size=0", "--max-bsdiff-size=1024", "--max-chunk-size=1024", "--inline")
    _commit = ("--canonical-permissions", "--no-xattrs", "--owner-uid=0", "--owner-gid=0", "--timestamp=@0")
    settings = " ".join(_generate)

    @cached_property
    def version(self) -> str | None:
        return answer(("ostree", "--version"))

    def make(self, old: Side, new: Side, work: Path) -> Figures:
        repo = fresh(work / "repo")
        run(("ostree", "init", f"--repo={repo}", "--mode=bare-user-only"))
        for branch, side in (("old", old), ("new", new)):
            named = ("-b", branch, "-s", branch, f"--tree=dir={side.tree}")
            run(("ostree", "commit", f"--repo={repo}", *named, *self._commit))
        ends = ("--from=old", "--to=new", f"--filename={work / 'patch'}")
        return run(("ostree", "static-delta", "generate", f"--repo={repo}", *ends, *self._generate))

    def size(self, work: Path) -> int:
        return (work / "patch").stat().st_size

    def apply(self, old: Side, new: Side, work: Path) -> Figures:
        repo, target = work / "repo", fresh(work / "target")
        run(("ostree", "init", f"--repo={target}", "--mode=bare-user-only"))
        run(("ostree", "pull-local", f"--repo={target}", repo, "old"))
        figures = run(("ostree", "static-delta", "apply-offline", f"--repo={target}", work / "patch"))
        commit = (repo / "refs" / "heads" / "new").read_text().strip()
        run(("ostree", "checkout", f"--repo={target}", "-U", "-H", commit, work / "out"))
        same_tree(self.name, work / "out", new)
        shutil.rmtree(target)
        return figures


class Casync:
    """Chunks of the new version that the old one does not have, and the index. The old tree is the seed."""

    name = "casync"
    level = Level.TREE
    _flags = ("--with=unix", "--without=user-names", "--chunk-size=65536")
    settings = " ".join(_flags)

    @cached_property
    def version(self) -> str | None:
        return answer(("casync", "--version"))

    def make(self, old: Side, new: Side, work: Path) -> Figures:
        store = fresh(work / "store")
        store.mkdir()
        self._index(old, store, work / "old.caidx")
        before = set(store.rglob("*.cacnk"))
        figures = self._index(new, store, work / "new.caidx")
        for chunk in before:
            chunk.unlink()
        return figures

    def size(self, work: Path) -> int:
        files = (work / "new.caidx", *(work / "store").rglob("*.cacnk"))
        return sum(f.stat().st_size for f in files)

    def apply(self, old: Side, new: Side, work: Path) -> Figures:
        (work / "out").mkdir()
        sources = (f"--store={work / 'store'}", f"--seed={old.tree}")
        figures = run(("casync", "extract", *self._flags, *sources, work / "new.caidx", work / "out"))
        same_tree(self.name, work / "out", new)
        return figures

    def _index(self, side: Side, store: Path, index: Path) -> Figures:
        return run(("casync", "make", *self._flags, f"--store={store}", index, side.tree))


def _artifact(operation: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    return (BUMPLESS, "artifact", operation, *arguments)
