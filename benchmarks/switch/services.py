"""The services that are switched: the samples of the SDKs, one for each language."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from switch.load import GO, ROOT, build_go


@dataclass(frozen=True)
class Service:
    """`prepare(folder)` fills the tree of every version; `needs` is a program and its Debian package."""

    name: str
    needs: tuple[str, str] | None
    command: tuple[str, ...]
    prepare: Callable[[Path], Awaitable[None]]

    @property
    def missing(self) -> str | None:
        if self.needs is None or shutil.which(self.needs[0]):
            return None
        return f"{self.needs[0]} is not installed (Debian: {self.needs[1]})"


async def _go(folder: Path) -> None:
    folder.mkdir(parents=True)
    built = await build_go(ROOT / "sdk" / "go", "./sample", GO / "bench-sample")
    shutil.copy2(built, folder / "sample")


async def _node(folder: Path) -> None:
    shutil.copytree(ROOT / "sdk" / "node", folder, ignore=shutil.ignore_patterns("test"))


def _python(sample: str) -> Callable[[Path], Awaitable[None]]:
    async def copy(folder: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copy2(ROOT / sample, folder / "app.py")

    return copy


SERVICES = (
    Service("go", ("go", "golang-go"), ("./sample",), _go),
    Service("node", ("node", "nodejs"), ("node", "sample/app.js"), _node),
    Service("asyncio", None, ("python3", "app.py"), _python("libs/service/sample/app.py")),
    Service("uvicorn", None, ("python3", "app.py"), _python("sdk/python/sample/app.py")),
)
