"""What the fuzz targets share: bounds on memory and time, and the way an unpacker reads a decoder.

A target is `python tests/fuzz/fuzz_NAME.py [options of libFuzzer]`. Its seeds are in `corpus/NAME`; what it finds more
goes to `build/fuzz/NAME`, and what breaks an invariant to `build/fuzz/NAME-crash-...`.

Invariants: nothing but an `ArtifactError` comes out; no more memory than `MEMORY`, no more processor time
than `SECONDS`; bytes that are not the expected ones never have the expected digest and size.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bumpless"]):
    from bumpless.common.artifacts import rebuild as rebuild
    from bumpless.common.artifacts.codecs import CODECS
    from bumpless.common.artifacts.errors import ArtifactError
    from bumpless.common.artifacts.extent import Extent, Stream

    for _codec in CODECS.values():
        if _codec.prepare:
            _codec.prepare()  # what is imported later is not instrumented

MEMORY = 128 << 20
"""Bytes that an execution may take more than there were in use before it."""

_RENEWED = 200
"""Executions after which the limit is set anew: what atheris itself keeps of comparisons grows with every one."""

SECONDS = 2.0
"""Processor time of one execution."""

HERE = Path(__file__).parent
FOUND = Path(os.environ.get("FUZZ_FOUND", HERE.parents[1] / "build" / "fuzz"))


class Slow(Exception):
    pass


class File:
    """A file in memory that is written again for every execution."""

    def __init__(self, data: bytes = b"") -> None:
        self.fd = os.memfd_create("fuzz")
        self.set(data)

    def set(self, data: bytes) -> Extent:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, data, 0)
        self.extent = Extent(self.fd, 0, len(data), "blob")
        return self.extent


class Decoding:
    """Executes one decoder on a blob as an unpacker does; the first byte of the input chooses the size it claims."""

    def __init__(self, decode: Callable[..., object], base: bytes | None, expected: bytes) -> None:
        self._decode = decode
        self._base = File(base).extent if base is not None else None
        self._expected = expected
        self._digest = hashlib.sha256(expected).digest()
        self._sizes = (len(expected), 0, 1, 8, 100, 5000, 100_000, 1 << 20)
        self._blob = File()

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        size = self._sizes[data[0] % len(self._sizes)]
        blob = self._blob.set(data[1:])
        hasher, count = hashlib.sha256(), 0
        stream = Stream(self._decode(blob, self._base, size), "blob")
        for piece in stream.pieces(size):
            hasher.update(piece)
            count += len(piece)
        stream.end()
        assert count == size
        accepted = count == len(self._expected) and hasher.digest() == self._digest
        assert accepted == (count == len(self._expected) and self._again(blob, size) == self._expected)

    def _again(self, blob: Extent, size: int) -> bytes:
        """A decoder gives the same bytes each time."""
        return b"".join(self._decode(blob, self._base, size))


def decoding(codec: str, base: bytes | None, expected: bytes) -> Decoding:
    return Decoding(CODECS[codec].decode, base, expected)


def main(name: str, one: Callable[[bytes], None]) -> None:
    """Fuzz `one`, which raises what breaks an invariant."""
    executions = 0

    def bounded(data: bytes) -> None:
        nonlocal executions
        if executions % _RENEWED == 0:
            _limit_memory()
        executions += 1
        started = time.process_time()
        with suppress(ArtifactError):
            one(data)
        if time.process_time() - started > SECONDS:
            raise Slow(f"{time.process_time() - started:.1f} s")

    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-artifact_prefix={found}-",
        "-max_len=4096",
        "-rss_limit_mb=0",
        "-timeout=60",
        "-print_final_stats=1",
    ]
    atheris.Setup([*sys.argv[:1], *options, *sys.argv[1:], str(found), str(HERE / "corpus" / name)], bounded)
    atheris.Fuzz()


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
