"""The question whether a node could stage a tree, and its answer. Asked and answered over core NATS; never stored.

Nobody signs the question, so it holds nothing but names of what a release key has described.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bumpless.common.contract.base import Digest, Model, Token

MAX_CHECK_S = 3600.0

_Hex = StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")


class StageCheck(Model):
    """Could you stage this tree? `root` is its digest, `artifact` that of its signed description of `artifact_size` bytes.

    After `timeout_s` nobody waits for the answer any more: the node stops fetching then.
    """

    component: Token
    root: Annotated[Digest, _Hex]
    artifact: Annotated[Digest, _Hex]
    artifact_size: int = Field(gt=0)
    timeout_s: float = Field(gt=0, le=MAX_CHECK_S)


class StageChecked(Model):
    """`ready`: the tree was rebuilt and verified, or is `present`, and what was made for that is gone again.

    `reason` says why the node is not ready, or why no delta was used. `free_bytes` are free on the node now.
    """

    ready: bool
    used: Literal["present", "delta", "full"] | None = None
    bytes_fetched: int = 0
    full_bytes: int = 0
    free_bytes: int
    reason: str | None = None
