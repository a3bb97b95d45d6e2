"""How much of a request identical ones have met already: on disk, under way, or left behind."""

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

KEY_LIFETIME = 24 * 3600.0  # seconds; RunAPI publishes none, so a day-old key is not trusted


@dataclass(slots=True)
class Match:
    """What identical requests have.

    Attributes:
        left: Pictures that are still to be made.
        finished: Pictures that are there.
        joined: Tasks that a living kernel works on.
        taken: Tasks that nobody works on.
    """

    left: int
    finished: list[StoredImage] = field(default_factory=list)
    joined: list[StoredTask] = field(default_factory=list)
    taken: list[StoredTask] = field(default_factory=list)


class Files:
    """What is known of pictures' files, looked at between transactions and never inside one.

    Args:
        usable: Whether a picture's file is still there with this digest.
        stores_count: Whether a place in an object store is enough.
    """

    def __init__(self, usable: Callable[[Path, str], bool], *, stores_count: bool = False) -> None:
        self._usable = usable
        self._stores_count = stores_count
        self._known: dict[tuple[Path, str], bool] = {}
        self._asked: list[tuple[Path, str]] = []

    @property
    def are_known(self) -> bool:
        """Whether all that was asked since the last look is known."""
        return not self._asked

    def have(self, image: StoredImage) -> bool:
        """Whether a picture is there; assumed, until it was looked at."""
        file = image.path, image.digest
        if self._stores_count and image.location:
            return True
        if file not in self._known:
            self._asked.append(file)
        return self._known.get(file, True)

    def look(self) -> None:
        """Look at the files that were asked for."""
        self._known |= {file: self._usable(*file) for file in self._asked}
        self._asked = []


def match(
    connection: sqlite3.Connection,
    request: ImageRequest,
    origin: str,
    files: Files,
    *,
    since: float | None,
    is_worked_on: Callable[[StoredTask], bool],
) -> Match:
    """Return what identical requests have, pictures first, then tasks under way, oldest first.

    Args:
        connection: The journal.
        request: What is asked for.
        origin: The service's base URL.
        files: What is known of pictures' files.
        since: Unix time in seconds; what was asked for before does not count. None: nothing.
        is_worked_on: Whether a living kernel works on a task.
    """
    met = Match(request.count)
    if since is None:
        return met
    for task in _identical(connection, request.fingerprint, origin, since):
        if met.left <= 0:
            break
        if task.state == "saved":
            images = select_images(connection, "task = ? ORDER BY position", task.id)
            found = [image for image in images if files.have(image)][: met.left]
            met.finished += found
            met.left -= len(found)
        elif task.count > met.left:
            continue
        elif is_worked_on(task):
            met.joined.append(task)
            met.left -= task.count
        elif task.task_id or task.created > time.time() - KEY_LIFETIME:
            met.taken.append(task)
            met.left -= task.count
    return met


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
