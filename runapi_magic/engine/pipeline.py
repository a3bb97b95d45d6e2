"""Run one request: plan its tasks, submit them, wait for them and download their images."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation, raise_if_cancelled
from runapi_magic.core.paths import notebook_name
from runapi_magic.core.status import Phase, Stage
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.generation import GenerationTask, new_local_id
from runapi_magic.engine.image_store import ImageStore, fetch_from_object_store
from runapi_magic.engine.pricing import Pricing
from runapi_magic.engine.shown_versions import ShownVersions, show_versions
from runapi_magic.engine.sources import as_source
from runapi_magic.engine.submit import Submitter, concurrency_slot
from runapi_magic.engine.timing import Timing
from runapi_magic.errors import RunAPIError, TaskFailedError
from runapi_magic.http.wait_for_task import wait_for_task
from runapi_magic.journal.async_journal import AsyncJournal
from runapi_magic.journal.budgets import Budgets
from runapi_magic.journal.history import History
from runapi_magic.journal.tables import Allocation, Billing, StoredTask
from runapi_magic.media.files import is_intact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runapi_magic.core.request import ImageRequest, Source
    from runapi_magic.core.task import Task
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import Editor
    from runapi_magic.engine.settings import Settings
    from runapi_magic.http.results import CreatedTask
    from runapi_magic.journal.task_log import Journal

    # Awaited before a request is made. Its argument is called when the user is asked to confirm.
    Gate = Callable[[Callable[[], None]], Awaitable[None]]

_JOIN_INTERVAL = 0.3  # seconds between two reads of the row of a joined task
_NOT_SENT_HERE = "Nothing was sent for this cell."


class Mode(Enum):
    """How a task gets its images."""

    REUSE = auto()  # they are on disk
    JOIN = auto()  # another cell or kernel works on the same task
    RUN = auto()  # this request runs the task, from the state that the journal has


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task, its row in the journal, and how it gets its images."""

    task: GenerationTask
    stored: StoredTask
    mode: Mode


class Pipeline:
    """Runs requests.

    Args:
        settings: Returns the current settings.
        journal: The record of all requests.
        notice: Takes a message for the user.
        editor: Edits finished images.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        journal: Journal,
        notice: Callable[[str], None],
        editor: Editor,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._notice = notice
        self._record = AsyncJournal(journal, notice)
        self.image_store = ImageStore(settings, self._record, History(journal), editor)
        self.shown_versions = ShownVersions(self._record, self.image_store, notice)
        self.submitter = Submitter(settings, journal, self._record)
        self.budgets = Budgets(journal)
        self.pricing = Pricing(journal, self.budgets, self._record)
        self.timing = Timing(journal, self._record)

    async def run(
        self,
        generation: Generation,
        service: Service,
        *,
        since: float | None = 0.0,
        gate: Gate | None = None,
        planned_tasks: list[PlannedTask] | None = None,
    ) -> None:
        """Run a request until it has ended. Errors go to its tasks; this never raises.

        Args:
            generation: The request's handle.
            service: The service that answers.
            since: Reuse only images that were requested after this Unix time in seconds; None
                reuses nothing.
            gate: Awaited before anything is planned; an error that it raises ends the request.
            planned_tasks: The tasks if they are planned already.
        """
        try:
            if planned_tasks is None:
                await self._wait_for_approval(generation, gate)
                planned_tasks = await self._plan(generation, service, since)
                tasks = [planned.task for planned in planned_tasks]
                versions = await self.shown_versions.find(generation, tasks)
                generation.set_tasks(tasks)
                show_versions(generation, versions)
                generation.changed()
            else:
                planned_tasks = await self._within_budget(generation, planned_tasks, service)
            async with asyncio.TaskGroup() as group:
                for planned in planned_tasks:
                    if planned.mode is not Mode.REUSE:
                        group.create_task(self._run_task(generation, planned, service))
        except asyncio.CancelledError:
            for task in generation.tasks:
                task.stop()
            generation.changed()
        except Exception as error:  # noqa: BLE001 (any error is shown as this request's error)
            for task in generation.tasks:
                if not task.is_done:
                    task.status, task.error = "failed", task.state.as_runapi_error(error)
            generation.changed()
        finally:
            await finish_despite_cancellation(self._release(generation))

    # Planning

    @staticmethod
    async def _wait_for_approval(generation: Generation, gate: Gate | None) -> None:
        """Wait until the gate lets the request pass."""

        def set_phase(phase: Phase) -> None:
            for task in generation.tasks:
                task.phase = phase
            generation.changed()

        if gate is not None:
            set_phase(Phase.PRICING)
            await gate(lambda: set_phase(Phase.ASKING))
            set_phase(Phase.PREPARING)

    async def _plan(
        self, generation: Generation, service: Service, since: float | None
    ) -> list[PlannedTask]:
        """Plan a request's tasks: reuse images, join tasks that run already, and add new tasks."""
        request = generation.request = await self._resolve_sources(generation)
        if generation.reservation == generation.id:  # else its batch has reserved the money
            await self.pricing.reserve(generation.reservation, [request], service, since=since)
        await self.timing.load(request, service)
        if since is not None:
            await fetch_from_object_store(self._record, request, service.access.base_url, since)
        allocation = await self._allocate(generation, request, service, since)
        planned_tasks = []
        for stored_image in allocation.finished:
            stored = stored_image.task
            image = await self.image_store.load(stored_image, shown=generation.is_shown)
            task = GenerationTask(stored.id, request, 1, self.timing.expected(request, service))
            task.status, task.images, task.cost = "completed", [image], 0.0
            task.state = TaskState.of(stored)
            planned_tasks.append(PlannedTask(task, stored, Mode.REUSE))
        for stored in (*allocation.joined, *allocation.claimed, *allocation.planned):
            mode = Mode.JOIN if stored in allocation.joined else Mode.RUN
            planned_tasks.append(self.planned_task(stored, request, service, mode))
        return planned_tasks

    async def _allocate(
        self, generation: Generation, request: ImageRequest, service: Service, since: float | None
    ) -> Allocation:
        """Let the journal decide, in one transaction, where a request's images come from."""
        origin = service.access.base_url
        billing = Billing(
            lambda count: service.expected_price(request, count),
            generation.reservation,
            notebook_name(),
        )
        allocation: Allocation | None = await self._record(
            self._journal.allocate,
            generation.id,
            request,
            origin,
            split=lambda count: replace(request, count=count).task_counts,
            new_id=new_local_id,
            usable=is_intact,
            since=since,
            billing=billing,
        )
        if allocation is None:
            await self.pricing.refuse_without_journal(origin)
            return Allocation([], [], [], _rows_without_journal(generation, service))
        return allocation

    def planned_task(
        self, stored: StoredTask, request: ImageRequest, service: Service, mode: Mode = Mode.RUN
    ) -> PlannedTask:
        """Return the task for a row of the journal."""
        task = GenerationTask(
            stored.id, request, stored.count, self.timing.expected(request, service)
        )
        task.state = TaskState.of(stored)
        if mode is Mode.JOIN:
            task.state.stage = Stage.JOINED
        task.is_resumed = stored.attempt is not None
        task.created = stored.created
        return PlannedTask(task, stored, mode)

    async def _within_budget(
        self, generation: Generation, planned_tasks: list[PlannedTask], service: Service
    ) -> list[PlannedTask]:
        """Reserve money for the tasks that were never sent; if it is refused, fail these tasks."""
        unsent = [planned for planned in planned_tasks if planned.stored.attempt is None]
        requests = [replace(planned.task.request, count=planned.task.count) for planned in unsent]
        try:
            await self.pricing.reserve(generation.reservation, requests, service, since=None)
        except RunAPIError as error:
            for planned in unsent:
                await self._fail(planned.task, error)
            generation.changed()
            raise_if_cancelled()
            return [planned for planned in planned_tasks if planned not in unsent]
        return planned_tasks

    async def _resolve_sources(self, generation: Generation) -> ImageRequest:
        """Wait for source images that are not finished, and find sources that were made here."""
        request = generation.request

        async def wait_for(source: Source) -> Source:
            if source.pending is None:
                return source
            for task in generation.tasks:
                task.phase = Phase.SOURCE
            generation.changed()
            try:
                await source.pending.wait()
            except RunAPIError as error:
                raise RunAPIError(
                    f"There is no source image: {error.what}",
                    charged="Nothing was sent for this image.",
                    todo="Run the cell of the source image again, then this cell.",
                ) from None
            return await asyncio.to_thread(as_source, source.pending, label=source.label)

        async def resolve(source: Source) -> Source:
            finished = await wait_for(source)
            return await asyncio.to_thread(self.image_store.recognize, finished)

        sources = [await resolve(source) for source in request.sources]
        mask = await resolve(request.mask) if request.mask else None
        return replace(request, sources=tuple(sources), mask=mask)

    # One task

    async def _run_task(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> None:
        """Run one task until it has ended. An error goes to the task and is not raised."""
        task, is_joined = planned.task, planned.mode is Mode.JOIN
        # Not the task's ID: other requests may have joined the same task.
        own_reservation = new_local_id()
        try:
            to_run: PlannedTask | None = planned
            if is_joined:
                to_run = await self._join(generation, planned, own_reservation)
            if to_run is not None:
                if is_joined and to_run.stored.attempt is None:
                    # The other request's reservation ended with that request.
                    request = replace(task.request, count=task.count)
                    await self.pricing.reserve(own_reservation, [request], service, since=None)
                async with concurrency_slot(generation, task):
                    await self._run_at_service(generation, to_run, service)
            task.status = "completed"
        except Exception as error:  # noqa: BLE001 (any error is shown as this task's error)
            await self._fail(task, task.state.as_runapi_error(error))
        finally:
            if is_joined:
                await finish_despite_cancellation(self.pricing.release(own_reservation))
            generation.changed()

    async def _join(
        self, generation: Generation, planned: PlannedTask, reservation: str
    ) -> PlannedTask | None:
        """Wait for a task of another cell or kernel, and load its images.

        Args:
            generation: The request that joined the task.
            planned: The task.
            reservation: The ID under which this request will reserve money if it must send it.

        Returns:
            None, or the task if the other cell or kernel stopped work on it: run it here.
        """
        task, task_id = planned.task, planned.stored.id
        task.phase, task.status = Phase.JOINED, "processing"
        generation.changed()
        while True:
            stored = await self._record(self._journal.task, task_id)
            if stored is None:  # sending the request here might pay for it twice
                raise _journal_unreadable()
            task.state.task_id = stored.task_id
            if stored.state == "saved":
                await self._load_joined(generation, task)
                return None
            if stored.state in {"failed", "refused", "forgotten"}:
                given_up = stored.state == "forgotten"  # it may have been sent
                reason = stored.error or ("it was given up." if given_up else "it was not sent.")
                raise RunAPIError(
                    f"Another cell made the same request, but there is no image: {reason}",
                    charged=TaskState.of(stored).charged,
                    todo="Run this cell again to try again.",
                )
            if await asyncio.to_thread(self._journal.is_worked_on, stored):
                await asyncio.sleep(_JOIN_INTERVAL)
                continue
            claimed = await self._record(
                self._journal.claim, lambda row: row.id == task_id, generation.id, reservation
            )
            for row in claimed or ():  # it may have been sent since this task joined it
                task.phase, task.status = Phase.PREPARING, "pending"
                task.state, task.is_resumed = TaskState.of(row), row.attempt is not None
                return replace(planned, stored=row, mode=Mode.RUN)

    async def _load_joined(self, generation: Generation, task: GenerationTask) -> None:
        """Load the images of a task that another cell or kernel has finished."""
        stored_images = await self._record(self._journal.images, task.id)
        if stored_images is None:
            raise _journal_unreadable()
        for stored in stored_images:
            try:
                image = await self.image_store.load(stored, shown=generation.is_shown)
            except RunAPIError as error:
                error.charged = error.charged or _NOT_SENT_HERE
                raise
            self.image_store.add(generation, task, image)
        task.cost = 0.0

    async def _run_at_service(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> None:
        """Submit a task, wait until the service has finished it, and download its images."""
        task = planned.task
        created = await self._submit(generation, planned, service)
        finished, paths = await self._wait_for_service(generation, task, service, created)
        if not finished.image_urls:
            raise TaskFailedError("The task was completed without an image.")
        task.phase = Phase.FETCHING
        generation.changed()
        await self.image_store.download(generation, task, service, finished, paths)

    async def _submit(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> CreatedTask:
        """Return the task at the service; submit it if the service does not have it."""
        task, stored = planned.task, planned.stored
        created = await self.submitter.recover(generation, task, stored, service)
        if created is None:
            created = await self.submitter.submit(generation, task, service, stored.attempt)
        task.phase, task.status = Phase.DRAWING, "processing"
        generation.changed()
        return created

    async def _wait_for_service(
        self, generation: Generation, task: GenerationTask, service: Service, created: CreatedTask
    ) -> tuple[Task, tuple[str, ...]]:
        """Poll a task until the service has finished it, and learn its duration."""

        def progress(share: float | None) -> None:
            task.progress = share
            generation.changed()

        plan = await self.timing.plan(task, service, created, self._settings().timeout)
        try:
            finished, paths = await wait_for_task(
                service.client, created, plan, on_progress=progress, on_notice=self._notice
            )
        except TaskFailedError:
            task.state.fail()
            await self.timing.record_failure(task, service, plan.duration)
            raise
        task.cost = finished.cost
        task.state.finish(has_images=bool(finished.image_urls))
        learned = self.timing.learn(task, service, plan.duration)
        await self._record(
            self._journal.mark_completed, task.id, finished.cost, task.seconds, learned
        )
        return finished, paths

    # The end

    async def _fail(self, task: GenerationTask, error: RunAPIError) -> None:
        """End a task with an error. With some images, it is completed all the same."""
        task.error = task.state.explain(error)
        task.status = "completed" if task.images else "failed"
        await self._record_end(task, error.what)

    async def _release(self, generation: Generation) -> None:
        """Record the end of a request, and release its tasks and its reserved money."""
        for task in generation.tasks:
            if task.status == "cancelled":
                await self._record_end(task, "stopped")
        # Identical requests of other cells must not wait for tasks that nobody works on.
        await self._record(self._journal.release, generation.id)
        await self.pricing.release(generation.id)
        if generation.task_ids:
            await self._record.flush()

    async def _record_end(self, task: GenerationTask, reason: str) -> None:
        """Record that this kernel has stopped work on a task, and whether it can be resumed."""
        state = task.state
        if state.stage is Stage.JOINED:
            return  # another cell or kernel owns the row
        if state.is_free:
            refused = state.stage is Stage.PLANNED
            await self._record(self._journal.mark_failed, task.id, reason, refused=refused)
        else:
            await self._record(self._journal.release_task, task.id, reason)


def _journal_unreadable() -> RunAPIError:
    return RunAPIError(
        "Another cell made the same request. Its result is unknown: the journal cannot be read.",
        charged=_NOT_SENT_HERE,
        todo="Run this cell again later: it finds the image, at no cost.",
    )


def _rows_without_journal(generation: Generation, service: Service) -> list[StoredTask]:
    """Return rows for a request's tasks that are in no journal, for work without a journal."""
    request = generation.request
    return [
        StoredTask(
            new_local_id(), generation.id, service.access.base_url, time.time(), request.model,
            request.prompt, dict(request.fields), [], count, None, None, "planned", None, None,
            None,
        )
        for count in request.task_counts
    ]  # fmt: skip
