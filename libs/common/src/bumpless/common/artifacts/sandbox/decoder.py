"""Decodes in a child process that is locked down, and believes nothing that the child says.

Invariants: no descriptor of a package or of a base reaches the child before it has said that it is locked down, as far
as `require` asks; then a request comes with one blob and one base at most, as they were opened. What comes back is
counted here, and is at most what was asked for. A child that dies, dawdles, says too much or something else than the
protocol is killed, and its answer is `PatcherFailed`.

Whether the bytes are the right ones is for the caller to check: a hostile child can send any.
"""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from ..errors import ArtifactError, Corrupt
from ..extent import Extent
from ..limits import MIB, PIECE, Limits
from . import frames
from .confine import Confinement, Measure

COMMAND = (sys.executable, "-I", "-m", f"{__package__}.patcher")

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""Without it, numpy starts a thread for each processor; a process with threads cannot lock itself down."""


@dataclass(frozen=True)
class SandboxLimits:
    """What a child may use.

    `memory` is bytes, with the interpreter and the codecs: 15 MiB, and 13 MiB more where a codec needs numpy. `output`
    is bytes of all results together. `stall_s` is the longest wait for a frame, in seconds. `slowest_rate` is bytes
    a second, on average over a result and over the child's processor time.
    """

    memory: int = 64 * MIB
    output: int = Limits.tree
    stall_s: float = 30.0
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
    """A `decoder.Decoder` with one child for all requests. For one thread: the child dies with the one that made it.

    The child starts at once and in parallel; what may go wrong with that is raised by the first request. A result that
    was not read to its end leaves the decoder unusable.
    """

    def __init__(
        self,
        codecs: Iterable[str],
        limits: SandboxLimits | None = None,
        *,
        require: Iterable[Measure] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`codecs` are the names that will be asked for.

        Raises:
            SandboxUnavailable: no process can be started.
        """
        self._limits = limits or SandboxLimits()
        self._require = frozenset(require)
        self._numbers = {name: number for number, name in enumerate(sorted(codecs))}
        self._confinement: Confinement | None = None
        self._asked = self._answered = 0
        self._patience = 0.0
        self._socket, theirs = socket.socketpair()
        with theirs:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _timeval(self._limits.stall_s))
            # How far the child can decode ahead; the kernel takes less without a word.
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE)
            try:
                self._process = subprocess.Popen(
                    [
                        *command,
                        str(self._limits.memory),
                        str(int(self._limits.seconds(self._limits.output)) + 1),
                        *self._numbers,
                    ],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                self._socket.close()
                raise SandboxUnavailable("a patcher process", str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it is doing. Idempotent."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def pid(self) -> int:
        """The child's."""
        return int(self._process.pid)

    @property
    def confinement(self) -> Confinement:
        """How the child is locked down; waits until it is.

        Raises:
            SandboxUnavailable: it did not start, or a required measure does not hold.
        """
        if self._confinement is None:
            self._confinement = self._hello()
        return self._confinement

    def decode(self, codec: str, blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        """See `Decoder`. The request goes out now; both descriptors may be closed when this returns.

        Raises:
            KeyError: the codec is none of those named at the start.
            SandboxUnavailable: see `confinement`.
            PatcherFailed: the child takes no request. While the result is read: see the module.
        """
        _ = self.confinement
        old = base or Extent(0, 0, 0, "")
        request = frames.REQUEST.pack(self._numbers[codec], blob.start, blob.size, old.start, old.size, size)
        try:
            socket.send_fds(self._socket, [request], [blob.fd, *([base.fd] if base else [])])
        except (BlockingIOError, ConnectionError):
            raise self._failed("a patcher that takes requests", self._ending(), blob.name) from None
        self._asked += 1
        return self._answer(self._asked, blob, base, size)

    def _answer(self, turn: int, blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        if turn != self._answered + 1:
            raise RuntimeError("expected results to be read to their end, in the order of their requests")
        self._patience = self._limits.seconds(size)
        left = size
        while True:
            kind, length = frames.HEADER.unpack(self._receive(frames.HEADER.size, blob.name))
            if kind == frames.ERROR and length <= frames.TEXT_MAX:
                self._answered += 1
                error = frames.unpack_error(self._receive(length, blob.name), partial(_place, blob, base))
                raise error or self._failed("an error that bytes can cause", "another", blob.name)
            last = kind == frames.LAST
            if not (last or (kind == frames.DATA and length)) or length > PIECE:
                raise self._failed("the patcher's protocol", f"kind {kind} with {length} bytes", blob.name)
            left -= length
            if left < 0:
                raise self._failed(f"{size} bytes", "more", blob.name)
            if length:
                yield self._receive(length, blob.name)
            if last:
                self._answered += 1
                if left:
                    raise Corrupt(f"{size} bytes", f"{size - left}", blob.name)
                return

    def _hello(self) -> Confinement:
        self._patience = self._limits.stall_s
        try:
            kind, length = frames.HEADER.unpack(self._receive(frames.HEADER.size, "patcher"))
            if kind != frames.HELLO or length > frames.TEXT_MAX:
                raise self._failed("a greeting", f"a frame of kind {kind} with {length} bytes", "patcher")
            confinement = frames.unpack_confinement(self._receive(length, "patcher"))
        except PatcherFailed as error:
            raise SandboxUnavailable("a patcher that starts", error.found) from error
        if lacking := self._require - confinement.active:
            self.close()
            raise SandboxUnavailable(
                f"a patcher confined by {', '.join(sorted(lacking))}", f"one {confinement}"
            )
        return confinement

    def _receive(self, count: int, where: str) -> bytes:
        started = time.monotonic()
        data = b""
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data), socket.MSG_WAITALL)
            except BlockingIOError:
                raise self._failed(f"an answer within {self._limits.stall_s} s", "none", where) from None
            except ConnectionError:
                part = b""
            if not part:
                raise self._failed("a patcher that answers", self._ending(), where)
            data += part
        self._patience -= time.monotonic() - started
        if self._patience < 0:
            raise self._failed(f"at least {self._limits.slowest_rate} bytes a second", "less", where)
        return data

    def _ending(self) -> str:
        """How the child ended, which has closed its side."""
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "a closed connection"
        if status < 0:
            name = signal.Signals(-status).name
            return f"that it was killed by {name}" + _REASONS.get(-status, "")
        assert self._process.stderr is not None
        # Only what was written before the lock-down can be in there.
        last = self._process.stderr.read().decode(errors="replace").rstrip().rpartition("\n")[2]
        return f"that it ended with status {status}" + (f" ({last})" if last else "")

    def _failed(self, expected: str, found: str, where: str) -> PatcherFailed:
        self.close()
        return PatcherFailed(expected, found, where)


def sandboxed(codecs: Iterable[str], size: int) -> SandboxedDecoder:
    """A `DecoderFactory`: a child confined as far as this machine allows."""
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


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
