"""The history: the finished images in the journal.

All methods block. They may be called from any thread and raise JournalError where the journal
cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runapi_magic.journal.tables import select_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.journal.tables import StoredImage
    from runapi_magic.journal.task_log import Journal

_LARGEST_TREE = 1000  # images

_TREES = """
    WITH RECURSIVE
    up (id, parent) AS (
        SELECT id, parent FROM images WHERE id IN ({ids})
        UNION
        SELECT images.id, images.parent FROM images JOIN up ON images.id = up.parent
    ),
    tree (id) AS (
        SELECT id FROM up
        UNION
        SELECT images.id FROM images JOIN tree ON images.parent = tree.id
    )
    SELECT id FROM tree
"""


class History:
    """The finished images of one journal.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def image(self, image: str) -> StoredImage | None:
        """Return the image with this ID, or None."""
        return self._first("images.id = ?", image)

    def by_digest(self, digest: str) -> StoredImage | None:
        """Return the oldest image whose file has this hex SHA-256, or None."""
        return self._first("digest = ? ORDER BY saved", digest)

    def images(self, search: str = "", *, limit: int, offset: int = 0) -> list[StoredImage]:
        """Return a page of images, newest first.

        Args:
            search: Words that must all be in the prompt or the model. Case is ignored.
            limit: The maximum number of images.
            offset: The number of images to skip.
        """
        condition, values = _matching(search)
        with self._journal.reading() as connection:
            return select_images(
                connection,
                f"{condition} ORDER BY saved DESC, images.rowid DESC LIMIT ? OFFSET ?",
                *values, limit, offset,
            )  # fmt: skip

    def count(self, search: str = "") -> int:
        """Return how many images a search finds."""
        condition, values = _matching(search)
        with self._journal.reading() as connection:
            query = (
                "SELECT count(*) FROM images JOIN tasks ON tasks.id = images.task"  # noqa: S608 (no user input)
                f" WHERE {condition}"
            )
            (found,) = connection.execute(query, values).fetchone()
            return int(found)

    def trees(self, images: Sequence[str]) -> list[StoredImage]:
        """Return the trees of edits that contain these images, oldest first.

        If they have more than 1,000 images, only the oldest 1,000 are returned.
        """
        query = _TREES.format(ids=", ".join("?" * len(images)))
        with self._journal.reading() as connection:
            return select_images(
                connection,
                f"images.id IN ({query}) ORDER BY saved, images.rowid LIMIT {_LARGEST_TREE}",
                *images,
            )

    def identical(self, image: str) -> list[StoredImage]:
        """Return all images of requests that are identical to the request of this image."""
        with self._journal.reading() as connection:
            return select_images(
                connection,
                "state = 'saved' AND (fingerprint, origin) ="
                " (SELECT fingerprint, origin FROM tasks JOIN images ON tasks.id = images.task"
                "  WHERE images.id = ?)"
                " ORDER BY created, tasks.rowid, position",
                image,
            )

    def set_metrics(self, image: str, sharpness: float, noise: float) -> None:
        """Store the metrics of an image."""
        with self._journal.transaction() as connection:
            connection.execute(
                "UPDATE images SET sharpness = ?, noise = ? WHERE id = ?",
                (sharpness, noise, image),
            )

    def mark_unseen(self, images: Sequence[str]) -> None:
        """Record that these images came while their page was closed."""
        with self._journal.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO unseen SELECT id FROM images WHERE id = ?",
                [(image,) for image in images],
            )

    def mark_seen(self, images: Sequence[str]) -> None:
        """Record that the user has seen these images or was notified of them."""
        with self._journal.transaction() as connection:
            connection.executemany(
                "DELETE FROM unseen WHERE image = ?", [(image,) for image in images]
            )

    def pop_unseen(self) -> list[StoredImage]:
        """Return the unseen images, oldest first, and mark them as seen."""
        with self._journal.transaction() as connection:
            found = select_images(
                connection, "images.id IN (SELECT image FROM unseen) ORDER BY saved, images.rowid"
            )
            connection.execute("DELETE FROM unseen")
        return found

    def _first(self, where: str, *values: str) -> StoredImage | None:
        with self._journal.reading() as connection:
            return next(iter(select_images(connection, f"{where} LIMIT 1", *values)), None)


def _matching(search: str) -> tuple[str, list[str]]:
    """Return the SQL condition of a search and its values."""
    condition, values = ["TRUE"], []
    for word in search.split():
        condition.append("(instr(casefold(prompt), ?) OR instr(casefold(model), ?))")
        values += [word.casefold()] * 2
    return " AND ".join(condition), values
