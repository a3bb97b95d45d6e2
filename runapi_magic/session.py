"""The composition root: one session a process, and the one way of a prompt to its pictures."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import (
    CHARGED,
    APIError,
    AuthenticationError,
    ConnectionFailedError,
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RunAPIError,
    TaskFailedError,
    TaskTimeoutError,
)
from runapi_magic.generation import Generation, Part
from runapi_magic.images import GeneratedImage, Limits, file_stem, open_part, settle
from runapi_magic.journal import Journal, JournalError, TaskRow
from runapi_magic.models import DEFAULT_MODEL, find_model
from runapi_magic.polling import Expectation, PollingPlan, expect
from runapi_magic.requests import ImageRequest, Source, validate
from runapi_magic.settings import (
    Access,
    Secret,
    Settings,
    data_home,
    resolve_access,
)
from runapi_magic.sources import as_source
from runapi_magic.tasks import Task, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.client import Attempt, Client, Created

_log = logging.getLogger(__name__)

SIMULATOR_URL = "http://simulator.localhost"
_UPLOAD_LIFETIME = 50 * 60  # seconds; the service keeps an upload for an hour
_OUTPUT_LIFETIME = 20 * 3600  # seconds; some models' outputs are kept for 24 hours
_DOWNLOAD_TRIES = 3
_UNKNOWN_TASK_LOOKS = 3  # a task that every path denies this often is not there
_AT_ONCE = 2  # pictures decoded at once: each takes a core and up to 100 MB
_STILL_THERE = "The task goes on at the service and may be charged."
_RESUME = "%runapi resume {} looks for its picture again."


@dataclass(slots=True)
class Service:
    """What answers: RunAPI or a simulator.

    Attributes:
        access: Base URL and key.
        client: Its calls.
        speed: How much faster than life the simulator in this process is; 0: it is no simulator.
        uploads: Addresses of pictures that the service has, by digest, with the monotonic time in
            seconds until which they are good.
    """

    access: Access
    client: Client
    speed: float = 0.0
    uploads: dict[str, tuple[str, float]] = field(default_factory=dict)


class Session:
    """Everything that outlives one cell: settings, clients, journal.

    Args:
        settings: The user's settings.
        journal: Where requests are written down; by default in the data folder.
    """

    def __init__(self, settings: Settings | None = None, journal: Journal | None = None) -> None:
        self.settings = settings or Settings()
        self.journal: Journal | None = journal or Journal(data_home())
        self.notices: list[str] = []
        # How a request is started from wherever the user is; the kernel's side replaces it.
        self.launch: Callable[[ImageRequest], Generation] = self.start
        self._service: Service | None = None
        self._simulator: Service | None = None
        self._decoding: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    # What answers

    def service(self) -> Service:
        """Return the simulator where it is on, else the service that key and base URL name.

        Raises:
            ConfigurationError: The base URL is unusable.
        """
        if self._simulator is not None:
            return self._simulator
        access = resolve_access(self.settings)
        if self._service is None or self._service.access != access:
            self._service = Service(access, _client(access))
        return self._service

    @property
    def simulator(self) -> Service | None:
        """The simulator in this process, where it is on."""
        return self._simulator

    def simulator_on(self, speed: float = 1.0) -> None:
        """Let a simulator in this process answer from now on: no key, no network, no cost.

        Args:
            speed: How much faster than life it is, more than 0.

        Raises:
            InvalidRequestError: The speed is not more than 0.
        """
        if not speed > 0:
            raise InvalidRequestError(
                f"--speed {speed:g} is no speed.", todo="Use a number above 0, such as 10."
            )
        from runapi_magic.simulator import Simulator, create_app

        access = Access(SIMULATOR_URL, Secret("simulated-key"), "simulator", "simulator")
        app = create_app(Simulator(speed=speed))
        self._simulator = Service(access, _client(access, app), speed)

    def simulator_off(self) -> None:
        """Let RunAPI answer again. What is under way on the simulator goes on there."""
        self._simulator = None

    # What is asked

    def request(
        self,
        prompt: str,
        *,
        sources: Sequence[Source] = (),
        model: str | None = None,
        count: int = 1,
        mask: Source | None = None,
        **fields: Any,
    ) -> ImageRequest:
        """Return a request with the settings' defaults where a field is not given.

        Args:
            prompt: The prompt or instruction.
            sources: Pictures to start from.
            model: RunAPI's name of the model.
            count: Number of pictures.
            mask: The part to change.
            fields: The model's fields, by RunAPI's names; None counts as not given.
        """
        request = ImageRequest(
            prompt=prompt.strip(),
            model=model or self._default_model(editing=bool(sources)),
            fields={name: value for name, value in fields.items() if value is not None},
            count=count,
            sources=tuple(sources),
            mask=mask,
        )
        defaults = {}
        for name in ("aspect_ratio", "output_resolution"):
            value = getattr(self.settings, name)
            known = request.action.parameter(name)
            if value and name not in request.fields and known and value in known.choices:
                defaults[name] = value
        return replace(request, fields={**defaults, **request.fields})

    def _default_model(self, *, editing: bool) -> str:
        if not editing:
            return self.settings.model
        if self.settings.edit_model:
            return self.settings.edit_model
        return find_model(self.settings.model).edits_with or DEFAULT_MODEL

    def start(
        self, request: ImageRequest, loop: asyncio.AbstractEventLoop | None = None
    ) -> Generation:
        """Start a request and return its handle at once.

        Args:
            request: What is asked for.
            loop: The loop that works on it, by default the running one; another thread's is fine.

        Raises:
            InvalidRequestError: The request cannot be right; nothing was sent.
            MissingKeyError: There is no key.
            ConfigurationError: The base URL is unusable.
        """
        warnings = validate(request)
        service = self.service()
        service.access.require_key()
        expectation = expect(request.output_resolution)
        if service.speed:
            expectation = Expectation(expectation.median / service.speed, expectation.sigma)
        generation = Generation(
            request,
            [Part(secrets.token_hex(8), count, expectation) for count in request.task_counts],
            simulated=bool(service.speed),
            warnings=tuple(warnings),
        )
        home = loop or asyncio.get_running_loop()

        def begin() -> None:
            generation.attach(home.create_task(self._run(generation, service)))

        if home is asyncio._get_running_loop():  # noqa: SLF001 (None instead of an exception)
            begin()
        else:
            home.call_soon_threadsafe(begin)
        return generation

    def generate(self, prompt: str, **fields: Any) -> Generation:
        """Start a request from its parts; see ``request`` for the fields."""
        return self.launch(self.request(prompt, **fields))

    def edit(self, source: Any, instruction: str, **fields: Any) -> Generation:
        """Start an edit of a picture, or of a list of pictures."""
        many = source if isinstance(source, list | tuple) else [source]
        return self.generate(instruction, sources=[as_source(one) for one in many], **fields)

    def revise(self, image: GeneratedImage, instruction: str) -> Generation:
        """Start an edit of a picture with its own model, ratio and resolution where they apply."""
        model = find_model(image.model).edits_with or self._default_model(editing=True)
        action = find_model(model).edit
        fields = {
            name: value
            for name, value in image.fields.items()
            if action is not None and action.parameter(name)
        }
        return self.edit(image, instruction, model=model, **fields)

    def repeat(self, image: GeneratedImage) -> Generation:
        """Start the request once more that a picture came from, as a new one."""
        return self.launch(replace(image.request, count=1))

    # The way of one request

    async def _run(self, generation: Generation, service: Service) -> None:
        """Bring a request to its end. Never raises: what went wrong is in the parts."""
        try:
            request = await self._settled(generation.request)
            generation.request = request
            async with asyncio.TaskGroup() as tasks:
                for part in generation.parts:
                    tasks.create_task(self._run_part(generation, part, service))
        except RunAPIError as error:
            _end(generation, error)
        except asyncio.CancelledError:
            for part in generation.parts:
                if not part.is_done:
                    part.status = "cancelled"
                    part.error = _stopped(part)
            generation.changed()

    async def _settled(self, request: ImageRequest) -> ImageRequest:
        """Wait for sources that are still under way."""
        settled = []
        for source in request.sources:
            if source.pending is not None:
                await source.pending.wait()
                settled.append(as_source(source.pending, label=source.label))
            else:
                settled.append(source)
        return replace(request, sources=tuple(settled))

    async def _run_part(self, generation: Generation, part: Part, service: Service) -> None:
        try:
            await self._make(generation, part, service)
            part.status = "completed"
        except RunAPIError as error:
            error.task_id = error.task_id or part.task_id
            await self._fail(part, error)
        except Exception as error:
            _log.exception("part %s failed", part.id)
            unexpected = RunAPIError(
                f"Something unexpected happened ({type(error).__name__}: {error}).",
                charged=_STILL_THERE if part.task_id else "It may have been charged.",
                todo="%runapi resume looks for its picture. Please report this.",
                task_id=part.task_id,
            )
            await self._fail(part, unexpected)
        finally:
            generation.changed()

    async def _fail(self, part: Part, error: RunAPIError) -> None:
        part.error = error
        part.status = "completed" if part.images else "failed"
        refused = isinstance(error, APIError) and part.task_id is None
        if refused or isinstance(error, TaskFailedError):
            await self._record("failed", part.id, error.what, refused=refused)

    async def _make(self, generation: Generation, part: Part, service: Service) -> None:
        request = generation.request
        row = TaskRow(part.id, generation.id, service.access.base_url, part.count, time.time())
        await self._record("plan", row, request)
        part.step = "uploading" if request.sources else "sending"
        generation.changed()
        urls = [await self._address(source, service) for source in request.sources]
        mask = await self._address(request.mask, service) if request.mask else None
        part.step = "sending"
        # Whatever becomes of the waiting, the answer to a POST must reach the journal.
        created = await asyncio.shield(
            asyncio.ensure_future(self._create(part, request, service, tuple(urls), mask))
        )
        part.step, part.status = "drawing", "processing"
        generation.changed()
        task, paths = await self._follow(generation, part, service, created)
        seconds = time.monotonic() - part.started
        part.cost = task.cost
        await self._record("completed", part.id, task.cost, seconds)
        if not task.image_urls:
            raise TaskFailedError(
                "The task was completed without a picture.",
                charged="It may have been charged.",
                todo=_RESUME.format(task.id),
            )
        part.step = "fetching"
        generation.changed()
        await self._fetch(generation, part, service, task, paths)

    async def _create(
        self,
        part: Part,
        request: ImageRequest,
        service: Service,
        urls: tuple[str, ...],
        mask: str | None,
    ) -> Created:
        async def before(attempt: Attempt) -> None:
            await self._record("sending", part.id, attempt)

        created = await service.client.create(
            request,
            before=before,
            count=part.count,
            source_urls=urls,
            mask_url=mask,
            budget=self.settings.timeout,
        )
        part.task_id = created.task.id
        await self._record("created", part.id, created.task.id, created.status_paths)
        return created

    async def _follow(
        self, generation: Generation, part: Part, service: Service, created: Created
    ) -> tuple[Task, tuple[str, ...]]:
        """Look at a task until the service is done with it."""
        task, paths = created.task, created.status_paths
        plan = PollingPlan(part.expectation, self.settings.timeout)
        plan.hint(created.retry_after)
        denials = 0
        trouble: RunAPIError | None = None
        begun = time.monotonic()
        while not task.status.is_final:
            if plan.is_over:
                raise _timeout(task, self.settings.timeout, trouble)
            now = time.monotonic()
            pause = plan.pause(now - begun)
            await asyncio.sleep(pause)
            plan.waited(pause, time.monotonic() - now)
            try:
                look = await service.client.get(task.id, paths)
            except (AuthenticationError, PermissionDeniedError) as error:
                error.charged, error.todo = _STILL_THERE, f"{error.todo} Then: %runapi resume."
                raise
            except NotFoundError as error:
                denials += 1
                if denials == _UNKNOWN_TASK_LOOKS:
                    error.charged, error.todo = _STILL_THERE, _RESUME.format(task.id)
                    raise
                continue
            except (APIError, ConnectionFailedError) as error:
                trouble = error  # a look that fails says nothing of the task
                continue
            denials = 0
            task = look.task
            paths = (look.path, *(path for path in paths if path != look.path))
            plan.hint(look.retry_after)
            if task.progress != part.progress:
                part.progress = task.progress
                generation.changed()
            if task.status is TaskStatus.UNKNOWN and task.word:
                self.notice(f"Task {task.id} has the status {task.word!r}, which is not known.")
        if task.status is TaskStatus.FAILED:
            raise TaskFailedError(
                f"The service could not make the picture: {task.error or 'it gave no reason'}."
            )
        return task, paths

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
            while True:
                try:
                    image = await self._download(generation, part, service, task, position)
                    break
                except DownloadError as error:
                    tries += 1
                    if tries == _DOWNLOAD_TRIES:
                        error.charged = CHARGED
                        error.todo = error.todo or _RESUME.format(task.id)
                        raise
                    if error.expired:  # the address, not the picture: ask for a fresh one
                        task = (await service.client.get(task.id, paths)).task
                        if position >= len(task.image_urls):
                            raise
            part.images.append(image)
            self._place(generation, part, position, image)
        await self._record("saved", part.id, part.images)

    async def _download(
        self, generation: Generation, part: Part, service: Service, task: Task, position: int
    ) -> GeneratedImage:
        request, settings = generation.request, self.settings
        folder = Path(settings.image_dir).expanduser().absolute()
        into = await asyncio.to_thread(open_part, folder)
        url = task.image_urls[position]
        limits = Limits(settings.max_megapixels, settings.preview_size, settings.preview_quality)
        try:
            kind = await service.client.download(url, into, max_megabytes=settings.max_download_mb)
            stem = file_stem(request.title, f"{service.access.base_url} {task.id} {position}")
            async with self._decoder():
                saved = await asyncio.to_thread(settle, into, stem, kind, limits)
        except BaseException:
            into.unlink(missing_ok=True)
            raise
        image = GeneratedImage(
            id=f"{part.id}-{position}",
            path=saved.path,
            request=request,
            width=saved.width,
            height=saved.height,
            task_id=task.id,
            digest=saved.digest,
            url=url,
            origin=service.access.base_url,
            cost=None if task.cost is None else task.cost / len(task.image_urls),
            seconds=time.monotonic() - part.started,
            simulated=bool(service.speed),
            created=time.time(),
            editor=self,
            preview=saved.preview,
        )
        service.uploads[saved.digest] = (url, time.monotonic() + _OUTPUT_LIFETIME)
        return image

    @staticmethod
    def _place(generation: Generation, part: Part, position: int, image: GeneratedImage) -> None:
        for slot in generation.slots:
            if slot.part is part and slot.position == position:
                generation.add_version(slot, image)

    def _decoder(self) -> asyncio.Semaphore:
        return self._decoding.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))

    async def _address(self, source: Source, service: Service) -> str:
        """Return an address under which the service finds a source, uploading it if need be."""
        if source.url is not None:
            return source.url
        known, good_until = service.uploads.get(source.digest, ("", 0.0))
        if known and time.monotonic() < good_until:
            return known
        content = source.content
        name = "picture.png"
        if content is None:
            assert source.path is not None
            name = source.path.name
            try:
                content = await asyncio.to_thread(source.path.read_bytes)
            except OSError as error:
                raise InvalidRequestError(
                    f"The file {source.path} cannot be read any more ({error.strerror}).",
                    todo="Check the path.",
                ) from None
        url = await service.client.upload(content, name)
        service.uploads[source.digest] = (url, time.monotonic() + _UPLOAD_LIFETIME)
        return url

    # What is written down

    async def _record(self, what: str, *values: Any, **options: Any) -> None:
        """Write to the journal, off the loop; without one, generating goes on with a warning."""
        if self.journal is None:
            return
        try:
            await asyncio.to_thread(getattr(self.journal, what), *values, **options)
        except JournalError as error:
            self.journal = None
            self.notice(
                f"The journal cannot be written ({error}). Pictures are made all the same, but"
                " what is under way now cannot be found again after a restart."
            )

    def notice(self, text: str) -> None:
        """Keep a notice to be shown once with the next picture."""
        if text not in self.notices:
            self.notices.append(text)


def _client(access: Access, app: Any = None) -> Client:
    from runapi_magic.client import Client
    from runapi_magic.transport import Transport

    return Client(Transport(access, app))


def _end(generation: Generation, error: RunAPIError) -> None:
    for part in generation.parts:
        if not part.is_done:
            part.status, part.error = "failed", error
    generation.changed()


def _stopped(part: Part) -> RunAPIError:
    if part.task_id is None:
        return RunAPIError(
            "Stopped before the service answered.",
            charged="It may be charged.",
            todo="%runapi resume looks for its picture.",
        )
    return RunAPIError(
        "Stopped waiting. The service knows no cancel.",
        charged=_STILL_THERE,
        todo=_RESUME.format(part.task_id),
        task_id=part.task_id,
    )


def _timeout(task: Task, seconds: float, trouble: RunAPIError | None) -> TaskTimeoutError:
    last = f" The last look failed: {trouble.what}" if trouble else ""
    return TaskTimeoutError(
        f"Task {task.id} was not done after {seconds:g} s of waiting.{last}",
        todo=_RESUME.format(task.id),
        task_id=task.id,
    )


_current: dict[str, Session] = {}


def current_session(settings: Settings | None = None) -> Session:
    """Return the process's session, made on first use.

    Args:
        settings: The settings of the magics, where they are loaded; they replace others.
    """
    session = _current.setdefault("session", Session(settings))
    if settings is not None:
        session.settings = settings
    return session
