"""The session: starts requests and knows the running ones. There is one for each process."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.core.status import Phase
from runapi_magic.core.validation import validate
from runapi_magic.engine.connection import Connection
from runapi_magic.engine.generation import Generation, GenerationTask, new_local_id
from runapi_magic.engine.request_builder import all_at_once, draft, edit_fields
from runapi_magic.engine.services import Services
from runapi_magic.errors import InvalidRequestError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from runapi_magic.core.access import Access
    from runapi_magic.engine.backend import Price, Service
    from runapi_magic.engine.generation import CellLocation
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.library import Library
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.engine.pipeline import Gate, Pipeline
    from runapi_magic.engine.pricing import Cost
    from runapi_magic.engine.settings import Settings
    from runapi_magic.journal.budgets import Budgets
    from runapi_magic.journal.task_log import Journal

_PIPELINE = "runapi_magic.engine.pipeline"  # importing it imports most other modules


class Cancellable(Protocol):
    """Running work that can be cancelled: a Generation or a Batch."""

    @property
    def id(self) -> str:
        """Its ID."""

    @property
    def task_ids(self) -> list[str]:
        """RunAPI's IDs of its tasks that are known until now."""

    def cancel(self) -> None:
        """Stop waiting for it."""


class Session:
    """Starts requests, and knows the running ones.

    Args:
        settings: The user's settings; by default new ones.
        journal: The journal; by default the one in the data folder.

    Attributes:
        services: The objects that the session works with: journal, pipeline, library and others.
        connection: What answers requests: RunAPI or a simulator.
        launch: Starts a request; ``start`` by default. The notebook replaces it.
        active_batches: The running batches, so that ``cancel`` finds them.
        on_ended: Callbacks, called on a request's loop when the request has ended in any way.
        notices: Messages for the user, to be shown with the next image.
    """

    def __init__(self, settings: Settings | None = None, journal: Journal | None = None) -> None:
        self.notices: list[str] = []
        self.services = Services(self, settings, journal, self.notice)
        self.connection = Connection(
            lambda: self.settings,
            lambda access: self.services.limiters.of(access),  # noqa: PLW0108 (imports rate_limit late)
        )
        self.launch: Callable[..., Generation] = self.start
        self.on_ended: list[Callable[[], object]] = []
        self._active: dict[str, Generation] = {}
        self.active_batches: set[Cancellable] = set()

    @property
    def settings(self) -> Settings:
        """The user's settings."""
        return self.services.settings

    @property
    def journal(self) -> Journal:
        """The record of all requests."""
        return self.services.journal

    @property
    def pipeline(self) -> Pipeline:
        """Runs requests."""
        return self.services.pipeline

    @property
    def library(self) -> Library:
        """Finds finished images."""
        return self.services.library

    @property
    def budgets(self) -> Budgets:
        """What was spent, and what may be spent."""
        return self.pipeline.budgets

    def service(self) -> Service:
        """Return what answers now; see ``Connection.service``."""
        return self.connection.service()

    @property
    def simulator(self) -> Service | None:
        """The simulator in this process, None when it is off."""
        return self.connection.simulator

    def notice(self, text: str) -> None:
        """Keep a message for the user, to be shown with the next image."""
        if text not in self.notices:
            self.notices.append(text)

    def take_notices(self) -> list[str]:
        """Return the messages that were not shown yet, and forget them."""
        notices, self.notices = self.notices, []
        return notices

    # Requests

    def request(self, prompt: str, /, **fields: Any) -> ImageRequest:
        """Return a request with the settings' defaults; see ``request_builder.draft``."""
        return draft(self.settings, prompt, **fields)

    def start(
        self,
        request: ImageRequest,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        new: bool = False,
        since: float = 0.0,
        reservation: str | None = None,
        concurrency: asyncio.Semaphore | None = None,
        gate: Gate | None = None,
        service: Service | None = None,
        cell_location: CellLocation | None = None,
        image_dir: str = "",
    ) -> Generation:
        """Start a request and return its handle at once.

        Args:
            request: The request.
            loop: The loop that runs it, by default the running one; may be another thread's.
            new: Generate new images even if the same request was made before.
            since: Reuse only images that were requested after this Unix time in seconds.
            reservation: The ID of the reservation that pays for it already; by default it gets its
                own if there is a budget.
            concurrency: Limits the number of tasks of a batch that are at the service.
            gate: Awaited before anything is planned; an error that it raises ends the request.
            service: The service to use; by default the current one.
            cell_location: The cell that makes the request; it shows its last versions again.
            image_dir: The folder or URL for the images; by default the setting's.

        Raises:
            InvalidRequestError: The request is invalid; nothing was sent.
            MissingKeyError: There is no key.
            ConfigurationError: The key or the base URL is unusable, or the folder for images cannot
                be found.
        """
        warnings = validate(request)
        service = service or self.simulator
        # Asking Colab for the key takes seconds. `work` does it, while the placeholder is shown.
        access = service.access if service else self._access_at_once()
        if access is not None:
            access.require_key()
        generation = _unplanned(request, service, warnings)
        if gate is not None:
            for task in generation.tasks:
                task.phase = Phase.PRICING
        generation.reservation = reservation or generation.reservation
        generation.cell_location = cell_location
        generation.image_dir = image_dir or self.settings.image_location()
        generation.concurrency, generation.is_shown = concurrency, concurrency is None
        # A batch decides by `since` which images it reuses, whatever the settings are now.
        is_reused = self.settings.reuse or since or concurrency is not None
        reused_since = since if is_reused and not new else None

        async def work() -> None:
            try:
                if _PIPELINE not in sys.modules:  # in a thread: the import must not block the loop
                    await asyncio.to_thread(import_module, _PIPELINE)
                answering = service or await self._paid_service(access)
                answering.access.require_key()
            except RunAPIError as error:
                for task in generation.tasks:
                    task.status, task.error = "failed", error
                generation.changed()
                return
            await self.pipeline.run(generation, answering, since=reused_since, gate=gate)

        self.begin(generation, work(), loop)
        return generation

    def _access_at_once(self) -> Access | None:
        return None if self.connection.asks_colab else self.connection.access()

    async def _paid_service(self, access: Access | None) -> Service:
        if access is None:
            return await self.connection.get_service()
        return self.connection.service_for(access)

    def begin(
        self,
        generation: Generation,
        work: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        """Start the work on a request.

        Args:
            generation: The request's handle.
            work: Does the work; it must not raise.
            loop: The loop that runs it, by default the running one; may be another thread's.
        """
        home = loop or asyncio.get_running_loop()

        def end(_task: asyncio.Task[None]) -> None:
            self._active.pop(generation.id, None)
            if self.services.has_journal:  # else no other kernel can wait for its tasks
                self.journal.deactivate(generation.id)
            for listener in tuple(self.on_ended):
                listener()

        def begin() -> None:
            task = home.create_task(work)
            task.add_done_callback(end)
            generation.attach(task)

        self._active[generation.id] = generation
        if home is asyncio._get_running_loop():  # noqa: SLF001 (None instead of an exception)
            begin()
        else:
            home.call_soon_threadsafe(begin)

    def generate(self, prompt: str, /, *, new: bool = False, **fields: Any) -> Generation:
        """Start a request from its fields; see ``request`` for the fields."""
        return self.launch(self.request(prompt, **fields), new=new)

    def edit(self, source: Any, instruction: str, /, **fields: Any) -> Generation:
        """Start an edit of an image, or of a list of images."""
        from runapi_magic.engine.sources import as_many, as_sources

        return self.generate(instruction, sources=as_sources(as_many(source)), **fields)

    def revise(
        self, image: GeneratedImage, instruction: str, model: str | None = None
    ) -> Generation:
        """Start an edit that keeps the image's model, aspect ratio and resolution if it can.

        Args:
            image: The image.
            instruction: What to change.
            model: RunAPI's name of the model; by default the image's own if it can edit.
        """
        return self.edit(image, instruction, **edit_fields(self.settings, image, model))

    def edit_request(
        self, image: GeneratedImage, model: str | None = None, **fields: Any
    ) -> ImageRequest:
        """Return a request that costs the same as an edit by ``revise``.

        Args:
            image: The image.
            model: RunAPI's name of the model; by default the image's own if it can edit.
            fields: More fields of the model.
        """
        source = Source(image.request.title, image.digest)
        fields = edit_fields(self.settings, image, model) | fields
        return self.request("an edit", sources=[source], **fields)

    async def edit_price(
        self, image: GeneratedImage, model: str | None = None, **fields: Any
    ) -> Price | None:
        """Return the price of an edit of an image, None if unknown; see ``edit_request``."""
        return await self.price(self.edit_request(image, model, **fields))

    async def price(self, request: ImageRequest) -> Price | None:
        """Return the price of a request if nothing is reused, None if unknown."""
        return await (await self.connection.get_service()).price(request)

    def from_original(self, image: GeneratedImage) -> Generation:
        """Start one edit of the first image of a lineage, with all instructions of the lineage.

        Raises:
            InvalidRequestError: There are fewer than two instructions; nothing was sent.
        """
        return self.revise(image.line[0], all_at_once(image))

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the tree of edits that images belong to; see ``Library.tree``."""
        return self.library.tree(images)

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that generates an image again; see ``Library.cell``."""
        return self.library.cell(image)

    def save_copy(self, image: GeneratedImage, target: str) -> Path:
        """Copy an image's original file; see ``GeneratedImage.save``."""
        return self.library.save_copy(image, target)

    def repeat(self, image: GeneratedImage) -> Generation:
        """Start the request of an image again, to get a new image."""
        return self.launch(replace(image.request, count=1), new=True)

    async def cost(
        self,
        requests: Sequence[ImageRequest],
        *,
        since: float | None = 0.0,
        fetching: bool = False,
        service: Service | None = None,
    ) -> Cost:
        """Return the cost of requests, by default at the current service; see ``Pricing.cost``."""
        reused_since = since if self.settings.reuse or since else None
        service = service or await self.connection.get_service()
        pricing = self.pipeline.pricing
        return await pricing.cost(requests, service, since=reused_since, fetching=fetching)

    # Running requests

    @property
    def is_busy(self) -> bool:
        """Whether images will come without any action of the user."""
        pending = [
            slot.task
            for generation in tuple(self._active.values())
            for slot in generation.slots
            if slot.shown is None
        ]
        return any(not (task.is_done or task.awaits_approval) for task in pending)

    def cancel(self, work_id: str | None = None) -> list[Cancellable]:
        """Stop waiting for one task, request or batch, or for all; return what was stopped.

        Args:
            work_id: The ID of a task, a Generation or a Batch; None for everything that runs.

        Raises:
            InvalidRequestError: Nothing that runs has this ID.
        """
        # Batches first: a batch whose requests are cancelled would start its next ones.
        found: list[Cancellable] = [
            batch for batch in tuple(self.active_batches) if work_id in {None, batch.id}
        ]
        found += [
            generation
            for generation in tuple(self._active.values())
            if work_id is None or work_id in {generation.id, *generation.task_ids}
        ]
        if work_id is not None and not found:
            raise InvalidRequestError(
                f"No running request has the ID {work_id}.",
                charged="Nothing was changed.",
                todo="Check the ID. %runapi cancel without an ID stops all running requests.",
            )
        for work in found:
            work.cancel()
        return found


def _unplanned(
    request: ImageRequest, service: Service | None, warnings: Sequence[str]
) -> Generation:
    """Return the handle of a request, with temporary tasks until the pipeline has planned it."""
    is_simulated = service is not None and service.is_simulated
    expectation = expect(request.output_resolution)
    if service is not None and is_simulated:
        expectation = expectation.at_time_scale(service.speed)
    tasks = [
        GenerationTask(new_local_id(), request, count, expectation) for count in request.task_counts
    ]
    return Generation(request, tasks, simulated=is_simulated, warnings=tuple(warnings))


_current: dict[str, Session] = {}
_opening = threading.Lock()  # several threads of a script may be the first


def current_session(settings: Settings | None = None) -> Session:
    """Return the session of this process; create it on first use.

    Args:
        settings: The settings of the magics if they are loaded; they replace earlier ones.
    """
    with _opening:
        session = _current.get("session")
        if session is None:
            session = _current["session"] = Session(settings)
    if settings is not None:
        session.services.settings = settings
    return session
