"""One operation of a codec that comes as a Python package, run as a process of its own: `coder.py OPERATION FILE…`.

Imports only what the operation needs, because its memory and start-up count.
"""

import sys
from pathlib import Path


def main(operation: str, *names: str) -> None:
    if operation == "version":
        from importlib.metadata import version

        print(version(names[0]))
        return
    *sources, target = map(Path, names)
    if operation == "bsdiff4-diff":
        import bsdiff4

        bsdiff4.file_diff(*sources, target)
    elif operation == "bsdiff4-patch":
        import bsdiff4

        bsdiff4.file_patch(sources[0], target, sources[1])
    elif operation == "hdiffpatch-diff":
        import hdiffpatch

        old, new = (s.read_bytes() for s in sources)
        setting = hdiffpatch.Lzma2Config(level=9, window=25, threads=1)
        target.write_bytes(hdiffpatch.diff(old, new, setting, validate=False))
    elif operation == "hdiffpatch-patch":
        import hdiffpatch

        target.write_bytes(hdiffpatch.apply(sources[0].read_bytes(), sources[1].read_bytes()))
    elif operation == "zstd-compress":
        from backports import zstd

        target.write_bytes(zstd.compress(sources[0].read_bytes(), 19))
    elif operation == "zstd-decompress":
        import shutil

        from backports import zstd

        with zstd.open(sources[0], "rb") as packed, open(target, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    else:
        raise SystemExit(f"expected an operation, found {operation!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
