"""Unpacking: what is made of a base, and that a failure leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bumpless.common.artifacts import beneath
from bumpless.common.artifacts import rebuild as rebuilding
from bumpless.common.artifacts.decoder import InProcessDecoder
from bumpless.common.artifacts.delta import build_delta, build_full
from bumpless.common.artifacts.errors import ArtifactError, Corrupt, WrongBase
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.package import Block, Copy, Manifest, Member
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import directory_entry, file_entry, link_entry, scan
from bumpless.common.artifacts.workers import Workers

from .packages import Node, crafted, digest
from .trees import DIRECTORY, NEW, OLD, executable, link, listing, noise, write_tree


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def old(tmp_path):
    return write_tree(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path):
    return write_tree(tmp_path / "new", NEW)


def inodes(root):
    return {path: os.lstat(root / path).st_ino for path in listing(root) if (root / path).is_file()}


def test_a_full_package_restores_the_tree(new, node):
    packed = build_full(new)
    out = node.unpack(packed.package, scan(new).root)
    assert scan(out) == scan(new)
    assert os.stat(out).st_mode & 0o777 == 0o755
    assert packed.info.old_root is None


def test_a_delta_restores_the_tree_from_its_base(old, new, node):
    package = build_delta(old, new).package
    out = node.unpack(package, scan(new).root, old)
    assert scan(out) == scan(new)
    assert len(package) < len(build_full(new).package) / 20


def test_any_root_is_made_unless_one_is_expected(new, node):
    assert rebuild_to(build_full(new).package, node) == scan(new).root


def rebuild_to(package, node, **options):
    (node.directory / "package").write_bytes(package)
    return rebuild(node.directory / "package", node.out, **options)


def test_files_are_read_only_whatever_the_umask(new, node):
    previous = os.umask(0o077)
    try:
        out = node.unpack(build_full(new).package, scan(new).root)
    finally:
        os.umask(previous)
    modes = {
        p: stat.S_IMODE(os.stat(out / p).st_mode) for p in ("bin/app", "lib", "etc/mode.sh", "etc/app.conf")
    }
    assert modes == {"bin/app": 0o555, "lib": 0o755, "etc/mode.sh": 0o555, "etc/app.conf": 0o444}


def test_a_kept_file_is_a_copy_not_the_same_inode(old, node):
    out = node.unpack(build_delta(old, old).package, scan(old).root, old)
    assert not {*inodes(out).values()} & {*inodes(old).values()}
    assert stat.S_IMODE(os.stat(old / "etc/app.conf").st_mode) == 0o644


def test_shared_files_are_the_same_inode_and_read_only(old, new, node):
    out = node.unpack(build_delta(old, new).package, scan(new).root, old, share=True)
    assert scan(out) == scan(new)
    same, before = inodes(out), inodes(old)
    assert same["data/empty"] == before["data/empty"]
    assert same["lib/app-1.1/same.py"] == before["lib/app-1.0/same.py"]
    # What changes its mode cannot be the same file, and what has other content is none.
    assert same["etc/mode.sh"] != before["etc/mode.sh"]
    shared = {path for path in same if same[path] in before.values()}
    assert shared == {"data/empty", "data/also-empty", "lib/app-1.1/same.py"}
    assert stat.S_IMODE(os.stat(old / "data/empty").st_mode) == 0o444
    assert scan(old).root == build_delta(old, new).info.old_root


@pytest.mark.parametrize("call", ["link", "fchmod"])
def test_files_are_copied_where_they_cannot_be_shared(old, node, monkeypatch, call):
    """Another user's files may neither be linked nor made read-only."""
    real, theirs = getattr(os, call), {*inodes(old).values()}

    def refused(*arguments, **options):
        if call == "link" or os.fstat(arguments[0]).st_ino in theirs:
            raise OSError(errno.EPERM, "not allowed")
        return real(*arguments, **options)

    package = build_delta(old, old).package
    monkeypatch.setattr(os, call, refused)
    out = node.unpack(package, scan(old).root, old, share=True)
    assert scan(out) == scan(old)
    assert not {*inodes(out).values()} & {*inodes(old).values()}


def test_files_are_cloned_where_the_file_system_can(old, node, monkeypatch):
    """No file system here can, so its part is played by a copy."""
    asked = []

    def clone(target, request, source):
        asked.append(request)
        os.sendfile(target, source, 0, 1 << 20)
        return 0

    monkeypatch.setattr(rebuilding.fcntl, "ioctl", clone)
    out = node.unpack(build_delta(old, old).package, scan(old).root, old, share=True)
    assert scan(out) == scan(old)
    assert asked == [0x40049409] * len(scan(old).files)
    assert stat.S_IMODE(os.stat(out / "bin/app").st_mode) == 0o555


def test_caches_an_interpreter_left_in_the_base_do_no_harm(old, new, node):
    package = build_delta(old, new).package
    (old / "lib/__pycache__").mkdir()
    (old / "lib/__pycache__/core.pyc").write_bytes(b"x")
    assert scan(node.unpack(package, scan(new).root, old)) == scan(new)


@pytest.mark.parametrize("change", ["content", "mode", "extra", "missing", "another", "gone", "file", "none"])
def test_a_wrong_base_is_refused(old, new, node, change):
    package, root = build_delta(old, new).package, scan(new).root
    base: Path | None = old
    match change:
        case "content":
            (old / "data/gone.txt").write_bytes(b"Gone")
        case "mode":
            (old / "etc/app.conf").chmod(0o755)
        case "extra":
            (old / "extra").write_bytes(b"")
        case "missing":
            (old / "data/gone.txt").unlink()
        case "another":
            base = new
        case "gone":
            base = old / "absent"
        case "file":
            base = old / "bin/app"
        case "none":
            base = None
    node.refuse(WrongBase, package, root, base)


def test_another_tree_than_the_promised_one_is_refused(old, new, node):
    node.refuse(Corrupt, build_full(old).package, scan(new).root)


def test_a_package_with_other_content_than_it_promises_is_refused(node):
    manifest = Manifest(blocks=(Block("raw", (), (Member("x", False, 4),), 4),))
    promised = [file_entry("x", False, digest(b"good"), 4)]
    node.refuse(
        Corrupt, crafted(manifest, promised, [b"evil"], [digest(b"good")]), match="x: expected sha256"
    )
    # The check in the package does not decide: the root does.
    node.refuse(Corrupt, crafted(manifest, promised, [b"evil"], [digest(b"evil")]), match="the tree sha256")


def test_an_existing_directory_is_left_alone(new, node):
    node.out.mkdir()
    (node.out / "mine").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        node.unpack(build_full(new).package, scan(new).root)
    assert listing(node.out) == ["mine"]


def test_an_empty_tree_is_a_tree(tmp_path, node):
    empty = write_tree(tmp_path / "empty", {})
    assert listing(node.unpack(build_full(empty).package, scan(empty).root)) == []


def test_directory_and_link_entries_alone(node):
    entries = [directory_entry("d"), link_entry("l", "d")]
    out = node.unpack(crafted(Manifest(directories=("d",), links=(("l", "d"),)), entries, [], []))
    assert os.readlink(out / "l") == "d"


class Meddling:
    """Decodes as it should, after `meddle` was called once: when the base has been read, and nothing written from it."""

    def __init__(self, meddle):
        self._meddle, self._decoder = meddle, InProcessDecoder()

    def decode(self, codec, blob, base, size):
        if self._meddle is not None:
            self._meddle()
            self._meddle = None
        return self._decoder.decode(codec, blob, base, size)


def replaced(path, content):
    other = path.with_name("other")
    other.write_bytes(content)
    other.chmod(0o644)
    other.rename(path)


def linked_away(path, content):
    path.unlink()
    path.symlink_to("/etc/hostname")


def piped(path, content):
    path.unlink()
    os.mkfifo(path)


SWAPS = {
    "replaced": replaced,
    "rewritten": lambda path, content: path.write_bytes(content),
    "cut": lambda path, content: os.truncate(path, 3),
    "removed": lambda path, content: path.unlink(),
    "a link": linked_away,
    "a pipe": piped,
    "a directory": lambda path, content: (path.unlink(), path.mkdir()),
    "its directory replaced": lambda path, content: (
        path.parent.rename(path.parent.with_name("away")),
        path.parent.mkdir(),
        path.write_bytes(content),
    ),
    "its directory a link": lambda path, content: (
        path.parent.rename(path.parent.with_name("away")),
        path.parent.symlink_to("away"),
    ),
}


@pytest.mark.parametrize("how", SWAPS)
@pytest.mark.parametrize("what", ["kept", "copied", "base"])
@pytest.mark.parametrize("share", [False, True])
def test_a_base_that_is_swapped_while_it_is_read_is_refused(tmp_path, node, how, what, share):
    same = noise(1, 5000)
    spec = {"d/kept": same, "d/copied": same + b"2", "d/base": noise(2, 5000)}
    changed = {"d/kept": same, "moved": same + b"2", "d/base": noise(2, 5000) + b"!", "first": noise(3, 5000)}
    old, new = write_tree(tmp_path / "base", spec), write_tree(tmp_path / "new", changed)
    package, root = build_delta(old, new).package, scan(new).root
    decoder = Meddling(lambda: SWAPS[how](old / "d" / what, spec[f"d/{what}"][::-1]))
    (tmp_path / "package").write_bytes(package)
    # What is open by then stays what it was: files that are decoded from, and the directory.
    still_open = how not in ("rewritten", "cut") if what == "base" else how.startswith("its directory")
    try:
        rebuild(
            tmp_path / "package", node.out, expected_root=root, base_dir=old, decoder=decoder, share=share
        )
    except (Corrupt, WrongBase):
        node.is_clean()
    else:
        assert still_open
        assert scan(node.out).root == root


class Liar:
    """Yields what it was told to."""

    def __init__(self, *pieces):
        self._pieces = pieces

    def decode(self, codec, blob, base, size):
        return iter(self._pieces)


@pytest.mark.parametrize("pieces", [(), (b"goo",), (b"good", b"!"), (b"evil",), (b"good" * (1 << 20),)])
def test_a_decoder_that_lies_is_found_out(node, pieces):
    manifest = Manifest(blocks=(Block("raw", (), (Member("x", False, 4),), 4),))
    package = crafted(manifest, [file_entry("x", False, digest(b"good"), 4)], [b"good"], [digest(b"good")])
    node.refuse(Corrupt, package, decoder=Liar(*pieces))
    assert (node.unpack(package, decoder=Liar(b"go", b"", b"od")) / "x").read_bytes() == b"good"


@pytest.mark.parametrize("call", ["write", "fsync", "symlink", "fchmod", "mkdir", "open", "pread"])
def test_a_failing_machine_leaves_nothing_behind(new, node, monkeypatch, call):
    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    package, root = build_full(new).package, scan(new).root
    path = node.directory / "package"
    path.write_bytes(package)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        rebuild(path, node.out, expected_root=root)
    monkeypatch.undo()
    node.is_clean()


class Fails:
    """A function that fails when it is called for the `at`th time, and counts."""

    def __init__(self, function, at, error):
        self._function, self._at, self._error, self.calls = function, at, error, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self._at:
            raise OSError(self._error, os.strerror(self._error))
        return self._function(*arguments, **options)


SMALL_OLD = {"a/kept": b"kept", "a/b/changed": noise(1, 300), "gone": b"x"}
SMALL_NEW = {
    "a/kept": b"kept",
    "a/b/changed": noise(1, 300) + b"!",
    "new": executable(b"new"),
    "l": link("new"),
}


@pytest.mark.parametrize(
    ("module", "call", "error"),
    [
        pytest.param(os, "write", errno.ENOSPC, id="ENOSPC at each write"),
        pytest.param(os, "fsync", errno.EIO, id="EIO at each fsync"),
        pytest.param(os, "open", errno.ENOSPC, id="ENOSPC at each open"),
        pytest.param(os, "mkdir", errno.ENOSPC, id="ENOSPC at each mkdir"),
        pytest.param(os, "link", errno.EIO, id="EIO at each link"),
        pytest.param(os, "fchmod", errno.EIO, id="EIO at each fchmod"),
        pytest.param(os, "pread", errno.EIO, id="EIO at each read"),
        pytest.param(os, "symlink", errno.ENOSPC, id="ENOSPC at each link made"),
    ],
)
def test_a_machine_that_fails_at_any_call_leaves_nothing_behind(
    tmp_path, node, monkeypatch, module, call, error
):
    old, new = write_tree(tmp_path / "old", SMALL_OLD), write_tree(tmp_path / "new", SMALL_NEW)
    path, root = tmp_path / "package", scan(new).root
    path.write_bytes(build_delta(old, new).package)
    failures, errors = 0, set()
    while True:
        counted = Fails(getattr(module, call), failures + 1, error)
        monkeypatch.setattr(module, call, counted)
        try:
            rebuild(path, node.out, expected_root=root, base_dir=old, share=call == "link")
        except OSError as found:
            errors.add(found.errno)
            failures += 1
            monkeypatch.undo()
            node.is_clean()
        else:
            break
    monkeypatch.undo()
    assert errors == {error}
    assert counted.calls == failures
    assert scan(node.out).root == root


@pytest.mark.parametrize("files", [4, 200])
def test_a_flush_that_fails_at_the_end_leaves_nothing_behind(tmp_path, node, monkeypatch, files):
    """More than a few files are flushed with their whole file system."""
    new = write_tree(tmp_path / "new", {f"{n}": b"%d" % n for n in range(files)})
    package = build_full(new).package
    calls = []

    def fail(self, *arguments):
        calls.append(arguments)
        raise OSError(errno.EIO, "Input/output error")

    for name in ("fsync", "sync_file_system"):
        monkeypatch.setattr(beneath.Beneath, name, fail)
    with pytest.raises(OSError, match="Input/output"):
        node.unpack(package, scan(new).root)
    node.is_clean()
    assert calls == [() if files == 200 else ("0",)]


def test_files_are_flushed_before_their_directories_and_these_bottom_up(tmp_path, node, monkeypatch):
    flushed = []
    fsync = os.fsync

    def recorded(fd):
        flushed.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), node.parent))
        fsync(fd)

    spec = {"a/b/c/x": b"1", "a/y": b"2", "z": b"3", "empty": DIRECTORY}
    new = write_tree(tmp_path / "new", spec)
    package = build_full(new).package
    monkeypatch.setattr(os, "fsync", recorded)
    node.unpack(package, scan(new).root)
    paths = ["out/a/b/c/x", "out/a/y", "out/z", "out/empty", "out/a/b/c", "out/a/b", "out/a", "out"]
    assert sorted(flushed) == sorted(paths)
    at = {path: i for i, path in enumerate(flushed)}
    for path in flushed[:-1]:
        assert at[path] < at[os.path.normpath(os.path.join(path, ".."))]
    files = [path for path in flushed if (node.parent / path).is_file()]
    assert flushed[: len(files)] == files


def test_what_a_base_shares_is_not_flushed_again(tmp_path, node, monkeypatch):
    old, new = write_tree(tmp_path / "old", SMALL_OLD), write_tree(tmp_path / "new", SMALL_NEW)
    package = build_delta(old, new).package
    flushed = []
    monkeypatch.setattr(beneath.Beneath, "fsync", lambda self, path="": flushed.append(path))
    node.unpack(package, scan(new).root, old, share=True)
    assert flushed == ["a/b/changed", "new", "a/b", "a", ""]


_REBUILD = """
import resource, sys
from pathlib import Path
from bumpless.common.artifacts.rebuild import rebuild
package, out, base, root = sys.argv[1:5]
try:
    rebuild(Path(package), Path(out), expected_root=root, base_dir=Path(base))
except OSError as error:
    print(error.errno)
else:
    print("done")
"""


def unpacked_elsewhere(package, out, base, root, wrapper=()):
    """What a process of its own says to a rebuild: the number of an error, or that it is done."""
    python = [os.path.realpath(sys.executable) if wrapper else sys.executable, "-c", _REBUILD]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*wrapper, *python, package, out, base, root],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.strip()


@pytest.fixture
def small(tmp_path):
    old, new = write_tree(tmp_path / "old", SMALL_OLD), write_tree(tmp_path / "new", SMALL_NEW)
    (tmp_path / "package").write_bytes(build_delta(old, new).package)
    return tmp_path / "package", old, scan(new).root


@pytest.mark.parametrize(("call", "error", "least"), [("fsync", "EIO", 6), ("write", "ENOSPC", 3)])
def test_each_call_to_the_kernel_that_fails_leaves_nothing_behind(small, node, tmp_path, call, error, least):
    """As above, below Python."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    package, old, root = small
    probe = subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip(f"strace may not trace here: {probe.stderr.decode().strip()}")
    refused = 0
    for at in range(1, 40):
        trace = tmp_path / "trace"
        # Descriptors from 3 on: the standard ones are for what the process says.
        inject = f"inject={call}:error={error}:when={at}"
        wrapper = [
            strace,
            "-f",
            "-o",
            str(trace),
            "-e",
            f"trace={call}",
            "-e",
            inject,
            "-P",
            str(node.parent),
        ]
        if call == "write":
            wrapper = [strace, "-f", "-o", str(trace), "-e", f"trace={call}", "-e", inject]
            for path in ("a/kept", "a/b/changed", "new"):
                wrapper += ["-P", str(node.out / path)]
        else:
            for path in ("out", "out/a", "out/a/b", "out/a/kept", "out/a/b/changed", "out/new"):
                wrapper += ["-P", str(node.parent / path)]
        said = unpacked_elsewhere(package, node.out, old, root, wrapper)
        if said == "done":
            break
        assert said == str(getattr(errno, error))
        node.is_clean()
        refused += 1
    assert refused >= least
    assert scan(node.out).root == root


@pytest.mark.needs_root
def test_a_file_system_that_is_full_leaves_nothing_behind(small, tmp_path):
    """Real ENOSPC, wherever it comes: the size of the file system grows until the tree fits."""
    if os.geteuid():
        pytest.skip("mounting a file system needs root")
    package, old, root = small
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    said = []
    for inodes_ in range(3, 14):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size=64k,nr_inodes={inodes_}", "tmpfs", str(mounted)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        try:
            rebuild(package, mounted / "out", expected_root=root, base_dir=old)
        except (OSError, ArtifactError) as error:
            said.append(type(error).__name__)
            assert listing(mounted) == []
        else:
            assert scan(mounted / "out").root == root
            said.append("done")
        finally:
            subprocess.run(["umount", str(mounted)], check=True)
    assert said[0] != "done"
    assert said[-1] == "done"


_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from bumpless.common.artifacts.rebuild import rebuild
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    rebuild(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(error.errno)
"""


def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path, node):
    new = write_tree(tmp_path / "new", {"x": noise(1, 5000)})
    (tmp_path / "package").write_bytes(build_full(new).package)
    for size in (0, 1, 4999):
        done = subprocess.run(
            [sys.executable, "-c", _LIMITED, tmp_path / "package", node.out, str(size)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(errno.EFBIG)
        node.is_clean()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def test_a_file_that_changes_while_it_is_packed_is_refused(new, monkeypatch):
    tree = scan(new)
    (new / "etc/app.conf").write_bytes(b"later")
    monkeypatch.setattr("bumpless.common.artifacts.delta.scan", lambda root, bytecode: tree)
    with pytest.raises(Corrupt, match="changed while"):
        build_full(new)


def test_bases_of_a_shared_block_are_one_after_the_other(tmp_path, node):
    texts = {f"{n}.txt": b"a line of text %d\n" % n * 100 for n in range(20)}
    old = write_tree(tmp_path / "old", texts)
    new = write_tree(tmp_path / "new", {name: text + b"more\n" for name, text in texts.items()})
    packed = build_delta(old, new)
    assert len({(f.codec, f.op) for f in packed.info.files}) == 1
    assert scan(node.unpack(packed.package, scan(new).root, old)) == scan(new)


def test_bases_beyond_what_a_reader_spools_are_refused(tmp_path, node, monkeypatch):
    monkeypatch.setattr(rebuilding, "_SPOOL_MAX", 1000)
    old = write_tree(tmp_path / "old", {"a": noise(1, 600), "b": noise(2, 600)})
    new = write_tree(tmp_path / "new", {"a": noise(1, 600) + b"!", "b": noise(2, 600) + b"!"})
    node.refuse(ArtifactError, build_delta(old, new).package, base=old, match="bases of a block")


def test_a_copy_of_a_copy_needs_its_base_once(tmp_path, node):
    old = write_tree(tmp_path / "old", {"a": b"x" * 5000})
    tree = scan(old)
    manifest = Manifest(kept=(1,), copies=(Copy("b", True, 0), Copy("c", False, 0)))
    entries = [*tree.entries, *(file_entry(n, n == "b", digest(b"x" * 5000), 5000) for n in "bc")]
    out = node.unpack(crafted(manifest, entries, [], [], tree), base=old, share=True)
    assert os.stat(out / "a").st_ino == os.stat(out / "c").st_ino == os.stat(old / "a").st_ino
    assert os.stat(out / "b").st_ino != os.stat(old / "a").st_ino


@pytest.mark.parametrize("jobs", [1, 4])
def test_threads_do_not_change_a_package(old, new, jobs):
    with Workers(jobs) as workers:
        assert build_delta(old, new, workers=workers).package == build_delta(old, new).package
        assert build_full(new, workers=workers).package == build_full(new).package


def test_progress_ends_with_all_bytes(old, new):
    told = []
    build_delta(old, new, progress=lambda *step: told.append(step))
    assert told[-1][0] == told[-1][1] == sum(f.size or 0 for f in build_delta(old, new).info.files)
    assert set(NAMES) >= {f.codec for f in build_delta(old, new).info.files if f.codec}
