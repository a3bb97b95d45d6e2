"""The ASGI app: RunAPI's routes, of either family or both, and the simulator's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from runapi_magic.simulator import account_routes as account
from runapi_magic.simulator import admin_routes as control
from runapi_magic.simulator import file_routes as files
from runapi_magic.simulator import task_routes as tasks
from runapi_magic.simulator.renderer import Gallery
from runapi_magic.simulator.responses import answer
from runapi_magic.simulator.routing import Door

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from .state import Simulator


def create_app(simulator: Simulator) -> Starlette:
    """The app; serve it with uvicorn, or call it in one process through `httpx.ASGITransport`.

    Beside RunAPI's routes it has, without a key: ``POST /_simulator/faults`` (a fault, or a JSON
    list of them) and ``DELETE`` of the same, ``GET /_simulator/state``, and
    ``POST /_simulator/expire`` (``{"id": ...}``, or nothing for all files).
    """
    door = Door(simulator, Gallery(simulator))
    app = Starlette(
        routes=[*_common(door), *_tasks(door, simulator.family), *control.routes(simulator)],
        exception_handlers={HTTPException: _no_route},
    )
    app.state.simulator = simulator
    return app


def _common(door: Door) -> list[Route]:
    """Routes that both families need."""
    route = door.route
    schedules = "/api/v1/price_schedules"
    return [
        route("/api/v1/me", "GET", account.me, point="account"),
        route("/api/v1/me/balance", "GET", account.balance, point="balance"),
        route("/api/v1/price_quotes", "POST", account.price_quote, point="quote", key=False),
        route(schedules, "GET", account.price_schedules, point="schedule", key=False),
        route("/api/v1/files", "POST", files.create_file, point="upload"),
        route("/api/v1/files/prepare", "POST", files.prepare, point="prepare"),
        route("/api/v1/files/confirm", "POST", files.confirm, point="confirm"),
        route("/uploads/{upload_id}", "PUT", files.put, point="put", key=False),
        route("/files/{owner}/{name}", "GET", files.download, key=False),
        # Nothing but the Location of a 202 leads here, and either family may answer one.
        route("/api/v1/tasks/{task_id}", "GET", tasks.task_result),
    ]


def _tasks(door: Door, family: str) -> list[Route]:
    """Routes that create tasks and show them, in the family's own form."""
    routes: list[Route] = []
    if family != "namespaced":
        actions = ["text_to_image", "edit_image"]
        if family == "both":
            actions += ["upscale_image", "remove_background"]
        for action in actions:
            create, show = partial(tasks.create_flat, action), partial(tasks.status_flat, action)
            routes.append(door.route(f"/v1/{action}", "POST", create))
            routes.append(door.route(f"/v1/{action}/{{task_id}}", "GET", show))
        show = partial(tasks.status_flat, "tasks")
        routes.append(door.route("/v1/tasks/{task_id}", "GET", show))
    if family != "guide":
        path = "/api/v1/{service}/{action}"
        routes.append(door.route(path, "POST", tasks.create_namespaced))
        routes.append(door.route(f"{path}/{{task_id}}", "GET", tasks.status_namespaced))
    return routes


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette says in plain text for an unknown path or method, said in JSON."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    code = "method_not_allowed" if status == 405 else "not_found"  # noqa: PLR2004 - HTTP's number
    message = f"No route matches {request.method} {request.url.path}"
    return answer({"error": {"code": code, "message": message}}, status)
