"""When a failure is taken back without asking. Pure."""

from __future__ import annotations

from bumpless.common.contract.events import RolloutFailed


def why_not(message: RolloutFailed) -> str | None:
    """Why this failure stays as it is; None when it is to be taken back at once."""
    if not message.switched_anything:
        return "nothing was switched"
    if not message.policy_auto:
        return "its rollback policy is manual; run `bumpless rollback` when ready"
    return None
