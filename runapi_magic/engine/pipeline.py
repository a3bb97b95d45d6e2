"""The way of one request: from its rows in the journal to its pictures on disk."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from runapi_magic.core.cancellation import finish_despite_cancellation
from runapi_magic.core.paths import notebook_name
from runapi_magic.core.status import Phase, Stage
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.generation import GenerationTask, new_local_id
from runapi_magic.engine.image_store import ImageStore, bring_back
from runapi_magic.engine.pricing import Pricing
from runapi_magic.engine.shown_versions import ShownVersions, show
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

    Gate = Callable[[Callable[[], None]], Awaitable[None]]  # told what to call when it asks

_JOIN_PAUSE = 0.3  # seconds between two looks at another kernel's row


class Mode(Enum):
    """How a task comes to its pictures."""

    REUSE = auto()  # they are on disk
    JOIN = auto()  # another cell or kernel is at it
    MAKE = auto()  # from wherever its row in the journal says it is


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task, its row in the journal, and how it comes to its pictures."""

    task: GenerationTask
    stored: StoredTask
    mode: Mode


class Pipeline:
    """Brings requests to their end.

    Args:
        settings: Returns the settings that count now.
        journal: Where everything is written down.
        notice: Takes a notice to be shown once.
        editor: What finished pictures are edited with.
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
        """Bring a request to its end. What went wrong is in its tasks; this never raises.

        Args:
            generation: The handle to fill.
            service: What answers.
            since: Unix time in seconds; what was asked for before does not count. None: nothing.
            gate: Awaited before anything is planned; what it raises is the request's end.
            planned_tasks: The tasks, where they are known already.
        """
        try:
            if planned_tasks is None:
                await self._wait_for_approval(generation, gate)
                planned_tasks = await self._plan(generation, service, since)
                tasks = [planned.task for planned in planned_tasks]
                shown = await self.shown_versions.find(generation, tasks)
                generation.plan(tasks)
                show(generation, shown)
                generation.changed()
            else:
                planned_tasks = await self._reserve_budget(generation, planned_tasks, service)
            async with asyncio.TaskGroup() as group:
                for planned in planned_tasks:
                    if planned.mode is not Mode.REUSE:
                        group.create_task(self._run_task(generation, planned, service))
        except asyncio.CancelledError:
            for task in generation.tasks:
                task.stop()
            generation.changed()
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to this request)
            for task in generation.tasks:
                if not task.is_done:
                    task.status, task.error = "failed", task.state.as_runapi_error(error)
            generation.changed()
        finally:
            await finish_despite_cancellation(self._finish(generation))

    # Planning

    @staticmethod
    async def _wait_for_approval(generation: Generation, gate: Gate | None) -> None:
        """Wait until a request may be made."""

        def go_on(phase: Phase) -> None:
            for task in generation.tasks:
                task.phase = phase
            generation.changed()

        if gate is not None:
            go_on(Phase.PRICING)
            await gate(lambda: go_on(Phase.ASKING))
            go_on(Phase.PREPARING)

    async def _plan(
        self, generation: Generation, service: Service, since: float | None
    ) -> list[PlannedTask]:
        """Meet a request from disk, from what is under way, and by new tasks, in this order."""
        request = generation.request = await self._resolve_sources(generation)
        if generation.reservation == generation.id:  # else its batch has seen to it
            await self.pricing.reserve(generation.reservation, [request], service, since=since)
        await self.timing.recall(request, service)
        billing = Billing(
            lambda count: service.expected_price(request, count),
            generation.reservation,
            notebook_name(),
        )
        if since is not None:
            await bring_back(self._record, request, service.access.base_url, since)
        allocation = await self._record(
            self._journal.allocate,
            generation.id,
            request,
            service.access.base_url,
            split=lambda count: replace(request, count=count).task_counts,
            new_id=new_local_id,
            usable=is_intact,
            since=since,
            billing=billing,
        )
        if allocation is None:
            await self.pricing.refuse_unrecorded(service.access.base_url)
            allocation = Allocation([], [], [], _unrecorded(generation, service))
        planned_tasks = []
        for image in allocation.finished:
            picture = await self.image_store.load(image, shown=generation.is_shown)
            task = GenerationTask(image.task.id, request, 1, self.timing.expected(request, service))
            task.status, task.images, task.cost = "completed", [picture], 0.0
            task.state = TaskState.of(image.task)
            planned_tasks.append(PlannedTask(task, image.task, Mode.REUSE))
        for stored in (*allocation.joined, *allocation.claimed, *allocation.planned):
            mode = Mode.JOIN if stored in allocation.joined else Mode.MAKE
            planned_tasks.append(self.planned_task(stored, request, service, mode))
        return planned_tasks

    def planned_task(
        self, stored: StoredTask, request: ImageRequest, service: Service, mode: Mode = Mode.MAKE
    ) -> PlannedTask:
        """Return the work that a row of the journal stands for."""
        expected = self.timing.expected(request, service)
        task = GenerationTask(stored.id, request, stored.count, expected)
        task.state = TaskState.of(stored)
        if mode is Mode.JOIN:
            task.state.stage = Stage.JOINED
        task.is_resumed = stored.attempt is not None
        task.asked = stored.created
        return PlannedTask(task, stored, mode)

    async def _reserve_budget(
        self, generation: Generation, planned_tasks: list[PlannedTask], service: Service
    ) -> list[PlannedTask]:
        """Leave out what was never sent, where there is a budget that has no room for it."""
        fresh = [planned for planned in planned_tasks if planned.stored.attempt is None]
        wanted = [replace(planned.task.request, count=planned.task.count) for planned in fresh]
        try:
            await self.pricing.reserve(generation.reservation, wanted, service, since=None)
        except RunAPIError as error:
            for planned in fresh:
                await self._fail(planned.task, error)
            generation.changed()
            return [planned for planned in planned_tasks if planned not in fresh]
        return planned_tasks

    async def _resolve_sources(self, generation: Generation) -> ImageRequest:
        """Wait for sources that are still under way."""
        request = generation.request

        async def settle_one(source: Source) -> Source:
            if source.pending is None:
                return source
            for task in generation.tasks:
                task.phase = Phase.SOURCE
            generation.changed()
            try:
                await source.pending.wait()
            except RunAPIError as error:
                raise RunAPIError(
                    f"The source picture did not come: {error.what}",
                    charged="Nothing was sent for this picture.",
                    todo="Run its cell again, then this one.",
                ) from None
            return await asyncio.to_thread(as_source, source.pending, label=source.label)

        async def recognize(source: Source) -> Source:
            settled = await settle_one(source)
            return await asyncio.to_thread(self.image_store.recognized, settled)

        sources = [await recognize(source) for source in request.sources]
        mask = await recognize(request.mask) if request.mask else None
        return replace(request, sources=tuple(sources), mask=mask)

    # One task

    async def _run_task(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> None:
        task = planned.task
        try:
            left = planned if planned.mode is Mode.MAKE else await self._join(generation, planned)
            if left is not None:
                if planned.mode is Mode.JOIN and left.stored.attempt is None:
                    # What its own kernel had set aside ended with that kernel.
                    wanted = replace(task.request, count=task.count)
                    await self.pricing.reserve(task.id, [wanted], service, since=None)
                async with concurrency_slot(generation, task):
                    await self._run_at_service(generation, left, service)
            task.status = "completed"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is shown in its place)
            await self._fail(task, task.state.as_runapi_error(error))
        finally:
            if planned.mode is Mode.JOIN:
                await finish_despite_cancellation(self.pricing.release(task.id))
            generation.changed()

    async def _join(self, generation: Generation, planned: PlannedTask) -> PlannedTask | None:
        """Wait for what another cell or kernel is at; what is left to do if it died, else None."""
        task = planned.task

        def wanted(row: StoredTask) -> bool:
            return row.id == planned.stored.id

        task.phase, task.status = Phase.JOINED, "processing"
        generation.changed()
        while True:
            stored = await self._record(self._journal.task, planned.stored.id)
            if stored is None:  # to ask for it here might pay for it twice
                raise _cannot_wait()
            task.state.task_id = stored.task_id
            if stored.state == "saved":
                images = await self._record(self._journal.images, stored.id)
                if images is None:
                    raise _cannot_wait()
                for image in images:
                    picture = await self.image_store.load(image, shown=generation.is_shown)
                    self.image_store.place(generation, task, picture)
                task.cost = 0.0
                return None
            if stored.state in {"failed", "refused", "forgotten"}:
                raise RunAPIError(
                    f"The same request, made by another cell, came to nothing: {stored.error}",
                    charged=TaskState.of(stored).charged,
                    todo="Run this cell again to ask afresh.",
                )
            if await asyncio.to_thread(self._journal.is_worked_on, stored):
                await asyncio.sleep(_JOIN_PAUSE)
                continue
            for taken in await self._record(self._journal.claim, wanted, generation.id) or ():
                # As it is by now: it may have been sent since this one began to wait.
                task.phase, task.status = Phase.PREPARING, "pending"
                task.state, task.is_resumed = TaskState.of(taken), taken.attempt is not None
                return replace(planned, stored=taken, mode=Mode.MAKE)

    async def _run_at_service(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> None:
        task = planned.task
        created = await self.submitter.recover(generation, task, planned.stored, service)
        if created is None:
            # Under the old key, where there is one: if there is a task after all, that is a
            # conflict and not a second task.
            old = planned.stored.attempt
            key = old.idempotency_key if old else None
            created = await self.submitter.submit(generation, task, service, key)
        task.phase, task.status = Phase.DRAWING, "processing"
        generation.changed()

        finished, paths = await self._wait_for_service(generation, task, service, created)
        if not finished.image_urls:
            raise TaskFailedError("The task was completed without a picture.")
        task.phase = Phase.FETCHING
        generation.changed()
        await self.image_store.fetch(generation, task, service, finished, paths)

    async def _wait_for_service(
        self, generation: Generation, task: GenerationTask, service: Service, created: CreatedTask
    ) -> tuple[Task, tuple[str, ...]]:
        """Poll a task until the service is done with it, and learn how long it took."""

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
            await self.timing.failed(task, service, plan.duration)
            raise
        task.cost = finished.cost
        task.state.finish(has_images=bool(finished.image_urls))
        learned = self.timing.learn(task, service, plan.duration)
        await self._record(
            self._journal.mark_completed, task.id, finished.cost, task.seconds, learned
        )
        return finished, paths

    # Ends

    async def _fail(self, task: GenerationTask, error: RunAPIError) -> None:
        task.error = task.state.explain(error)
        task.status = "completed" if task.images else "failed"
        await self._write_end(task, error.what)

    async def _finish(self, generation: Generation) -> None:
        """Write down what became of a request, and free what was kept for it."""
        for task in generation.tasks:
            if task.status == "cancelled":
                await self._write_end(task, "stopped")
        # Who asks for the same must not wait for what nobody works on.
        await self._record(self._journal.release, generation.id)
        await self.pricing.release(generation.id)
        if generation.task_ids:
            await self._record.flush()

    async def _write_end(self, task: GenerationTask, why: str) -> None:
        """Write down that nobody works on a task any more, and whether it can be resumed."""
        state = task.state
        if state.stage is Stage.JOINED:
            return  # its row is another's
        if state.is_free:
            refused = state.stage is Stage.PLANNED
            await self._record(self._journal.mark_failed, task.id, why, refused=refused)
        else:
            await self._record(self._journal.release_task, task.id, why)


def _cannot_wait() -> RunAPIError:
    return RunAPIError(
        "Another cell asked for the same picture, and the journal cannot be read that says what"
        " became of it.",
        charged="Nothing was sent for this one.",
        todo="Run this cell again in a while: it finds that picture, at no cost.",
    )


def _unrecorded(generation: Generation, service: Service) -> list[StoredTask]:
    """Rows that are in no journal, for going on without one."""
    request = generation.request
    return [
        StoredTask(
            new_local_id(), generation.id, service.access.base_url, time.time(), request.model,
            request.prompt, dict(request.fields), [], count, None, None, "planned", None, None,
            None,
        )
        for count in request.task_counts
    ]  # fmt: skip
