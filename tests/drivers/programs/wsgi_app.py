"""A WSGI application that says which version it is."""

import os
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.1)  # noqa: TID251 - a request that takes its time
    body = os.environ["BUMPLESS_VERSION"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
