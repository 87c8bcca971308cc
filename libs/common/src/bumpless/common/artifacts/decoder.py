"""Who decodes: this process, or one that is locked down (`sandbox`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from .codecs import CODECS
from .extent import Extent


class Decoder(Protocol):
    """What turns a blob into the bytes of a file.

    Several requests may be open at a time, so that one can be worked on while the caller is busy with the result of
    another. Their results are to be read in the order of the requests, each to its end.
    """

    def decode(self, codec: str, blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        """The `size` bytes that `blob` stands for, in pieces of at most PIECE bytes.

        Both descriptors may be closed when this returns, or when the result is read to its end: that is the
        implementation's choice, so callers keep them until then.

        Raises:
            ArtifactError: while the result is read: the blob is damaged, or is for another base or size.
        """
        ...


class InProcessDecoder:
    """Decodes in this process: for bytes of one's own, such as a builder's check of what it wrote."""

    def decode(self, codec: str, blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        return CODECS[codec].decode(blob, base, size)


DecoderFactory = Callable[[Iterable[str], int], AbstractContextManager[Decoder]]
"""Makes a decoder for the codecs of these names that yields up to so many bytes in all."""


def in_process(codecs: Iterable[str], size: int) -> AbstractContextManager[Decoder]:
    """A `DecoderFactory`: this process, which has no limits."""
    return nullcontext(InProcessDecoder())
