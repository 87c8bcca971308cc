"""The public entry of the shop. Passes requests on to an api instance and asks the next one when one fails.

The instance on the same node is asked first, so that a bad release of the api shows in the metrics of its
own node. Repeating is harmless because an order carries the id its client chose.
"""

import mimetypes
from pathlib import PurePosixPath

from headers import ADDED

from bumpless.service import Client, Request, RequestFailed, Response, Service, Upstream
from shop import TREE, VERSION, listen, peers

ATTEMPT_S = 3.0

service = Service("gateway", version=VERSION)
failures = service.counter(
    "upstream_failures_total", "Attempts an api instance failed.", ("address", "reason")
)
client = Client(timeout_s=ATTEMPT_S, connect_timeout_s=1.0)
api: list[Upstream] = []
static = {path.name: path.read_bytes() for path in sorted((TREE / "static").glob("*")) if path.is_file()}


@service.on_ready
async def find_api() -> None:
    own = service.addresses()[0][0]
    api.append(
        Upstream.parse(
            client,
            peers("api"),
            prefer_host=own,
            on_failure=lambda address, reason: failures.inc(address=address, reason=reason),
        )
    )


async def handle(request: Request) -> Response:
    if request.path == "/" or request.path.startswith("/static/"):
        name = PurePosixPath(request.path).name or "index.html"
        if name not in static:
            return Response(404, b"not found\n")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(200, static[name], kind, ADDED)
    content_type = request.headers.get("content-type")
    try:
        reply = await api[0].request(
            request.method,
            request.target,
            body=request.body,
            headers={"Content-Type": content_type} if content_type else None,
        )
    except RequestFailed as error:
        return Response.json({"error": str(error)}, 504 if error.reason == "timeout" else 502)
    return Response(reply.status, reply.body, reply.headers.get("content-type", "text/plain"), ADDED)


service.http(default=listen("gateway"), handler=handle)
