"""Remember in the journal which version of an image a cell shows, so that a rerun shows it again.

A cell is identified by its notebook and its ID, if the front end sends them. A shown version is
stored for the first version of its slot. So another request in the same cell, or another image of
the same request, does not get it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runapi_magic.errors import InvalidRequestError, RunAPIError
from runapi_magic.journal.database import retry_until_written
from runapi_magic.journal.tables import select_images
from runapi_magic.media.files import is_intact, short_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.engine.generation import CellLocation, Generation, GenerationTask, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.image_store import ImageStore
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.tables import StoredImage


class ShownVersions:
    """The versions that cells show.

    Args:
        record: Calls the journal.
        image_store: Loads images that are on disk.
        notice: Takes a message for the user.
    """

    def __init__(
        self, record: AsyncJournal, image_store: ImageStore, notice: Callable[[str], None]
    ) -> None:
        self._record = record
        self._image_store = image_store
        self._notice = notice

    async def keep(self, generation: Generation, slot: Slot) -> None:
        """Record which version a slot shows, for the next run of its cell."""
        if generation.cell_location is not None and slot.versions:
            await self._record(self._write, generation.cell_location, slot)

    @retry_until_written
    def _write(self, cell: CellLocation, slot: Slot) -> None:
        with self._record.journal.transaction() as connection:
            # Read now: if there are two clicks, the second may be written first.
            first, shown = slot.versions[0].id, slot.versions[slot.index].id
            connection.execute(
                "DELETE FROM shown_versions WHERE notebook = ? AND cell = ? AND first = ?",
                (cell.notebook, cell.cell, first),
            )
            if shown != first:
                connection.execute(
                    "INSERT INTO shown_versions (notebook, cell, first, shown) VALUES (?, ?, ?, ?)",
                    (cell.notebook, cell.cell, first, shown),
                )

    async def find(
        self, generation: Generation, tasks: Sequence[GenerationTask]
    ) -> dict[str, GeneratedImage]:
        """Return the versions that the cell showed last, by the ID of each slot's first version.

        Args:
            generation: The request that the cell makes now.
            tasks: Its tasks, with their reused images.
        """
        firsts = [image.id for task in tasks for image in task.images]
        if generation.cell_location is None or not firsts:
            return {}
        stored = await self._record(self._read, generation.cell_location, firsts) or {}
        found = {}
        for first, image in stored.items():
            try:
                found[first] = await self._load(image)
            except RunAPIError as error:
                self._notice(
                    f"This cell last showed {short_path(image.location or image.path)}, which"
                    f" cannot be used now: {error.what} The first version is shown, and nothing"
                    " was charged."
                )
        return found

    async def _load(self, stored: StoredImage) -> GeneratedImage:
        loaded = await self._image_store.load(stored, shown=True)
        if not await asyncio.to_thread(is_intact, stored.path, stored.digest):
            raise InvalidRequestError("The file was changed.")
        return loaded

    def _read(self, cell: CellLocation, firsts: list[str]) -> dict[str, StoredImage]:
        with self._record.journal.reading() as connection:
            return {
                first: image
                for first in firsts
                for image in select_images(
                    connection,
                    "images.id = (SELECT shown FROM shown_versions"
                    " WHERE notebook = ? AND cell = ? AND first = ?)",
                    cell.notebook,
                    cell.cell,
                    first,
                )
            }


def show_versions(generation: Generation, versions: dict[str, GeneratedImage]) -> None:
    """Show these versions in the slots of their first versions, without a notification.

    Args:
        generation: The request.
        versions: The versions, by the ID of the first version.
    """
    for slot in generation.slots:
        version = versions.get(slot.versions[0].id) if slot.versions else None
        if version is not None:
            slot.versions, slot.index = [slot.versions[0], version], 1
