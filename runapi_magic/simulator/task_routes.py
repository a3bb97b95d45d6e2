"""The routes that create tasks and tell how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runapi_magic.simulator.responses import (
    answer,
    drop,
    faulty_error,
    foreign_base,
    invalid,
    not_found,
    refusal,
    task_headers,
    too_many_requests,
)

from . import catalogue
from .records import Source
from .state import KeyConflictError

if TYPE_CHECKING:
    from starlette.responses import Response

    from runapi_magic.simulator.routing import Call

    from .catalogue import Contract
    from .faults import Fault
    from .records import Task

_SYNONYMS = {
    "pending": "Queued",
    "processing": "Running",
    "completed": "Succeeded",
    "failed": "Error",
}
_MAX_KEY = 512
_LOOPBACK = {"localhost", "127.0.0.1"}


async def create_flat(action: str, call: Call) -> Response:
    """POST /v1/{action}: the guide's routes."""
    return await _create(call, action, None)


async def create_namespaced(call: Call) -> Response:
    """POST /api/v1/{service}/{action}: the SDKs' routes."""
    service, action = call.path_part("service"), call.path_part("action")
    if not catalogue.route_exists(service, action):
        raise not_found(f"{service}/{action}")
    return await _create(call, action, service)


async def _create(call: Call, action: str, service: str | None) -> Response:
    simulator, given = call.simulator, call.body if isinstance(call.body, dict) else {}
    if simulator.is_too_many(call.key):
        raise too_many_requests()
    model = str(given.get("model") or "")
    fault = simulator.strike(
        "create",
        path=call.path,
        models=frozenset({model, catalogue.OLD_NAMES.get(model, model)}),
        prompt=str(given.get("prompt") or ""),
    )
    if fault and fault.status and fault.options.get("task_id_header") == "1":
        task, _ = _make(call, action, service, fault)
        return faulty_error(fault, simulator, headers={"x-runapi-task-id": task.id})
    if response := await call.hit(fault if fault and fault.effect != "location_foreign" else None):
        return response
    task, replayed = _make(call, action, service, fault)
    return await _created(call, task, fault, flat=service is None, replayed=replayed)


def _make(call: Call, action: str, service: str | None, fault: Fault | None) -> tuple[Task, bool]:
    """The request's task, and whether it was there before."""
    simulator, body = call.simulator, call.fields()
    model = body.get("model")
    contract = catalogue.find(action, model, service=service)
    if contract is None:
        complaint = "is not included in the list" if model else "is required"
        raise invalid({"model": [complaint]})
    strict = fault is not None and fault.effect == "strict_resolution"
    if problems := contract.problems(body, strict=strict, flat=service is None):
        raise invalid(problems)
    key = call.request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _MAX_KEY:
        raise refusal(400, "bad_request", f"Idempotency-Key must have 1 to {_MAX_KEY} characters")
    try:
        if known := simulator.replayed(key, contract, body):
            return known, True
    except KeyConflictError:
        message = "This Idempotency-Key was used with a different request"
        raise refusal(409, "request_conflict", message) from None
    sources, mask = _sources(call, contract, body, flat=service is None)
    cents = catalogue.price_cents(contract, body)
    if call.key.startswith("broke") or not simulator.affords(cents):
        message = f"Insufficient credits: this task needs ${cents / 100:.2f}"
        raise refusal(402, "insufficient_credits", message)
    return simulator.create(contract, body, key=key, sources=sources, mask=mask), False


def _sources(
    call: Call, contract: Contract, body: dict[str, Any], *, flat: bool
) -> tuple[tuple[Source, ...], Source | None]:
    """The source pictures, each checked to exist if it is one of ours."""
    sources: list[Source] = []
    for name in contract.source_fields(flat=flat):
        value = body.get(name)
        urls = value if isinstance(value, list) else [value]
        sources += [resolve(call, url, name) for url in urls if url is not None]
    if call.path.endswith("/edit_image") and not sources:
        raise invalid({"source_image_urls": ["is required"]})
    mask_url = body.get("mask_url") if "mask_url" in contract.rules else None
    return tuple(sources), resolve(call, mask_url, "mask_url") if mask_url else None


def resolve(call: Call, url: Any, field: str) -> Source:
    """What a source URL stands for; nothing is fetched.

    Raises:
        RefusalError: 422 naming the URL: it is none, or one of ours that is not there any more.
    """
    if problem := catalogue.url(url):
        raise invalid({field: [f"{url} {problem}"]})
    parts, own = urlsplit(url), urlsplit(call.base)
    same_host = parts.hostname == own.hostname or {parts.hostname, own.hostname} <= _LOOPBACK
    if not same_host or parts.port != own.port:
        return Source(url)
    pieces = parts.path.strip("/").split("/")
    if len(pieces) == 3 and pieces[0] == "files":  # noqa: PLR2004 - files/owner/name
        _, owner, name = pieces
        if found := call.simulator.live_output(owner, name):
            task, index = found
            return Source(url, task_id=task.id, index=index)
        upload = call.simulator.live_upload(owner)
        if upload and upload.confirmed and upload.name == name:
            return Source(url, content=upload.content)
    raise invalid({field: [f"{url} could not be fetched: not found or expired"]})


async def _created(
    call: Call, task: Task, fault: Fault | None, *, flat: bool, replayed: bool
) -> Response:
    """The answer to a create that made, or found, a task."""
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
            await drop(call.request)
        case "id_only":
            body = {"task_id" if flat else "id": task.id}
        case "202" | "location_foreign":
            location = f"/api/v1/tasks/{task.id}"
            if fault and fault.effect == "location_foreign":
                location = foreign_base(call.request) + location
            return answer(body, 202, {**headers, "location": location})
    return answer(body, headers=headers)


async def status_flat(action: str, call: Call) -> Response:
    """GET /v1/{action}/{id} and, as the action ``tasks``, /v1/tasks/{id}."""
    return await _status(call, action, None)


async def status_namespaced(call: Call) -> Response:
    """GET /api/v1/{service}/{action}/{id}."""
    return await _status(call, call.path_part("action"), call.path_part("service"))


async def task_result(call: Call) -> Response:
    """GET /api/v1/tasks/{id}: the stored answer in an envelope, for those sent here by a 202."""
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
    # However late a look comes on a busy machine: as long as nobody saw it complete it may fail.
    if status == "failed" or task.is_told:
        excluded.add("failed")
    fault = simulator.strike(
        "status",
        path=call.path,
        models=task.names,
        prompt=task.prompt,
        without=frozenset(excluded),
    )
    if response := await call.hit(fault):
        return response
    if fault and fault.effect == "failed":
        simulator.fail(task, fault.options.get("message", "Generation failed (simulated)"))
    body = task_json(call, task)
    if service is None and not envelope:
        body |= {"task_id": task.id, "model": task.model}
    _distort(body, fault)
    task.is_told = task.is_told or "images" in body
    headers = task_headers(
        simulator, task.id, unfinished=body["status"] in {"pending", "processing"}
    )
    return answer(_enveloped(body, fault) if envelope else body, headers=headers)


def _belongs(task: Task, action: str, service: str | None) -> bool:
    contract = task.contract
    if service is not None:
        return (service, action) == (contract.service, contract.action)
    # The guide's edit route also takes models that edit at text_to_image.
    edits_there = action == "edit_image" and contract.service in {"gpt_4o_image", "flux_kontext"}
    return action in {"tasks", contract.action} or edits_there


def task_json(call: Call, task: Task) -> dict[str, Any]:
    """A task as its status route shows it now."""
    now = call.simulator.clock()
    status = task.status(now)
    body: dict[str, Any] = {"id": task.id, "status": status}
    if task.contract.service == "gpt_4o_image" and status == "processing":
        body["progress"] = f"{task.share(now):.2f}"
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
    """Change a task's JSON as the fault wants it."""
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


def _enveloped(body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
    """The task-result resource around a task's JSON."""
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
