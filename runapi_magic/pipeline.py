"""The way of one request: from its rows in the journal to its pictures on disk."""

from __future__ import annotations

import asyncio
import atexit
import logging
import secrets
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from runapi_magic.client import LOOK_BUDGET, Created
from runapi_magic.errors import (
    CHARGED,
    MAYBE_CHARGED,
    NOT_CHARGED,
    AuthenticationError,
    DownloadError,
    NotFoundError,
    PermissionDeniedError,
    RunAPIError,
    TaskFailedError,
    TaskTimeoutError,
    ValidationError,
)
from runapi_magic.generation import Part, Step
from runapi_magic.images import (
    GeneratedImage,
    Limits,
    file_stem,
    is_intact,
    make_preview,
    open_part,
    settle,
)
from runapi_magic.journal import JournalError, Reservation, StoredImage, StoredTask
from runapi_magic.polling import Expectation, PollingPlan, expect
from runapi_magic.requests import ImageRequest, Source
from runapi_magic.service import SIMULATOR_URL
from runapi_magic.sources import as_source
from runapi_magic.tasks import Task, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runapi_magic.generation import Generation
    from runapi_magic.images import Editor
    from runapi_magic.journal import Journal
    from runapi_magic.requests import Attempt
    from runapi_magic.service import Service
    from runapi_magic.settings import Settings

_log = logging.getLogger(__name__)

_DOWNLOAD_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds between two of them
_UNKNOWN_TASK_LOOKS = 3  # a task that every path denies this often is not there
_AT_ONCE = 2  # pictures decoded at once: each takes a core and up to 100 MB
_JOIN_PAUSE = 0.3  # seconds between two looks at another kernel's row
_STILL_THERE = "The task goes on at the service and may be charged."
_RESUME = "%runapi resume {} looks for its picture again."


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
        self._editor = editor
        self._half: set[Path] = set()  # files that are being downloaded
        atexit.register(self._leave_nothing_half)
        self._images: WeakValueDictionary[str, GeneratedImage] = WeakValueDictionary()
        self._decoding: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    def _leave_nothing_half(self) -> None:
        for path in self._half:
            path.unlink(missing_ok=True)

    async def run(
        self,
        generation: Generation,
        service: Service,
        *,
        reuse: bool = True,
        works: list[Work] | None = None,
    ) -> None:
        """Bring a request to its end. What went wrong is in its parts; this never raises.

        Args:
            generation: The handle to fill.
            service: What answers.
            reuse: Whether pictures of identical requests count.
            works: The parts, where they are known already.
        """
        try:
            if works is None:
                works = await self._plan(generation, service, reuse=reuse)
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

    # Planning

    async def _plan(self, generation: Generation, service: Service, *, reuse: bool) -> list[Work]:
        """Meet a request from disk, from what is under way, and by new tasks, in this order."""
        request = generation.request = await self._settled(generation)
        reserved = await self._recorded(
            self._journal.reserve,
            generation.id,
            request,
            service.access.base_url,
            split=lambda count: replace(request, count=count).task_counts,
            new_id=new_part_id,
            usable=is_intact,
            reuse=reuse,
        )
        if reserved is None:
            reserved = Reservation([], [], [], _unrecorded(generation, service))
        works = []
        for image in reserved.finished:
            picture = await self.load(image, reused=True)
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
            await source.pending.wait()
            return await asyncio.to_thread(as_source, source.pending, label=source.label)

        sources = [await settle_one(source) for source in request.sources]
        mask = await settle_one(request.mask) if request.mask else None
        return replace(request, sources=tuple(sources), mask=mask)

    # One part

    async def _run_part(self, generation: Generation, work: Work, service: Service) -> None:
        part = work.part
        try:
            if work.how is How.MAKE or not await self._join(generation, work):
                await self._make(generation, work, service)
            part.status = "completed"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is shown in its place)
            await self._fail(part, _in_words(error, part))
        finally:
            generation.changed()

    async def _join(self, generation: Generation, work: Work) -> bool:
        """Wait for what another cell or kernel is at; False if it died and this one is to go on."""
        part = work.part
        part.step, part.status = Step.JOINED, "processing"
        generation.changed()
        while True:
            stored = await self._recorded(self._journal.task, work.stored.id)
            if stored is None:
                return False
            part.task_id = stored.task_id
            if stored.state == "saved":
                for image in await self._recorded(self._journal.images, stored.id) or ():
                    self._place(generation, part, await self.load(image, reused=True))
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
            if await self._recorded(self._journal.take, lambda task: task.id == work.stored.id):
                return False

    async def _make(self, generation: Generation, work: Work, service: Service) -> None:
        part = work.part
        created = await self._pick_up(work, service)
        if created is None:
            created = await self._ask(generation, part, service)
        part.step, part.status = Step.DRAWING, "processing"
        generation.changed()
        task, paths = await self._follow(generation, part, service, created)
        part.cost = task.cost
        is_fresh = work.stored.attempt is None  # else nobody knows how long it took
        seconds = time.monotonic() - part.started if is_fresh else None
        await self._recorded(self._journal.completed, part.id, task.cost, seconds)
        if not task.image_urls:
            raise TaskFailedError(
                "The task was completed without a picture.",
                charged=MAYBE_CHARGED,
                todo=_RESUME.format(task.id),
            )
        part.step = Step.FETCHING
        generation.changed()
        await self._fetch(generation, part, service, task, paths)

    async def _pick_up(self, work: Work, service: Service) -> Created | None:
        """Go on with a task that was asked for before; None if there is none to go on with."""
        stored, part = work.stored, work.part
        if stored.attempt is None:
            return None
        if stored.task_id is None:
            try:
                post = service.client.post(stored.attempt, budget=self._settings().timeout)
                return await self._sent(part, post, [stored.attempt])
            except (NotFoundError, ValidationError) as error:
                if error.doubtful or error.task_id:
                    raise
                return None  # it was never taken, and now its sources may have expired
        task = Task(stored.task_id, TaskStatus.PROCESSING)
        created = Created(task, stored.attempt.status_paths, 0.0)
        if service.is_simulated:  # it may be another one than the one that was asked
            try:
                await service.client.get(task.id, created.status_paths)
            except NotFoundError:
                part.task_id = None
                return None
        return created

    async def _ask(self, generation: Generation, part: Part, service: Service) -> Created:
        request = part.request
        if request.sources:
            part.step = Step.UPLOADING
            generation.changed()
        urls = [await service.address(source) for source in request.sources]
        mask = await service.address(request.mask) if request.mask else None
        part.step = Step.SENDING
        generation.changed()

        attempts: list[Attempt] = []

        async def before(attempt: Attempt) -> None:
            attempts.append(attempt)
            await self._recorded(self._journal.sending, part.id, attempt)

        async def create() -> Created:
            return await service.client.create(
                request,
                before=before,
                count=part.count,
                source_urls=tuple(urls),
                mask_url=mask,
                budget=self._settings().timeout,
            )

        return await self._sent(part, create(), attempts)

    async def _sent(
        self, part: Part, create: Awaitable[Created], attempts: list[Attempt]
    ) -> Created:
        """Await the answer to a POST; whatever becomes of the waiting, it reaches the journal.

        Args:
            part: The part that is asked for.
            create: Sends it.
            attempts: What was sent, the last one last; may be filled by sending.
        """

        async def answered() -> Created:
            try:
                created = await create
            except RunAPIError as error:
                if error.task_id and attempts:  # refused, and yet there is a task
                    paths = attempts[-1].paths_of(error.task_id)
                    await self._know(part, error.task_id, paths)
                raise
            await self._know(part, created.task.id, created.status_paths)
            return created

        return await asyncio.shield(asyncio.ensure_future(answered()))

    async def _know(self, part: Part, task_id: str, status_paths: tuple[str, ...]) -> None:
        part.task_id = task_id
        await self._recorded(self._journal.created, part.id, task_id, status_paths)

    async def _follow(
        self, generation: Generation, part: Part, service: Service, created: Created
    ) -> tuple[Task, tuple[str, ...]]:
        """Look at a task until the service is done with it."""
        task, paths = created.task, created.status_paths
        if task.status is TaskStatus.COMPLETED and not task.image_urls:
            # The answer to a repeated create may say that it is done, and not more.
            task = Task(task.id, TaskStatus.PROCESSING)
        timeout = self._settings().timeout
        plan = PollingPlan(part.expectation, timeout)
        plan.hint(created.retry_after)
        denials = 0
        trouble: RunAPIError | None = None
        begun = time.monotonic()
        while not task.status.is_final:
            if plan.is_over:
                raise _timeout(task, timeout, trouble)
            await _pause(plan, begun)
            now = time.monotonic()
            try:
                look = await service.client.get(task.id, paths)
            except RunAPIError as error:
                denials = denials + 1 if isinstance(error, NotFoundError) else 0
                trouble = _passing_trouble(error, task, denials)
                continue
            finally:
                plan.waited(LOOK_BUDGET, time.monotonic() - now)
            task, trouble, denials = look.task, None, 0
            paths = (look.path, *(path for path in paths if path != look.path))
            plan.hint(look.retry_after)
            if task.progress != part.progress:
                part.progress = task.progress
                generation.changed()
            if task.status is TaskStatus.UNKNOWN and task.word:
                self._notice(f"Task {task.id} has the status {task.word!r}, which is not known.")
        if task.status is TaskStatus.FAILED:
            raise TaskFailedError(
                f"The service could not make the picture: {task.error or 'it gave no reason'}."
            )
        return task, paths

    # Pictures

    async def _fetch(
        self,
        generation: Generation,
        part: Part,
        service: Service,
        task: Task,
        paths: tuple[str, ...],
    ) -> None:
        """Download a finished task's pictures; what is on disk stays, whatever fails after it."""
        for position in range(len(task.image_urls)):
            tries = 0
            while len(part.images) <= position:
                try:
                    image = await self._download(part, service, task, position)
                    self._place(generation, part, image)
                except DownloadError as error:
                    tries += 1
                    error.charged = CHARGED
                    error.todo = error.todo or _RESUME.format(task.id)
                    if tries == _DOWNLOAD_TRIES:
                        raise
                    await asyncio.sleep(
                        min(error.retry_after or _FIRST_PAUSE * tries, _LONGEST_PAUSE)
                    )
                    if error.expired:  # the address, not the picture: ask for a fresh one
                        task = await self._ask_address(service, task, paths)
                        if position >= len(task.image_urls):
                            raise
        await self._recorded(self._journal.saved, part.id, part.images)

    @staticmethod
    async def _ask_address(service: Service, task: Task, paths: tuple[str, ...]) -> Task:
        try:
            return (await service.client.get(task.id, paths)).task
        except RunAPIError as error:
            error.charged, error.todo = CHARGED, _RESUME.format(task.id)
            raise

    async def _download(
        self, part: Part, service: Service, task: Task, position: int
    ) -> GeneratedImage:
        settings = self._settings()
        image_id = f"{part.id}-{position}"
        folder = Path(settings.image_dir).expanduser().absolute()  # noqa: ASYNC240 (no I/O)
        into = await asyncio.to_thread(open_part, folder, image_id)
        self._half.add(into)
        url = task.image_urls[position]
        try:
            kind = await service.client.download(url, into, max_megabytes=settings.max_download_mb)
            stem = file_stem(part.request.title, f"{service.access.base_url} {image_id}")
            async with self._decoder():
                saved = await asyncio.to_thread(settle, into, stem, kind, self._limits())
        finally:
            into.unlink(missing_ok=True)
            self._half.discard(into)
        service.remember_output(saved.digest, url)
        image = GeneratedImage(
            id=image_id,
            path=saved.path,
            request=part.request,
            width=saved.width,
            height=saved.height,
            task_id=task.id,
            digest=saved.digest,
            url=url,
            origin=service.access.base_url,
            cost=None if task.cost is None else task.cost / len(task.image_urls),
            seconds=time.monotonic() - part.started,
            simulated=service.is_simulated,
            created=time.time(),
            editor=self._editor,
            _preview=saved.preview,
        )
        self._images[image_id] = image
        return image

    @staticmethod
    def _place(generation: Generation, part: Part, image: GeneratedImage) -> None:
        position = len(part.images)
        part.images.append(image)
        for slot in generation.slots:
            if slot.part is part and slot.position == position:
                generation.add_version(slot, image)

    def _limits(self) -> Limits:
        settings = self._settings()
        return Limits(settings.max_megapixels, settings.preview_size, settings.preview_quality)

    def _decoder(self) -> asyncio.Semaphore:
        return self._decoding.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))

    async def load(self, stored: StoredImage, *, reused: bool) -> GeneratedImage:
        """Return a picture that is on disk, with the line of pictures that it came from."""
        preview = await asyncio.to_thread(make_preview, stored.path, self._limits())
        image = GeneratedImage(
            id=stored.id,
            path=stored.path,
            request=await self.request_of(stored.task),
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
            reused=reused,
            _preview=preview,
        )
        self._images[stored.id] = image
        return image

    async def request_of(self, stored: StoredTask) -> ImageRequest:
        """Return the request that a row of the journal was written for."""
        sources, mask = [], None
        for row in stored.sources:
            source = Source(
                row["label"],
                row["digest"],
                url=row["url"],
                path=Path(row["path"]) if row["path"] else None,
                image=await self._image(row["image"]),
            )
            if row["mask"]:
                mask = source
            else:
                sources.append(source)
        return ImageRequest(
            stored.prompt, stored.model, stored.fields, stored.count, tuple(sources), mask
        )

    async def _image(self, image_id: str | None) -> GeneratedImage | None:
        if image_id is None:
            return None
        if image_id in self._images:
            return self._images[image_id]
        stored = await self._recorded(self._journal.image, image_id)
        if stored is None or not await asyncio.to_thread(stored.path.exists):
            return None
        return await self.load(stored, reused=False)

    # Ends

    async def _fail(self, part: Part, error: RunAPIError) -> None:
        error.task_id = error.task_id or part.task_id
        part.error = error
        part.status = "completed" if part.images else "failed"
        never_taken = part.task_id is None and not error.doubtful
        said_no = isinstance(error, TaskFailedError) and error.charged != MAYBE_CHARGED
        if never_taken or said_no:
            await self._recorded(self._journal.failed, part.id, error.what, refused=never_taken)
        else:
            await self._recorded(self._journal.let_go, part.id, error.what)

    async def _stop(self, part: Part) -> None:
        """Let go of a part that nobody waits for any more."""
        part.status = "cancelled"
        not_sent = part.step in {Step.SOURCE, Step.UPLOADING}
        if not_sent:
            part.error = RunAPIError("Stopped before anything was sent.")
            await self._recorded(self._journal.failed, part.id, "stopped", refused=True)
            return
        part.error = RunAPIError(
            "Stopped waiting. The service knows no cancel.",
            charged=_STILL_THERE,
            todo=_RESUME.format(part.task_id or "").replace("  ", " "),
            task_id=part.task_id,
        )
        if part.step is not Step.JOINED:
            await self._recorded(self._journal.let_go, part.id, "stopped")

    async def _recorded(self, write: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Call the journal, off the loop; None, and a notice, where it cannot be used."""
        try:
            return await asyncio.to_thread(write, *values, **options)
        except JournalError as error:
            self._notice(
                f"The journal cannot be used ({error}). Pictures are made all the same, but what"
                " is under way now cannot be found again after a restart."
            )
            return None
        finally:
            if self._journal.set_aside is not None:
                self._notice(
                    "The journal was damaged. A new one was begun; the old one is kept as"
                    f" {self._journal.set_aside}."
                )


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
        charged=_STILL_THERE if part.task_id else MAYBE_CHARGED,
        todo="%runapi resume looks for its picture. Please report this.",
        task_id=part.task_id,
    )
    unexpected.doubtful = True
    return unexpected


async def _pause(plan: PollingPlan, begun: float) -> None:
    now = time.monotonic()
    planned = plan.pause(now - begun)
    await asyncio.sleep(planned)
    plan.waited(planned, time.monotonic() - now)


def _passing_trouble(error: RunAPIError, task: Task, denials: int) -> RunAPIError:
    """Return a failed look's error where it says nothing of the task; raise it where it does.

    Args:
        error: Why the look failed.
        task: The task that was looked at.
        denials: How often in a row every path denied the task, this look included.
    """
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        error.charged, error.todo = _STILL_THERE, f"{error.todo} Then: %runapi resume."
        raise error
    if denials >= _UNKNOWN_TASK_LOOKS:
        error.charged, error.todo = _STILL_THERE, _RESUME.format(task.id)
        raise error
    return error


def _timeout(task: Task, seconds: float, trouble: RunAPIError | None) -> TaskTimeoutError:
    last = f" The last look failed: {trouble.what}" if trouble else ""
    return TaskTimeoutError(
        f"Task {task.id} was not done after {seconds:g} s of waiting.{last}",
        todo=_RESUME.format(task.id),
        task_id=task.id,
    )
