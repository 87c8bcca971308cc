"""Writes the tree of one component of the shop in one version, ready to be released or run by hand.

A version is the one before with some files replaced. Every tree carries its own copy of the service
helper, so that it runs on a node that has nothing but Python.

    python examples/shop/build_trees.py OUT [VERSION ...]
"""

import argparse
import shutil
import sys
from pathlib import Path

from bumpless import service

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from catalogue import catalogue, static  # noqa: E402

COMPONENTS = ("database", "cache", "api", "gateway", "worker")
VERSIONS = ("v1", "v2", "v3")

_NO_CACHES = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def write_tree(component: str, version: str, out: Path) -> Path:
    """Makes `out` the tree of `component` in `version` and returns it; what was there is replaced."""
    if component not in COMPONENTS or version not in VERSIONS:
        raise ValueError(f"expected one of {COMPONENTS} in one of {VERSIONS}, found {component} {version}")
    if out.exists():
        shutil.rmtree(out)
    layers = [HERE / "src" / "common", HERE / "src" / component]
    layers += [HERE / "versions" / name / component for name in VERSIONS[1 : VERSIONS.index(version) + 1]]
    for layer in layers:
        if layer.is_dir():
            shutil.copytree(layer, out, dirs_exist_ok=True, ignore=_NO_CACHES)
    helper = Path(service.__file__).resolve().parent
    shutil.copytree(helper, out / "vendor" / "bumpless" / "service", ignore=_NO_CACHES)
    (out / "VERSION").write_text(f"{version}\n")
    if component == "api":
        (out / "catalogue.json").write_bytes(catalogue(version))
    if component == "gateway":
        (out / "static").mkdir()
        for name, content in static(version).items():
            (out / "static" / name).write_bytes(content)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="gets one folder per component and version")
    parser.add_argument("versions", nargs="*", help="of v1, v2 and v3; all of them if none is named")
    options = parser.parse_args()
    for version in options.versions or VERSIONS:
        for component in COMPONENTS:
            print(write_tree(component, version, options.out / f"{component}-{version}"))


if __name__ == "__main__":
    main()
