"""A command inside a machine that systemd has booted, made of this machine's own /usr.

`systemd-nspawn` boots a root directory of a few files in memory, with the programs of this machine read only in it, a
network of its own, and one unit that runs the command; when that ends, the machine goes down. Process, mount and
network namespaces are its own, so two at once do not meet, and when whoever asked is killed, all of it is gone with
the last process: nothing has to be found and cleaned up but an empty control group.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE = "BUMPLESS_BOOTED"
"""Set in the environment of the command."""
SHARED = Path("/bumpless")
"""Where `shared` of `run` is found inside."""
BOOT_S = 60
"""From nothing to the start of the command: a second on a quiet machine."""
_PREFIX = "bumpless-booted-"
_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "systemctl": "systemd",
    "dbus-daemon": "dbus",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}

# Root and cgroup file system are mounted in a mount namespace of its own. The cgroup file system is mounted anew
# because this machine may use version 1, or none.
_BOOT = r"""
set -eu
root=$1 files=$2 name=$3; shift 3
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/usr" "$root/var" "$root/run" "$root/tmp" "$root/root" "$root/dev" "$root/proc" "$root/sys"
chmod 1777 "$root/tmp"
mount --rbind /usr "$root/usr"
for link in bin sbin lib lib32 lib64; do
  if [ -L "/$link" ]; then ln -s "usr/$link" "$root/$link"; fi
done
cp -R "$files" "$root/etc"
for file in passwd group nsswitch.conf ld.so.cache alternatives mime.types; do
  if [ -e "/etc/$file" ]; then cp -a "/etc/$file" "$root/etc/"; fi
done
ln -s ../usr/lib/os-release "$root/etc/os-release"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for old in /sys/fs/cgroup/PREFIX*; do
  if grep -q 'populated 0' "$old/cgroup.events" 2>/dev/null; then find "$old" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
done
mkdir "/sys/fs/cgroup/$name"
echo $$ > "/sys/fs/cgroup/$name/cgroup.procs"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_TMPFS_TMP=0
# 133: the machine asks to be booted again, as from the same disk.
code=133
while [ "$code" = 133 ]; do
  code=0
  systemd-nspawn --quiet --register=no --keep-unit --machine="$name" --directory="$root" --private-network \
    --console=pipe "$@" --boot systemd.unit=bumpless-command.target || code=$?
done
exit "$code"
""".replace("PREFIX", _PREFIX)

_TARGET = """\
[Unit]
Requires=basic.target dbus.socket bumpless-command.service
After=basic.target
"""
_SERVICE = """\
[Unit]
After=basic.target dbus.socket
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
WorkingDirectory={checkout}
ExecStart=/bin/sh {shared}/.booted/command
StandardOutput=file:{shared}/.booted/output
StandardError=inherit
KillMode=control-group
"""


class CannotBootError(Exception):
    """The machine did not come up here; the text says what is missing or what was seen."""


@dataclass(frozen=True)
class Outcome:
    """How the command ended; `status` None: it did not end in time. `output` is all it wrote."""

    status: int | None
    output: str


def lacking() -> str | None:
    """What this machine lacks for booting another; None if nothing is known to be lacking."""
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        return f"needs the Debian packages {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root, to boot a container"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "needs a kernel with cgroup2"
    return None


def run(command: Sequence[str], *, shared: Path, timeout_s: float, env: Mapping[str, str]) -> Outcome:
    """Run `command` in the checkout, as root, in a machine of its own; `shared` is writable in it at `SHARED`.

    Raises:
        CannotBootError: there is no such machine here, after two attempts.
    """
    if reason := lacking():
        raise CannotBootError(reason)
    try:
        return _attempt(command, shared, timeout_s, env)
    except CannotBootError:
        return _attempt(command, shared, timeout_s, env)


def _attempt(command: Sequence[str], shared: Path, timeout_s: float, env: Mapping[str, str]) -> Outcome:
    own = shared / ".booted"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    (own / "command").write_text(_script(command, env))
    name = _PREFIX + secrets.token_hex(6)
    with tempfile.TemporaryDirectory(prefix=name) as place:
        root, files = Path(place, "root"), Path(place, "etc")
        root.mkdir()
        _write_etc(files)
        binds = [f"--bind-ro={_escaped(path)}" for path in _outside_usr()]
        booted = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
                *("--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _BOOT, "boot"),
                *(str(root), str(files), name, *binds, f"--bind={_escaped(shared)}:{SHARED}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            console = _until_over(booted, own, timeout_s)
        finally:
            booted.kill()
            booted.wait()
    if not (own / "began").exists():
        raise CannotBootError(f"systemd-nspawn did not boot here: {console}")
    status = own / "status"
    output = (own / "output").read_text(errors="replace")
    return Outcome(int(status.read_text()) if status.exists() else None, output)


def _until_over(booted: subprocess.Popen[bytes], own: Path, timeout_s: float) -> str:
    """Wait for the end, but not for ever for the beginning; the last that the console showed."""
    said = b""
    for limit in (BOOT_S, timeout_s):
        try:
            said, _ = booted.communicate(timeout=limit)
            break
        except subprocess.TimeoutExpired as expired:
            said = expired.output or b""
            if not (own / "began").exists():
                break
    lines = said.decode(errors="replace").split("\n")
    return " | ".join(line.strip() for line in lines if line.strip())[-600:] or "it showed nothing"


def _script(command: Sequence[str], env: Mapping[str, str]) -> str:
    quoted = " ".join(_quoted(part) for part in command)
    given = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8", INSIDE: "1", **env}
    return "\n".join(
        (
            *(f"export {name}={_quoted(value)}" for name, value in given.items()),
            f"touch {SHARED}/.booted/began",
            f"{quoted} </dev/null",
            f"echo $? > {SHARED}/.booted/status",
            "sync",
            "",
        )
    )


def _write_etc(etc: Path) -> None:
    system = etc / "systemd" / "system"
    system.mkdir(parents=True)
    (etc / "machine-id").write_text(secrets.token_hex(16) + "\n")
    (etc / "hostname").write_text("booted\n")
    (etc / "hosts").write_text("127.0.0.1 localhost booted\n::1 localhost\n")
    (system / "bumpless-command.target").write_text(_TARGET)
    (system / "bumpless-command.service").write_text(_SERVICE.format(checkout=CHECKOUT, shared=SHARED))


def _outside_usr() -> list[Path]:
    """What the command may need and /usr does not have: this checkout, its interpreter, programs on the PATH."""
    wanted = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve()}
    for name in ("go", "node", "nginx", "haproxy"):
        if found := shutil.which(name):
            wanted.add(Path(found).resolve().parents[1])
    roots: list[Path] = []
    for path in sorted(p for p in wanted if not p.is_relative_to("/usr")):
        if len(path.parts) > 1 and not any(path.is_relative_to(root) for root in roots):
            roots.append(path)
    return roots


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
