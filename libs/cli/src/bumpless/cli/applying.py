"""Makes a tree from a package by hand. It starts fast and small, so it imports nothing that only others need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bumpless.common.artifacts.package import codecs_of
from bumpless.common.artifacts.sandbox.decoder import SandboxedDecoder, SandboxUnavailable
from bumpless.common.errors import Refused

if TYPE_CHECKING:
    from bumpless.common.artifacts.decoder import Decoder

NO_BASE = "-"
ROOT = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Wanted:
    """`old` is a tree in any form that `open_tree` takes, or NO_BASE for a full package."""

    old: str
    package: Path
    out: Path
    root: str | None = None
    sandbox: bool = True
    share: bool = False


def parse_plain(words: Sequence[str]) -> Wanted | None:
    """OLD PACKAGE OUT with `--root`, `--no-sandbox` and `--share` anywhere; nothing for all else, which the full parser takes."""
    places: list[str] = []
    root, sandbox, share = None, True, False
    left = iter(words)
    for word in left:
        if word == "--root":
            root = next(left, None)
            if root is None:
                return None
        elif word == "--no-sandbox":
            sandbox = False
        elif word == "--share":
            share = True
        elif word.startswith("-") and word != NO_BASE:
            return None
        else:
            places.append(word)
    if len(places) != 3 or "" in places:
        return None
    old, package, out = places
    return Wanted(old, Path(package), Path(out), root, sandbox, share)


def apply(wanted: Wanted) -> str:
    """Make the tree, and return its root. The old tree is only read, and shares no file with the new one unless that is wanted.

    Raises:
        Refused: an argument is wrong, or the sandbox does not start.
        ArtifactError: see `rebuild`.
    """
    check_root(wanted.root)
    package, out = wanted.package, wanted.out
    if out.exists() or out.is_symlink():
        raise Refused("a directory to make", f"something at {out}", "remove it, or name another")
    if not package.is_file():
        raise Refused("a package", f"nothing at {package}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _decoder(package, wanted.sandbox) as decoder:
        # The child starts while these are imported.
        from bumpless.common.artifacts.inputs.source import open_tree
        from bumpless.common.artifacts.rebuild import rebuild

        with nullcontext(None) if wanted.old == NO_BASE else open_tree(wanted.old, out.parent) as base_dir:
            return rebuild(
                package,
                out,
                expected_root=wanted.root,
                base_dir=base_dir,
                decoder=decoder,
                share=wanted.share,
            )


def told(wanted: Wanted, root: str) -> str:
    return f"{wanted.out}: {root}\n"


def check_root(root: str | None) -> None:
    if root is not None and ROOT.fullmatch(root) is None:
        raise Refused("--root sha256: and 64 hex digits", root, "`artifact inspect` shows it")


@contextmanager
def _decoder(package: Path, sandbox: bool) -> Iterator[Decoder | None]:
    """None: this process."""
    if not sandbox:
        yield None
        return
    try:
        with SandboxedDecoder(codecs_of(package)) as decoder:
            yield decoder
    except SandboxUnavailable as error:
        raise Refused(
            error.expected, error.found, "--no-sandbox decodes in this process, for packages that you trust"
        ) from error
