"""A service in this process that answers whatever a test says."""

from __future__ import annotations

import json

from runapi_magic.engine.backend import Service
from runapi_magic.engine.settings import Access, Secret
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

ORIGIN = "http://service.localhost"
MOST_REQUESTS = 400
PICTURE_URL = f"{ORIGIN}/picture.png"


class TooManyRequestsError(BaseException):
    """It would go on for ever. No code that catches Exception survives this."""


class Fake:
    """An ASGI app with one answer for each of its doors, a good one until a test says otherwise.

    Attributes:
        answers: (status, headers, body) by door: create, status, prepare, put, confirm, balance,
            download.
        asked: The doors that were asked, in order.
        spoke_key: The doors that were shown the key.
    """

    def __init__(self, picture):
        self.answers = {
            "create": good({"id": "tsk_1", "status": "pending"}),
            "status": good(
                {
                    "id": "tsk_1",
                    "status": "completed",
                    "images": [{"url": PICTURE_URL}],
                    "usage": {"cost": 0.06},
                }
            ),
            "prepare": good(
                {"signed_id": "s", "upload_url": f"{ORIGIN}/put", "headers": {"X-Token": "t"}}
            ),
            "put": (204, [], b""),
            "confirm": good({"url": f"{ORIGIN}/source.png"}),
            "balance": good({"balance_cents": 1, "spent_cents_today": 2, "spent_cents_total": 3}),
            "download": (200, [(b"content-type", b"image/png")], picture),
        }
        self.asked = []
        self.spoke_key = set()

    def service(self):
        """Return a service that this answers for."""
        access = Access(ORIGIN, Secret(KEY), "test", "test")
        return Service(access, Client(Transport(access, self)))

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        while (await receive()).get("more_body"):
            pass
        door = _door(scope)
        self.asked.append(door)
        if len(self.asked) > MOST_REQUESTS:
            raise TooManyRequestsError
        if any(name == b"authorization" for name, _ in scope["headers"]):
            self.spoke_key.add(door)
        status, headers, body = self.answers[door]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def good(data, status=200, headers=()):
    """Return a JSON answer."""
    return status, [(b"content-type", b"application/json"), *headers], json.dumps(data).encode()


def _door(scope):
    path, method = scope["path"], scope["method"]
    if method == "PUT":
        return "put"
    for end in ("prepare", "confirm", "balance"):
        if path.endswith(f"/{end}"):
            return end
    if method == "POST":
        return "create"
    # A service may name any address of its own for the status, and any at all for a picture.
    has_key = any(name == b"authorization" for name, _ in scope["headers"])
    return "status" if has_key and path != "/picture.png" else "download"
