"""The journal's tables, and a row of them as an object.

States of a task: ``planned`` (never sent), ``sent`` (the POST may have left), ``running`` (its id
is known), ``completed`` (the service is done), ``saved`` (the pictures are on disk), ``failed``,
``refused`` (the service did not take it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.requests import Attempt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


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


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture's row, with its task."""

    id: str
    task: StoredTask
    position: int
    path: Path
    digest: str
    width: int
    height: int
    saved: float
    seconds: float | None


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


# A new version of the tables is a new function at the end; none is ever changed.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create_tables,)

TASK_COLUMNS = (
    "tasks.id, generation, origin, created, model, prompt, fields, sources, count,"
    " idempotency_key, family, tasks.path, body, status_paths, task_id, state, error, cost, owner"
)
TASK_WIDTH = TASK_COLUMNS.count(",") + 1


def stored_task(row: tuple[Any, ...]) -> StoredTask:
    """Return a row that begins with ``TASK_COLUMNS`` as a task."""
    (
        task, generation, origin, created, model, prompt, fields, sources, count,
        key, family, path, body, status_paths, task_id, state, error, cost, owner,
    ) = row[:TASK_WIDTH]  # fmt: skip
    attempt = None
    if key is not None:
        attempt = Attempt(key, family, path, body, tuple(json.loads(status_paths)))
    return StoredTask(
        task, generation, origin, created, model, prompt, json.loads(fields), json.loads(sources),
        count, attempt, task_id, state, error, cost, owner,
    )  # fmt: skip


def stored_image(row: tuple[Any, ...]) -> StoredImage:
    """Return a row of a task's columns and a picture's as a picture."""
    image, position, path, digest, width, height, saved, seconds = row[TASK_WIDTH:]
    return StoredImage(
        image, stored_task(row), position, Path(path), digest, width, height, saved, seconds
    )
