"""Fuzzes header and manifest, with and without a base: as they are for odd inputs, with a manifest that is not
compressed for even ones, which reaches further. Claims that are accepted are checked once more, by other means."""

import os
import posixpath

from harness import main
from packages import BASE, read_from, stored

from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.package import CHECK, open_manifest, parse, result_tree
from bumpless.common.artifacts.tree import Kind, Tree

LIMITS = Limits(entries=500, tree=1 << 30)


def one(data: bytes) -> None:
    if not data:
        return
    package = data[1:] if data[0] & 1 else stored(data[1:], delta=bool(data[0] & 2))
    read = read_from(package)
    parsed = parse(read, len(package), LIMITS, "package")
    base = Tree(()) if parsed.is_full else BASE
    parsed, manifest = open_manifest(parsed, base, read, LIMITS)
    tree = result_tree(manifest, base, ["0" * 64] * (len(parsed.checks) // CHECK), LIMITS)
    assert tree.size <= LIMITS.tree
    assert len({e.path for e in tree.entries}) == len(tree.entries) <= LIMITS.entries
    directories = {e.path for e in tree.entries if e.kind is Kind.DIRECTORY} | {""}
    for e in tree.entries:
        assert posixpath.normpath("/tree/" + e.path) == "/tree/" + e.path
        assert posixpath.dirname(e.path) in directories
        if e.kind is Kind.LINK:
            target = posixpath.normpath(posixpath.join("/tree", posixpath.dirname(e.path), e.content))
            assert (target + "/").startswith("/tree/")
            assert not os.path.isabs(e.content)


if __name__ == "__main__":
    main("package", one)
