"""What every request goes through: its body read, its key looked at, a line in the log, faults."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from runapi_magic.simulator.responses import (
    DroppedError,
    RefusalError,
    answer,
    base_url,
    hit,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from runapi_magic.simulator.renderer import Gallery

    from .faults import Fault
    from .state import Simulator

    Handler = Callable[["Call"], Awaitable[Response]]

MAX_BODY_BYTES: Final = 72 * 2**20
"""Room for a file of the largest size as base64 in JSON."""

_PARSED_IN_PLACE: Final = 64 * 1024
_LOGGED_CHARACTERS: Final = 40_000


@dataclass
class Call:
    """One request with what is known about it."""

    request: Request
    simulator: Simulator
    gallery: Gallery
    key: str = ""
    raw: bytes = b""
    body: Any = None

    @property
    def base(self) -> str:
        """Scheme, host and port as the client wrote them."""
        return base_url(self.request)

    @property
    def path(self) -> str:
        """The URL's path."""
        return self.request.url.path

    def path_part(self, name: str) -> str:
        """A variable part of the path."""
        return str(self.request.path_params[name])

    async def hit(self, fault: Fault | None) -> Response | None:
        """Do what a fault does here; the answer, or None to go on as usual."""
        return await hit(fault, self.request, self.simulator)

    def fields(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        if not isinstance(self.body, dict):
            raise refusal(400, "bad_request", "The request body is not a JSON object")
        return self.body


class Door:
    """Makes routes whose requests are logged, checked and answered alike."""

    def __init__(self, simulator: Simulator, gallery: Gallery) -> None:
        self._simulator = simulator
        self._gallery = gallery

    def route(
        self, path: str, method: str, handler: Handler, *, point: str = "", key: bool = True
    ) -> Route:
        """A route.

        Args:
            path: Its path, in Starlette's form.
            method: Its HTTP method.
            handler: Makes the answer, or raises `RefusalError`.
            point: Where faults hit it before the handler is called; without one the handler
                looks after its faults itself.
            key: Whether a key is needed.
        """

        async def endpoint(request: Request) -> Response:
            call = Call(request, self._simulator, self._gallery)
            try:
                response = await self._answer(call, handler, point, needs_key=key)
            except RefusalError as error:
                response = answer(error.body, error.status, error.headers)
            except DroppedError:
                # The transport is closed: whatever is sent now goes nowhere.
                response = Response(b"")
            response.headers["x-request-id"] = f"req_{secrets.token_hex(8)}"
            return response

        return Route(path, endpoint, methods=[method])

    async def _answer(
        self, call: Call, handler: Handler, point: str, *, needs_key: bool
    ) -> Response:
        call.key = _bearer(call.request)
        too_large = not await self._read(call)
        self._log(call)
        if needs_key:
            _check_key(call.key)
        if too_large:
            raise refusal(413, "payload_too_large", "The request is larger than the limit of 50 MB")
        if point:
            fault = self._simulator.strike(point, path=call.path)
            if response := await call.hit(fault):
                return response
        return await handler(call)

    async def _read(self, call: Call) -> bool:
        """Read the body, and its JSON; whether it had a reasonable size.

        An oversized one is read to its end but not kept: an answer sent while the client is still
        writing could get lost.
        """
        parts: list[bytes] = []
        size = 0
        async for part in call.request.stream():
            size += len(part)
            if size <= MAX_BODY_BYTES:
                parts.append(part)
        if size > MAX_BODY_BYTES:
            return False
        call.raw = b"".join(parts)
        if call.request.method == "POST":
            small = size <= _PARSED_IN_PLACE
            call.body = _parse(call.raw) if small else await call.gallery.run(_parse, call.raw)
        return True

    def _log(self, call: Call) -> None:
        request = call.request
        self._simulator.requests.append(
            {
                "method": request.method,
                "host": request.headers.get("host", ""),
                "path": call.path,
                "query": request.url.query,
                "body": _short(call.body),
                "headers": sorted(request.headers.keys()),
                "authorized": "authorization" in request.headers,
            }
        )


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _check_key(key: str) -> None:
    if not key or key.startswith("bad"):
        raise refusal(401, "unauthorized", "The API key is missing or invalid")
    if key.startswith("forbidden"):
        raise refusal(403, "forbidden", "This API key may not use this resource")


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _short(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _short(value) for name, value in body.items()}
    if isinstance(body, str) and len(body) > _LOGGED_CHARACTERS:
        return f"{body[:64]}... ({len(body)} characters)"
    return body
