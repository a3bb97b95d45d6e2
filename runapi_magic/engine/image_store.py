"""Finished pictures: fetched to the disk, and found there again."""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.core.catalog import find_model
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.backend import SIMULATOR_URL
from runapi_magic.engine.download import DownloadOptions, cost_of_one, download_image
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.provenance import SOFTWARE, public_title, record_of
from runapi_magic.errors import DownloadError, RunAPIError
from runapi_magic.journal.database import JournalError
from runapi_magic.media.files import is_intact
from runapi_magic.media.metadata_note import Note
from runapi_magic.media.object_store import download, save_location
from runapi_magic.media.preview import Limits, make_preview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runapi_magic.core.task import Task
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.generation import Generation, GenerationTask
    from runapi_magic.engine.image import Editor
    from runapi_magic.engine.settings import Settings
    from runapi_magic.http.client import Client
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.history import History
    from runapi_magic.journal.tables import StoredImage, StoredTask
    from runapi_magic.media.files import SavedFile

_DOWNLOAD_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds between two of them
_AT_ONCE = 2  # pictures decoded at once: each takes a core and up to 100 MB


async def bring_back(
    record: AsyncJournal, request: ImageRequest, origin: str, since: float
) -> None:
    """Fetch the images of a request that an object store has and the disk does not have.

    Args:
        record: Calls the journal.
        request: What is asked for, its sources known by content.
        origin: The service's base URL.
        since: Unix time in seconds; what was asked for before does not count.
    """
    kept = await record(record.journal.images_in_store, request, origin, since)
    if kept:
        await asyncio.to_thread(_fetch_missing, kept)


def _fetch_missing(kept: list[StoredImage]) -> None:
    for image in kept:
        if image.location and not is_intact(image.path, image.digest):
            with suppress(RunAPIError):  # then it is not usable
                download(image.location, image.path, image.digest)


class ImageStore:
    """The pictures of one session.

    Args:
        settings: Returns the settings that count now.
        record: Writes to the journal.
        history: Finds the pictures that were made before.
        editor: What pictures are edited with.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        record: AsyncJournal,
        history: History,
        editor: Editor,
    ) -> None:
        self._settings = settings
        self._history = history
        self._record = record
        self._editor = editor
        self._partial_files: set[Path] = set()  # files that are being downloaded
        weakref.finalize(self, _remove, self._partial_files)  # also when the kernel is shut down
        self._images: weakref.WeakValueDictionary[str, GeneratedImage] = (
            weakref.WeakValueDictionary()
        )
        self._decoding: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    async def fetch(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        finished: Task,
        paths: tuple[str, ...],
    ) -> None:
        """Download a finished task's pictures; what is on disk stays, whatever fails after it."""
        options = await asyncio.to_thread(self.download_options, generation, task, service)

        async def keep(finished: Task, position: int) -> None:
            saved = await download_image(
                service.client,
                finished,
                position,
                options,
                decoder=self._decoder(),
                partial_files=self._partial_files,
            )
            cost, url = cost_of_one(finished), finished.image_urls[position]
            self.adopt(generation, task, service, saved, task_id=finished.id, cost=cost, url=url)

        await fetch_each(service.client, finished, paths, keep)
        await self._record(self._record.journal.mark_saved, task.id, task.images)

    def download_options(
        self, generation: Generation, task: GenerationTask, service: Service
    ) -> DownloadOptions:
        """Return how the pictures of a generation's task are to be kept. Blocking."""
        settings, limits = self._settings(), self.limits()
        image_dir = generation.image_dir or settings.image_location()
        return DownloadOptions(
            local_id=task.id,
            title=public_title(task.request),
            place=save_location(image_dir, self._record.journal.path.parent),
            note=_note(task, service) if settings.provenance else None,
            limits=limits if generation.is_shown else replace(limits, preview_size=0),
            max_megabytes=settings.max_download_mb,
        )

    def adopt(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        saved: SavedFile,
        *,
        task_id: str,
        cost: float | None,
        url: str,
    ) -> None:
        """Give a task its next picture, of which the file is in place.

        Args:
            generation: The request that the task belongs to.
            task: The task.
            service: What made the picture.
            saved: The file.
            task_id: The service's id of the task.
            cost: USD of this picture.
            url: The service's address of the picture.
        """
        service.remember_output(saved.digest, url)
        image = GeneratedImage(
            id=f"{task.id}-{len(task.images)}",
            path=saved.path,
            request=task.request,
            width=saved.width,
            height=saved.height,
            task_id=task_id,
            digest=saved.digest,
            url=url,
            origin=service.access.base_url,
            cost=cost,
            seconds=task.seconds,
            simulated=service.is_simulated,
            created=time.time(),
            editor=self._editor,
            stored=saved.location,
            _preview=saved.preview,
        )
        self._images[image.id] = image
        self.place(generation, task, image)

    @staticmethod
    def place(generation: Generation, task: GenerationTask, image: GeneratedImage) -> None:
        """Give a task its next picture, and show it in its place."""
        position = len(task.images)
        task.images.append(image)
        for slot in generation.slots:
            if slot.task is task and slot.position == position:
                generation.show_version(slot, image)

    def limits(self) -> Limits:
        """Return what a picture may be, and how its preview is made."""
        settings = self._settings()
        return Limits(settings.max_megapixels, settings.preview_size, settings.preview_quality)

    def _decoder(self) -> asyncio.Semaphore:
        return self._decoding.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))

    async def load(self, stored: StoredImage, *, shown: bool) -> GeneratedImage:
        """Return a picture that is on disk, for a request that does not pay for it again.

        Args:
            stored: The picture.
            shown: Whether it goes on the screen now.

        Raises:
            DownloadError: It is to be shown, and its file is gone or damaged.
        """
        image = await asyncio.to_thread(self.restore, stored)
        if not shown:
            return replace(image, reused=True)
        async with self._decoder():
            path = await asyncio.to_thread(image.ensure_local)
            preview = await asyncio.to_thread(make_preview, path, self.limits())
        # Reused or not is a matter of this cell, not of the picture.
        loaded = replace(image, reused=True, _preview=preview)
        self._images[stored.id] = loaded
        return loaded

    def restore(self, stored: StoredImage) -> GeneratedImage:
        """Return a picture of the journal with the line that it came from. Blocking.

        Its file is not looked at, and may be gone.
        """
        known = self._images.get(stored.id)
        if known is not None:
            return known
        # From its first on, one by one: a line may be longer than Python calls deep.
        line = [stored]
        while (parent := line[-1].parent) is not None and parent not in self._images:
            row = self._row(parent)
            if row is None or row.id in {one.id for one in line}:
                break
            line.append(row)
        made = [self._restore(row) for row in reversed(line)]
        return made[-1]

    def _restore(self, stored: StoredImage) -> GeneratedImage:
        image = GeneratedImage(
            id=stored.id,
            path=stored.path,
            request=self.request_of(stored.task),
            width=stored.width,
            height=stored.height,
            task_id=stored.task.task_id or "",
            digest=stored.digest,
            origin=stored.task.origin,
            cost=None if stored.task.cost is None else stored.task.cost / stored.task.count,
            seconds=stored.seconds,
            simulated=stored.task.origin == SIMULATOR_URL,
            created=stored.saved,
            editor=self._editor,
            stored=stored.location or "",
        )
        return self._images.setdefault(stored.id, image)

    def request_of(self, stored: StoredTask) -> ImageRequest:
        """Return the request that a row of the journal was written for. Blocking."""
        sources, mask = self.sources_of(stored.sources)
        service, action = (None, None) if find_model(stored.model).known else stored.route
        return ImageRequest(
            stored.prompt, stored.model, stored.fields, stored.count, sources, mask, service, action
        )

    def sources_of(self, rows: list[dict[str, Any]]) -> tuple[tuple[Source, ...], Source | None]:
        """Return sources and mask as the journal keeps them. Blocking."""
        sources, mask = [], None
        for row in rows:
            source = Source(
                row["label"],
                row["digest"],
                url=row["url"],
                path=Path(row["path"]) if row["path"] else None,
                image=self._image(row["image"]),
            )
            if row["mask"]:
                mask = source
            else:
                sources.append(source)
        return tuple(sources), mask

    def _image(self, image_id: str | None) -> GeneratedImage | None:
        if image_id is None or image_id in self._images:
            return self._images.get(image_id or "")
        stored = self._row(image_id)
        return None if stored is None else self.restore(stored)

    def _row(self, image_id: str) -> StoredImage | None:
        try:
            return self._history.image(image_id)
        except JournalError:
            return None

    def recognized(self, source: Source) -> Source:
        """Return a source as the picture that was made here, where its file is one. Blocking."""
        if source.image is not None or not source.digest:
            return source
        try:
            stored = self._history.by_digest(source.digest)
        except JournalError:
            return source
        return source if stored is None else replace(source, image=self.restore(stored))


async def fetch_each(
    client: Client,
    task: Task,
    paths: tuple[str, ...],
    keep: Callable[[Task, int], Awaitable[None]],
) -> None:
    """Fetch a finished task's pictures one by one, each again where that may help.

    Args:
        client: Asks for fresh addresses.
        task: The task.
        paths: Where its status is.
        keep: Fetches one, by its place among the task's pictures.

    Raises:
        DownloadError: One cannot be fetched; those before it are kept.
    """
    for position in range(len(task.image_urls)):
        for tries in range(1, _DOWNLOAD_TRIES + 1):
            try:
                await keep(task, position)
                break
            except DownloadError as error:
                if tries == _DOWNLOAD_TRIES or not error.passing:
                    raise
                await asyncio.sleep(min(error.retry_after or _FIRST_PAUSE * tries, _LONGEST_PAUSE))
                if error.expired:  # the address, not the picture: ask for a fresh one
                    task = (await client.get(task.id, paths)).task
                    if position >= len(task.image_urls):
                        raise


def _note(task: GenerationTask, service: Service) -> Note:
    """Return what is written into a task's files, but for what only the finished task tells."""
    record = record_of(
        task.request,
        image=task.id,
        task_id="",
        position=0,
        origin=service.access.base_url,
        simulated=service.is_simulated,
        created=task.asked,
        cost=None,
    )
    clean = json.loads(service.access.without_key(json.dumps(record)))
    description = service.access.without_key(public_title(task.request))
    return Note(clean, description, SOFTWARE, task.asked)


def _remove(partial_files: set[Path]) -> None:
    for path in partial_files:
        path.unlink(missing_ok=True)
