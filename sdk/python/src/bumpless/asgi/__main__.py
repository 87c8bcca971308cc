"""`python -m bumpless.asgi MODULE:APP`: an application that knows nothing of us."""

from __future__ import annotations

import argparse
import sys

from bumpless.asgi.endpoint import serve_asgi
from bumpless.service import Service


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bumpless.asgi", description=__doc__)
    parser.add_argument("app", metavar="MODULE:APP")
    parser.add_argument("--name", default="asgi", help="of the service, in logs and by-hand socket names")
    parser.add_argument("--socket", default="http", help="name of the inherited socket")
    parser.add_argument("--default", default="127.0.0.1:8080", help="address to bind when started by hand")
    parser.add_argument("--tls-cert", default=None, metavar="PEM")
    parser.add_argument("--tls-key", default=None, metavar="PEM")
    given = parser.parse_args()
    sys.path.insert(0, "")
    service = Service(given.name)
    tls = {"ssl_certfile": given.tls_cert, "ssl_keyfile": given.tls_key} if given.tls_cert else {}
    serve_asgi(service, given.app, given.socket, given.default, **tls)
    service.run()


main()
