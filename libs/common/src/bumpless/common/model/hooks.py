"""How programs that do not keep the service contract are switched: what to run, or which signal to send, at which step.

The same model is written by the author of a release (`run.switch_hooks`) and by the profiles that come with Bumpless.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel, Token

SignalName = Literal["HUP", "INT", "QUIT", "TERM", "TTIN", "TTOU", "USR1", "USR2", "WINCH"]
ProxyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$")]
InstanceAddress = Annotated[str, StringConstraints(pattern=r"^(tcp://[^/\s]+:[0-9]{1,5}|unix:///\S+)$")]


class Hook(StrictModel):
    """One action on an instance: a command, or a signal to its program. A command has `timeout_s` to end with status 0.

    A list stands for a command, a word such as `QUIT` for a signal.
    """

    argv: tuple[str, ...] = ()
    signal: SignalName | None = None
    timeout_s: float = Field(default=10, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"argv": value}
        return {"signal": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.argv) == (self.signal is not None):
            raise ValueError("expected either argv or signal, found " + ("both" if self.argv else "neither"))
        return self


class SwitchHooks(StrictModel):
    """What is done with an instance, in the order of its life. Every hook may be called again and must then do no harm.

    `prepare`: before its program is started. `ready`: asked until it ends with status 0; None: the program sends
    READY=1 itself. `check`: is it well? `drain`: take no new work; None: `stop` does that too. `left`: writes what it
    still has to do, a line each, nothing when nothing is left. `resume`: undo `drain`; None: it cannot be undone, so
    nothing is kept warm and going back means a new start. `stop`: finish and exit. `rollback`: undo `prepare`, after
    an instance ended that never was drained. `metrics`: writes the Prometheus text format.
    """

    prepare: Hook | None = None
    ready: Hook | None = None
    check: Hook | None = None
    drain: Hook | None = None
    left: Hook | None = None
    resume: Hook | None = None
    stop: Hook = Hook(signal="TERM")
    rollback: Hook | None = None
    metrics: Hook | None = None

    @model_validator(mode="after")
    def _answers_are_commands(self) -> Self:
        for name in ("prepare", "ready", "check", "left", "rollback", "metrics"):
            hook: Hook | None = getattr(self, name)
            if hook is not None and hook.signal is not None:
                raise ValueError(f"expected a command for {name}, found a signal, which answers nothing")
        if self.resume is not None and self.drain is None:
            raise ValueError("expected drain beside resume, found none: a stopped program cannot be resumed")
        return self

    def filled(self, fill: Callable[[str], str]) -> Self:
        """With every argument of every command passed through `fill`."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        hooks = {name: hook for name, hook in found.items() if hook is not None}
        return self.model_copy(
            update={n: h.model_copy(update={"argv": tuple(map(fill, h.argv))}) for n, h in hooks.items()}
        )


class ProfileName(StrEnum):
    """Programs for which the hooks come with Bumpless."""

    CELERY = "celery"
    GUNICORN = "gunicorn"
    HAPROXY = "haproxy"
    NGINX = "nginx"
    NODE_CLUSTER = "node-cluster"
    UVICORN = "uvicorn"


class Profile(StrictModel):
    """A profile by its name. `listener`: for programs that take one socket only, its name; None: the first."""

    name: ProfileName
    listener: Token | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class HaproxyServers(StrictModel):
    """Where instances stand behind an HAProxy, which is told over its runtime API: `socket` is the path of its stats
    socket or `tcp://HOST:PORT`, with `level admin`.

    `servers`: names of servers of `backend` to the addresses that HAProxy reaches them by; every instance is given
    one of these addresses to listen on, in place of `listener` (None: the first of `run.listen`), which is HAProxy's
    own. `server`: the one server that stands for this node, where old and new cannot run side by side;
    `{node.name}` in it is filled in on the node.
    """

    socket: str = Field(pattern=r"^(/\S+|tcp://[^/\s]+:[0-9]{1,5})$")
    backend: ProxyName
    servers: dict[ProxyName, InstanceAddress] = {}
    server: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_.:-]|\{node\.name\})+$")] | None = None
    listener: Token | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.servers) == (self.server is not None):
            raise ValueError(
                "expected either servers or server, found " + ("both" if self.servers else "neither")
            )
        if len(self.servers) == 1:
            raise ValueError("expected at least two servers, one for the old and one for the new, found one")
        return self


class Proxy(StrictModel):
    """The load balancer in front of the instances on this node."""

    haproxy: HaproxyServers
