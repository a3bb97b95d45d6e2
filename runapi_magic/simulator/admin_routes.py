"""The simulator's own routes for tests: add faults, read the state, expire files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.routing import Route

from runapi_magic.simulator.faults import parse_fault
from runapi_magic.simulator.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runapi_magic.simulator.state import Simulator


def routes(simulator: Simulator) -> list[Route]:
    """Make the routes under ``/_simulator``. They need no key and are not in the request log."""

    async def add_faults(request: Request) -> Response:
        body = (await request.body()).decode()
        try:
            given = json.loads(body)
        except ValueError:
            given = body  # one fault as plain text
        specs = given if isinstance(given, list) else [given]
        try:
            added = [parse_fault(str(spec).strip()) for spec in specs]
        except ValueError as error:  # none is added
            return json_response({"error": str(error)}, 422)
        simulator.faults += added
        return json_response({"added": [fault.spec for fault in added]}, 201)

    async def clear_faults(_: Request) -> Response:
        simulator.clear_faults()
        return json_response({"faults": []})

    async def state(_: Request) -> Response:
        return json_response(simulator.snapshot())

    async def expire(request: Request) -> Response:
        body = await request.body()
        try:
            wanted = json.loads(body) if body else {}
            return json_response({"expired": simulator.expire(wanted.get("id"))})
        except (ValueError, AttributeError, TypeError):
            return json_response({"error": 'Expected a JSON object such as {"id": "tsk_..."}'}, 422)
        except KeyError as error:
            return json_response({"error": f"No task or upload {error.args[0]}"}, 404)

    return [
        Route("/_simulator/faults", add_faults, methods=["POST"]),
        Route("/_simulator/faults", clear_faults, methods=["DELETE"]),
        Route("/_simulator/state", state, methods=["GET"]),
        Route("/_simulator/expire", expire, methods=["POST"]),
    ]
