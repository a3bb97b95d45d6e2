"""Download finished images to the disk, and load images that are there already."""

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
from runapi_magic.engine.download import DownloadOptions, cost_per_image, download_image
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.provenance import SOFTWARE, public_title, record_of
from runapi_magic.errors import DownloadError, RunAPIError
from runapi_magic.journal.database import JournalError
from runapi_magic.media.files import is_intact
from runapi_magic.media.limits import Limits
from runapi_magic.media.metadata_note import Note
from runapi_magic.media.object_store import download, save_location
from runapi_magic.media.preview import make_preview

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

_MAX_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds between two tries
_MAX_DECODERS = 2  # images decoded at once: each takes a core and up to 100 MB


async def fetch_from_object_store(
    record: AsyncJournal, request: ImageRequest, origin: str, since: float
) -> None:
    """Download the images of a request that are in an object store but not on the disk.

    Args:
        record: Calls the journal.
        request: The request, with the digests of its sources.
        origin: The service's base URL.
        since: Only images that were requested after this Unix time in seconds.
    """
    images = await record(record.journal.images_in_store, request, origin, since)
    if images:
        await asyncio.to_thread(_fetch_missing, images)


def _fetch_missing(images: list[StoredImage]) -> None:
    for image in images:
        if image.location and not is_intact(image.path, image.digest):
            with suppress(RunAPIError):  # then the image is generated again
                download(image.location, image.path, image.digest)


class ImageStore:
    """The images of one session.

    Args:
        settings: Returns the current settings.
        record: Calls the journal.
        history: Finds images that were generated before.
        editor: Edits images.
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
        self._partial_files: set[Path] = set()
        weakref.finalize(self, _remove, self._partial_files)  # also when the kernel shuts down
        self._images: weakref.WeakValueDictionary[str, GeneratedImage] = (
            weakref.WeakValueDictionary()
        )
        self._decoders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    async def download(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        finished: Task,
        paths: tuple[str, ...],
    ) -> None:
        """Download a finished task's images; if one fails, the images before it are kept."""
        options = await asyncio.to_thread(self.download_options, generation, task, service)

        async def download_one(finished: Task, position: int) -> None:
            saved = await download_image(
                service.client,
                finished,
                position,
                options,
                decoder=self._decoder(),
                partial_files=self._partial_files,
            )
            cost, url = cost_per_image(finished), finished.image_urls[position]
            self.add_saved(
                generation, task, service, saved, task_id=finished.id, cost=cost, url=url
            )

        await download_each(service.client, finished, paths, download_one)
        await self._record(self._record.journal.mark_saved, task.id, task.images)

    def download_options(
        self, generation: Generation, task: GenerationTask, service: Service
    ) -> DownloadOptions:
        """Return how to save the images of a task. Blocking."""
        settings, limits = self._settings(), self.limits()
        image_dir = generation.image_dir or settings.image_location()
        return DownloadOptions(
            local_id=task.id,
            title=public_title(task.request),
            location=save_location(image_dir, self._record.journal.path.parent),
            note=_note(task, service) if settings.provenance else None,
            limits=limits if generation.is_shown else replace(limits, preview_size=0),
            max_megabytes=settings.max_download_mb,
        )

    def add_saved(
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
        """Add the next image of a task, whose file is saved.

        Args:
            generation: The request that the task belongs to.
            task: The task.
            service: The service that generated the image.
            saved: The file.
            task_id: RunAPI's ID of the task.
            cost: USD of this image.
            url: The service's URL of the image.
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
        self.add(generation, task, image)

    @staticmethod
    def add(generation: Generation, task: GenerationTask, image: GeneratedImage) -> None:
        """Add the next image of a task, and show it in its slot."""
        position = len(task.images)
        task.images.append(image)
        for slot in generation.slots:
            if slot.task is task and slot.position == position:
                generation.show_version(slot, image)

    def limits(self) -> Limits:
        """Return the allowed size of an image, and the size of its preview."""
        settings = self._settings()
        return Limits(settings.max_megapixels, settings.preview_size, settings.preview_quality)

    def _decoder(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        return self._decoders.setdefault(loop, asyncio.Semaphore(_MAX_DECODERS))

    async def load(self, stored: StoredImage, *, shown: bool) -> GeneratedImage:
        """Return an image that is on disk, for a request that reuses it.

        Args:
            stored: The image's row in the journal.
            shown: Whether it is displayed now.

        Raises:
            DownloadError: It is displayed now, but its file is missing or damaged.
        """
        image = await asyncio.to_thread(self.restore, stored)
        if not shown:
            return replace(image, reused=True)
        async with self._decoder():
            path = await asyncio.to_thread(image.ensure_local)
            preview = await asyncio.to_thread(make_preview, path, self.limits())
        # A copy, because the image is reused only in this cell.
        loaded = replace(image, reused=True, _preview=preview)
        self._images[stored.id] = loaded
        return loaded

    def restore(self, stored: StoredImage) -> GeneratedImage:
        """Return an image of the journal, with its lineage. Blocking.

        Its file is not checked, and may be missing.
        """
        known = self._images.get(stored.id)
        if known is not None:
            return known
        # A loop instead of recursion: a lineage may be longer than Python's recursion limit.
        lineage = [stored]
        while (parent := lineage[-1].parent) is not None and parent not in self._images:
            row = self._row(parent)
            if row is None or row.id in {one.id for one in lineage}:
                break
            lineage.append(row)
        restored = [self._restore(row) for row in reversed(lineage)]
        return restored[-1]

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
        """Return the request of a task in the journal. Blocking."""
        sources, mask = self.sources_of(stored.sources)
        service, action = (None, None) if find_model(stored.model).known else stored.route
        return ImageRequest(
            stored.prompt, stored.model, stored.fields, stored.count, sources, mask, service, action
        )

    def sources_of(self, rows: list[dict[str, Any]]) -> tuple[tuple[Source, ...], Source | None]:
        """Return the source images and the mask of a task in the journal. Blocking."""
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

    def recognize(self, source: Source) -> Source:
        """Return a source with its image, if its file is one that was generated here. Blocking."""
        if source.image is not None or not source.digest:
            return source
        try:
            stored = self._history.by_digest(source.digest)
        except JournalError:
            return source
        return source if stored is None else replace(source, image=self.restore(stored))


async def download_each(
    client: Client,
    task: Task,
    paths: tuple[str, ...],
    download_one: Callable[[Task, int], Awaitable[None]],
) -> None:
    """Download a finished task's images one after the other, with retries.

    Args:
        client: Gets new URLs when the URLs have expired.
        task: The finished task.
        paths: The paths that may return the task's status.
        download_one: Downloads the image with this index.

    Raises:
        DownloadError: An image cannot be downloaded; the images before it are kept.
        RunAPIError: The service does not return new URLs; the images before it are kept.
    """
    for position in range(len(task.image_urls)):
        for tries in range(1, _MAX_TRIES + 1):
            try:
                await download_one(task, position)
                break
            except DownloadError as error:
                if tries == _MAX_TRIES or not error.temporary:
                    raise
                await asyncio.sleep(min(error.retry_after or _FIRST_PAUSE * tries, _LONGEST_PAUSE))
                if error.expired:  # the URL, not the image
                    renewed = (await client.get(task.id, paths)).task
                    if len(renewed.image_urls) != len(task.image_urls):
                        raise  # it is not certain which URL belongs to which image
                    task = renewed


def _note(task: GenerationTask, service: Service) -> Note:
    """Return what is written into a task's files, without the facts of the finished task."""
    record = record_of(
        task.request,
        image=task.id,
        task_id="",
        position=0,
        origin=service.access.base_url,
        simulated=service.is_simulated,
        created=task.created,
        cost=None,
    )
    clean = json.loads(service.access.without_key(json.dumps(record)))
    description = service.access.without_key(public_title(task.request))
    return Note(clean, description, SOFTWARE, task.created)


def _remove(partial_files: set[Path]) -> None:
    for path in partial_files:
        path.unlink(missing_ok=True)
