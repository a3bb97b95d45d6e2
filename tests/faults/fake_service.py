"""A service in process with responses that the test sets."""

from __future__ import annotations

import json

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine.backend import Service
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

ORIGIN = "http://service.localhost"
MAX_REQUESTS = 400
IMAGE_URL = f"{ORIGIN}/image.png"


class TooManyRequestsError(BaseException):
    """The code under test sends requests without end. ``except Exception`` does not catch this."""


class FakeService:
    """An ASGI app with one response per endpoint; by default each response is a success.

    Attributes:
        responses: (status, headers, body) by endpoint: create, status, prepare, put, confirm,
            balance, download.
        requests: The endpoints that were called, in order.
        saw_key: The endpoints that received the key.
    """

    def __init__(self, image):
        self.responses = {
            "create": json_response({"id": "tsk_1", "status": "pending"}),
            "status": json_response(
                {
                    "id": "tsk_1",
                    "status": "completed",
                    "images": [{"url": IMAGE_URL}],
                    "usage": {"cost": 0.06},
                }
            ),
            "prepare": json_response(
                {"signed_id": "s", "upload_url": f"{ORIGIN}/put", "headers": {"X-Token": "t"}}
            ),
            "put": (204, [], b""),
            "confirm": json_response({"url": f"{ORIGIN}/source.png"}),
            "balance": json_response(
                {"balance_cents": 1, "spent_cents_today": 2, "spent_cents_total": 3}
            ),
            "download": (200, [(b"content-type", b"image/png")], image),
        }
        self.requests = []
        self.saw_key = set()

    def service(self):
        """Return a `Service` that sends its requests to this app."""
        access = Access(ORIGIN, Secret(KEY), "test", "test")
        return Service(access, Client(Transport(access, self)))

    async def __call__(self, scope, receive, send):
        """Respond to one request."""
        while (await receive()).get("more_body"):
            pass
        endpoint = _endpoint(scope)
        self.requests.append(endpoint)
        if len(self.requests) > MAX_REQUESTS:
            raise TooManyRequestsError
        if any(name == b"authorization" for name, _ in scope["headers"]):
            self.saw_key.add(endpoint)
        status, headers, body = self.responses[endpoint]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def json_response(data, status=200, headers=()):
    """Return a JSON response."""
    return status, [(b"content-type", b"application/json"), *headers], json.dumps(data).encode()


def _endpoint(scope):
    path, method = scope["path"], scope["method"]
    if method == "PUT":
        return "put"
    for end in ("prepare", "confirm", "balance"):
        if path.endswith(f"/{end}"):
            return end
    if method == "POST":
        return "create"
    # A test can put any URL into a response: the key marks polls, other GETs are downloads.
    has_key = any(name == b"authorization" for name, _ in scope["headers"])
    return "status" if has_key and path != "/image.png" else "download"
