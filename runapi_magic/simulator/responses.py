"""Answers: JSON, refusals, and what a fault does to an answer."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NoReturn

from starlette.responses import RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from .faults import Fault
    from .state import Simulator

TRANSPORT: Final = "simulator_transport"
"""Where the socket server puts a connection's transport in the ASGI scope's state."""

_FOREIGN: Final = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


class RefusalError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class DroppedError(Exception):
    """The connection was closed in the middle; there is nobody to answer."""


def refusal(status: int, code: str, message: str) -> RefusalError:
    """A refusal in the service's usual form."""
    return RefusalError(status, {"error": {"code": code, "message": message}})


def invalid(problems: dict[str, list[str]]) -> RefusalError:
    """A 422 that names the fields."""
    return RefusalError(422, {"error": "Validation failed", "errors": problems})


def not_found(what: str) -> RefusalError:
    """A 404."""
    return refusal(404, "not_found", f"{what} not found")


def too_many_requests() -> RefusalError:
    """A 429. Its Retry-After is in whole seconds, as HTTP has it."""
    body = {"error": {"code": "rate_limited", "message": "Too many requests (simulated)"}}
    return RefusalError(429, body, {"retry-after": "1"})


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        json.dumps(body, separators=(",", ":")),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def base_url(request: Request) -> str:
    """Scheme, host and port as the client wrote them, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def foreign_base(request: Request) -> str:
    """Another origin.

    On a loopback server it leads to the same server by its other name, so that a client that
    follows it is seen in the request log.
    """
    url = request.base_url
    host = url.hostname or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{_FOREIGN.get(host, f'foreign.{host}')}{port}"


async def drop(request: Request) -> NoReturn:
    """End the connection without (the rest of) an answer.

    On the socket server the TCP connection is closed. In one process there is none, and an
    `httpx.RemoteProtocolError` comes out of the app: through `httpx.ASGITransport` that is what a
    closed connection looks like to an httpx user.
    """
    transport = request.scope.get("state", {}).get(TRANSPORT)
    if transport is None:
        import httpx

        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise DroppedError


async def hit(fault: Fault | None, request: Request, simulator: Simulator) -> Response | None:
    """Do what a fault of the common kind does; the answer, or None to go on as usual."""
    if fault is None:
        return None
    if fault.status is not None:
        return faulty_error(fault, simulator)
    match fault.effect:
        case "slow":
            await asyncio.sleep(fault.seconds)
        case "drop" | "drop_before":
            await drop(request)
        case "bad_json":
            return Response(b'{"id": "tsk_', media_type="application/json")
        case "empty":
            return Response(b"", media_type="application/json")
        case "redirect_foreign" | "location_foreign":
            path = request.url.path
            return RedirectResponse(foreign_base(request) + path, status_code=307)
    return None


def faulty_error(
    fault: Fault, simulator: Simulator, *, headers: dict[str, str] | None = None
) -> Response:
    """The error that a fault asks for, with its body and Retry-After."""
    content, media_type = fault.error()
    found = dict(headers or {})
    if retry_after := fault.retry_after(simulator.clock()):
        found["retry-after"] = retry_after
    return Response(content, status_code=fault.status or 500, media_type=media_type, headers=found)


def task_headers(simulator: Simulator, task_id: str, *, unfinished: bool) -> dict[str, str]:
    """Headers of an answer about a task.

    A hurried simulator asks to be looked at sooner, a real one leaves it to the client.
    """
    headers = {"x-runapi-task-id": task_id}
    if unfinished and simulator.speed > 1:
        headers["retry-after"] = f"{min(2.0, max(0.02, 1 / simulator.speed)):.3g}"
    return headers
