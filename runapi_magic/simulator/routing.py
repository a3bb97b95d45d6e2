"""Routes that read, log and check every request before a handler answers it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from runapi_magic.simulator.responses import (
    ApiError,
    ConnectionDroppedError,
    api_error,
    apply_fault,
    base_url,
    json_response,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from runapi_magic.simulator.faults import Fault
    from runapi_magic.simulator.renderer import Renderer
    from runapi_magic.simulator.state import Simulator

    Handler = Callable[["Call"], Awaitable[Response]]

MAX_BODY_BYTES: Final = 72 * 2**20
"""Fits a file of the maximum size as base64 in JSON."""

_PARSED_IN_PLACE: Final = 64 * 1024
_LOGGED_CHARACTERS: Final = 40_000


@dataclass
class Call:
    """One request: its key, body and path."""

    request: Request
    simulator: Simulator
    renderer: Renderer
    key: str = ""
    raw: bytes = b""
    body: Any = None

    @property
    def base(self) -> str:
        """Scheme, host and port as the client sent them."""
        return base_url(self.request)

    @property
    def path(self) -> str:
        """Path of the URL."""
        return self.request.url.path

    def path_part(self, name: str) -> str:
        """Return a variable part of the path."""
        return str(self.request.path_params[name])

    async def apply_fault(self, fault: Fault | None) -> Response | None:
        """Apply a fault to this request. Return its response, or None to continue as usual."""
        return await apply_fault(fault, self.request, self.simulator)

    def fields(self) -> dict[str, Any]:
        """Return the body. Raises a 400 if it is not a JSON object."""
        if not isinstance(self.body, dict):
            raise api_error(400, "bad_request", "The request body is not a JSON object")
        return self.body


class Router:
    """Makes routes that log and check every request in the same way."""

    def __init__(self, simulator: Simulator, renderer: Renderer) -> None:
        self._simulator = simulator
        self._renderer = renderer

    def route(
        self, path: str, method: str, handler: Handler, *, point: str = "", key: bool = True
    ) -> Route:
        """Make a route.

        Args:
            path: Path in Starlette's form.
            method: HTTP method.
            handler: Returns the response, or raises `ApiError`.
            point: Point of the faults that apply before the handler runs. If empty, the handler
                applies the faults itself.
            key: Whether the route needs a key.
        """

        async def endpoint(request: Request) -> Response:
            call = Call(request, self._simulator, self._renderer)
            try:
                response = await self._respond(call, handler, point, needs_key=key)
            except ApiError as error:
                response = json_response(error.body, error.status, error.headers)
            except ConnectionDroppedError:
                # The transport is closed, so this response is never sent.
                response = Response(b"")
            response.headers["x-request-id"] = f"req_{secrets.token_hex(8)}"
            return response

        return Route(path, endpoint, methods=[method])

    async def _respond(
        self, call: Call, handler: Handler, point: str, *, needs_key: bool
    ) -> Response:
        call.key = _bearer(call.request)
        too_large = not await self._read(call)
        self._log(call)
        if needs_key:
            _check_key(call.key)
        if too_large:
            raise api_error(
                413, "payload_too_large", "The request is larger than the limit of 72 MB"
            )
        if point:
            fault = self._simulator.match_fault(point, path=call.path)
            if response := await call.apply_fault(fault):
                return response
        return await handler(call)

    async def _read(self, call: Call) -> bool:
        """Read the body and parse its JSON. Return False if the body is too large.

        A body that is too large is read to its end and discarded: a client that is still sending
        might not receive a response.
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
            call.body = (
                _parse(call.raw) if small else await call.renderer.run_in_thread(_parse, call.raw)
            )
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
        raise api_error(401, "unauthorized", "The API key is missing or invalid")
    if key.startswith("forbidden"):
        raise api_error(403, "forbidden", "This API key may not use this resource")


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
