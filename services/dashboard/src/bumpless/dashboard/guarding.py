"""What every answer carries and every request must: security headers, a host we are, and an origin that is us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from bumpless.common.shell.log import get_logger

log = get_logger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
SECURE_ONLY = "max-age=31536000"


class Guard:
    """`addresses` are those under which browsers reach us (`http://127.0.0.1:8080`); a page under another name, which
    somebody made to point here, is refused."""

    def __init__(self, addresses: frozenset[str]) -> None:
        self._addresses = addresses
        self._hosts = frozenset(urlsplit(address).netloc for address in addresses)
        self.secure = all(address.startswith("https:") for address in addresses)

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            if refusal:
                log.warning("request refused", reason=refusal, remote=request.remote, path=request.path)
                return web.json_response({"error": refusal}, status=403)
            try:
                return await handler(request)
            except web.HTTPException as error:
                return web.json_response({"error": error.reason}, status=error.status)

        return guard

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        if self.secure:
            response.headers["Strict-Transport-Security"] = SECURE_ONLY

    def _refusal(self, request: web.Request) -> str:
        if request.host not in self._hosts:
            return f"expected to be called as {' or '.join(sorted(self._hosts))}, found another name"
        if request.method in ("GET", "HEAD"):
            return ""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._addresses:
            return "expected a request from our own pages, found another origin"
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return "expected a request from our own pages, found another site"
        if request.content_type != "application/json":
            return "expected JSON"
        return ""
