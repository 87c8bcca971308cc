"""Makes a tree from a package by hand. It starts fast and small: the patcher's interpreter starts before this one has
imported what it needs itself, and nothing is imported that only others need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from bumpless.common.artifacts.names import announced
from bumpless.common.artifacts.sandbox.processes import Processes
from bumpless.common.errors import Refused

if TYPE_CHECKING:
    from bumpless.common.artifacts.decoder import Decoder

NO_BASE = "-"
_HEX = frozenset("0123456789abcdef")


class Wanted(NamedTuple):
    """`old` is a tree in any form that `open_tree` takes, or NO_BASE for a full package; `package` and `out` are paths."""

    old: str
    package: str
    out: str
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
    return Wanted(old, package, out, root, sandbox, share)


def apply(wanted: Wanted) -> str:
    """Make the tree, and return its root. The old tree is only read, and shares no file with the new one unless that is wanted.

    Raises:
        Refused: an argument is wrong, or the sandbox does not start.
        ArtifactError: see `rebuild`.
    """
    check_root(wanted.root)
    if os.path.lexists(wanted.out):
        raise Refused("a directory to make", f"something at {wanted.out}", "remove it, or name another")
    if not os.path.isfile(wanted.package):
        raise Refused("a package", f"nothing at {wanted.package}")
    with _decoder(wanted.package, wanted.sandbox) as decoder:
        from pathlib import Path

        from bumpless.common.artifacts.beneath import fsync_directory
        from bumpless.common.artifacts.inputs.source import open_tree
        from bumpless.common.artifacts.rebuild import rebuild

        out = Path(wanted.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with nullcontext(None) if wanted.old == NO_BASE else open_tree(wanted.old, out.parent) as base_dir:
            root = rebuild(
                Path(wanted.package),
                out,
                expected_root=wanted.root,
                base_dir=base_dir,
                decoder=decoder,
                share=wanted.share,
            )
        fsync_directory(out.parent)
        return root


def told(wanted: Wanted, root: str) -> str:
    return f"{wanted.out}: {root}\n"


def check_root(root: str | None) -> None:
    hex_digits = (root or "").removeprefix("sha256:")
    if root is not None and (root == hex_digits or len(hex_digits) != 64 or set(hex_digits) - _HEX):
        raise Refused("--root sha256: and 64 hex digits", root, "`artifact inspect` shows it")


@contextmanager
def _decoder(package: str, sandbox: bool) -> Iterator[Decoder | None]:
    """None: this process."""
    if not sandbox:
        yield None
        return
    try:
        started = Processes(announced(package))
    except OSError as error:
        raise _no_patcher("a patcher process", str(error)) from error
    try:
        # The interpreter of the patcher starts while these are imported.
        from bumpless.common.artifacts.package import codecs_of
        from bumpless.common.artifacts.sandbox.decoder import SandboxedDecoder, SandboxUnavailable

        codecs_of(package)
        try:
            with SandboxedDecoder(started) as decoder:
                yield decoder
        except SandboxUnavailable as error:
            raise _no_patcher(error.expected, error.found) from error
    finally:
        started.end()


def _no_patcher(expected: str, found: str) -> Refused:
    return Refused(expected, found, "--no-sandbox decodes in this process, for packages that you trust")
