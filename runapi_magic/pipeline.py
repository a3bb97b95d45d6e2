"""The way of one request: from its rows in the journal to its pictures on disk."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from runapi_magic.errors import (
    MAYBE_CHARGED,
    NOT_CHARGED,
    STILL_THERE,
    RunAPIError,
    TaskFailedError,
    resume_advice,
)
from runapi_magic.experience import Experience
from runapi_magic.filing import is_intact
from runapi_magic.following import follow
from runapi_magic.generation import HELD, Part, Step, new_part_id
from runapi_magic.history import History
from runapi_magic.ledger import Ledger
from runapi_magic.posting import Poster, turn_at_service
from runapi_magic.purse import Purse
from runapi_magic.recording import Recorder
from runapi_magic.rows import Reservation, StoredTask, Terms
from runapi_magic.settings import notebook_name
from runapi_magic.shelf import Shelf
from runapi_magic.shown_versions import ShownVersions, show
from runapi_magic.sources import as_source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runapi_magic.client import Created
    from runapi_magic.generation import Generation
    from runapi_magic.images import Editor
    from runapi_magic.journal import Journal
    from runapi_magic.requests import ImageRequest, Source
    from runapi_magic.service import Service
    from runapi_magic.settings import Settings
    from runapi_magic.tasks import Task

    Gate = Callable[[Callable[[], None]], Awaitable[None]]  # told what to call when it asks

_log = logging.getLogger(__name__)

_JOIN_PAUSE = 0.3  # seconds between two looks at another kernel's row
_NOT_SENT = {
    Step.PREPARING, *HELD, Step.SOURCE, Step.QUEUED, Step.UPLOADING, Step.THROTTLED,
}  # fmt: skip


class How(Enum):
    """How a part comes to its pictures."""

    REUSE = auto()  # they are on disk
    JOIN = auto()  # another cell or kernel is at it
    MAKE = auto()  # from wherever its row in the journal says it is


@dataclass(frozen=True, slots=True)
class Work:
    """A part, its row in the journal, and how it comes to its pictures."""

    part: Part
    stored: StoredTask
    how: How


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
        self._record = Recorder(journal, notice)
        self.shelf = Shelf(settings, self._record, History(journal), editor)
        self.shown_versions = ShownVersions(self._record, self.shelf, notice)
        self.poster = Poster(settings, journal, self._record)
        self.ledger = Ledger(journal)
        self.purse = Purse(journal, self.ledger, self._record)
        self.experience = Experience(journal, self._record)

    async def run(
        self,
        generation: Generation,
        service: Service,
        *,
        since: float | None = 0.0,
        gate: Gate | None = None,
        works: list[Work] | None = None,
    ) -> None:
        """Bring a request to its end. What went wrong is in its parts; this never raises.

        Args:
            generation: The handle to fill.
            service: What answers.
            since: Unix time in seconds; what was asked for before does not count. None: nothing.
            gate: Awaited before anything is planned; what it raises is the request's end.
            works: The parts, where they are known already.
        """
        try:
            if works is None:
                await self._pass(generation, gate)
                works = await self._plan(generation, service, since)
                parts = [work.part for work in works]
                shown = await self.shown_versions.find(generation, parts)
                generation.plan(parts)
                show(generation, shown)
                generation.changed()
            else:
                works = await self._afford(generation, works, service)
            async with asyncio.TaskGroup() as tasks:
                for work in works:
                    if work.how is not How.REUSE:
                        tasks.create_task(self._run_part(generation, work, service))
        except asyncio.CancelledError:
            for part in generation.parts:
                if not part.is_done:
                    await self._stop(part)
            generation.changed()
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to this request)
            for part in generation.parts:
                if not part.is_done:
                    part.status, part.error = "failed", _in_words(error, part)
            generation.changed()
        finally:
            await self._let_go(generation)

    # Planning

    @staticmethod
    async def _pass(generation: Generation, gate: Gate | None) -> None:
        """Wait until a request may be made."""

        def go_on(step: Step) -> None:
            for part in generation.parts:
                part.step = step
            generation.changed()

        if gate is not None:
            go_on(Step.PRICING)
            await gate(lambda: go_on(Step.ASKING))
            go_on(Step.PREPARING)

    async def _plan(
        self, generation: Generation, service: Service, since: float | None
    ) -> list[Work]:
        """Meet a request from disk, from what is under way, and by new tasks, in this order."""
        request = generation.request = await self._settled(generation)
        if generation.hold == generation.id:  # else its batch has seen to it
            await self.purse.set_aside(generation.hold, [request], service, since=since)
        await self.experience.recall(request, service)
        terms = Terms(
            lambda count: service.expected_price(request, count),
            generation.hold,
            notebook_name(),
        )
        reserved = await self._record(
            self._journal.reserve,
            generation.id,
            request,
            service.access.base_url,
            split=lambda count: replace(request, count=count).task_counts,
            new_id=new_part_id,
            usable=is_intact,
            since=since,
            terms=terms,
        )
        if reserved is None:
            await self.purse.refuse_unrecorded(service.access.base_url)
            reserved = Reservation([], [], [], _unrecorded(generation, service))
        works = []
        for image in reserved.finished:
            picture = await self.shelf.load(image, shown=generation.is_shown)
            part = Part(image.task.id, request, 1, self.experience.expected(request, service))
            part.status, part.images, part.cost = "completed", [picture], 0.0
            part.task_id = image.task.task_id
            works.append(Work(part, image.task, How.REUSE))
        for stored in (*reserved.joined, *reserved.taken, *reserved.planned):
            how = How.JOIN if stored in reserved.joined else How.MAKE
            works.append(self.work(stored, request, service, how))
        return works

    def work(
        self, stored: StoredTask, request: ImageRequest, service: Service, how: How = How.MAKE
    ) -> Work:
        """Return the work that a row of the journal stands for."""
        expected = self.experience.expected(request, service)
        part = Part(stored.id, request, stored.count, expected)
        part.task_id = stored.task_id
        part.is_resumed = stored.attempt is not None
        part.asked = stored.created
        return Work(part, stored, how)

    async def _afford(
        self, generation: Generation, works: list[Work], service: Service
    ) -> list[Work]:
        """Leave out what was never sent, where there is a budget that has no room for it."""
        fresh = [work for work in works if work.stored.attempt is None]
        wanted = [replace(work.part.request, count=work.part.count) for work in fresh]
        try:
            await self.purse.set_aside(generation.hold, wanted, service, since=None)
        except RunAPIError as error:
            for work in fresh:
                await self._fail(work.part, error)
            generation.changed()
            return [work for work in works if work not in fresh]
        return works

    async def _settled(self, generation: Generation) -> ImageRequest:
        """Wait for sources that are still under way."""
        request = generation.request

        async def settle_one(source: Source) -> Source:
            if source.pending is None:
                return source
            for part in generation.parts:
                part.step = Step.SOURCE
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
            return await asyncio.to_thread(self.shelf.recognized, settled)

        sources = [await recognize(source) for source in request.sources]
        mask = await recognize(request.mask) if request.mask else None
        return replace(request, sources=tuple(sources), mask=mask)

    # One part

    async def _run_part(self, generation: Generation, work: Work, service: Service) -> None:
        part = work.part
        try:
            left = work if work.how is How.MAKE else await self._join(generation, work)
            if left is not None:
                async with turn_at_service(generation, part):
                    await self._make(generation, left, service)
            part.status = "completed"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is shown in its place)
            await self._fail(part, _in_words(error, part))
        finally:
            generation.changed()

    async def _join(self, generation: Generation, work: Work) -> Work | None:
        """Wait for what another cell or kernel is at; what is left to do if it died, else None."""
        part = work.part

        def wanted(task: StoredTask) -> bool:
            return task.id == work.stored.id

        part.step, part.status = Step.JOINED, "processing"
        generation.changed()
        while True:
            stored = await self._record(self._journal.task, work.stored.id)
            if stored is None:  # to ask for it here might pay for it twice
                raise RunAPIError(
                    "Another cell asked for the same picture, and the journal cannot be read that"
                    " says what became of it.",
                    charged="Nothing was sent for this one.",
                    todo="Run this cell again in a while: it finds that picture, at no cost.",
                )
            part.task_id = stored.task_id
            if stored.state == "saved":
                for image in await self._record(self._journal.images, stored.id) or ():
                    picture = await self.shelf.load(image, shown=generation.is_shown)
                    self.shelf.place(generation, part, picture)
                part.cost = 0.0
                return None
            if stored.state in {"failed", "refused", "forgotten"}:
                raise RunAPIError(
                    f"The same request, made by another cell, came to nothing: {stored.error}",
                    charged=MAYBE_CHARGED if stored.state == "forgotten" else NOT_CHARGED,
                    todo="Run this cell again to ask afresh.",
                )
            if await asyncio.to_thread(self._journal.is_worked_on, stored):
                await asyncio.sleep(_JOIN_PAUSE)
                continue
            for taken in await self._record(self._journal.take, wanted, generation.id) or ():
                # As it is by now: it may have been sent since this one began to wait.
                part.step, part.status = Step.PREPARING, "pending"
                part.task_id, part.is_resumed = taken.task_id, taken.attempt is not None
                return replace(work, stored=taken, how=How.MAKE)

    async def _make(self, generation: Generation, work: Work, service: Service) -> None:
        part = work.part
        created = await self.poster.pick_up(generation, part, work.stored, service)
        if created is None:
            # Under the old key, where there is one: if there is a task after all, that is a
            # conflict and not a second task.
            old = work.stored.attempt
            key = old.idempotency_key if old else None
            created = await self.poster.ask(generation, part, service, key)
        part.step, part.status = Step.DRAWING, "processing"
        generation.changed()

        task, paths = await self._follow(generation, part, service, created)
        if not task.image_urls:
            raise TaskFailedError(
                "The task was completed without a picture.",
                charged=MAYBE_CHARGED,
                todo=resume_advice(task.id),
            )
        part.step = Step.FETCHING
        generation.changed()
        await self.shelf.fetch(generation, part, service, task, paths)

    async def _follow(
        self, generation: Generation, part: Part, service: Service, created: Created
    ) -> tuple[Task, tuple[str, ...]]:
        """Look at a part's task until the service is done with it, and learn how long it took."""

        def progress(share: float | None) -> None:
            part.progress = share
            generation.changed()

        plan = await self.experience.plan(part, service, created, self._settings().timeout)
        try:
            task, paths = await follow(
                service.client, created, plan, progress=progress, notice=self._notice
            )
        except TaskFailedError:
            await self.experience.failed(part, service, plan.took)
            raise
        part.cost = task.cost
        took = self.experience.learn(part, service, plan.took)
        await self._record(self._journal.completed, part.id, task.cost, part.seconds, took)
        return task, paths

    # Ends

    async def _fail(self, part: Part, error: RunAPIError) -> None:
        error.task_id = error.task_id or part.task_id
        part.error = error
        part.status = "completed" if part.images else "failed"
        if part.step is Step.JOINED:
            return  # its row is another's
        never_taken = part.task_id is None and not error.doubtful
        said_no = isinstance(error, TaskFailedError) and error.charged != MAYBE_CHARGED
        if never_taken or said_no:
            await self._record(self._journal.failed, part.id, error.what, refused=never_taken)
        else:
            await self._record(self._journal.let_go, part.id, error.what)

    async def _let_go(self, generation: Generation) -> None:
        """Let go of tasks and money, and see what was sent written down."""
        # Who asks for the same must not wait for what nobody works on.
        await self._record(self._journal.release, generation.id)
        await self.purse.release(generation.id)
        if generation.task_ids:
            await self._record.settled()

    async def _stop(self, part: Part) -> None:
        """Let go of a part that nobody waits for any more."""
        part.status = "cancelled"
        not_sent = part.step in _NOT_SENT and not part.is_resumed
        if not_sent:
            part.error = RunAPIError("Stopped before anything was sent.")
            await self._record(self._journal.failed, part.id, "stopped", refused=True)
            return
        part.error = RunAPIError(
            "Stopped waiting. The service knows no cancel.",
            charged=STILL_THERE,
            todo=resume_advice(part.task_id),
            task_id=part.task_id,
        )
        if part.step is not Step.JOINED:
            await self._record(self._journal.let_go, part.id, "stopped")


def _unrecorded(generation: Generation, service: Service) -> list[StoredTask]:
    """Rows that are in no journal, for going on without one."""
    request = generation.request
    return [
        StoredTask(
            new_part_id(), generation.id, service.access.base_url, time.time(), request.model,
            request.prompt, dict(request.fields), [], count, None, None, "planned", None, None,
            None,
        )
        for count in request.task_counts
    ]  # fmt: skip


def _in_words(error: BaseException, part: Part) -> RunAPIError:
    if isinstance(error, RunAPIError):
        return error
    _log.error("part %s failed", part.id, exc_info=error)
    unexpected = RunAPIError(
        f"Something unexpected happened ({type(error).__name__}: {error}).",
        charged=STILL_THERE if part.task_id else MAYBE_CHARGED,
        todo="%runapi resume looks for its picture. Please report this.",
        task_id=part.task_id,
    )
    unexpected.doubtful = True
    return unexpected
