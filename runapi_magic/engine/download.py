"""A finished task's pictures brought to where they are kept: by this kernel, or by another process.

Wherever it is done, and however often, the same picture has the same bytes and the same name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runapi_magic.media.files import SavedFile, create_part, disk_error, finish_part, readable_stem
from runapi_magic.media.object_store import SaveLocation, put

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from runapi_magic.core.task import Task
    from runapi_magic.http.client import Client
    from runapi_magic.media.metadata_note import Note
    from runapi_magic.media.preview import Limits


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How the pictures of one task are to be kept, wherever they are fetched.

    Attributes:
        local_id: The task's own id.
        title: Makes the files' names readable.
        place: Where they go.
        note: What is written into each file, but for what only the finished task tells; None for
            nothing.
        limits: What a picture may be, and how its preview is made.
        max_megabytes: Largest download, millions of bytes.
        run: Tells half a file from that of another run, where there may be several at once.
    """

    local_id: str
    title: str
    place: SaveLocation
    note: Note | None
    limits: Limits
    max_megabytes: float
    run: str = ""

    def note_for(self, task: Task, position: int) -> Note | None:
        """Return what is written into one file; the same whenever and wherever it is fetched."""
        if self.note is None:
            return None
        told = {
            "image": f"{self.local_id}-{position}",
            "position": position,
            "task": task.id,
            "cost_usd": cost_of_one(task),
        }
        return replace(self.note, record=self.note.record | told)


async def download_image(
    client: Client,
    task: Task,
    position: int,
    options: DownloadOptions,
    *,
    decoder: AbstractAsyncContextManager[object],
    partial_files: set[Path],
) -> SavedFile:
    """Download a picture, check it, and put it in its place.

    Args:
        client: Downloads.
        task: The finished task.
        position: Which of its pictures, from 0.
        options: How it is to be kept.
        decoder: Entered to decode it.
        partial_files: Takes the file's path while it is downloaded.

    Raises:
        DownloadError: It cannot be fetched, is no good picture, or cannot be written.
        UnsafeURLError: Its address is refused.
    """
    image_id = f"{options.local_id}-{position}"
    place = options.place
    unique, private = f"{image_id}{options.run}", bool(place.url)  # local copies are ours
    into = await asyncio.to_thread(create_part, place.folder, unique, private=private)
    partial_files.add(into)
    try:
        url = task.image_urls[position]
        try:
            kind = await client.download(url, into, max_megabytes=options.max_megabytes)
        except OSError as error:  # a full disk
            raise disk_error(error) from None
        stem = await asyncio.to_thread(readable_stem, into, options.title)
        note = options.note_for(task, position)
        async with decoder:
            saved = await asyncio.to_thread(finish_part, into, stem, kind, options.limits, note)
    finally:
        into.unlink(missing_ok=True)
        partial_files.discard(into)
    if not place.url:
        return saved
    location = await asyncio.to_thread(put, saved.path, saved.digest, place.url)
    return replace(saved, location=location)


def cost_of_one(task: Task) -> float | None:
    """Return the USD of each picture of a finished task, None where the service did not say."""
    return None if task.cost is None else task.cost / len(task.image_urls)
