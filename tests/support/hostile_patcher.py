"""A patcher whose codecs attack. Run as a program in place of the patcher, with the measures to take as its first
argument; a blob is the argument of the attack. An attack that succeeds yields ESCAPED.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bumpless.common.artifacts import lanes
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.limits import PIECE
from bumpless.common.artifacts.sandbox import frames, patcher
from bumpless.common.artifacts.sandbox.confine import Measure

ESCAPED = b"escaped"
EXIT_AFTER_EXEC = 42

_LIBC = ctypes.CDLL(None, use_errno=True)
_IO_URING_SETUP = 425
_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, -1)
_BPF_MAP_CREATE, _BPF_MAP_TYPE_ARRAY = 0, 2
_PTRACE_SEIZE = 0x4206

_at_start: list[bytes] = []


def _libc(name: str, *arguments: object) -> None:
    passed = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    if getattr(_LIBC, name)(*passed) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _send(kind: int, length: int, data: bytes = b"") -> None:
    _PARENT.sendmsg([frames.HEADER.pack(kind, length), data], (), socket.MSG_NOSIGNAL)


def read_file(argument: str) -> None:
    os.read(os.open(argument, os.O_RDONLY), 1)


def write_file(argument: str) -> None:
    os.open(argument, os.O_WRONLY | os.O_CREAT)


def connect_tcp(argument: str) -> None:
    socket.socket().connect(("127.0.0.1", int(argument)))


def send_udp(argument: str) -> None:
    socket.socket(type=socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", int(argument)))


def send_out_of_band(argument: str) -> None:
    _PARENT.send(b"!", socket.MSG_OOB)


def fork(argument: str) -> None:
    if os.fork() == 0:
        os._exit(0)


def execute(argument: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", f"exit {EXIT_AFTER_EXEC}"])


def signal_parent(argument: str) -> None:
    os.kill(os.getppid(), signal.SIGURG)  # of no effect where nobody waits for it


def trace_parent(argument: str) -> None:
    _libc("ptrace", _PTRACE_SEIZE, os.getppid(), 0, 0)


def allocate(argument: str) -> None:
    bytearray(2 << 30)


def map_executable(argument: str) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)


def map_shared(argument: str) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_SHARED)


def set_up_io_uring(argument: str) -> None:
    _libc("syscall", _IO_URING_SETUP, 1, ctypes.create_string_buffer(120))


def create_bpf_map(argument: str) -> None:
    attributes = (ctypes.c_uint32 * 32)(_BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    _libc("syscall", _BPF, _BPF_MAP_CREATE, attributes, ctypes.sizeof(attributes))


def mount(argument: str) -> None:
    _libc("mount", b"none", argument.encode(), b"tmpfs", 0, None)
    _libc("umount", argument.encode())


def become_root(argument: str) -> None:
    os.setresuid(0, 0, 0)


ESCAPES: tuple[Callable[[str], None], ...] = (
    read_file,
    write_file,
    connect_tcp,
    send_udp,
    send_out_of_band,
    fork,
    execute,
    signal_parent,
    trace_parent,
    allocate,
    map_executable,
    map_shared,
    set_up_io_uring,
    create_bpf_map,
    mount,
    become_root,
)


@dataclass(frozen=True)
class Attack:
    """As much of a codec as the patcher uses."""

    decode: Callable[[Extent, Extent | None, int], Iterator[bytes]]
    prepare: Callable[[], object] | None = None
    lane: patcher.DecodeLane | None = None


def _escape(escape: Callable[[str], None]) -> Attack:
    def decode(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        escape(blob.read(0, blob.size).decode())
        yield ESCAPED

    return Attack(decode)


def _write_base(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    assert base is not None
    os.pwrite(base.fd, ESCAPED, 0)
    yield ESCAPED


def _endless(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    while True:
        yield bytes(PIECE)


def _hang(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    yield b"1"
    yield b"2"
    while True:
        pass


def _dribble(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    while True:
        ready = time.monotonic() + 0.1
        while time.monotonic() < ready:
            pass
        yield b"."


def _crash(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    _send(frames.DATA, 100, b"less than 100 bytes")
    os._exit(3)
    yield b""


def _import_late(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    import wave

    yield wave.__name__.encode()


def _frame(kind: int, length: int, data: bytes = b"") -> Attack:
    def decode(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
        _send(kind, length, data)
        yield b""

    return Attack(decode)


def _error(text: bytes) -> Attack:
    return _frame(frames.ERROR, len(text), text)


def _note_start() -> None:
    environment = sorted(set(os.environ) - {"LC_CTYPE"})  # Python sets that one itself
    _at_start.append(repr((sorted(os.listdir("/proc/self/fd"), key=int), environment)).encode())


def _tell_start(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    yield _at_start[0].ljust(size)


def _lane(blob: Extent, base: Extent | None, size: int, lane: int) -> Iterator[bytes]:
    """A lane of zeros. The blob is the number of the lane that attacks after two windows, and how."""
    attacker, how = blob.read(0, blob.size).split()
    own = [*lanes.windows(size)][lane :: lanes.LANES]
    if lane != int(attacker):
        yield from map(bytes, own)
        return
    yield from map(bytes, own[:2])
    match how:
        case b"crash":
            os._exit(3)
        case b"escape":
            os.kill(os.getppid(), signal.SIGURG)
        case b"hang":
            while True:
                pass
        case b"raise":
            raise Corrupt("a sound lane", "another", frames.BLOB)
        case b"short":
            yield bytes(own[2] - 1)
        case b"long":
            yield from map(bytes, [*own[2:], 1])
        case b"end":
            pass
    # As much as there has to be, but elsewhere.
    if how == b"shifted":
        yield from map(bytes, (own[2] + 1, own[3] - 1, *own[4:]))


TABLE = {
    "nothing": Attack(lambda blob, base, size: iter(())),
    "predicted": Attack(lambda blob, base, size: iter(()), lane=_lane),
    **{escape.__name__: _escape(escape) for escape in ESCAPES},
    "write_base": Attack(_write_base),
    "endless": Attack(_endless),
    "hang": Attack(_hang),
    "dribble": Attack(_dribble),
    "crash": Attack(_crash),
    "import_late": Attack(_import_late),
    "unknown_frame": _frame(200, 0),
    "empty_frame": _frame(frames.DATA, 0),
    "huge_frame": _frame(frames.DATA, 0xFFFF_FFFF),
    "second_greeting": _frame(frames.HELLO, 0),
    "huge_error": _frame(frames.ERROR, 0xFFFF_FFFF),
    "garbage": _frame(0x55, 0x55555555, b"\x55" * 4096),
    "foreign_error": _error(b"StoreUnavailable\0store\0lie"),
    "odd_error": _error(b"TooLarge\0many\0more\0blob"),
    "control_characters": _error(b"Corrupt\0\x1b[31mred\0line\nbreak \xff\0blob"),
    "start": Attack(_tell_start, _note_start),
}

if __name__ == "__main__":
    _PARENT = socket.socket(fileno=0)
    measures = [Measure(name) for name in sys.argv.pop(1).split(",") if name]
    patcher.main(TABLE, measures)
