"""gunicorn's configuration under Bumpless: the application's own `gunicorn.conf.py`, if any, and three things more.

Read by gunicorn, in the application's environment: nothing but the standard library and gunicorn is there.
"""

# mypy: ignore-errors

import os
import runpy
import socket

_own = runpy.run_path("gunicorn.conf.py") if os.path.exists("gunicorn.conf.py") else {}
globals().update({name: value for name, value in _own.items() if not name.startswith("__")})
_own_post_worker_init = _own.get("post_worker_init")

# gunicorn calls listen() on what it inherits: a smaller backlog would shrink it for the other version too.
backlog = 4096
graceful_timeout = int(
    _own.get("graceful_timeout", int(os.environ["BUMPLESS_DRAIN_TIMEOUT_MS"]) // 1000 or 1)
)


def post_worker_init(worker):
    if _own_post_worker_init is not None:
        _own_post_worker_init(worker)
    _keep_idle_connections_for(int(os.environ["BUMPLESS_LAME_DUCK_MS"]) / 1000)
    address = os.environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"READY=1", address)


def _keep_idle_connections_for(seconds):
    """A stopping gthread worker answers once more on idle connections, with `Connection: close`, for so long."""
    from gunicorn.workers import gthread

    if hasattr(gthread, "STOP_KEEPALIVE_LINGER"):
        gthread.STOP_KEEPALIVE_LINGER = seconds
