"""What a service needs so that it can be upgraded without a failed request. Standard library only.

`Service` is the whole server side of the contract; `Client` and `Upstream` call other managed services.
"""

from bumpless.service.client import Client, Reply, RequestFailed, Upstream
from bumpless.service.consumer import Consumer
from bumpless.service.contract import Contract, ContractError
from bumpless.service.endpoint import Endpoint
from bumpless.service.handover import Handover
from bumpless.service.http import Limits
from bumpless.service.messages import HttpError, Request, Response
from bumpless.service.service import Service
from bumpless.service.websocket import WebSocket, websocket

__all__ = [
    "Client",
    "Consumer",
    "Contract",
    "ContractError",
    "Endpoint",
    "Handover",
    "HttpError",
    "Limits",
    "Reply",
    "Request",
    "RequestFailed",
    "Response",
    "Service",
    "Upstream",
    "WebSocket",
    "websocket",
]
