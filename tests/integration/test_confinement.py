"""What a hostile codec can do in a locked-down patcher: nothing.

Every escape is tried against each measure alone that must stop it, and against all together. It is also tried without
any measure: where that fails too, because this user or this kernel cannot do it at all, nothing could be learnt.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.sandbox import linux, seccomp
from bumpless.common.artifacts.sandbox.confine import NOBODY, Measure
from bumpless.common.artifacts.sandbox.decoder import PatcherFailed, SandboxedDecoder
from support import hostile_patcher
from support.hostile_patcher import ESCAPED, ESCAPES, EXIT_AFTER_EXEC

ALL = tuple(Measure)
# Stops none of these, but whoever is not root may take Landlock and seccomp only after it. So it is always on.
BARE = (Measure.NO_NEW_PRIVILEGES,)
IS_ROOT = os.geteuid() == 0
LANDLOCK, SECCOMP, NETWORK, ROOT = Measure.LANDLOCK, Measure.SECCOMP, Measure.NETWORK, Measure.EMPTY_ROOT
UNPRIVILEGED, LIMITS = Measure.UNPRIVILEGED, Measure.RESOURCE_LIMITS

# Escape, and the measures each of which (or each group of which) must stop it.
STOPPED_BY: dict[str, tuple[tuple[Measure, ...], ...]] = {
    "read_file": ((LANDLOCK,), (ROOT,), (SECCOMP,)),
    "write_file": ((LANDLOCK,), (ROOT,), (SECCOMP,)),
    "connect_tcp": ((LANDLOCK,), (NETWORK,), (SECCOMP,)),
    "send_udp": ((NETWORK,), (SECCOMP,)),
    "send_out_of_band": ((SECCOMP,),),
    "fork": ((LIMITS, UNPRIVILEGED), (SECCOMP,)),
    "execute": ((LANDLOCK,), (ROOT,), (SECCOMP,)),
    "signal_parent": ((LANDLOCK,), (SECCOMP,), *(((UNPRIVILEGED,),) if IS_ROOT else ())),
    "trace_parent": ((LANDLOCK,), (SECCOMP,), *(((UNPRIVILEGED,),) if IS_ROOT else ())),
    "allocate": ((LIMITS,),),
    "map_executable": ((SECCOMP,),),
    "map_shared": ((SECCOMP,),),
    "set_up_io_uring": ((SECCOMP,),),
    "create_bpf_map": ((SECCOMP,),),
    "mount": ((LANDLOCK,), (UNPRIVILEGED,), (SECCOMP,)),
    "become_root": ((UNPRIVILEGED,), (SECCOMP,)),
}

# Landlock learnt these later than files.
LANDLOCK_SINCE = {"connect_tcp": 4, "signal_parent": 6}


@dataclass(frozen=True)
class Outcome:
    escaped: bool
    how: str


@dataclass(frozen=True)
class Target:
    """What the escapes aim at, all of it open to every user."""

    directory: Path
    listener: socket.socket
    datagrams: socket.socket

    def argument(self, escape: str) -> str:
        return {
            "read_file": "/etc/passwd",
            "write_file": str(self.directory / "written"),
            "connect_tcp": str(self.listener.getsockname()[1]),
            "send_udp": str(self.datagrams.getsockname()[1]),
            "mount": str(self.directory),
        }.get(escape, "-")

    def reached(self) -> bool:
        """Whether anything arrived."""
        arrived = (self.directory / "written").exists()
        for receive in (self.listener.accept, lambda: self.datagrams.recvfrom(10)):
            try:
                receive()[0]
            except BlockingIOError:
                continue
            arrived = True
        return arrived


@contextmanager
def new_target() -> Iterator[Target]:
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
    ):
        os.chmod(directory, 0o777)
        datagrams.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        datagrams.setblocking(False)
        yield Target(Path(directory), listener, datagrams)


def command(measures: Iterable[Measure]) -> tuple[str, ...]:
    return (sys.executable, "-I", hostile_patcher.__file__, ",".join(measures))


@functools.cache
def missing(measures: tuple[Measure, ...]) -> str:
    with SandboxedDecoder((), command=command(measures)) as decoder:
        return "; ".join(f"{m}: {reason}" for m, reason in decoder.confinement.missing.items())


@functools.cache
def attempt(escape: str, measures: tuple[Measure, ...], place: int = 0) -> Outcome:
    with (
        new_target() as target,
        tempfile.TemporaryFile() as file,
        SandboxedDecoder([escape, "nothing"], command=command(measures)) as decoder,
    ):
        for _ in range(place):  # the processes take turns
            assert list(decoder.decode("nothing", Extent(file.fileno(), 0, 0, "blob"), None, 0)) == []
        argument = target.argument(escape).encode()
        file.write(argument)
        file.flush()
        blob = Extent(file.fileno(), 0, len(argument), "blob")
        try:
            said = b"".join(decoder.decode(escape, blob, None, len(ESCAPED)))
        except PatcherFailed as error:
            return Outcome(f"status {EXIT_AFTER_EXEC}" in error.found or target.reached(), error.found)
        except Corrupt as error:
            return Outcome(target.reached(), error.found)
        return Outcome(target.reached() or said == ESCAPED, said.decode())


def cases() -> Iterator[object]:
    for escape, groups in STOPPED_BY.items():
        for measures in (*groups, ALL):
            name = "everything" if measures == ALL else "+".join(measures)
            yield pytest.param(escape, measures, id=f"{escape}-{name}")


def test_every_escape_is_tried() -> None:
    assert [e.__name__ for e in ESCAPES] == list(STOPPED_BY)


@pytest.mark.parametrize(("escape", "measures"), list(cases()))
def test_escape_is_refused(escape: str, measures: tuple[Measure, ...]) -> None:
    if measures != ALL and (reason := missing((*BARE, *measures))):
        pytest.skip(f"this kernel or user cannot have {reason}")
    if measures == (LANDLOCK,) and linux.landlock_abi() < LANDLOCK_SINCE.get(escape, 1):
        pytest.skip(f"this kernel's Landlock has version {linux.landlock_abi()}")
    free = attempt(escape, BARE)
    if not free.escaped:
        pytest.skip(f"not possible here even without a measure: {free.how}")

    for place in (0, 1) if measures == ALL else (0,):
        outcome = attempt(escape, (*BARE, *measures), place)

        assert not outcome.escaped, outcome.how
        if SECCOMP in measures and escape != "allocate":
            assert "SIGSYS" in outcome.how


@pytest.mark.parametrize("place", [0, 1])
def test_the_kernel_says_the_same_of_each_child(place: int) -> None:
    with SandboxedDecoder(()) as decoder:
        active = decoder.confinement.active
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{decoder.pids[place]}/status").read_text().splitlines()
        )
    assert (status["Seccomp"] == "2") == (SECCOMP in active)
    assert (status["NoNewPrivs"] == "1") == (Measure.NO_NEW_PRIVILEGES in active)
    assert (int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0) == (UNPRIVILEGED in active)
    assert status["Threads"] == "1"
    assert status["PPid"] == str(os.getpid())
    if IS_ROOT and UNPRIVILEGED in active:
        assert status["Uid"].split() == status["Gid"].split() == [str(NOBODY)] * 4
        assert status["Groups"].split() == []


@pytest.mark.parametrize("measures", [(), (LIMITS,)])
def test_a_writable_base_stays_as_it_is_unless_nothing_is_done(measures: tuple[Measure, ...]) -> None:
    fd = os.memfd_create("base")
    try:
        os.write(fd, b"the base")
        base = Extent(fd, 0, 8, "base")
        with SandboxedDecoder(["write_base"], command=command(measures)) as decoder:
            pieces = decoder.decode("write_base", base, base, len(ESCAPED))
            if measures:
                with pytest.raises(Corrupt, match="File too large"):
                    list(pieces)
            else:
                assert list(pieces) == [ESCAPED]
        assert (os.pread(fd, 8, 0) == b"the base") == bool(measures)
    finally:
        os.close(fd)


def test_machines_without_a_list_of_calls_have_no_filter() -> None:
    assert seccomp.program("x86_64") != seccomp.program("aarch64")
    with pytest.raises(OSError, match="no list of system calls for s390x"):
        seccomp.program("s390x")


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to become an ordinary user")
def test_all_of_this_as_an_ordinary_user() -> None:
    """Both files once more. Where the interpreter lies in root's home, in a mount namespace where it can be reached."""
    files = (__file__, str(Path(__file__).with_name("test_sandbox.py")))
    prefix = Path(sys.base_prefix)
    closed = [p for p in reversed(prefix.parents) if not p.stat().st_mode & 0o001]
    with tempfile.TemporaryDirectory() as directory:
        show = ""
        if closed:
            show = (
                f"mount --bind {prefix} {directory} && mount -t tmpfs -o mode=755 none {closed[0]} && "
                f"mkdir -p {prefix} && mount --bind {directory} {prefix} && "
            )
        as_nobody = f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            script = f'{show}{as_nobody} {sys.executable} "$@"'
            return subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, "sh", *arguments],
                capture_output=True,
                text=True,
                cwd="/",
            )

        reachable = run("-I", "-c", "import bumpless.common.artifacts.sandbox.patcher")
        if reachable.returncode:
            pytest.skip(f"user {NOBODY} cannot run this interpreter: {reachable.stderr.strip()}")
        rootdir = f"--rootdir={Path(__file__).parents[2]}"
        done = run(
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            rootdir,
            "-c",
            f"{rootdir[10:]}/pyproject.toml",
            *files,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
