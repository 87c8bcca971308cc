"""What is in an artifact and in a package, for people and for programs: file by file, and by codec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bumpless.cli.output import table
from bumpless.common.artifacts.delta import FileInfo, PackageInfo
from bumpless.common.artifacts.manifest import Artifact

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LARGEST = 15
COLUMNS = ["Path", "Codec", "From", "Size", "Stored", "Share"]


def described(artifact: Artifact) -> str:
    """One line about an artifact."""
    return (
        f"{artifact.name} {artifact.version}: {artifact.files} files, {artifact.tree_size} bytes,"
        f" root {artifact.root}"
    )


def package_table(artifact: Artifact) -> Table:
    """An artifact's packages; the share is of the full one."""
    full = artifact.full
    rows = [["full", "", full.size, "100 %", full.digest]]
    rows += [["delta", d.from_version, d.size, _share(d.size, full.size), d.digest] for d in artifact.deltas]
    return table(["Package", "From", "Bytes", "Share", "Digest"], rows)


def as_json(info: PackageInfo) -> dict[str, Any]:
    """Every file; sizes in bytes."""
    return {**asdict(info), "codecs": _totals(info.files)}


def renderable(title: str, info: PackageInfo, *, everything: bool) -> RenderableType:
    """The largest of what the package stores, or every path, and what each codec stores."""
    from rich.console import Group

    files = sorted(info.files, key=lambda f: (-(f.stored or 0), f.path))
    shown = files if everything else [f for f in files if f.stored][:LARGEST]
    rows = [[f.path, f.codec or f.op, f.base, f.size, f.stored, _share(f.stored, info.size)] for f in shown]
    parts: list[RenderableType] = [f"\n{title}: {info.size} bytes, {info.kept} entries kept"]
    if rows:
        parts.append(table(COLUMNS, rows))
    if len(shown) < len(files):
        parts.append(f"and {len(files) - len(shown)} more (--verbose shows all)")
    totals: list[list[Any]] = [
        [t["codec"], t["files"], t["size"], t["stored"], _share(t["stored"], info.size)]
        for t in _totals(info.files)
    ]
    totals.append(["(names and checks)", "", "", info.overhead, _share(info.overhead, info.size)])
    parts += ["", table(["Codec", "Files", "Size", "Stored", "Share"], totals)]
    return Group(*parts)


def _totals(files: Iterable[FileInfo]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for f in files:
        name = f.codec or f.op
        total = found.setdefault(name, {"codec": name, "files": 0, "size": 0, "stored": 0})
        total["files"] += 1
        total["size"] += f.size or 0
        total["stored"] += f.stored or 0
    return sorted(found.values(), key=lambda total: (-total["stored"], total["codec"]))


def _share(part: int | None, whole: int) -> str:
    return "" if part is None else f"{100 * part / max(1, whole):.1f} %"
