"""Read tasks from the service's JSON, in any of the shapes that it is known to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from runapi_magic.core.status import TaskStatus

_WORDS = {
    TaskStatus.PENDING: {"pending", "queued", "created", "submitted", ""},
    TaskStatus.PROCESSING: {"processing", "running", "in_progress"},
    TaskStatus.COMPLETED: {"completed", "complete", "succeeded", "success", "finished"},
    TaskStatus.FAILED: {
        "failed", "error", "canceled", "cancelled", "timeout", "generate_failed",
        "create_task_failed",
    },
}  # fmt: skip
_HTTP_STATUSES, _SUCCESS = range(100, 600), range(200, 300)
_STATUS_OF = {word: status for status, words in _WORDS.items() for word in words}


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the service described it at one time.

    Attributes:
        id: The service's id. Empty if the response has none.
        status: The status.
        word: The status in the service's own word.
        image_urls: URLs of the finished images. They expire.
        error: The service's reason if the task failed.
        cost: The cost in USD, if the service gives it.
        progress: 0 to 1, if the service gives it.
        replayed: Whether a create returned a task that existed already.
    """

    id: str
    status: TaskStatus
    word: str = ""
    image_urls: tuple[str, ...] = field(default=(), repr=False)
    error: str = ""
    cost: float | None = None
    progress: float | None = None
    replayed: bool = False

    def with_id(self, task_id: str) -> Task:
        """Return this task with an id from another place, such as a header."""
        return replace(self, id=task_id)


def parse_task(data: Any) -> Task:
    """Read a task from decoded JSON: the response to a create or a poll, or a ``/tasks`` envelope.

    Values that are missing or have a wrong type are left out. JSON that is not an object becomes a
    task without an id and with unknown status.
    """
    if not isinstance(data, Mapping):
        return Task("", TaskStatus.UNKNOWN)
    task_id = _text(data.get("id")) or _text(data.get("task_id"))
    inner = data.get("response")
    if isinstance(inner, Mapping) and inner.get("status") in _HTTP_STATUSES:
        return _parse_envelope(task_id, data, inner)
    word = _text(data.get("status"))
    return Task(
        id=task_id,
        status=_STATUS_OF.get(word.strip().lower(), TaskStatus.UNKNOWN),
        word=word,
        image_urls=_image_urls(data),
        error=_error(data),
        cost=_cost(data),
        progress=_fraction(data.get("progress")),
        replayed=data.get("task_replayed") is True,
    )


def _parse_envelope(task_id: str, data: Mapping[str, Any], inner: Mapping[str, Any]) -> Task:
    """Read ``{"id", "status", "response": {"status": 200, "body": ...}}``."""
    body = inner.get("body")
    task = parse_task(body)
    if inner.get("status") in _SUCCESS:
        outer = _STATUS_OF.get(_text(data.get("status")).strip().lower(), TaskStatus.UNKNOWN)
        status = task.status if task.word else outer
        return replace(task, id=task_id or task.id, status=status)
    error = (_error(body) if isinstance(body, Mapping) else _text(body)) or _error(data)
    return Task(task_id or task.id, TaskStatus.FAILED, "failed", error=error)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _image_urls(data: Mapping[str, Any]) -> tuple[str, ...]:
    images = data.get("images")
    if not isinstance(images, list):
        return ()
    found = (image.get("url") if isinstance(image, Mapping) else image for image in images)
    return tuple(url for url in found if isinstance(url, str) and url)


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("code")
    return _text(error) or _text(data.get("message")) or _text(data.get("code"))


def _cost(data: Mapping[str, Any]) -> float | None:
    """Return ``usage.cost`` in USD, or ``billing.cost``, its older name."""
    for name in ("usage", "billing"):
        part = data.get(name)
        cost = part.get("cost") if isinstance(part, Mapping) else None
        usd = None if isinstance(cost, str | bool) else _number(cost)
        if usd is not None and usd >= 0:
            return usd
    return None


def _fraction(value: Any) -> float | None:
    fraction = _number(value)
    return None if fraction is None else min(max(fraction, 0.0), 1.0)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
