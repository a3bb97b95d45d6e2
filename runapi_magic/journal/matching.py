"""Find what identical requests have already: images, running tasks, abandoned tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runapi_magic.journal.schema import IS_UNFINISHED
from runapi_magic.journal.tables import StoredImage, StoredTask, select_images, select_tasks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from runapi_magic.core.request import ImageRequest

# RunAPI does not publish how long it remembers an idempotency key, so an older one is not reused.
KEY_LIFETIME = 24 * 3600.0  # seconds


@dataclass(slots=True)
class Match:
    """What identical requests have.

    Attributes:
        left: The number of images that are still missing.
        finished: Images that are on disk.
        joined: Tasks that a running kernel works on.
        abandoned: Tasks that no kernel works on.
    """

    left: int
    finished: list[StoredImage] = field(default_factory=list)
    joined: list[StoredTask] = field(default_factory=list)
    abandoned: list[StoredTask] = field(default_factory=list)


class FileChecks:
    """Checks of image files. They are made between transactions, never inside one.

    A transaction collects the files that it needs to know about. After it, ``run`` checks them, and
    the transaction is repeated.

    Args:
        usable: Whether the file of an image exists and has this digest.
        stores_count: Whether an image counts that is only in an object store.
    """

    def __init__(self, usable: Callable[[Path, str], bool], *, stores_count: bool = False) -> None:
        self._usable = usable
        self._stores_count = stores_count
        self._results: dict[tuple[Path, str], bool] = {}
        self._pending: list[tuple[Path, str]] = []

    @property
    def are_complete(self) -> bool:
        """Whether no check is pending."""
        return not self._pending

    def passes(self, image: StoredImage) -> bool:
        """Whether an image is usable. It is assumed to be until it was checked."""
        file = image.path, image.digest
        if self._stores_count and image.location:
            return True
        if file not in self._results:
            self._pending.append(file)
        return self._results.get(file, True)

    def run(self) -> None:
        """Run the pending checks."""
        self._results |= {file: self._usable(*file) for file in self._pending}
        self._pending = []


def match(
    connection: sqlite3.Connection,
    request: ImageRequest,
    origin: str,
    files: FileChecks,
    *,
    since: float | None,
    is_worked_on: Callable[[StoredTask], bool],
) -> Match:
    """Return what identical requests have: images first, then unfinished tasks, oldest first.

    Args:
        connection: The journal.
        request: The request.
        origin: The service's base URL.
        files: The checks of image files.
        since: Unix time in seconds; older requests do not count. None: no request counts.
        is_worked_on: Whether a running kernel works on a task.
    """
    found = Match(request.count)
    if since is None:
        return found
    for task in _identical(connection, request.fingerprint, origin, since):
        if found.left <= 0:
            break
        if task.state == "saved":
            images = select_images(connection, "task = ? ORDER BY position", task.id)
            usable = [image for image in images if files.passes(image)][: found.left]
            found.finished += usable
            found.left -= len(usable)
        elif task.count > found.left:
            continue
        elif is_worked_on(task):
            found.joined.append(task)
            found.left -= task.count
        elif task.task_id or task.created > time.time() - KEY_LIFETIME:
            found.abandoned.append(task)
            found.left -= task.count
    return found


def _identical(
    connection: sqlite3.Connection, fingerprint: str, origin: str, since: float
) -> list[StoredTask]:
    return select_tasks(
        connection,
        f"fingerprint = ? AND origin = ? AND created >= ?"
        f" AND (state = 'saved' OR {IS_UNFINISHED})"
        " ORDER BY state <> 'saved', created, tasks.rowid",
        fingerprint,
        origin,
        since,
    )
