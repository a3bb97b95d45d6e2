"""What a user asks for: one session a process, from which everything is started."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest, Source, validate
from runapi_magic.core.status import Step
from runapi_magic.engine.generation import Generation, Part, new_part_id
from runapi_magic.engine.request_builder import (
    all_at_once,
    default_model,
    draft,
    fields_for,
    model_for,
    route_for,
)
from runapi_magic.engine.services import Services
from runapi_magic.errors import InvalidRequestError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from runapi_magic.engine.backend import Price, Service
    from runapi_magic.engine.generation import Place
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.engine.pipeline import Gate
    from runapi_magic.engine.pricing import Cost
    from runapi_magic.engine.settings import Settings
    from runapi_magic.journal.tables import StoredTask
    from runapi_magic.journal.task_log import Journal

_REST = (
    "runapi_magic.engine.pipeline"  # what brings requests to their end, and most modules with it
)


class Cancellable(Protocol):
    """Work under way that can be cancelled: a Generation or a Batch."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def task_ids(self) -> list[str]:
        """RunAPI's ids of its tasks, as far as known."""

    def cancel(self) -> None:
        """Stop waiting for it."""


class Session(Services):
    """What a user asks for, on the parts of an assembly; one a process.

    Attributes:
        launch: How a request is started from wherever the user is; the kernel's side replaces it.
        active_batches: The batches under way, so that ``cancel`` finds them.
        on_ended: Listeners, called on a request's loop when it has ended, whatever the end.
    """

    def __init__(self, settings: Settings | None = None, journal: Journal | None = None) -> None:
        super().__init__(self, settings, journal)
        self.launch: Callable[..., Generation] = self.start
        self.on_ended: list[Callable[[], object]] = []
        self._active: dict[str, Generation] = {}
        self.active_batches: set[Cancellable] = set()

    # What is asked

    def request(self, prompt: str, /, **parts: Any) -> ImageRequest:
        """Return a request with the settings' defaults; see ``drafts.draft`` for its parts."""
        return draft(self.settings, prompt, **parts)

    def start(
        self,
        request: ImageRequest,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        new: bool = False,
        since: float = 0.0,
        hold: str | None = None,
        turns: asyncio.Semaphore | None = None,
        gate: Gate | None = None,
        service: Service | None = None,
        place: Place | None = None,
        image_dir: str = "",
    ) -> Generation:
        """Start a request and return its handle at once.

        Args:
            request: What is asked for.
            loop: The loop that works on it, by default the running one; another thread's is fine.
            new: Ask afresh, also where the same was made before.
            since: Unix time in seconds; what was asked for before does not count.
            hold: Names the money that is set aside for it already.
            turns: Lets so many tasks of a batch be at the service at a time.
            gate: Awaited before anything is planned; what it raises is the request's end.
            service: What answers, where it is not to be what the settings say now.
            place: The cell that asks; it shows the versions that it showed last.
            image_dir: Where its pictures go, by default where the settings say now.

        Raises:
            InvalidRequestError: The request cannot be right; nothing was sent.
            MissingKeyError: There is no key.
            ConfigurationError: The base URL is unusable.
        """
        warnings = validate(request)
        service = service or self._simulator
        # Colab is asked on the way: until it answers, the placeholder is on the screen.
        access = service.access if service else None if self.asks_colab else self.access()
        if access is not None:
            access.require_key()
        expectation = expect(request.output_resolution)
        if service and service.is_simulated:
            expectation = expectation.at_pace(service.speed)
        generation = Generation(
            request,
            [
                Part(new_part_id(), request, count, expectation)  # until it is planned
                for count in request.task_counts
            ],
            simulated=bool(service and service.is_simulated),
            warnings=tuple(warnings),
        )
        for part in generation.parts if gate is not None else ():
            part.step = Step.PRICING
        generation.hold, generation.place = hold or generation.hold, place
        generation.image_dir = image_dir or self.settings.picture_place()
        generation.turns, generation.is_shown = turns, turns is None
        # A batch says from when on pictures count, whatever the settings say by now.
        is_counted = self.settings.reuse or since or turns is not None
        counts = since if is_counted and not new else None

        async def run() -> None:
            try:
                if _REST not in sys.modules:  # the placeholder is there, and the loop goes on
                    await asyncio.to_thread(import_module, _REST)
                answering = service or (self.remote(access) if access else await self.answering())
                answering.access.require_key()
            except RunAPIError as error:
                for part in generation.parts:
                    part.status, part.error = "failed", error
                generation.changed()
                return
            await self.pipeline.run(generation, answering, since=counts, gate=gate)

        self._begin(generation, run(), loop)
        return generation

    def _begin(
        self,
        generation: Generation,
        work: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        home = loop or asyncio.get_running_loop()

        def end(_task: asyncio.Task[None]) -> None:
            self._active.pop(generation.id, None)
            if "journal" in vars(self):  # else there are no tasks that others could wait for
                self.journal.end(generation.id)  # however it ended
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
        """Start a request from its parts; see ``request`` for the fields."""
        return self.launch(self.request(prompt, **fields), new=new)

    def edit(self, source: Any, instruction: str, /, **fields: Any) -> Generation:
        """Start an edit of a picture, or of a list of pictures."""
        from runapi_magic.engine.sources import as_many, as_sources

        return self.generate(instruction, sources=as_sources(as_many(source)), **fields)

    def revise(
        self, image: GeneratedImage, instruction: str, model: str | None = None
    ) -> Generation:
        """Start an edit of a picture with its own model, ratio and resolution where they apply.

        Args:
            image: The picture.
            instruction: What to change.
            model: RunAPI's name of the model; by default the picture's own where it edits.
        """
        model = model or model_for(image, default_model(self.settings, editing=True))
        named = route_for(image, model)
        return self.edit(image, instruction, model=model, **named, **fields_for(image, model))

    def edit_request(
        self, image: GeneratedImage, model: str | None = None, **fields: Any
    ) -> ImageRequest:
        """Return a request that has the price of an edit as ``revise`` makes it.

        Args:
            image: The picture.
            model: RunAPI's name of the model; by default the picture's own where it edits.
            fields: More of the model's fields.
        """
        model = model or model_for(image, default_model(self.settings, editing=True))
        source = Source(image.request.title, image.digest)
        fields = fields_for(image, model) | route_for(image, model) | fields
        return self.request("an edit", sources=[source], model=model, **fields)

    async def edit_price(
        self, image: GeneratedImage, model: str | None = None, **fields: Any
    ) -> Price | None:
        """Return what an edit of a picture would cost, if known; see ``edit_request``."""
        return await self.price(self.edit_request(image, model, **fields))

    async def price(self, request: ImageRequest) -> Price | None:
        """Return what a request would cost, if known, whatever was made before."""
        return await (await self.answering()).price(request)

    def from_original(self, image: GeneratedImage) -> Generation:
        """Start one edit of a line's first picture by all its instructions.

        Raises:
            InvalidRequestError: There are fewer than two instructions; nothing was sent.
        """
        return self.revise(image.line[0], all_at_once(image))

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the tree of edits that pictures stand in; see ``Library.tree``."""
        return self.library.tree(images)

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that makes a picture again; see ``Library.cell``."""
        return self.library.cell(image)

    def cells(self, image: GeneratedImage) -> list[str]:
        """Return the cells of a picture's line; see ``Library.cells``."""
        return self.library.cells(image)

    def save_copy(self, image: GeneratedImage, target: str) -> Path:
        """Copy a picture's original; see ``GeneratedImage.save``."""
        return self.library.save_copy(image, target)

    def repeat(self, image: GeneratedImage) -> Generation:
        """Ask once more, afresh, for what a picture was asked for."""
        return self.launch(replace(image.request, count=1), new=True)

    # What requests cost

    async def cost(
        self,
        requests: Sequence[ImageRequest],
        *,
        since: float | None = 0.0,
        fetching: bool = False,
        service: Service | None = None,
    ) -> Cost:
        """Return what requests would cost, by default where they would go now; see ``Pricing``."""
        counts = since if self.settings.reuse or since else None
        service = service or await self.answering()
        return await self.pricing.cost(requests, service, since=counts, fetching=fetching)

    # What is under way, and what was left

    @property
    def is_busy(self) -> bool:
        """Whether pictures are to come without anybody's word."""
        awaited = [
            slot.part
            for generation in tuple(self._active.values())
            for slot in generation.slots
            if slot.shown is None
        ]
        return any(not (part.is_done or part.is_held) for part in awaited)

    def cancel(self, name: str | None = None) -> list[Cancellable]:
        """Stop waiting for a task, a request, a batch, or all; return what was stopped.

        Args:
            name: A task's, a Generation's or a Batch's id; None for all that is under way.

        Raises:
            InvalidRequestError: Nothing of this name is under way.
        """
        # Batches first: one that has lost its requests would go on with the next.
        found: list[Cancellable] = [
            batch for batch in tuple(self.active_batches) if name in {None, batch.id}
        ]
        found += [
            generation
            for generation in tuple(self._active.values())
            if name is None or name in {generation.id, *generation.task_ids}
        ]
        if name is not None and not found:
            raise InvalidRequestError(
                f"Nothing of the name {name} is under way.",
                charged="Nothing was changed.",
                todo="%runapi resume lists what is unfinished.",
            )
        for work in found:
            work.cancel()
        return found

    def resume(
        self, task_id: str | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> Generation:
        """Go on with what was left unfinished; return one handle for all of it.

        A request whose answer was lost is asked again under its own key. One that is older than a
        day is left out unless it is named: RunAPI does not publish how long it remembers a key.

        Args:
            task_id: The service's id of one task, or its id in the journal; None for all.
            loop: The loop that works on it, by default the running one.

        Raises:
            InvalidRequestError: No unfinished task has this id.
            MissingKeyError: There is no key.
            JournalError: The journal cannot be read.
        """
        service = self.service()
        service.access.require_key()
        now = time.time()

        def wanted(task: StoredTask) -> bool:
            if task.origin != service.access.base_url:
                return False
            if task_id is not None:
                return task_id in {task.task_id, task.id}
            return not is_stale(task, now)

        nothing = ImageRequest("", self.settings.model)
        generation = Generation(nothing, [], simulated=service.is_simulated)
        found = self.journal.take(wanted, generation.id)
        if task_id is not None and not found:
            raise InvalidRequestError(
                f"No unfinished task of {service.access.base_url} has the id {task_id}.",
                todo="%runapi resume without an id goes on with all there are.",
            )
        # At once, since it is shown at once: model, fields and sources are in the journal.
        requests = [self.pipeline.image_store.request_of(task) for task in found]
        works = [
            self.pipeline.work(task, request, service)
            for task, request in zip(found, requests, strict=True)
        ]
        generation.request = next(iter(requests), nothing)
        generation.plan([work.part for work in works])
        self._begin(generation, self.pipeline.run(generation, service, works=works), loop)
        return generation

    def forget(self, task_id: str | None = None) -> list[StoredTask]:
        """Give up unfinished tasks, and return them as they were.

        Their rows stay in the journal, but are not resumed or counted as unfinished any more. What
        was sent may have been charged, and counts against budgets by its expected price. The same
        request asks, and pays, again.

        Args:
            task_id: The service's id of one task, or its id in the journal; None for all that are
                lost: the service says that it does not know them, or they were never answered and
                their idempotency key is too old.

        Raises:
            InvalidRequestError: No unfinished task has this id, or somebody works on it.
            JournalError: The journal cannot be changed.
        """
        now = time.time()

        def wanted(task: StoredTask) -> bool:
            if task_id is not None:
                return task_id in {task.task_id, task.id}
            return task.is_denied or is_stale(task, now)

        found = self.journal.forget(wanted)
        if task_id is not None and not found:
            raise InvalidRequestError(
                f"No unfinished task has the ID {task_id}, or a kernel is working on it.",
                charged="Nothing was changed.",
                todo=f"To stop waiting for a running task: %runapi cancel {task_id}",
            )
        return found


def is_stale(task: StoredTask, now: float) -> bool:
    """Whether a task's answer was lost too long ago to ask again unasked."""
    from runapi_magic.journal.matching import KEY_LIFETIME

    sent = task.attempt is not None and task.task_id is None
    return sent and now - task.created > KEY_LIFETIME


_current: dict[str, Session] = {}
_opening = threading.Lock()  # held to open it: threads of a script may all be the first


def current_session(settings: Settings | None = None) -> Session:
    """Return the process's session, made on first use.

    Args:
        settings: The settings of the magics, where they are loaded; they replace others.
    """
    with _opening:
        session = _current.get("session")
        if session is None:
            session = _current["session"] = Session(settings)
    if settings is not None:
        session.settings = settings
    return session
