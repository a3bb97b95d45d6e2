"""The rows of the journal's tables as objects, and the queries that select them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.core.request import Attempt
from runapi_magic.errors import NotFoundError
from runapi_magic.journal.schema import IS_UNFINISHED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from runapi_magic.core.request import ImageRequest


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task's row.

    Attributes:
        id: Known before anything is sent.
        generation: The request that it is a part of.
        origin: The service's base URL.
        created: Unix time in seconds.
        model: RunAPI's name of the model.
        prompt: The prompt.
        fields: The model's fields.
        sources: Label, digest, and address, path or image id of each source.
        count: Number of pictures.
        attempt: What was posted last; None where nothing was sent.
        task_id: The service's id, where it is known.
        state: See ``journal.schema``.
        error: Why there is no picture.
        cost: USD.
        owner: The kernel that works on it.
        service: The service that the user named; None for a model of the catalogue.
        action: The action that the user named; None for a model of the catalogue.
    """

    id: str
    generation: str
    origin: str
    created: float
    model: str
    prompt: str
    fields: dict[str, Any]
    sources: list[dict[str, Any]]
    count: int
    attempt: Attempt | None
    task_id: str | None
    state: str
    error: str | None
    cost: float | None
    owner: str | None
    service: str | None = None
    action: str | None = None

    @property
    def route(self) -> tuple[str | None, str | None]:
        """Service and action: as the user named them, or of the path that was posted to."""
        if self.service is None and self.attempt is not None:
            match self.attempt.path.split("/"):
                case ["", "api", "v1", service, action]:
                    return service, action
        return self.service, self.action

    @property
    def is_denied(self) -> bool:
        """Whether the service said last, at every address, that it does not know the task."""
        return self.state == "running" and (self.error or "").startswith(NotFoundError.title)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture's row, with its task.

    Attributes:
        id: Unique and stable across kernels.
        task: The task that made it.
        position: Which of the task's pictures, from 0.
        path: The original on disk, where it was when it was saved.
        digest: Hex SHA-256 of the file.
        width: Pixels.
        height: Pixels.
        saved: Unix time in seconds.
        seconds: From the request until the service was done.
        parent: The id of the picture that it is an edit of.
        sharpness: As measured; None where it was not yet.
        noise: As measured; None where it was not yet.
        location: Its URL in an object store; None where it is in none.
    """

    id: str
    task: StoredTask
    position: int
    path: Path
    digest: str
    width: int
    height: int
    saved: float
    seconds: float | None
    parent: str | None
    sharpness: float | None
    noise: float | None
    location: str | None


def _unknown_price(_count: int) -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What new tasks are to cost, and who pays.

    Attributes:
        price: Returns the expected price of a task of so many pictures in USD, or None.
        hold: The money that is set aside for it.
        notebook: The notebook that asks; empty where its name is not known.
    """

    price: Callable[[int], float | None] = _unknown_price
    hold: str | None = None
    notebook: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """How a request is met, decided in one transaction.

    Attributes:
        finished: Pictures of identical requests that are on disk.
        joined: Identical tasks that a living kernel works on.
        taken: Identical tasks that nobody worked on; now they are this kernel's.
        planned: New tasks.
    """

    finished: list[StoredImage]
    joined: list[StoredTask]
    taken: list[StoredTask]
    planned: list[StoredTask]


_TASK_COLUMNS = (
    "tasks.id, generation, origin, created, model, prompt, fields, sources, count,"
    " idempotency_key, family, tasks.path, body, status_paths, task_id, state, error, cost, owner,"
    " service, action"
)
_TASK_WIDTH = _TASK_COLUMNS.count(",") + 1
_IMAGE_COLUMNS = (
    "images.id, position, images.path, digest, width, height, saved, seconds, parent, sharpness,"
    " noise, location"
)


def select_tasks(connection: sqlite3.Connection, where: str, *values: Any) -> list[StoredTask]:
    """Return the tasks that a condition finds; it may end in an order and a limit."""
    rows = connection.execute(
        f"SELECT {_TASK_COLUMNS} FROM tasks WHERE {where}",  # noqa: S608 (ours)
        values,
    )
    return [_stored_task(row) for row in rows]


def select_images(connection: sqlite3.Connection, where: str, *values: Any) -> list[StoredImage]:
    """Return the pictures that a condition finds; it may end in an order and a limit."""
    rows = connection.execute(
        f"SELECT {_TASK_COLUMNS}, {_IMAGE_COLUMNS} FROM images"  # noqa: S608 (ours)
        f" JOIN tasks ON tasks.id = images.task WHERE {where}",
        values,
    )
    return [_stored_image(row) for row in rows]


def select_abandoned(
    connection: sqlite3.Connection, is_worked_on: Callable[[StoredTask], bool]
) -> list[StoredTask]:
    """Return the unfinished tasks that no running kernel works on, oldest first.

    Args:
        connection: The journal.
        is_worked_on: Whether a running kernel works on a task.
    """
    rows = select_tasks(connection, f"{IS_UNFINISHED} ORDER BY created, tasks.rowid")
    by_owner = {(task.owner, task.generation): task for task in rows}
    worked_on = {name: is_worked_on(task) for name, task in by_owner.items()}
    return [task for task in rows if not worked_on[task.owner, task.generation]]


def source_rows(request: ImageRequest) -> list[dict[str, Any]]:
    """Return a request's sources, and its mask, as the journal keeps them."""
    return [
        {
            "label": source.label,
            "digest": source.digest,
            "url": source.url,
            "path": None if source.path is None else str(source.path.absolute()),
            "image": source.image.id if source.image else None,
            "mask": source is request.mask,
        }
        for source in (*request.sources, *([request.mask] if request.mask else []))
    ]


def _stored_task(row: tuple[Any, ...]) -> StoredTask:
    (
        task, generation, origin, created, model, prompt, fields, sources, count,
        key, family, path, body, status_paths, task_id, state, error, cost, owner, service, action,
    ) = row[:_TASK_WIDTH]  # fmt: skip
    attempt = None
    if key is not None:
        attempt = Attempt(key, family, path, body, tuple(json.loads(status_paths)))
    return StoredTask(
        task, generation, origin, created, model, prompt, json.loads(fields), json.loads(sources),
        count, attempt, task_id, state, error, cost, owner, service, action,
    )  # fmt: skip


def _stored_image(row: tuple[Any, ...]) -> StoredImage:
    image, position, path, *rest = row[_TASK_WIDTH:]
    return StoredImage(image, _stored_task(row), position, Path(path), *rest)
