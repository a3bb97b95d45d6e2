"""Download the images of a finished task, in this process or in a worker of a cluster.

The same image always gets the same bytes and the same name, wherever it is downloaded and however
often.
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
    from runapi_magic.media.limits import Limits
    from runapi_magic.media.metadata_note import Note


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How to save the images of one task.

    Attributes:
        local_id: The task's ID in the journal.
        title: Makes the file names readable.
        location: Where the images are saved.
        note: What is written into each file, without the facts that only the finished task has;
            None to write nothing.
        limits: The allowed size of an image, and the size of its preview.
        max_megabytes: The largest download in millions of bytes.
        run: Makes the names of partial files unique if several processes may download one image.
    """

    local_id: str
    title: str
    location: SaveLocation
    note: Note | None
    limits: Limits
    max_megabytes: float
    run: str = ""

    def note_for(self, task: Task, position: int) -> Note | None:
        """Return what is written into the file of one image."""
        if self.note is None:
            return None
        facts = {
            "image": f"{self.local_id}-{position}",
            "position": position,
            "task": task.id,
            "cost_usd": cost_per_image(task),
        }
        return replace(self.note, record=self.note.record | facts)


async def download_image(
    client: Client,
    task: Task,
    position: int,
    options: DownloadOptions,
    *,
    decoder: AbstractAsyncContextManager[object],
    partial_files: set[Path],
) -> SavedFile:
    """Download one image of a task, check it and save it.

    Args:
        client: Downloads the file.
        task: The finished task.
        position: The index of the image in the task.
        options: How to save it.
        decoder: Entered while the image is decoded.
        partial_files: Contains the path of the file until the download has ended.

    Raises:
        DownloadError: The file cannot be downloaded, is no valid image, or cannot be saved.
        UnsafeURLError: The image's URL is refused.
    """
    image_id = f"{options.local_id}-{position}"
    location = options.location
    unique, is_private = f"{image_id}{options.run}", bool(location.url)  # a cache, not for users
    path = await asyncio.to_thread(create_part, location.folder, unique, private=is_private)
    partial_files.add(path)
    try:
        url = task.image_urls[position]
        try:
            kind = await client.download(url, path, max_megabytes=options.max_megabytes)
        except OSError as error:  # for example a full disk
            raise disk_error(error) from None
        stem = await asyncio.to_thread(readable_stem, path, options.title)
        note = options.note_for(task, position)
        async with decoder:
            saved = await asyncio.to_thread(finish_part, path, stem, kind, options.limits, note)
    finally:
        path.unlink(missing_ok=True)
        partial_files.discard(path)
    if not location.url:
        return saved
    stored_at = await asyncio.to_thread(put, saved.path, saved.digest, location.url)
    return replace(saved, location=stored_at)


def cost_per_image(task: Task) -> float | None:
    """Return the USD of each image of a finished task, None if the service did not report it."""
    return None if task.cost is None else task.cost / len(task.image_urls)
