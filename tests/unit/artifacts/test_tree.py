"""Which trees have a name, and what it depends on."""

from __future__ import annotations

import os
import socket

import pytest

from bumpless.common.artifacts.errors import Corrupt, UnsafePath
from bumpless.common.artifacts.tree import (
    check_path,
    check_target,
    directory_entry,
    file_entry,
    link_entry,
    scan,
    tree_of,
    verify,
    verify_root,
)

from .trees import DIRECTORY, NEW, OLD, executable, link, write_tree

HOSTILE_PATHS = [
    "", "/", "//", "/etc/passwd", "//etc/passwd", "..", "../x", "../../x", "a/..", "a/../b", "a/../../b", "./a", ".",
    "a/.", "a/./b", "a//b", "a/", "/a", "a\0b", "\0", "a/\0", "a\nb", "a\rb", "a\tb", "a\x1b[2Jb", "a\x7fb", "\x01",
    "x" * 256, "a/" + "x" * 256, "é" * 128, "/".join("d" * 100 for _ in range(11)), "a/" * 600 + "b", "a/b/../../..",
    "../" * 40 + "etc/shadow", "a\udcff", "\udc80/b", "...//..", "a/../../../../../../root/.ssh/authorized_keys", "/..",
    "/proc/self/root/etc", "a/b/c/../../../../d",
]  # fmt: skip

GOOD_PATHS = [
    "a",
    "a/b",
    "...",
    "..a",
    "a..",
    "a b",
    "-rf",
    "x" * 255,
    "é/ü",
    "a\\b",
    "C:",
    "~",
    "$(id)",
    ".hidden",
]

HOSTILE_TARGETS = [
    ("l", "/etc/passwd"), ("l", ".."), ("l", "../x"), ("d/l", "../../x"), ("d/l", "../.."), ("l", ""), ("l", "a//b"),
    ("l", "a/../b"), ("l", "a/.."), ("d/l", "../a/../../b"), ("l", "a\0b"), ("l", "a\nb"), ("l", "x" * 1025),
    ("l", "./a"), ("l", "a/."), ("l", "a/"), ("d/l", "..//x"), ("l", "/"), ("l", "\udcff"),
]  # fmt: skip


def test_the_root_depends_on_content_alone(tmp_path):
    one = write_tree(tmp_path / "one", OLD)
    previous = os.umask(0o077)
    try:
        two = write_tree(tmp_path / "two", dict(reversed(OLD.items())))
    finally:
        os.umask(previous)
    (two / "bin/app").chmod(0o700)
    (two / "etc/app.conf").chmod(0o600)
    os.utime(two / "etc/app.conf", (1, 1))
    assert scan(one).root == scan(two).root


@pytest.mark.parametrize(
    "change",
    [
        {"etc/app.conf": b"port = 9\n"},
        {"etc/app.conf": executable(b"port = 1\n")},
        {"etc/app.conf": link("mode.sh")},
        {"current": link("lib")},
        {"more": DIRECTORY},
        {"more": b""},
    ],
)
def test_the_root_changes_with_every_kind_of_change(tmp_path, change):
    before = scan(write_tree(tmp_path / "one", OLD))
    after = scan(write_tree(tmp_path / "two", OLD | change))
    assert before.root != after.root


def test_the_root_is_stable_across_versions_of_this_code():
    digest = "ab" * 32
    tree = tree_of([directory_entry("d"), file_entry("d/f", True, digest, 1), link_entry("l", "d/f")])
    assert tree.root == "sha256:11eb8955e778c7f952e715c5d7062595ba3b10a23e96a107567fb19a580cb685"


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_hostile_paths_are_refused(path):
    with pytest.raises(UnsafePath):
        check_path(path)


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_odd_but_harmless_paths_are_accepted(path):
    check_path(path)


@pytest.mark.parametrize(("path", "target"), HOSTILE_TARGETS)
def test_links_that_could_leave_the_tree_are_refused(path, target):
    with pytest.raises(UnsafePath):
        check_target(path, target)


@pytest.mark.parametrize(
    ("path", "target"), [("l", "a/b"), ("d/l", ".."), ("d/l", "../x"), ("a/b/l", "../../c/d"), ("l", ".")]
)
def test_links_inside_the_tree_are_accepted(path, target):
    check_target(path, target)


def test_a_path_stands_once():
    with pytest.raises(UnsafePath, match="once"):
        tree_of([directory_entry("a"), file_entry("a", False, "00" * 32, 0)])


@pytest.mark.parametrize(
    "above", [link_entry("a", "b"), file_entry("a", False, "00" * 32, 0), directory_entry("b")]
)
def test_only_directories_hold_entries(above):
    with pytest.raises(UnsafePath, match="directory above"):
        tree_of([above, file_entry("a/x", False, "00" * 32, 0)])


def test_what_is_no_file_directory_or_link_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePath, match="pipe"):
        scan(tmp_path)
    os.unlink(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(UnsafePath, match="socket"):
            scan(tmp_path)


def test_a_setuid_file_is_refused(tmp_path):
    (tmp_path / "su").write_bytes(b"x")
    (tmp_path / "su").chmod(0o4755)
    with pytest.raises(UnsafePath, match="4755"):
        scan(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(UnsafePath, match="UTF-8"):
        scan(tmp_path)


def test_bytecode_is_left_out_of_a_build_input_only(tmp_path):
    root = write_tree(tmp_path / "t", {"a.py": b"1"})
    clean = scan(root).root
    (root / "__pycache__").mkdir()
    (root / "__pycache__/a.cpython-311.pyc").write_bytes(b"x")
    (root / "b.pyc").write_bytes(b"x")
    assert scan(root, bytecode=False).root == clean == scan(root).without_bytecode().root
    with pytest.raises(Corrupt):
        verify_root(root, clean)


def test_verify_names_the_first_difference(tmp_path):
    old, new = write_tree(tmp_path / "old", OLD), write_tree(tmp_path / "new", NEW)
    verify(old, scan(old))
    with pytest.raises(Corrupt, match=r"bin/app: expected file 0755 .*, found file 0755"):
        verify(new, scan(old))


def test_a_missing_root_is_an_error_of_the_machine(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "absent")
