"""Asking the service for one task: written down before it leaves, and its answer at once after."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation
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
        settings: Returns the settings that count now.
        journal: Where everything is written down.
        record: Writes to it off the loop.
    """

    def __init__(
        self, settings: Callable[[], Settings], journal: Journal, record: AsyncJournal
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._record = record
        self._check_storage = StorageCheck()

    async def _prepare(self, generation: Generation, service: Service) -> None:
        """Find out what this machine lacks before the journal says that anything was sent.

        Raises:
            ConfigurationError: The images could not be saved, or nothing can be sent.
        """
        await service.client.transport.prepare()
        image_dir = generation.image_dir or self._settings().image_location()
        place = save_location(image_dir, self._journal.path.parent)
        await self._check_storage(place, generation.reservation)

    async def recover(
        self, generation: Generation, task: GenerationTask, stored: StoredTask, service: Service
    ) -> CreatedTask | None:
        """Go on with a task that was asked for before; None if there is none to go on with."""
        if stored.attempt is None:
            return None
        if stored.task_id is None:
            await self._prepare(generation, service)
            try:
                stop = asyncio.Event()
                post = service.client.post(
                    stored.attempt,
                    state=task.state,
                    timeout=self._settings().timeout,
                    stop=stop,
                    on_wait=_throttle(generation, task),
                )
                return await self._sent(task, post, [stored.attempt], stop)
            except (NotFoundError, ValidationError):
                if task.state.stage is not Stage.PLANNED:
                    raise
                # Not taken as it was: its uploaded sources may have expired. Only when it is
                # refused under the same key once more, it is sure that there is no task.
                task.state.send()
                return None
        remote = Task(stored.task_id, TaskStatus.PROCESSING)
        created = CreatedTask(remote, stored.attempt.status_paths, 0.0)
        if service.is_simulated:  # it may be another one than the one that was asked
            try:
                await service.client.get(remote.id, created.status_paths)
            except NotFoundError:
                task.state = TaskState()
                return None
        return created

    async def submit(
        self, generation: Generation, task: GenerationTask, service: Service, key: str | None
    ) -> CreatedTask:
        """Upload a task's sources and ask the service for it.

        Args:
            generation: Whose task it is; notified of each phase.
            task: The task.
            service: What answers.
            key: The idempotency key to use first; None for a new one.

        Raises:
            RunAPIError: The service refused, or no answer came.
        """
        await self._prepare(generation, service)
        request = task.request
        if request.sources:
            task.phase = Phase.UPLOADING
            generation.changed()
        if request.mask:
            await asyncio.to_thread(check_mask_of, request)
        wanted = [*request.sources, *([request.mask] if request.mask else [])]
        urls = []
        for number, source in enumerate(wanted):

            def uploaded(share: float, number: int = number) -> None:
                task.uploaded = (number + share) / len(wanted)

            is_mask = number == len(request.sources)
            urls.append(await service.address(source, uploaded, is_mask=is_mask))
        mask = urls.pop() if request.mask else None
        task.phase = Phase.SENDING
        generation.changed()

        attempts: list[Attempt] = []
        stop = asyncio.Event()

        async def before_send(attempt: Attempt) -> None:
            attempts.append(attempt)
            await self._record(self._journal.mark_sent, task.id, attempt)

        create = service.client.create(
            request,
            before_send=before_send,
            state=task.state,
            count=task.count,
            source_urls=tuple(urls),
            mask_url=mask,
            key=key,
            timeout=self._settings().timeout,
            stop=stop,
            on_wait=_throttle(generation, task),
        )
        return await self._sent(task, create, attempts, stop)

    async def _sent(
        self,
        task: GenerationTask,
        create: Awaitable[CreatedTask],
        attempts: list[Attempt],
        stop: asyncio.Event,
    ) -> CreatedTask:
        """Await the answer to a POST; whatever becomes of the waiting, it reaches the journal.

        Args:
            task: The task that is asked for.
            create: Sends it.
            attempts: What was sent, the last one last; may be filled by sending.
            stop: Set to let sending end with the answer that is on its way.
        """

        async def answered() -> CreatedTask:
            try:
                created = await create
            except RunAPIError as error:
                if error.task_id and attempts:  # refused, and yet there is a task
                    paths = attempts[-1].paths_of(error.task_id)
                    await self._know(task, error.task_id, paths, attempts[-1])
                raise
            await self._know(task, created.task.id, created.status_paths, attempts[-1])
            return created

        try:
            # What is on its way cannot be called back: its answer is taken all the same.
            return await finish_despite_cancellation(answered(), stop.set)
        except StoppedError as error:
            raise asyncio.CancelledError from error

    async def _know(
        self, task: GenerationTask, task_id: str, status_paths: tuple[str, ...], attempt: Attempt
    ) -> None:
        # What was posted once more: a full disk or a lock may have kept it out of the journal.
        await self._record(self._journal.mark_running, task.id, task_id, status_paths, attempt)


@contextlib.asynccontextmanager
async def concurrency_slot(generation: Generation, task: GenerationTask) -> AsyncIterator[None]:
    """Take one of the turns at the service, until it has nothing more to do for a task."""
    turns = generation.turns
    if turns is None:
        yield
        return
    if turns.locked():
        before, task.phase = task.phase, Phase.QUEUED
        generation.changed()
        await turns.acquire()
        task.phase = before
        generation.changed()
    else:
        await turns.acquire()
    held = [turns]

    def let_go() -> None:
        if held and (task.is_done or task.phase is Phase.FETCHING):
            held.pop().release()

    stop = generation.subscribe(let_go)
    try:
        yield
    finally:
        stop()
        if held:
            held.pop().release()


def _throttle(generation: Generation, task: GenerationTask) -> Callable[[float], None]:
    """Return what shows how many seconds a task waits for its turn, 0 at the end of it."""

    def throttle(seconds: float) -> None:
        if seconds:
            task.phase, task.turn = Phase.THROTTLED, time.monotonic() + seconds
        elif task.phase is Phase.THROTTLED:
            task.phase = Phase.SENDING
        else:
            return
        generation.changed()

    return throttle
