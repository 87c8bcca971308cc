"""What a component writes to channels (queues, topics, streams) and reads from them: versions of the format of messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from bumpless.common.contract.base import StrictModel
from bumpless.common.model.compat import RangeText, VersionText

ChannelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/*>-]{0,254}$")]


class Produces(StrictModel):
    """Messages of this format are written to the channel."""

    channel: ChannelName
    writes: VersionText


class Consumes(StrictModel):
    """Messages of the channel are read if their format is within `reads`."""

    channel: ChannelName
    reads: RangeText
