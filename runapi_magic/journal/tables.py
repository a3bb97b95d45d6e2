"""The rows of the journal's tables as objects, and the SQL that selects and inserts them."""

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
    from collections.abc import Callable, Sequence

    from runapi_magic.core.protocols import FinishedImage
    from runapi_magic.core.request import ImageRequest


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A row of the table of tasks.

    Attributes:
        id: Its ID in the journal, which is known before anything is sent.
        generation: The ID of the request that it belongs to.
        origin: The service's base URL.
        created: Unix time in seconds.
        model: RunAPI's name of the model.
        prompt: The prompt.
        fields: The model's fields.
        sources: The sources and the mask, as ``source_rows`` returns them.
        count: Number of images.
        attempt: The last POST; None if nothing was sent.
        task_id: The service's ID; None if it is not known.
        state: See ``journal.schema``.
        error: Why there are no images, or none yet; None if there was no problem.
        cost: USD; None if it is not known.
        owner: The kernel that works on it; None if no kernel does.
        service: The service that the user named; None if the model is in the catalogue.
        action: The action that the user named; None if the model is in the catalogue.
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
        """The service and the action: named by the user, or from the path of the POST."""
        if self.service is None and self.attempt is not None:
            match self.attempt.path.split("/"):
                case ["", "api", "v1", service, action]:
                    return service, action
        return self.service, self.action

    @property
    def is_denied(self) -> bool:
        """Whether the service does not know the task, according to its last answer."""
        return self.state == "running" and (self.error or "").startswith(NotFoundError.title)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A row of the table of images, with its task.

    Attributes:
        id: Unique and stable across kernels.
        task: The task that generated it.
        position: Its index among the images of the task.
        path: The path on disk when it was saved.
        digest: Hex SHA-256 of the file.
        width: Pixels.
        height: Pixels.
        saved: Unix time in seconds.
        seconds: The time from the request until the service finished; None if it is not known.
        parent: The ID of the image that it is an edit of; None if it is not an edit.
        sharpness: See ``media.metrics``; None if it was not measured yet.
        noise: See ``media.metrics``; None if it was not measured yet.
        location: Its URL in an object store; None if it is only on disk.
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
class Billing:
    """The price of new tasks, and what they count for.

    Attributes:
        price: Return the expected price in USD of a task with this number of images, or None.
        reservation: The reservation of money that pays for the tasks.
        notebook: The name of the notebook; empty if it is not known.
    """

    price: Callable[[int], float | None] = _unknown_price
    reservation: str | None = None
    notebook: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """The images and tasks of a request, as decided in one transaction.

    Attributes:
        finished: Images of identical requests that are on disk.
        joined: Identical tasks that a running kernel works on.
        claimed: Identical tasks that no kernel worked on. This kernel owns them now.
        planned: New tasks.
    """

    finished: list[StoredImage]
    joined: list[StoredTask]
    claimed: list[StoredTask]
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
    """Return the tasks that match an SQL condition, which may include ORDER BY and LIMIT."""
    rows = connection.execute(
        f"SELECT {_TASK_COLUMNS} FROM tasks WHERE {where}",  # noqa: S608 (no user input)
        values,
    )
    return [_stored_task(row) for row in rows]


def select_images(connection: sqlite3.Connection, where: str, *values: Any) -> list[StoredImage]:
    """Return the images that match an SQL condition, which may include ORDER BY and LIMIT."""
    rows = connection.execute(
        f"SELECT {_TASK_COLUMNS}, {_IMAGE_COLUMNS} FROM images"  # noqa: S608 (no user input)
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
    """Return the sources and the mask of a request as the journal stores them.

    Each is a dictionary with label, digest, URL, absolute path and image ID. Its item ``mask`` is
    true for the mask.
    """
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


def insert_task(
    connection: sqlite3.Connection,
    request: ImageRequest,
    head: tuple[str, str, str, float],
    *,
    count: int,
    kernel: str,
    billing: Billing,
) -> StoredTask:
    """Insert a planned task and return it.

    Args:
        connection: The journal.
        request: The request.
        head: The task's ID, the request's ID, the service's base URL, Unix time in seconds.
        count: The number of images.
        kernel: The kernel that requests the task and owns it.
        billing: The price of the task, and what it counts for.
    """
    connection.execute(
        "INSERT INTO tasks (id, generation, origin, created, model, prompt, fields, sources,"
        " fingerprint, count, state, owner, kernel, price, hold, notebook, service, action)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'planned', ?, ?, ?, ?, ?, ?, ?)",
        (
            *head,
            request.model,
            request.prompt,
            json.dumps(dict(request.fields)),
            json.dumps(source_rows(request)),
            request.fingerprint,
            count,
            kernel,
            kernel,
            billing.price(count),
            billing.reservation,
            billing.notebook,
            request.service,
            request.action_name,
        ),
    )
    return select_tasks(connection, "tasks.id = ?", head[0])[0]


def insert_images(
    connection: sqlite3.Connection, task: str, images: Sequence[FinishedImage]
) -> None:
    """Insert the images of a task."""
    connection.executemany(
        "INSERT OR REPLACE INTO images"
        " (id, task, position, path, digest, width, height, parent, saved, location)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                image.id,
                task,
                position,
                str(image.path),
                image.digest,
                image.width,
                image.height,
                image.parent.id if image.parent else None,
                image.created,
                image.stored or None,
            )
            for position, image in enumerate(images)
        ],
    )


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
