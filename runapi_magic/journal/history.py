"""Looking back: the finished pictures that the journal knows.

Methods are blocking and may be called from any thread; all raise JournalError where the journal
cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runapi_magic.journal.tables import select_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.journal.tables import StoredImage
    from runapi_magic.journal.task_log import Journal

_LARGEST_FAMILY = 1000  # pictures of one tree that are looked at

_FAMILY = """
    WITH RECURSIVE
    up (id, parent) AS (
        SELECT id, parent FROM images WHERE id IN ({ids})
        UNION
        SELECT images.id, images.parent FROM images JOIN up ON images.id = up.parent
    ),
    family (id) AS (
        SELECT id FROM up
        UNION
        SELECT images.id FROM images JOIN family ON images.parent = family.id
    )
    SELECT id FROM family
"""


class History:
    """The finished pictures of one journal.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def image(self, image: str) -> StoredImage | None:
        """Return the picture with this id."""
        return self._first("images.id = ?", image)

    def of_file(self, digest: str) -> StoredImage | None:
        """Return the picture whose file has these bytes, by their hex SHA-256."""
        return self._first("digest = ? ORDER BY saved", digest)

    def pictures(self, search: str = "", *, limit: int, offset: int = 0) -> list[StoredImage]:
        """Return a page of pictures, newest first.

        Args:
            search: Words that must all be in prompt or model, without regard to case.
            limit: Most pictures.
            offset: Pictures to leave out first.
        """
        condition, values = _matching(search)
        with self._journal.reading() as connection:
            return select_images(
                connection,
                f"{condition} ORDER BY saved DESC, images.rowid DESC LIMIT ? OFFSET ?",
                *values, limit, offset,
            )  # fmt: skip

    def count(self, search: str = "") -> int:
        """Return how many pictures a search finds."""
        condition, values = _matching(search)
        with self._journal.reading() as connection:
            query = (
                "SELECT count(*) FROM images JOIN tasks ON tasks.id = images.task"  # noqa: S608 (ours)
                f" WHERE {condition}"
            )
            (found,) = connection.execute(query, values).fetchone()
            return int(found)

    def family(self, images: Sequence[str]) -> list[StoredImage]:
        """Return the whole trees of edits that these pictures stand in, oldest picture first."""
        query = _FAMILY.format(ids=", ".join("?" * len(images)))
        with self._journal.reading() as connection:
            return select_images(
                connection,
                f"images.id IN ({query}) ORDER BY saved, images.rowid LIMIT {_LARGEST_FAMILY}",
                *images,
            )

    def identical(self, image: str) -> list[StoredImage]:
        """Return all pictures of requests identical to this one's, as a request finds them."""
        with self._journal.reading() as connection:
            return select_images(
                connection,
                "state = 'saved' AND (fingerprint, origin) ="
                " (SELECT fingerprint, origin FROM tasks JOIN images ON tasks.id = images.task"
                "  WHERE images.id = ?)"
                " ORDER BY created, tasks.rowid, position",
                image,
            )

    def measured(self, image: str, sharpness: float, noise: float) -> None:
        """Keep what was measured of a picture."""
        with self._journal.transaction() as connection:
            connection.execute(
                "UPDATE images SET sharpness = ?, noise = ? WHERE id = ?",
                (sharpness, noise, image),
            )

    def note_unseen(self, images: Sequence[str]) -> None:
        """Keep in mind that nobody has seen these pictures."""
        with self._journal.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO unseen SELECT id FROM images WHERE id = ?",
                [(image,) for image in images],
            )

    def note_seen(self, images: Sequence[str]) -> None:
        """Keep in mind that somebody has seen these pictures, or was told of them."""
        with self._journal.transaction() as connection:
            connection.executemany(
                "DELETE FROM unseen WHERE image = ?", [(image,) for image in images]
            )

    def take_unseen(self) -> list[StoredImage]:
        """Return the pictures that nobody has seen, oldest first, to be told of now."""
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
    """Return the condition of a search, and its values."""
    condition, values = ["TRUE"], []
    for word in search.split():
        condition.append("(instr(casefold(prompt), ?) OR instr(casefold(model), ?))")
        values += [word.casefold()] * 2
    return " AND ".join(condition), values
