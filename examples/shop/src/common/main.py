"""Starts one component of the shop from its own tree: `python3 main.py`."""

import sys
from pathlib import Path

# A released tree is immutable and its digest is checked: nothing may write byte code into it.
sys.dont_write_bytecode = True

VENDOR = Path(__file__).resolve().parent / "vendor"
if VENDOR.is_dir():
    sys.path.insert(0, str(VENDOR))


def main() -> None:
    import app

    app.service.run()


if __name__ == "__main__":
    main()
