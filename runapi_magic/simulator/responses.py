"""HTTP responses: JSON, errors, and the effects of faults."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

from starlette.responses import RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from runapi_magic.simulator.faults import Fault
    from runapi_magic.simulator.state import Simulator

TRANSPORT: Final = "simulator_transport"
"""The key in the ASGI scope's state for a connection's transport. Only the server sets it."""

_FOREIGN: Final = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


class ApiError(Exception):
    """An error to send as the response to a request."""

    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class ConnectionDroppedError(Exception):
    """The connection is closed. No response can be sent."""


def api_error(status: int, code: str, message: str) -> ApiError:
    """Make an error in the service's usual form."""
    return ApiError(status, {"error": {"code": code, "message": message}})


def validation_error(problems: dict[str, list[str]]) -> ApiError:
    """Make a 422 that names the invalid fields."""
    return ApiError(422, {"error": "Validation failed", "errors": problems})


def not_found(what: str) -> ApiError:
    """Make a 404."""
    return api_error(404, "not_found", f"{what} not found")


def too_many_requests() -> ApiError:
    """Make a 429 with Retry-After in whole seconds, as HTTP requires."""
    body = {"error": {"code": "rate_limited", "message": "Too many requests (simulated)"}}
    return ApiError(429, body, {"retry-after": "1"})


def json_response(
    body: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Make a JSON response."""
    return Response(
        json.dumps(body, separators=(",", ":")),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def iso_time(seconds: float) -> str:
    """Return a time in the service's format."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def base_url(request: Request) -> str:
    """Return scheme, host and port as the client sent them, without a final slash."""
    return str(request.base_url).rstrip("/")


def foreign_base_url(request: Request) -> str:
    """Return the base URL of another origin.

    On a loopback server it is another name of the same server. A client that follows it appears in
    the request log.
    """
    url = request.base_url
    host = url.hostname or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{_FOREIGN.get(host, f'foreign.{host}')}{port}"


async def drop_connection(request: Request) -> NoReturn:
    """Close the connection without a response, or in the middle of it.

    The socket server closes the TCP connection. Without a socket, the app raises
    `httpx.RemoteProtocolError`: through `httpx.ASGITransport`, a client sees this error when a
    connection is closed.
    """
    transport = request.scope.get("state", {}).get(TRANSPORT)
    if transport is None:
        import httpx

        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ConnectionDroppedError


async def apply_fault(
    fault: Fault | None, request: Request, simulator: Simulator
) -> Response | None:
    """Apply a fault that every point has. Return its response, or None to continue as usual."""
    if fault is None:
        return None
    if fault.status is not None:
        return fault_response(fault, simulator)
    match fault.effect:
        case "slow":
            await asyncio.sleep(fault.seconds)
        case "drop" | "drop_before":
            await drop_connection(request)
        case "bad_json":
            return Response(b'{"id": "tsk_', media_type="application/json")
        case "empty":
            return Response(b"", media_type="application/json")
        case "redirect_foreign" | "location_foreign":
            path = request.url.path
            return RedirectResponse(foreign_base_url(request) + path, status_code=307)
    return None


def fault_response(
    fault: Fault, simulator: Simulator, *, headers: dict[str, str] | None = None
) -> Response:
    """Make the error response of a fault, with its body and Retry-After."""
    content, media_type = fault.error()
    found = dict(headers or {})
    if retry_after := fault.retry_after(simulator.clock()):
        found["retry-after"] = retry_after
    return Response(content, status_code=fault.status or 500, media_type=media_type, headers=found)


def task_headers(simulator: Simulator, task_id: str, *, unfinished: bool) -> dict[str, str]:
    """Return the headers of a response about a task.

    A simulator faster than the real service sends Retry-After, so that clients poll sooner.
    """
    headers = {"x-runapi-task-id": task_id}
    if unfinished and simulator.speed > 1:
        headers["retry-after"] = f"{min(2.0, max(0.02, 1 / simulator.speed)):.3g}"
    return headers
