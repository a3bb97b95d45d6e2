"""What was asked for, written down before it is sent, so that no paid picture is lost.

One SQLite file, ``journal.sqlite``, in the data folder; several kernels may use it at once.
The contract:

- A task's row, with its idempotency key and the exact bytes of its POST, is committed before the
  POST leaves. Repeating a create means repeating these bytes under this key.
- The task id is committed as soon as it is known; a picture's row only after its file is safely
  in place.
- Whoever works on a task owns its row. A row whose owner is dead, or has let go, may be taken;
  looking for identical requests and writing a new one is one transaction, so that two kernels
  never ask for the same picture twice.
- No transaction waits for a file or for the network: files are looked at before it.
- The API key is in no row.

Methods are blocking and may be called from any thread, one at a time.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from runapi_magic.journal.database import Database, afterwards
from runapi_magic.journal.durations import insert_duration, select_durations
from runapi_magic.journal.matching import Files, Match, match
from runapi_magic.journal.tables import (
    Reservation,
    StoredImage,
    StoredTask,
    Terms,
    select_abandoned,
    select_images,
    select_tasks,
    source_rows,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runapi_magic.core.duration_model import Duration, Kind
    from runapi_magic.core.protocols import FinishedImage
    from runapi_magic.core.request import Attempt, ImageRequest


class Journal(Database):
    """The journal of one data folder, opened on first use."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._at_work: set[str] = set()  # this kernel's requests that work on tasks

    # A request

    def reserve(
        self,
        generation: str,
        request: ImageRequest,
        origin: str,
        *,
        split: Callable[[int], tuple[int, ...]],
        new_id: Callable[[], str],
        usable: Callable[[Path, str], bool],
        since: float | None = 0.0,
        terms: Terms | None = None,
    ) -> Reservation:
        """Decide how a request is met, and write down what is new, in one transaction.

        Args:
            generation: The request's id.
            request: What is asked for, its sources known by content.
            origin: The service's base URL.
            split: Splits a number of pictures into tasks.
            new_id: Makes a task's own id.
            usable: Whether a picture's file is still there with this digest.
            since: Unix time in seconds; what was asked for before does not count. None: nothing.
            terms: What new tasks are to cost, and who pays.
        """
        self._at_work.add(generation)
        files = Files(usable)
        while True:
            with self.reading() as connection:  # nothing has to be written for what is there
                met = self._match(connection, request, origin, files, since)
            if not files.are_known:
                files.look()
                continue
            if not met.taken and met.left <= 0:
                return Reservation(met.finished, met.joined, [], [])
            with self.transaction() as connection:
                met = self._match(connection, request, origin, files, since)
                if files.are_known:
                    self._own(connection, met.taken, generation)
                    planned = [
                        self._insert(
                            connection,
                            request,
                            (new_id(), generation, origin, time.time()),
                            count,
                            terms or Terms(),
                        )
                        for count in (split(met.left) if met.left > 0 else ())
                    ]
                    return Reservation(met.finished, met.joined, met.taken, planned)
            files.look()

    def missing(
        self,
        request: ImageRequest,
        origin: str,
        *,
        usable: Callable[[Path, str], bool],
        since: float = 0.0,
        stores_count: bool = True,
    ) -> int:
        """Return how many pictures of a request are neither kept nor under way.

        Args:
            request: What is asked for, its sources known by content.
            origin: The service's base URL.
            usable: Whether a picture's file is still there with this digest.
            since: Unix time in seconds; what was asked for before does not count.
            stores_count: Whether an image in an object store counts that is not on disk.
        """
        files = Files(usable, stores_count=stores_count)
        while True:
            with self.reading() as connection:
                met = self._match(connection, request, origin, files, since)
            if files.are_known:
                never_sent = sum(task.count for task in met.taken if task.state == "planned")
                return max(0, met.left) + never_sent
            files.look()

    def in_store(self, request: ImageRequest, origin: str, since: float) -> list[StoredImage]:
        """Return the images of a request that an object store has, as many as are asked for.

        Args:
            request: What is asked for, its sources known by content.
            origin: The service's base URL.
            since: Unix time in seconds; what was asked for before does not count.
        """
        with self.reading() as connection:
            return select_images(
                connection,
                "location IS NOT NULL AND state = 'saved' AND fingerprint = ? AND origin = ?"
                " AND created >= ? ORDER BY created, tasks.rowid, position LIMIT ?",
                request.fingerprint,
                origin,
                since,
                request.count,
            )

    def _match(
        self,
        connection: sqlite3.Connection,
        request: ImageRequest,
        origin: str,
        files: Files,
        since: float | None,
    ) -> Match:
        known = self.is_worked_on
        return match(connection, request, origin, files, since=since, is_worked_on=known)

    def _insert(
        self,
        connection: sqlite3.Connection,
        request: ImageRequest,
        head: tuple[str, str, str, float],
        count: int,
        terms: Terms,
    ) -> StoredTask:
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
                self.owners.me,
                self.owners.me,
                terms.price(count),
                terms.hold,
                terms.notebook,
                request.service,
                request.action_name,
            ),
        )
        return select_tasks(connection, "tasks.id = ?", head[0])[0]

    # A task

    def sending(self, task: str, attempt: Attempt) -> None:
        """Write down what is about to be posted. Committed before it leaves."""
        self._set(task, state="sent", **_posted(attempt))

    @afterwards
    def created(
        self,
        task: str,
        task_id: str,
        status_paths: tuple[str, ...],
        attempt: Attempt | None = None,
    ) -> None:
        """Write down the service's id of a task.

        Args:
            task: The task's own id.
            task_id: The service's.
            status_paths: Where its status is.
            attempt: What was posted, where that may not have been written down.
        """
        known = {} if attempt is None else _posted(attempt)
        known |= {"task_id": task_id, "status_paths": json.dumps(status_paths)}
        self._set(task, state="running", **known)

    @afterwards
    def completed(
        self,
        task: str,
        cost: float | None,
        seconds: float | None,
        took: tuple[Kind, Duration] | None = None,
    ) -> None:
        """Write down that the service has finished the pictures, and how long that took it."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE tasks SET state = 'completed', cost = ?, seconds = ? WHERE id = ?",
                (cost, seconds, task),
            )
            if took is not None:
                insert_duration(connection, *took)

    @afterwards
    def took(self, kind: Kind, took: Duration) -> None:
        """Write down how long the service took for a task that brought no picture."""
        with self.transaction() as connection:
            insert_duration(connection, kind, took)

    @afterwards
    def failed(self, task: str, error: str, *, refused: bool) -> None:
        """Write down that there will be no picture: refused at once, or failed later."""
        self._set(task, state="refused" if refused else "failed", error=error, owner=None)

    @afterwards
    def let_go(self, task: str, error: str) -> None:
        """Write down that nobody works on a task for now; it can be resumed."""
        self._set(task, error=error, owner=None)

    @afterwards
    def saved(self, task: str, images: Sequence[FinishedImage]) -> None:
        """Write down the pictures of a task, once their files are in place."""
        with self.transaction() as connection:
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
            connection.execute(
                "UPDATE tasks SET state = 'saved', error = NULL, owner = NULL WHERE id = ?", (task,)
            )

    # Looking back

    def task(self, task: str) -> StoredTask | None:
        """Return a task's row."""
        with self.reading() as connection:
            return next(iter(select_tasks(connection, "tasks.id = ?", task)), None)

    def images(self, task: str) -> list[StoredImage]:
        """Return a task's pictures."""
        with self.reading() as connection:
            return select_images(connection, "task = ? ORDER BY position", task)

    def unfinished(self) -> list[StoredTask]:
        """Return the tasks that nobody works on and that have no pictures yet, oldest first."""
        with self.reading() as connection:
            return select_abandoned(connection, self.is_worked_on)

    @afterwards
    def release(self, generation: str) -> None:
        """Let go of what a request still owns; what was never sent is not wanted any more."""
        self.end(generation)
        with self.transaction() as connection:
            connection.execute(
                "UPDATE tasks SET owner = NULL,"
                " state = CASE state WHEN 'planned' THEN 'refused' ELSE state END"
                " WHERE generation = ? AND owner = ?",
                (generation, self.owners.me),
            )

    def end(self, generation: str) -> None:
        """Note that a request works on nothing any more, whatever could be written down of that."""
        self._at_work.discard(generation)

    def is_worked_on(self, task: StoredTask) -> bool:
        """Whether a living kernel works on a task; this one, where the request is under way."""
        if task.owner == self.owners.me:
            return task.generation in self._at_work
        return self.owners.is_alive(task.owner)

    def take(self, wanted: Callable[[StoredTask], bool], generation: str) -> list[StoredTask]:
        """Make those of the unfinished tasks a request's that are wanted, and return them."""
        self._at_work.add(generation)
        with self.transaction() as connection:
            found = [
                task for task in select_abandoned(connection, self.is_worked_on) if wanted(task)
            ]
            self._own(connection, found, generation)
            return found

    def forget(self, wanted: Callable[[StoredTask], bool]) -> list[StoredTask]:
        """Give up those of the unfinished tasks that are wanted, and return them as they were.

        What a living kernel works on is not among them. A task that was never sent ends as refused.
        """
        with self.transaction() as connection:
            found = [
                task for task in select_abandoned(connection, self.is_worked_on) if wanted(task)
            ]
            connection.executemany(
                "UPDATE tasks SET owner = NULL,"
                " state = CASE state WHEN 'planned' THEN 'refused' ELSE 'forgotten' END"
                " WHERE id = ?",
                [(task.id,) for task in found],
            )
            return found

    def durations(self, kind: Kind) -> list[Duration]:
        """Return how long the last tasks of a kind took, oldest first."""
        with self.reading() as connection:
            return select_durations(connection, kind)

    # SQLite

    def _own(
        self, connection: sqlite3.Connection, tasks: list[StoredTask], generation: str
    ) -> None:
        connection.executemany(
            "UPDATE tasks SET owner = ?, generation = ? WHERE id = ?",
            [(self.owners.me, generation, task.id) for task in tasks],
        )

    def _set(self, task: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction() as connection:
            connection.execute(
                f"UPDATE tasks SET {names} WHERE id = ?",  # noqa: S608 (names are ours)
                (*columns.values(), task),
            )


def _posted(attempt: Attempt) -> dict[str, Any]:
    """Return the columns that say what was posted."""
    return {
        "idempotency_key": attempt.idempotency_key,
        "family": attempt.family,
        "path": attempt.path,
        "body": attempt.body,
        "status_paths": json.dumps(attempt.status_paths),
    }
