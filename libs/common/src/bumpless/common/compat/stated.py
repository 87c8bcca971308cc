"""What is wrong with what a release states about its versions, whatever fleet it is for. Pure."""

from __future__ import annotations

from bumpless.common.compat import written
from bumpless.common.errors import Refused
from bumpless.common.model.compat import CompatFile, LifecycleFile
from bumpless.common.model.finding import Code, Finding, blocking


def stated_faults(compat: CompatFile, lifecycle: LifecycleFile) -> tuple[Finding, ...]:
    """Levels that contradict each other, and items whose versions do not make sense."""
    found = list(written.lifecycle(lifecycle).contradictions())
    try:
        written.matrices(compat)
    except Refused as error:
        found.append(
            blocking(Code.COMPAT_INVALID, "compat.levels", str(error), "correct it in the release file")
        )
    return tuple(found)
