"""Decodes in child processes that are locked down, and believes nothing that they say.

Invariants: no descriptor of a package or of a base reaches a child before all have said that they are locked down, as
far as `require` asks; then a request comes with one blob and one base at most, as they were opened. What comes back is
counted here, and is at most what was asked for. When a child dies, dawdles, says too much or something else than the
protocol, all are killed, and the answer is `PatcherFailed`.

Whether the bytes are the right ones is for the caller to check: a hostile child can send any.
"""

from __future__ import annotations

import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from .. import lanes
from ..errors import ArtifactError, Corrupt
from ..extent import Extent
from ..limits import MIB, PIECE, Limits
from . import frames
from .confine import Confinement, Measure
from .processes import COMMAND, MEMORY, STALL_S, Processes


@dataclass(frozen=True)
class SandboxLimits:
    """What a child may use.

    `memory` is bytes for each process, with the interpreter and the codecs: 15 MiB, and 13 MiB more where a codec needs
    numpy. `output` is bytes of all results together. `stall_s` is the longest wait for a frame, in seconds.
    `slowest_rate` is bytes a second, on average over a result and over the child's processor time.
    """

    memory: int = MEMORY
    output: int = Limits.tree
    stall_s: float = STALL_S
    slowest_rate: int = MIB

    def seconds(self, size: int) -> float:
        """The longest that `size` bytes may take."""
        return self.stall_s + size / self.slowest_rate


class PatcherFailed(Corrupt):
    """The child did not keep to the protocol: the package made it, or the machine did (out of memory, overload)."""


class SandboxUnavailable(ArtifactError):
    """The child did not start, or this machine cannot confine it as far as is required."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"expected {expected}, found {found}; repair the installation, enable what is missing in this machine's"
            " kernel or service, or require less"
        )


class SandboxedDecoder:
    """A `decoder.Decoder` with one process for each lane. For one thread: they die with the one that made them.

    They start at once and in parallel; what may go wrong with that is raised by the first request. Large results of some
    codecs are made by all of them together, others by each in turn. A result that was not read to its end leaves the
    decoder unusable.
    """

    def __init__(
        self,
        codecs: Iterable[str] | Processes,
        limits: SandboxLimits | None = None,
        *,
        require: Iterable[Measure] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`codecs` are the names that will be asked for; or processes that were started for them before.

        Raises:
            SandboxUnavailable: no process can be started.
        """
        self._limits = limits or SandboxLimits()
        self._require = frozenset(require)
        self._confinement: Confinement | None = None
        self._asked = self._answered = 0
        self._patience = 0.0
        self.pids: tuple[int, ...] = ()
        """The processes', once `confinement` is known."""
        try:
            self._processes = (
                codecs
                if isinstance(codecs, Processes)
                else Processes(
                    codecs,
                    memory=self._limits.memory,
                    cpu_s=int(self._limits.seconds(self._limits.output)) + 1,
                    command=command,
                )
            )
        except OSError as error:
            raise SandboxUnavailable("a patcher process", str(error)) from error
        self._numbers = {name: number for number, name in enumerate(self._processes.codecs)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing. Idempotent."""
        self._processes.end()

    @property
    def confinement(self) -> Confinement:
        """How the processes are locked down; waits until they are.

        Raises:
            SandboxUnavailable: one did not start, or a required measure does not hold.
        """
        if self._confinement is None:
            self._confinement = self._hello()
        return self._confinement

    def decode(self, codec: str, blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        """See `Decoder`. The request goes out now; both descriptors may be closed when this returns.

        Raises:
            KeyError: the codec is none of those named at the start.
            SandboxUnavailable: see `confinement`.
            PatcherFailed: a process takes no request. While the result is read: see the module.
        """
        _ = self.confinement
        number = self._numbers[codec]
        count = lanes.count(codec, size)
        own = (self._asked % len(self._processes.sockets), frames.WHOLE)
        for place, lane in [(n, n) for n in range(count)] if count > 1 else [own]:
            self._request(place, number, lane, blob, base, size)
        self._asked += 1
        return self._answer(self._asked, count, own[0], blob, base, size)

    def _request(
        self, place: int, codec: int, lane: int, blob: Extent, base: Extent | None, size: int
    ) -> None:
        old = base or Extent(0, 0, 0, "")
        request = frames.REQUEST.pack(codec, lane, blob.start, blob.size, old.start, old.size, size)
        try:
            socket.send_fds(
                self._processes.sockets[place], [request], [blob.fd, *([base.fd] if base else [])]
            )
        except (BlockingIOError, ConnectionError):
            raise self._failed("a patcher that takes requests", self._ending(place), blob.name) from None

    def _answer(
        self, turn: int, count: int, place: int, blob: Extent, base: Extent | None, size: int
    ) -> Iterator[bytes]:
        if turn != self._answered + 1:
            raise RuntimeError("expected results to be read to their end, in the order of their requests")
        self._patience = self._limits.seconds(size)
        if count == 1:
            parts = [self._frames(place, size, blob, base)]
        else:
            shares = [sum(islice(lanes.windows(size), n, None, count)) for n in range(count)]
            parts = [self._frames(n, share, blob, base) for n, share in enumerate(shares)]
        try:
            yield from parts[0] if count == 1 else self._together(parts, size, blob.name)
        except PatcherFailed:
            raise
        except ArtifactError:
            # What the others still have to say is not for the next request.
            for part in parts:
                with suppress(ArtifactError):
                    deque(part, maxlen=0)
            self._answered += 1
            raise
        self._answered += 1

    def _together(self, parts: Sequence[Iterator[bytes]], size: int, where: str) -> Iterator[bytes]:
        """The windows of all lanes in order."""
        for number, window in enumerate(lanes.windows(size)):
            piece = next(parts[number % len(parts)], b"")
            if len(piece) != window:
                raise self._failed(f"a window of {window} bytes", f"{len(piece)}", where)
            yield piece
        for part in parts:
            deque(part, maxlen=0)

    def _frames(self, place: int, size: int, blob: Extent, base: Extent | None) -> Iterator[bytes]:
        """What one process answers to one request, which is `size` bytes."""
        left = size
        while True:
            kind, length = frames.HEADER.unpack(self._receive(place, frames.HEADER.size, blob.name))
            if kind == frames.ERROR and length <= frames.TEXT_MAX:
                error = frames.unpack_error(
                    self._receive(place, length, blob.name), partial(_place, blob, base)
                )
                raise error or self._failed("an error that bytes can cause", "another", blob.name)
            last = kind == frames.LAST
            if not (last or (kind == frames.DATA and length)) or length > PIECE:
                raise self._failed("the patcher's protocol", f"kind {kind} with {length} bytes", blob.name)
            left -= length
            if left < 0:
                raise self._failed(f"{size} bytes", "more", blob.name)
            if length:
                yield self._receive(place, length, blob.name)
            if last:
                if left:
                    raise Corrupt(f"{size} bytes", f"{size - left}", blob.name)
                return

    def _hello(self) -> Confinement:
        self._patience = STALL_S
        said = [self._greeting(place) for place in range(len(self._processes.sockets))]
        self._processes.wait_at_most(self._limits.stall_s)
        self.pids = tuple(pid for pid, _ in said)
        missing = {m: reason for _, c in said for m, reason in c.missing.items()}
        confinement = Confinement(said[0][1].active - missing.keys(), missing)
        if lacking := self._require - confinement.active:
            self.close()
            raise SandboxUnavailable(
                f"a patcher confined by {', '.join(sorted(lacking))}", f"one {confinement}"
            )
        return confinement

    def _greeting(self, place: int) -> tuple[int, Confinement]:
        try:
            kind, length = frames.HEADER.unpack(self._receive(place, frames.HEADER.size, "patcher"))
            if kind != frames.HELLO or length > frames.TEXT_MAX:
                raise self._failed("a greeting", f"a frame of kind {kind} with {length} bytes", "patcher")
            return frames.unpack_hello(self._receive(place, length, "patcher"))
        except PatcherFailed as error:
            raise SandboxUnavailable("a patcher that starts", error.found) from error

    def _receive(self, place: int, count: int, where: str) -> bytes:
        started = time.monotonic()
        data = b""
        while len(data) < count:
            try:
                part = self._processes.sockets[place].recv(count - len(data), socket.MSG_WAITALL)
            except BlockingIOError:
                raise self._failed(f"an answer within {self._limits.stall_s} s", "none", where) from None
            except ConnectionError:
                part = b""
            if not part:
                raise self._failed("a patcher that answers", self._ending(place), where)
            data = data + part if data else part
        self._patience -= time.monotonic() - started
        if self._patience < 0:
            raise self._failed(f"at least {self._limits.slowest_rate} bytes a second", "less", where)
        return data

    def _ending(self, place: int) -> str:
        """How that process ended, which has closed its side. Ends the others."""
        pid = self.pids[place] if place < len(self.pids) else None
        status, last = self._processes.last_words(pid)
        if status is None:
            return "a closed connection"
        if status < 0:
            return f"that it was killed by {signal.Signals(-status).name}" + _REASONS.get(-status, "")
        return f"that it ended with status {status}" + (f" ({last})" if last else "")

    def _failed(self, expected: str, found: str, where: str) -> PatcherFailed:
        self.close()
        return PatcherFailed(expected, found, where)


def sandboxed(codecs: Iterable[str], size: int) -> SandboxedDecoder:
    """A `DecoderFactory`: processes confined as far as this machine allows."""
    return SandboxedDecoder(codecs, SandboxLimits(output=size))


_REASONS: Mapping[int, str] = {
    signal.SIGSYS: " (a system call that it may not make)",
    signal.SIGXCPU: " (no processor time left)",
    signal.SIGKILL: " (this machine may be out of memory)",
}


def _place(blob: Extent, base: Extent | None, where: str) -> str:
    """The child's name for the place of an error, with the names that it does not know."""
    for name, extent in ((frames.BLOB, blob), (frames.BASE, base)):
        if extent and where.startswith(name):
            return extent.name + where.removeprefix(name)
    return f"{blob.name}: {where}"
