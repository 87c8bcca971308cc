"""The key of an identity: an Ed25519 seed in a file of mode 0600, known to the broker by its public part."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bumpless.common.errors import Refused


def make_seed(file: Path) -> str:
    """A new seed in a new file; returns the public key.

    Raises:
        Refused: the file is there already; keys are never overwritten.
    """
    import nkeys

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused("no key yet", str(file), "keep it, or move it away first") from error
    with open(descriptor, "wb") as opened:
        opened.write(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n")
    return public_key(file)


def public_key(file: Path) -> str:
    """The public part of the seed in `file`.

    Raises:
        Refused: no file, no seed of a user in it, or others may read it.
    """
    return _read(file)[1]


def secret_of(file: Path) -> bytes:
    """The seed in `file`, as text. Raises: Refused: as `public_key`."""
    return _read(file)[0]


def _read(file: Path) -> tuple[bytes, str]:
    """The seed and its public part."""
    import nkeys

    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        seed = file.read_bytes().strip()
    except OSError as error:
        raise Refused(
            f"a key for the broker in {file}", str(error), "make one with `bumpless node enroll`"
        ) from error
    if mode & 0o077:
        raise Refused(f"{file} readable by its owner alone", f"mode {mode:04o}", f"chmod 600 {file}")
    try:
        if not seed.startswith(b"SU"):
            raise ValueError("no seed of a user")
        return seed, str(nkeys.from_seed(bytearray(seed)).public_key.decode())
    except (ValueError, nkeys.NkeysError) as error:
        raise Refused(f"the seed of an nkey (SU…) in {file}", "other text", "make a new one") from error
