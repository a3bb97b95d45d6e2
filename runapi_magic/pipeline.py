"""The way of one request: from its rows in the journal to its pictures on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from runapi_magic.client import Created
from runapi_magic.errors import (
    MAYBE_CHARGED,
    NOT_CHARGED,
    STILL_THERE,
    ConflictError,
    NotFoundError,
    RunAPIError,
    TaskFailedError,
    ValidationError,
    resume_advice,
)
from runapi_magic.filing import is_intact
from runapi_magic.following import follow
from runapi_magic.generation import Part, Step
from runapi_magic.history import History
from runapi_magic.ledger import Ledger
from runapi_magic.polling import Expectation, PollingPlan, expect
from runapi_magic.purse import Purse
from runapi_magic.rates import StoppedError
from runapi_magic.recording import Recorder
from runapi_magic.retrying import mark_doubtful
from runapi_magic.rows import Reservation, StoredTask, Terms
from runapi_magic.settings import notebook_name
from runapi_magic.shelf import Shelf
from runapi_magic.sources import as_source
from runapi_magic.tasks import Task, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from runapi_magic.generation import Generation
    from runapi_magic.images import Editor
    from runapi_magic.journal import Journal
    from runapi_magic.requests import Attempt, ImageRequest, Source
    from runapi_magic.service import Service
    from runapi_magic.settings import Settings

    Gate = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)

_JOIN_PAUSE = 0.3  # seconds between two looks at another kernel's row
_NOT_SENT = {Step.PREPARING, Step.PRICING, Step.SOURCE, Step.UPLOADING, Step.THROTTLED}


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


def expectation_for(request: ImageRequest, service: Service) -> Expectation:
    """Return how long one task of a request is expected to take."""
    expectation = expect(request.output_resolution)
    if service.is_simulated:
        return Expectation(expectation.median / service.speed, expectation.sigma)
    return expectation


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
        self.ledger = Ledger(journal)
        self.purse = Purse(journal, self.ledger, self._record)

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
                generation.plan([work.part for work in works])
                generation.changed()
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
            # Who asks for the same must not wait for what nobody works on.
            await self._record(self._journal.release, generation.id)
            await self.purse.release(generation.id)

    # Planning

    @staticmethod
    async def _pass(generation: Generation, gate: Gate | None) -> None:
        """Wait until a request may be made."""
        if gate is not None:
            for part in generation.parts:
                part.step = Step.PRICING
            generation.changed()
            await gate()

    async def _plan(
        self, generation: Generation, service: Service, since: float | None
    ) -> list[Work]:
        """Meet a request from disk, from what is under way, and by new tasks, in this order."""
        request = generation.request = await self._settled(generation)
        if generation.hold == generation.id:  # else its batch has seen to it
            await self.purse.set_aside(generation.hold, [request], service, since=since)
        terms = Terms(
            lambda count: service.expected_price(request, count),
            generation.hold,
            notebook_name(),
        )
        reserving = asyncio.ensure_future(
            self._record(
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
        )
        try:
            reserved = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            await reserving  # what it has written is let go of, not left behind
            raise
        if reserved is None:
            reserved = Reservation([], [], [], _unrecorded(generation, service))
        works = []
        for image in reserved.finished:
            picture = await self.shelf.load(image, reused=True)
            part = Part(image.task.id, request, 1, expectation_for(request, service))
            part.status, part.images, part.cost = "completed", [picture], 0.0
            part.task_id = image.task.task_id
            works.append(Work(part, image.task, How.REUSE))
        for stored in (*reserved.joined, *reserved.taken, *reserved.planned):
            how = How.JOIN if stored in reserved.joined else How.MAKE
            works.append(self.work(stored, request, service, how))
        return works

    @staticmethod
    def work(
        stored: StoredTask, request: ImageRequest, service: Service, how: How = How.MAKE
    ) -> Work:
        """Return the work that a row of the journal stands for."""
        part = Part(stored.id, request, stored.count, expectation_for(request, service))
        part.task_id = stored.task_id
        part.is_resumed = stored.attempt is not None
        part.asked = stored.created
        return Work(part, stored, how)

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
            if work.how is How.MAKE or not await self._join(generation, work):
                async with _turn(generation, part):
                    await self._make(generation, work, service)
            part.status = "completed"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is shown in its place)
            await self._fail(part, _in_words(error, part))
        finally:
            generation.changed()

    async def _join(self, generation: Generation, work: Work) -> bool:
        """Wait for what another cell or kernel is at; False if it died and this one is to go on."""
        part = work.part

        def wanted(task: StoredTask) -> bool:
            return task.id == work.stored.id

        part.step, part.status = Step.JOINED, "processing"
        generation.changed()
        while True:
            stored = await self._record(self._journal.task, work.stored.id)
            if stored is None:
                return False
            part.task_id = stored.task_id
            if stored.state == "saved":
                for image in await self._record(self._journal.images, stored.id) or ():
                    self.shelf.place(generation, part, await self.shelf.load(image, reused=True))
                part.cost = 0.0
                return True
            if stored.state in {"failed", "refused"}:
                raise RunAPIError(
                    f"The same request, made by another cell, came to nothing: {stored.error}",
                    charged=NOT_CHARGED,
                    todo="Run this cell again to ask afresh.",
                )
            if await asyncio.to_thread(self._journal.owners.is_alive, stored.owner):
                await asyncio.sleep(_JOIN_PAUSE)
                continue
            if await self._record(self._journal.take, wanted, generation.id):
                return False

    async def _make(self, generation: Generation, work: Work, service: Service) -> None:
        part = work.part
        created = await self._pick_up(generation, work, service)
        if created is None:
            # Under the old key, where there is one: if there is a task after all, that is a
            # conflict and not a second task.
            old = work.stored.attempt
            key = old.idempotency_key if old else None
            created = await self._ask(generation, part, service, key)
        part.step, part.status = Step.DRAWING, "processing"
        generation.changed()

        def progress(share: float | None) -> None:
            part.progress = share
            generation.changed()

        pace = service.speed if service.is_simulated else 1.0
        plan = PollingPlan(part.expectation, self._settings().timeout, pace)
        task, paths = await follow(
            service.client, created, plan, progress=progress, notice=self._notice
        )
        part.cost = task.cost
        await self._record(self._journal.completed, part.id, task.cost, part.seconds)
        if not task.image_urls:
            raise TaskFailedError(
                "The task was completed without a picture.",
                charged=MAYBE_CHARGED,
                todo=resume_advice(task.id),
            )
        part.step = Step.FETCHING
        generation.changed()
        await self.shelf.fetch(generation, part, service, task, paths)

    async def _pick_up(
        self, generation: Generation, work: Work, service: Service
    ) -> Created | None:
        """Go on with a task that was asked for before; None if there is none to go on with."""
        stored, part = work.stored, work.part
        if stored.attempt is None:
            return None
        if stored.task_id is None:
            try:
                stopping = asyncio.Event()
                post = service.client.post(
                    stored.attempt,
                    budget=self._settings().timeout,
                    stopping=stopping,
                    waiting=_throttle(generation, part),
                )
                return await self._sent(part, post, [stored.attempt], stopping)
            except (NotFoundError, ValidationError) as error:
                if error.doubtful or error.task_id:
                    raise
                return None  # not taken as it was: its uploaded sources may have expired
        task = Task(stored.task_id, TaskStatus.PROCESSING)
        created = Created(task, stored.attempt.status_paths, 0.0)
        if service.is_simulated:  # it may be another one than the one that was asked
            try:
                await service.client.get(task.id, created.status_paths)
            except NotFoundError:
                part.task_id = None
                return None
        return created

    async def _ask(
        self, generation: Generation, part: Part, service: Service, key: str | None
    ) -> Created:
        request = part.request
        if request.sources:
            part.step = Step.UPLOADING
            generation.changed()
        wanted = [*request.sources, *([request.mask] if request.mask else [])]
        urls = []
        for number, source in enumerate(wanted):

            def uploaded(share: float, number: int = number) -> None:
                part.uploaded = (number + share) / len(wanted)

            urls.append(await service.address(source, uploaded))
        mask = urls.pop() if request.mask else None
        part.step = Step.SENDING
        generation.changed()

        attempts: list[Attempt] = []
        stopping = asyncio.Event()

        async def before(attempt: Attempt) -> None:
            attempts.append(attempt)
            await self._record(self._journal.sending, part.id, attempt)

        create = service.client.create(
            request,
            before=before,
            count=part.count,
            source_urls=tuple(urls),
            mask_url=mask,
            key=key,
            budget=self._settings().timeout,
            stopping=stopping,
            waiting=_throttle(generation, part),
        )
        return await self._sent(part, create, attempts, stopping)

    async def _sent(
        self,
        part: Part,
        create: Awaitable[Created],
        attempts: list[Attempt],
        stopping: asyncio.Event,
    ) -> Created:
        """Await the answer to a POST; whatever becomes of the waiting, it reaches the journal.

        Args:
            part: The part that is asked for.
            create: Sends it.
            attempts: What was sent, the last one last; may be filled by sending.
            stopping: Set to let sending end with the answer that is on its way.
        """

        async def answered() -> Created:
            try:
                created = await create
            except RunAPIError as error:
                if isinstance(error, ConflictError) and part.is_resumed:
                    mark_doubtful(error)  # there is a task under this key, and no way to its id
                    error.todo = "Look for it at runapi.ai. To pay for another: --new."
                if error.task_id and attempts:  # refused, and yet there is a task
                    paths = attempts[-1].paths_of(error.task_id)
                    await self._know(part, error.task_id, paths)
                raise
            await self._know(part, created.task.id, created.status_paths)
            return created

        answering = asyncio.ensure_future(answered())
        try:
            return await asyncio.shield(answering)
        except asyncio.CancelledError:
            # What is on its way cannot be called back: take its answer, and send nothing more.
            stopping.set()
            await asyncio.wait([answering])
            error = answering.exception()
            if isinstance(error, StoppedError):
                part.step = Step.THROTTLED
            elif error:
                raise error from None
            raise

    async def _know(self, part: Part, task_id: str, status_paths: tuple[str, ...]) -> None:
        part.task_id = task_id
        await self._record(self._journal.created, part.id, task_id, status_paths)

    # Ends

    async def _fail(self, part: Part, error: RunAPIError) -> None:
        error.task_id = error.task_id or part.task_id
        part.error = error
        part.status = "completed" if part.images else "failed"
        never_taken = part.task_id is None and not error.doubtful
        said_no = isinstance(error, TaskFailedError) and error.charged != MAYBE_CHARGED
        if never_taken or said_no:
            await self._record(self._journal.failed, part.id, error.what, refused=never_taken)
        else:
            await self._record(self._journal.let_go, part.id, error.what)

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


@contextlib.asynccontextmanager
async def _turn(generation: Generation, part: Part) -> AsyncIterator[None]:
    """Take one of the turns at the service, until it has nothing more to do for a part."""
    turns = generation.turns
    if turns is None:
        yield
        return
    await turns.acquire()
    held = [turns]

    def let_go() -> None:
        if held and (part.is_done or part.step is Step.FETCHING):
            held.pop().release()

    stop = generation.subscribe(let_go)
    try:
        yield
    finally:
        stop()
        if held:
            held.pop().release()


def _throttle(generation: Generation, part: Part) -> Callable[[float], None]:
    """Return what shows how many seconds a part waits for its turn, 0 at the end of it."""

    def throttle(seconds: float) -> None:
        if seconds:
            part.step, part.turn = Step.THROTTLED, time.monotonic() + seconds
        elif part.step is Step.THROTTLED:
            part.step = Step.SENDING
        else:
            return
        generation.changed()

    return throttle


def new_part_id() -> str:
    """Return an id for a part, unique among all kernels."""
    return secrets.token_hex(8)


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
