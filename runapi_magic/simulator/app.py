"""The ASGI app: RunAPI's routes (one family or both) and the simulator's own routes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from runapi_magic.simulator import account_routes, admin_routes, file_routes, task_routes
from runapi_magic.simulator.renderer import Renderer
from runapi_magic.simulator.responses import json_response
from runapi_magic.simulator.routing import Router

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from runapi_magic.simulator.state import Simulator


def create_app(simulator: Simulator) -> Starlette:
    """Make the app. Serve it with uvicorn, or call it in process with `httpx.ASGITransport`.

    The app also has routes that RunAPI does not have. They need no key:

    - ``POST /_simulator/faults`` adds a fault or a JSON list of faults; ``DELETE`` removes all.
    - ``GET /_simulator/state`` returns tasks, requests and charges.
    - ``POST /_simulator/expire`` expires the files of ``{"id": ...}``; without a body, all files.
    """
    router = Router(simulator, Renderer(simulator))
    app = Starlette(
        routes=[
            *_shared_routes(router),
            *_task_routes(router, simulator.family),
            *admin_routes.routes(simulator),
        ],
        exception_handlers={HTTPException: _no_route},
    )
    app.state.simulator = simulator
    return app


def _shared_routes(router: Router) -> list[Route]:
    """Routes that both families have."""
    route = router.route
    schedules = "/api/v1/price_schedules"
    return [
        route("/api/v1/me", "GET", account_routes.me, point="account"),
        route("/api/v1/me/balance", "GET", account_routes.balance, point="balance"),
        route("/api/v1/price_quotes", "POST", account_routes.price_quote, point="quote", key=False),
        route(schedules, "GET", account_routes.price_schedules, point="schedule", key=False),
        route("/api/v1/files", "POST", file_routes.create_file, point="upload"),
        route("/api/v1/files/prepare", "POST", file_routes.prepare, point="prepare"),
        route("/api/v1/files/confirm", "POST", file_routes.confirm, point="confirm"),
        route("/uploads/{upload_id}", "PUT", file_routes.put, point="put", key=False),
        route("/files/{owner}/{name}", "GET", file_routes.download, key=False),
        # Only the Location of a 202 points here, and both families can return a 202.
        route("/api/v1/tasks/{task_id}", "GET", task_routes.task_result),
    ]


def _task_routes(router: Router, family: str) -> list[Route]:
    """Routes that create and poll tasks, in the form of the family."""
    routes: list[Route] = []
    if family != "namespaced":
        actions = ["text_to_image", "edit_image"]
        if family == "both":
            actions += ["upscale_image", "remove_background"]
        for action in actions:
            create, show = (
                partial(task_routes.create_flat, action),
                partial(task_routes.status_flat, action),
            )
            routes.append(router.route(f"/v1/{action}", "POST", create))
            routes.append(router.route(f"/v1/{action}/{{task_id}}", "GET", show))
        show = partial(task_routes.status_flat, "tasks")
        routes.append(router.route("/v1/tasks/{task_id}", "GET", show))
    if family != "guide":
        path = "/api/v1/{service}/{action}"
        routes.append(router.route(path, "POST", task_routes.create_namespaced))
        routes.append(router.route(f"{path}/{{task_id}}", "GET", task_routes.status_namespaced))
    return routes


async def _no_route(request: Request, error: Exception) -> Response:
    """Return Starlette's plain-text 404 or 405 as JSON."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    code = "method_not_allowed" if status == 405 else "not_found"  # noqa: PLR2004 - HTTP's number
    message = f"No route matches {request.method} {request.url.path}"
    return json_response({"error": {"code": code, "message": message}}, status)
