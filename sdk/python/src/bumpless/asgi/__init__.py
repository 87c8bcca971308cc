"""Any ASGI application (Starlette, FastAPI, Django) on uvicorn as a managed service.

service = Service("hello")
serve_asgi(service, app)
service.run()
"""

from bumpless.asgi.endpoint import AsgiEndpoint, serve_asgi

__all__ = ["AsgiEndpoint", "serve_asgi"]
