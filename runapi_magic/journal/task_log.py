"""The log of all tasks. A task is recorded before it is sent, so that no paid image is lost.

The log is one SQLite file, ``journal.sqlite``, in the data folder. Several kernels may use it at
once. Its rules:

- The row of a task, with its idempotency key and the exact bytes of its POST, is committed before
  the POST is sent. To repeat a POST means to send these bytes with this key again.
- The task ID is committed as soon as it is known. The row of an image is committed after its file
  is in place.
- The kernel that works on a task owns its row. Another kernel may claim the row if the owner has
  ended or has released it. The search for identical requests and the insertion of new tasks are one
  transaction, so two kernels never request the same image twice.
- No transaction waits for a file or the network. Files are checked between transactions.
- No row contains the API key.

All methods block. They may be called from any thread and raise JournalError where the journal
cannot be used.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from runapi_magic.journal.database import Database, retry_until_written
from runapi_magic.journal.durations import insert_duration, select_durations
from runapi_magic.journal.matching import FileChecks, Match, match
from runapi_magic.journal.tables import (
    Allocation,
    Billing,
    StoredImage,
    StoredTask,
    insert_images,
    insert_task,
    select_abandoned,
    select_images,
    select_tasks,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runapi_magic.core.duration_model import Duration, Kind
    from runapi_magic.core.protocols import FinishedImage
    from runapi_magic.core.request import Attempt, ImageRequest


class Journal(Database):
    """The journal of one data folder. The file is opened on first use.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._active: set[str] = set()  # IDs of this kernel's requests that work on tasks

    # Requests

    def allocate(
        self,
        generation: str,
        request: ImageRequest,
        origin: str,
        *,
        split: Callable[[int], tuple[int, ...]],
        new_id: Callable[[], str],
        usable: Callable[[Path, str], bool],
        since: float | None = 0.0,
        billing: Billing | None = None,
    ) -> Allocation:
        """Find the images and tasks that a request can use, and insert tasks for the rest.

        Args:
            generation: The ID of the request.
            request: The request. The digests of its sources are known.
            origin: The service's base URL.
            split: Split a number of images into tasks.
            new_id: Return the ID of a new task.
            usable: Whether the file of an image exists and has this digest.
            since: Unix time in seconds; older requests do not count. None: no request counts.
            billing: The price of new tasks, and what they count for.
        """
        self._active.add(generation)
        files = FileChecks(usable)
        while True:
            with self.reading() as connection:  # nothing is written if all images exist
                found = self._match(connection, request, origin, files, since)
            if not files.are_complete:
                files.run()
                continue
            if not found.abandoned and found.left <= 0:
                return Allocation(found.finished, found.joined, [], [])
            with self.transaction() as connection:
                found = self._match(connection, request, origin, files, since)
                if files.are_complete:
                    billing = billing or Billing()
                    self._own(connection, found.abandoned, generation, billing.reservation)
                    planned = [
                        insert_task(
                            connection,
                            request,
                            (new_id(), generation, origin, time.time()),
                            count=count,
                            kernel=self.owners.me,
                            billing=billing,
                        )
                        for count in (split(found.left) if found.left > 0 else ())
                    ]
                    return Allocation(found.finished, found.joined, found.abandoned, planned)
            files.run()

    def count_missing(
        self,
        request: ImageRequest,
        origin: str,
        *,
        usable: Callable[[Path, str], bool],
        since: float = 0.0,
        stores_count: bool = True,
    ) -> int:
        """Return how many images of a request neither exist nor are being generated.

        Args:
            request: The request. The digests of its sources are known.
            origin: The service's base URL.
            usable: Whether the file of an image exists and has this digest.
            since: Unix time in seconds; older requests do not count.
            stores_count: Whether an image counts that is only in an object store.
        """
        files = FileChecks(usable, stores_count=stores_count)
        while True:
            with self.reading() as connection:
                found = self._match(connection, request, origin, files, since)
            if files.are_complete:
                planned = [task.count for task in found.abandoned if task.state == "planned"]
                return max(0, found.left) + sum(planned)
            files.run()

    def images_in_store(
        self, request: ImageRequest, origin: str, since: float
    ) -> list[StoredImage]:
        """Return the images of a request that are in an object store, at most as many as requested.

        Args:
            request: The request. The digests of its sources are known.
            origin: The service's base URL.
            since: Unix time in seconds; older requests do not count.
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
        files: FileChecks,
        since: float | None,
    ) -> Match:
        return match(
            connection, request, origin, files, since=since, is_worked_on=self.is_worked_on
        )

    # States of a task

    def mark_sent(self, task: str, attempt: Attempt) -> None:
        """Record a POST. Call this before it is sent."""
        self._set(task, state="sent", **_posted(attempt))

    @retry_until_written
    def mark_running(
        self,
        task: str,
        task_id: str,
        status_paths: tuple[str, ...],
        attempt: Attempt | None = None,
    ) -> None:
        """Record the service's ID of a task.

        Args:
            task: The ID in the journal.
            task_id: The service's ID.
            status_paths: The paths of its status.
            attempt: The POST, if it may not be recorded yet.
        """
        known = {} if attempt is None else _posted(attempt)
        known |= {"task_id": task_id, "status_paths": json.dumps(status_paths)}
        self._set(task, state="running", **known)

    @retry_until_written
    def mark_completed(
        self,
        task: str,
        cost: float | None,
        seconds: float | None,
        measured: tuple[Kind, Duration] | None = None,
    ) -> None:
        """Record that the service has finished the images of a task.

        Args:
            task: The ID in the journal.
            cost: USD; None if it is not known.
            seconds: The time from the request until the service finished.
            measured: The duration of the task at the service, for estimates; None if it is unknown.
        """
        with self.transaction() as connection:
            connection.execute(
                "UPDATE tasks SET state = 'completed', cost = ?, seconds = ? WHERE id = ?",
                (cost, seconds, task),
            )
            if measured is not None:
                insert_duration(connection, *measured)

    @retry_until_written
    def mark_failed(self, task: str, error: str, *, refused: bool) -> None:
        """Record that a task has no images: the service refused it, or it failed later."""
        self._set(task, state="refused" if refused else "failed", error=error, owner=None)

    @retry_until_written
    def mark_saved(self, task: str, images: Sequence[FinishedImage]) -> None:
        """Record the images of a task. Call this after their files are in place."""
        with self.transaction() as connection:
            insert_images(connection, task, images)
            connection.execute(
                "UPDATE tasks SET state = 'saved', error = NULL, owner = NULL WHERE id = ?", (task,)
            )

    @retry_until_written
    def release_task(self, task: str, error: str) -> None:
        """Record that this kernel stops working on a task. The task can be resumed."""
        self._set(task, error=error, owner=None)

    # Owners of tasks

    @retry_until_written
    def release(self, generation: str) -> None:
        """Release all tasks of a request that this kernel owns. Unsent ones end as refused."""
        self.deactivate(generation)
        with self.transaction() as connection:
            connection.execute(
                "UPDATE tasks SET owner = NULL,"
                " state = CASE state WHEN 'planned' THEN 'refused' ELSE state END"
                " WHERE generation = ? AND owner = ?",
                (generation, self.owners.me),
            )

    def deactivate(self, generation: str) -> None:
        """Stop counting a request as active, even if its tasks could not be released."""
        self._active.discard(generation)

    def is_worked_on(self, task: StoredTask) -> bool:
        """Whether a running kernel works on a task. In this kernel its request must be active."""
        if task.owner == self.owners.me:
            return task.generation in self._active
        return self.owners.is_alive(task.owner)

    def claim(
        self,
        wanted: Callable[[StoredTask], bool],
        generation: str,
        reservation: str | None = None,
    ) -> list[StoredTask]:
        """Assign abandoned tasks to a request and return them.

        Args:
            wanted: Whether the request wants a task.
            generation: The ID of the request.
            reservation: The reservation of money that pays for the tasks that were never sent.
        """
        self._active.add(generation)
        with self.transaction() as connection:
            found = self._abandoned(connection, wanted)
            self._own(connection, found, generation, reservation)
            return found

    def forget(self, wanted: Callable[[StoredTask], bool]) -> list[StoredTask]:
        """Give up abandoned tasks, and return them as they were.

        A task that was not sent ends as refused.

        Args:
            wanted: Whether to give up a task.
        """
        with self.transaction() as connection:
            found = self._abandoned(connection, wanted)
            connection.executemany(
                "UPDATE tasks SET owner = NULL,"
                " state = CASE state WHEN 'planned' THEN 'refused' ELSE 'forgotten' END"
                " WHERE id = ?",
                [(task.id,) for task in found],
            )
            return found

    def _abandoned(
        self, connection: sqlite3.Connection, wanted: Callable[[StoredTask], bool]
    ) -> list[StoredTask]:
        return [task for task in select_abandoned(connection, self.is_worked_on) if wanted(task)]

    # Queries

    def task(self, task: str) -> StoredTask | None:
        """Return a task by its ID in the journal."""
        with self.reading() as connection:
            return next(iter(select_tasks(connection, "tasks.id = ?", task)), None)

    def images(self, task: str) -> list[StoredImage]:
        """Return the images of a task."""
        with self.reading() as connection:
            return select_images(connection, "task = ? ORDER BY position", task)

    def unfinished(self) -> list[StoredTask]:
        """Return the unfinished tasks that no running kernel works on, oldest first."""
        with self.reading() as connection:
            return select_abandoned(connection, self.is_worked_on)

    # Durations

    def durations(self, kind: Kind) -> list[Duration]:
        """Return the durations of the last tasks of a kind, oldest first."""
        with self.reading() as connection:
            return select_durations(connection, kind)

    @retry_until_written
    def add_duration(self, kind: Kind, duration: Duration) -> None:
        """Record the duration of a task that has no images."""
        with self.transaction() as connection:
            insert_duration(connection, kind, duration)

    # SQL

    def _own(
        self,
        connection: sqlite3.Connection,
        tasks: list[StoredTask],
        generation: str,
        reservation: str | None,
    ) -> None:
        """Make this kernel the owner of tasks. It pays for those that were never sent."""
        me = self.owners.me
        connection.executemany(
            "UPDATE tasks SET owner = ?, generation = ?,"
            " kernel = CASE state WHEN 'planned' THEN ? ELSE kernel END,"
            " hold = CASE state WHEN 'planned' THEN ? ELSE hold END WHERE id = ?",
            [(me, generation, me, reservation, task.id) for task in tasks],
        )

    def _set(self, task: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction() as connection:
            connection.execute(
                f"UPDATE tasks SET {names} WHERE id = ?",  # noqa: S608 (the names are in this module)
                (*columns.values(), task),
            )


def _posted(attempt: Attempt) -> dict[str, Any]:
    """Return a POST as columns."""
    return {
        "idempotency_key": attempt.idempotency_key,
        "family": attempt.family,
        "path": attempt.path,
        "body": attempt.body,
        "status_paths": json.dumps(attempt.status_paths),
    }
