"""What was asked for, written down before it is sent, so that no paid picture is lost.

One SQLite file, ``journal.sqlite``, in the data folder; several kernels may use it at once.
The contract:

- A task's row, with its idempotency key and the exact bytes of its POST, is committed before the
  POST leaves. Repeating a create means repeating these bytes under this key.
- The task id is committed as soon as it is known; a picture's row only after its file is safely
  in place.
- The API key is in no row.

Methods are blocking and may be called from any thread, one at a time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runapi_magic.client import Attempt
    from runapi_magic.images import GeneratedImage
    from runapi_magic.requests import ImageRequest

_BUSY_TIMEOUT = 10.0  # seconds that a kernel waits for another one's write


class JournalError(Exception):
    """The journal cannot be used; what goes on is not recorded."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task of a request, as it is first written down.

    Attributes:
        id: This part's own id, known before anything is sent.
        generation: The request that it is a part of.
        origin: The service's base URL.
        count: Number of pictures.
        created: Unix time in seconds.
    """

    id: str
    generation: str
    origin: str
    count: int
    created: float


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            generation TEXT NOT NULL,
            origin TEXT NOT NULL,
            created REAL NOT NULL,
            model TEXT NOT NULL,
            action TEXT NOT NULL,
            prompt TEXT NOT NULL,
            fields TEXT NOT NULL,      -- JSON
            sources TEXT NOT NULL,     -- JSON: label, digest, image id of each
            fingerprint TEXT NOT NULL, -- what decides how one picture looks
            count INTEGER NOT NULL,
            idempotency_key TEXT,      -- of the last attempt; NULL: never sent
            family TEXT,
            path TEXT,
            body BLOB,
            status_paths TEXT,         -- JSON
            task_id TEXT,
            state TEXT NOT NULL,       -- planned, sent, running, completed, saved, failed, refused
            error TEXT,
            cost REAL,                 -- USD
            seconds REAL               -- from the POST until the service was done
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
        "CREATE INDEX tasks_unfinished ON tasks (state) "
        "WHERE state IN ('planned', 'sent', 'running', 'completed')"
    )
    connection.execute("CREATE INDEX tasks_by_task_id ON tasks (task_id)")
    connection.execute("CREATE INDEX images_by_task ON images (task)")


# A new version of the tables is a new function at the end; none is ever changed.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create_tables,)


class Journal:
    """The journal of one data folder, opened on first use.

    Args:
        folder: The data folder; made, private to the user, where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def plan(self, row: TaskRow, request: ImageRequest) -> None:
        """Write a task down before its sources are uploaded or anything else is sent."""
        sources = [
            {
                "label": source.label,
                "digest": source.digest,
                "image": source.image.id if source.image else None,
            }
            for source in request.sources
        ]
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO tasks (id, generation, origin, created, model, action, prompt, fields,"
                " sources, fingerprint, count, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'planned')",
                (
                    row.id,
                    row.generation,
                    row.origin,
                    row.created,
                    request.model,
                    request.action.name,
                    request.prompt,
                    json.dumps(dict(request.fields)),
                    json.dumps(sources),
                    request.fingerprint,
                    row.count,
                ),
            )

    def sending(self, task: str, attempt: Attempt) -> None:
        """Write down what is about to be posted. Committed before it leaves."""
        self._set(
            task,
            state="sent",
            idempotency_key=attempt.idempotency_key,
            family=attempt.family,
            path=attempt.path,
            body=attempt.body,
            status_paths=json.dumps(attempt.status_paths),
        )

    def created(self, task: str, task_id: str, status_paths: tuple[str, ...]) -> None:
        """Write down the service's id of a task."""
        self._set(task, state="running", task_id=task_id, status_paths=json.dumps(status_paths))

    def completed(self, task: str, cost: float | None, seconds: float) -> None:
        """Write down that the service has finished the pictures."""
        self._set(task, state="completed", cost=cost, seconds=seconds)

    def failed(self, task: str, error: str, *, refused: bool) -> None:
        """Write down that there will be no picture: refused at once, or failed later."""
        self._set(task, state="refused" if refused else "failed", error=error)

    def saved(self, task: str, images: list[GeneratedImage]) -> None:
        """Write down the pictures of a task, once their files are in place."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                    )
                    for position, image in enumerate(images)
                ],
            )
            connection.execute("UPDATE tasks SET state = 'saved' WHERE id = ?", (task,))

    def _set(self, task: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE tasks SET {names} WHERE id = ?",  # noqa: S608 (names are ours)
                (*columns.values(), task),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for one committed transaction.

        Raises:
            JournalError: The file cannot be used; the message says why.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise JournalError(f"{self.path}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT, check_same_thread=False, isolation_level="IMMEDIATE"
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for migrate in MIGRATIONS[version:]:
                migrate(connection)
            connection.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
        return connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
