"""The journal's tables, and a row of them as an object.

States of a task: ``planned`` (never sent), ``sent`` (the POST may have left), ``running`` (its id
is known), ``completed`` (the service is done), ``saved`` (the pictures are on disk), ``failed``,
``refused`` (the service did not take it), ``forgotten`` (the user gave it up after it was sent; it
may have been charged, and counts so).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.core.request import Attempt
from runapi_magic.errors import NotFoundError

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
        state: See the module.
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


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            generation TEXT NOT NULL,  -- the request that works on it, or did last
            origin TEXT NOT NULL,
            created REAL NOT NULL,
            model TEXT NOT NULL,
            prompt TEXT NOT NULL,
            fields TEXT NOT NULL,      -- JSON
            sources TEXT NOT NULL,     -- JSON
            fingerprint TEXT NOT NULL, -- what decides how one picture looks
            count INTEGER NOT NULL,
            idempotency_key TEXT,      -- of the last attempt; NULL: never sent
            family TEXT,
            path TEXT,
            body BLOB,
            status_paths TEXT,         -- JSON
            task_id TEXT,
            state TEXT NOT NULL,
            error TEXT,
            cost REAL,                 -- USD
            seconds REAL,              -- from the request until the service was done
            owner TEXT                 -- the kernel that works on it
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE images (
            id TEXT PRIMARY KEY,
            task TEXT NOT NULL REFERENCES tasks (id),
            position INTEGER NOT NULL, -- within its task, from 0
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            parent TEXT,               -- the image that it is an edit of
            saved REAL NOT NULL
        ) STRICT"""
    )
    connection.execute("CREATE INDEX tasks_by_fingerprint ON tasks (fingerprint, origin)")
    connection.execute(
        "CREATE INDEX tasks_unfinished ON tasks (created) "
        "WHERE state IN ('planned', 'sent', 'running', 'completed')"
    )
    connection.execute("CREATE INDEX tasks_by_task_id ON tasks (task_id)")
    connection.execute("CREATE INDEX tasks_by_generation ON tasks (generation)")
    connection.execute("CREATE INDEX images_by_task ON images (task)")


def _look_back(connection: sqlite3.Connection) -> None:
    """Let history, trees and files be found, and keep what was measured."""
    connection.execute("ALTER TABLE images ADD COLUMN sharpness REAL")
    connection.execute("ALTER TABLE images ADD COLUMN noise REAL")
    for column in ("parent", "digest", "saved"):
        connection.execute(f"CREATE INDEX images_by_{column} ON images ({column})")


def _count_money(connection: sqlite3.Connection) -> None:
    """Know what is spent, by whom, and what is set aside; batches and rates."""
    connection.execute("ALTER TABLE tasks ADD COLUMN price REAL")  # USD, expected
    connection.execute("ALTER TABLE tasks ADD COLUMN hold TEXT")  # the money set aside for it
    connection.execute("ALTER TABLE tasks ADD COLUMN kernel TEXT")  # that asked for it
    connection.execute("ALTER TABLE tasks ADD COLUMN notebook TEXT")
    connection.execute("CREATE TABLE budgets (origin TEXT PRIMARY KEY, usd REAL NOT NULL) STRICT")
    connection.execute(
        """CREATE TABLE holds (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,       -- the kernel that took it
            origin TEXT NOT NULL,
            usd REAL NOT NULL
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            created REAL NOT NULL,     -- Unix time, seconds
            is_sweep INTEGER NOT NULL,
            title TEXT NOT NULL,
            since REAL NOT NULL,       -- pictures older than this do not count
            items TEXT NOT NULL        -- JSON
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE rates (
            account TEXT PRIMARY KEY,  -- a hash of address and key
            paused_until REAL NOT NULL, -- Unix time, seconds
            spacing REAL NOT NULL,     -- seconds between two requests
            next REAL NOT NULL         -- Unix time, seconds: the next free turn
        ) STRICT"""
    )
    for column in ("created", "kernel", "hold"):
        connection.execute(f"CREATE INDEX tasks_by_{column} ON tasks ({column})")


def _keep_in_stores(connection: sqlite3.Connection) -> None:
    """Know where in an object store a picture is."""
    connection.execute("ALTER TABLE images ADD COLUMN location TEXT")  # URL; NULL: in no store


def _learn_durations(connection: sqlite3.Connection) -> None:
    """Know how long tasks of each kind took."""
    connection.execute(
        """CREATE TABLE durations (
            origin TEXT NOT NULL,
            model TEXT NOT NULL,
            action TEXT NOT NULL,
            resolution TEXT NOT NULL,  -- empty: none was asked for
            seconds REAL NOT NULL,     -- from the service's acceptance to the end, its own
            failed INTEGER NOT NULL
        ) STRICT"""
    )
    connection.execute(
        "CREATE INDEX durations_by_kind ON durations (origin, model, action, resolution)"
    )


def _note_unseen(connection: sqlite3.Connection) -> None:
    """Know which pictures came when nobody was there to see them."""
    connection.execute("CREATE TABLE unseen (image TEXT PRIMARY KEY REFERENCES images (id)) STRICT")


def _tell_where_batches_were_asked(connection: sqlite3.Connection) -> None:
    """Know what a batch was asked of: what was simulated is not to be paid for by a resume."""
    connection.execute("ALTER TABLE batches ADD COLUMN origin TEXT")  # NULL: not known


def _keep_shown_versions(connection: sqlite3.Connection) -> None:
    """Know which version of a picture a cell shows."""
    connection.execute(
        """CREATE TABLE shown_versions (
            notebook TEXT NOT NULL,    -- empty: not known
            cell TEXT NOT NULL,        -- its id; empty: not known
            first TEXT NOT NULL,       -- the image that the cell asked for
            shown TEXT NOT NULL,       -- the image that it shows instead
            PRIMARY KEY (notebook, cell, first)
        ) STRICT"""
    )


def _keep_routes(connection: sqlite3.Connection) -> None:
    """Know the service and the action of a model that the catalogue does not have."""
    for column in ("service", "action"):
        connection.execute(f"ALTER TABLE tasks ADD COLUMN {column} TEXT")


# A new version of the tables is a new function at the end; none is ever changed.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_tables,
    _look_back,
    _count_money,
    _keep_in_stores,
    _learn_durations,
    _note_unseen,
    _tell_where_batches_were_asked,
    _keep_shown_versions,
    _keep_routes,
)

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
