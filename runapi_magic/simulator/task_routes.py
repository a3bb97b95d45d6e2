"""Routes that create and poll tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic.simulator import catalog
from runapi_magic.simulator.responses import (
    api_error,
    drop_connection,
    fault_response,
    foreign_base_url,
    json_response,
    not_found,
    task_headers,
    too_many_requests,
    validation_error,
)
from runapi_magic.simulator.sources import resolve_source
from runapi_magic.simulator.state import KeyConflictError

if TYPE_CHECKING:
    from starlette.responses import Response

    from runapi_magic.simulator.catalog import Contract
    from runapi_magic.simulator.faults import Fault
    from runapi_magic.simulator.records import Source, Task
    from runapi_magic.simulator.routing import Call

_SYNONYMS = {
    "pending": "Queued",
    "processing": "Running",
    "completed": "Succeeded",
    "failed": "Error",
}
_MAX_KEY = 512


async def create_flat(action: str, call: Call) -> Response:
    """POST /v1/{action}: create a task through the guide's routes."""
    return await _create(call, action, None)


async def create_namespaced(call: Call) -> Response:
    """POST /api/v1/{service}/{action}: create a task through the SDKs' routes."""
    service, action = call.path_part("service"), call.path_part("action")
    if not catalog.route_exists(service, action):
        raise not_found(f"{service}/{action}")
    return await _create(call, action, service)


async def _create(call: Call, action: str, service: str | None) -> Response:
    simulator, given = call.simulator, call.body if isinstance(call.body, dict) else {}
    if simulator.exceeds_rate(call.key):
        raise too_many_requests()
    model = str(given.get("model") or "")
    fault = simulator.match_fault(
        "create",
        path=call.path,
        models=frozenset({model, catalog.MODEL_ALIASES.get(model, model)}),
        prompt=str(given.get("prompt") or ""),
    )
    if fault and fault.status and fault.options.get("task_id_header") == "1":
        task, _ = _make(call, action, service, fault)
        return fault_response(fault, simulator, headers={"x-runapi-task-id": task.id})
    if response := await call.apply_fault(
        fault if fault and fault.effect != "location_foreign" else None
    ):
        return response
    task, replayed = _make(call, action, service, fault)
    return await _created(call, task, fault, flat=service is None, replayed=replayed)


def _make(call: Call, action: str, service: str | None, fault: Fault | None) -> tuple[Task, bool]:
    """Return the request's task, and whether it already existed."""
    simulator, body = call.simulator, call.fields()
    model = body.get("model")
    contract = catalog.find(action, model, service=service)
    if contract is None:
        problem = "is not included in the list" if model else "is required"
        raise validation_error({"model": [problem]})
    strict = fault is not None and fault.effect == "strict_resolution"
    if problems := contract.problems(body, strict=strict, flat=service is None):
        raise validation_error(problems)
    key = call.request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _MAX_KEY:
        raise api_error(400, "bad_request", f"Idempotency-Key must have 1 to {_MAX_KEY} characters")
    try:
        if existing := simulator.task_for_key(key, contract, body):
            return existing, True
    except KeyConflictError:
        message = "This Idempotency-Key was used with a different request"
        raise api_error(409, "request_conflict", message) from None
    sources, mask = _sources(call, contract, body, flat=service is None)
    cents = catalog.price_cents(contract, body)
    if call.key.startswith("broke") or not simulator.can_afford(cents):
        message = f"Insufficient credits: this task needs ${cents / 100:.2f}"
        raise api_error(402, "insufficient_credits", message)
    return simulator.create(contract, body, key=key, sources=sources, mask=mask), False


def _sources(
    call: Call, contract: Contract, body: dict[str, Any], *, flat: bool
) -> tuple[tuple[Source, ...], Source | None]:
    """Return the source images and the mask. A source on this simulator must exist."""
    sources: list[Source] = []
    for name in contract.source_fields(flat=flat):
        value = body.get(name)
        urls = value if isinstance(value, list) else [value]
        sources += [resolve_source(call, url, name) for url in urls if url is not None]
    if call.path.endswith("/edit_image") and not sources:
        raise validation_error({"source_image_urls": ["is required"]})
    mask_url = body.get("mask_url") if "mask_url" in contract.rules else None
    return tuple(sources), resolve_source(call, mask_url, "mask_url") if mask_url else None


async def _created(
    call: Call, task: Task, fault: Fault | None, *, flat: bool, replayed: bool
) -> Response:
    """Return the response to a create request."""
    simulator = call.simulator
    unfinished = task.status(simulator.clock()) in {"pending", "processing"}
    headers = task_headers(simulator, task.id, unfinished=unfinished)
    status = task.status(simulator.clock())
    body: dict[str, Any] = {"id": task.id, "status": status}
    if flat:
        body = {"task_id": task.id, "status": status, "model": task.model}
    if replayed:
        body["task_replayed"] = True
    match fault.effect if fault else "":
        case "drop_after":
            await drop_connection(call.request)
        case "id_only":
            body = {"task_id" if flat else "id": task.id}
        case "202" | "location_foreign":
            location = f"/api/v1/tasks/{task.id}"
            if fault and fault.effect == "location_foreign":
                location = foreign_base_url(call.request) + location
            return json_response(body, 202, {**headers, "location": location})
    return json_response(body, headers=headers)


async def status_flat(action: str, call: Call) -> Response:
    """GET /v1/{action}/{id}: poll a task. With the action ``tasks``: GET /v1/tasks/{id}."""
    return await _status(call, action, None)


async def status_namespaced(call: Call) -> Response:
    """GET /api/v1/{service}/{action}/{id}: poll a task."""
    return await _status(call, call.path_part("action"), call.path_part("service"))


async def task_result(call: Call) -> Response:
    """GET /api/v1/tasks/{id}: the target of a 202. Wraps the result in an envelope."""
    return await _status(call, "tasks", None, envelope=True)


async def _status(
    call: Call, action: str, service: str | None, *, envelope: bool = False
) -> Response:
    simulator = call.simulator
    task = simulator.tasks.get(call.path_part("task_id"))
    if task is None or not _belongs(task, action, service):
        raise not_found("Task")
    status = task.status(simulator.clock())
    excluded = set() if status in {"completed", "failed"} else {"no_images"}
    # A finished task can still fail if no poll has returned its images.
    if status == "failed" or task.seen_completed:
        excluded.add("failed")
    fault = simulator.match_fault(
        "status",
        path=call.path,
        models=task.model_names,
        prompt=task.prompt,
        excluded=frozenset(excluded),
    )
    if response := await call.apply_fault(fault):
        return response
    if fault and fault.effect == "failed":
        simulator.fail(task, fault.options.get("message", "Generation failed (simulated)"))
    body = task_json(call, task)
    if service is None and not envelope:
        body |= {"task_id": task.id, "model": task.model}
    _distort(body, fault)
    task.seen_completed = task.seen_completed or "images" in body
    headers = task_headers(
        simulator, task.id, unfinished=body["status"] in {"pending", "processing"}
    )
    return json_response(_envelope(body, fault) if envelope else body, headers=headers)


def _belongs(task: Task, action: str, service: str | None) -> bool:
    contract = task.contract
    if service is not None:
        return (service, action) == (contract.service, contract.action)
    # The guide's edit route also accepts models that edit at text_to_image.
    edits_there = action == "edit_image" and contract.service in {"gpt_4o_image", "flux_kontext"}
    return action in {"tasks", contract.action} or edits_there


def task_json(call: Call, task: Task) -> dict[str, Any]:
    """Return the JSON of a task at this moment."""
    now = call.simulator.clock()
    status = task.status(now)
    body: dict[str, Any] = {"id": task.id, "status": status}
    if task.contract.service == "gpt_4o_image" and status == "processing":
        body["progress"] = f"{task.progress(now):.2f}"
    if status == "failed":
        body["error"] = task.failure
        body["code"] = "generation_failed"
    if status == "completed":
        folder = f"{call.base}/files/{task.id}"
        body["images"] = [{"url": f"{folder}/{i}.{task.suffix}"} for i in range(task.image_count)]
        if task.contract.service == "flux_kontext":
            for image in body["images"]:
                image["origin_url"] = image["url"]
        body["usage"] = {"cost": task.cents / 100, "generated_images": task.image_count}
    return body


def _distort(body: dict[str, Any], fault: Fault | None) -> None:
    """Change a task's JSON according to the fault."""
    match fault.effect if fault else "":
        case "unknown" if fault:
            body["status"] = fault.options.get("word", "mysterious")
        case "no_images":
            body.pop("images", None)
        case "stuck":
            for name in ("images", "usage", "progress"):
                body.pop(name, None)
            body["status"] = "processing"
        case "synonyms":
            body["status"] = _SYNONYMS[body["status"]]


def _envelope(body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
    """Wrap a task's JSON in the envelope of GET /api/v1/tasks/{id}."""
    shown: dict[str, Any] = {"id": body["id"], "status": body["status"]}
    if "error" in body:
        shown["error"] = body["error"]
    if body.keys() & {"images", "error"} or (fault and fault.effect == "no_images"):
        shown["response"] = {
            "status": 422 if "error" in body else 200,
            "content_type": "application/json",
            "headers": {"x-runapi-task-id": body["id"]},
            "body": body,
        }
    return shown
