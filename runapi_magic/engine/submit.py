"""Submit tasks to the service, and record in the journal what is sent and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation, raise_if_cancelled
from runapi_magic.core.status import Phase, Stage, TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.backend import check_mask_of
from runapi_magic.engine.storage_check import StorageCheck
from runapi_magic.errors import NotFoundError, RunAPIError, ValidationError
from runapi_magic.http.rate_limit import StoppedError
from runapi_magic.http.results import CreatedTask
from runapi_magic.media.object_store import save_location

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from runapi_magic.core.request import Attempt
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.generation import Generation, GenerationTask
    from runapi_magic.engine.settings import Settings
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.tables import StoredTask
    from runapi_magic.journal.task_log import Journal


class Submitter:
    """Submits tasks to the service.

    Args:
        settings: Returns the current settings.
        journal: The record of all requests.
        record: Calls the journal without blocking the loop.
    """

    def __init__(
        self, settings: Callable[[], Settings], journal: Journal, record: AsyncJournal
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._record = record
        self._check_storage = StorageCheck()

    async def recover(
        self, generation: Generation, task: GenerationTask, stored: StoredTask, service: Service
    ) -> CreatedTask | None:
        """Return the task at the service if it was sent before; None if it must be submitted.

        This may send the POST again, with the same bytes and the same idempotency key.

        Args:
            generation: The request; it is notified of each phase.
            task: The task.
            stored: Its row in the journal.
            service: The service that answers.

        Raises:
            RunAPIError: The POST was sent again, and it was refused or no response came.
        """
        if stored.attempt is None:
            return None
        if stored.task_id is None:
            return await self._repeat(generation, task, stored.attempt, service)
        known = Task(stored.task_id, TaskStatus.PROCESSING)
        created = CreatedTask(known, stored.attempt.status_paths, 0.0)
        if service.is_simulated:  # a simulator does not know the tasks of an earlier one
            try:
                await service.client.get(known.id, created.status_paths)
            except NotFoundError:
                task.state = TaskState()
                return None
        return created

    async def _repeat(
        self, generation: Generation, task: GenerationTask, attempt: Attempt, service: Service
    ) -> CreatedTask | None:
        """Send a POST again whose response was lost; None if it must be submitted anew."""
        await self._check(generation, service)
        stop = asyncio.Event()
        post = service.client.post(
            attempt,
            state=task.state,
            timeout=self._settings().timeout,
            stop=stop,
            on_wait=_on_throttle(generation, task),
        )
        try:
            return await self._record_response(task, post, [attempt], stop)
        except (NotFoundError, ValidationError):
            if task.state.stage is not Stage.PLANNED:
                raise
            # The uploaded sources may have expired. It is only certain that there is no task if a
            # new POST with the same key is refused, too.
            task.state.send()
            raise_if_cancelled()  # then no new POST is sent
            return None

    async def submit(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        earlier: Attempt | None,
    ) -> CreatedTask:
        """Upload a task's sources and send its POST.

        Args:
            generation: The request; it is notified of each phase.
            task: The task.
            service: The service that answers.
            earlier: The POST that was sent before; None if nothing was sent. Its key is used again
                on its route: if the service has a task after all, it reports a conflict instead of
                starting a second task.

        Raises:
            RunAPIError: The service refused the task, or no response came.
        """
        await self._check(generation, service)
        source_urls, mask_url = await self._upload(generation, task, service)
        task.phase = Phase.SENDING
        generation.changed()

        attempts: list[Attempt] = []
        stop = asyncio.Event()

        async def before_send(attempt: Attempt) -> None:
            attempts.append(attempt)
            await self._record(self._journal.mark_sent, task.id, attempt)

        create = service.client.create(
            task.request,
            before_send=before_send,
            state=task.state,
            count=task.count,
            source_urls=source_urls,
            mask_url=mask_url,
            earlier=earlier,
            timeout=self._settings().timeout,
            stop=stop,
            on_wait=_on_throttle(generation, task),
        )
        return await self._record_response(task, create, attempts, stop)

    async def _check(self, generation: Generation, service: Service) -> None:
        """Check the network setup and the image folder before anything is recorded as sent.

        Raises:
            ConfigurationError: Nothing can be sent, or the images could not be saved.
        """
        await service.client.transport.prepare()
        image_dir = generation.image_dir or self._settings().image_location()
        location = save_location(image_dir, self._journal.path.parent)
        await self._check_storage(location, generation.reservation)

    async def _upload(
        self, generation: Generation, task: GenerationTask, service: Service
    ) -> tuple[tuple[str, ...], str | None]:
        """Upload the sources and the mask of a task; return their URLs."""
        request = task.request
        if request.sources:
            task.phase = Phase.UPLOADING
            generation.changed()
        if request.mask:
            await asyncio.to_thread(check_mask_of, request)
        files = [*request.sources, *([request.mask] if request.mask else [])]
        urls = []
        for number, source in enumerate(files):

            def on_progress(share: float, number: int = number) -> None:
                task.uploaded = (number + share) / len(files)

            is_mask = number == len(request.sources)
            urls.append(await service.url_of(source, on_progress, is_mask=is_mask))
        mask_url = urls.pop() if request.mask else None
        return tuple(urls), mask_url

    async def _record_response(
        self,
        task: GenerationTask,
        post: Awaitable[CreatedTask],
        attempts: list[Attempt],
        stop: asyncio.Event,
    ) -> CreatedTask:
        """Await the response to a POST and record it, even if this call is cancelled meanwhile.

        Args:
            task: The task.
            post: Sends the POST.
            attempts: What was sent, the last one last; ``post`` may add to it.
            stop: Set on a cancellation: ``post`` may end with the response to the current POST.
        """

        async def respond() -> CreatedTask:
            try:
                created = await post
            except RunAPIError as error:
                if error.task_id and attempts:  # refused, but the response names a task
                    paths = attempts[-1].paths_of(error.task_id)
                    await self._record_task_id(task, error.task_id, paths, attempts[-1])
                raise
            await self._record_task_id(task, created.task.id, created.status_paths, attempts[-1])
            return created

        try:
            # A POST that is on its way may be charged, so its response must not be lost.
            return await finish_despite_cancellation(respond(), stop.set)
        except StoppedError as error:
            raise asyncio.CancelledError from error

    async def _record_task_id(
        self, task: GenerationTask, task_id: str, status_paths: tuple[str, ...], attempt: Attempt
    ) -> None:
        # With the attempt again: a full disk or a lock may have kept it out of the journal before.
        await self._record(self._journal.mark_running, task.id, task_id, status_paths, attempt)


@contextlib.asynccontextmanager
async def concurrency_slot(generation: Generation, task: GenerationTask) -> AsyncIterator[None]:
    """Wait until a batch may run one more task. It counts until the service has finished it."""
    semaphore = generation.concurrency
    if semaphore is None:
        yield
        return
    if semaphore.locked():
        before, task.phase = task.phase, Phase.QUEUED
        generation.changed()
        await semaphore.acquire()
        task.phase = before
        generation.changed()
    else:
        await semaphore.acquire()
    acquired = [semaphore]

    def release_when_served() -> None:
        if acquired and (task.is_done or task.phase is Phase.FETCHING):
            acquired.pop().release()

    unsubscribe = generation.subscribe(release_when_served)
    try:
        yield
    finally:
        unsubscribe()
        if acquired:
            acquired.pop().release()


def _on_throttle(generation: Generation, task: GenerationTask) -> Callable[[float], None]:
    """Return a callback that shows how many seconds the rate limit delays a task, 0 at the end."""

    def on_throttle(seconds: float) -> None:
        if seconds:
            task.phase, task.throttled_until = Phase.THROTTLED, time.monotonic() + seconds
        elif task.phase is Phase.THROTTLED:
            task.phase = Phase.SENDING
        else:
            return
        generation.changed()

    return on_throttle
