"""The commands of a page: its `bash` blocks, in their order, as one script that stops at the first that fails."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: Path) -> str:
    blocks = _BLOCK.findall(page.read_text())
    told = [
        f'echo "### block {number} after $SECONDS s"\n{block}' for number, block in enumerate(blocks, start=1)
    ]
    return "set -euo pipefail\n" + "\n".join(told)
