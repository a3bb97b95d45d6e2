"""The handle of a request: its status, its images, and how to wait for them or cancel."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runapi_magic.core.events import ThreadsafeEvent
from runapi_magic.core.status import AWAITING_APPROVAL, Phase, Stage, Status
from runapi_magic.core.task_state import TaskState
from runapi_magic.errors import InvalidRequestError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from runapi_magic.core.polling import Expectation
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Tree


_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class GenerationTask:
    """One task of a request.

    Attributes:
        id: The ID in the journal, known before anything is sent; see ``task_id`` for RunAPI's ID.
        request: The request that it is part of.
        count: Number of images.
        expectation: The expected duration.
        status: The status that users see.
        state: What is known of the task at the service, and so whether it was charged.
        images: Its images that are on disk.
        error: Why images are missing.
        cost: USD of the task; None if the service did not report it.
        progress: 0 to 1; None if the service does not report it.
        started: When it was requested in this kernel, monotonic time in seconds.
        phase: What is being done now, for the placeholder.
        is_resumed: Whether an earlier kernel or cell has already sent it.
        created: When it was requested first, Unix time in seconds.
        uploaded: Share of the source images' bytes that is uploaded, 0 to 1.
        throttled_until: When it may be sent if the rate limit delays it, monotonic time in seconds.
    """

    id: str
    request: ImageRequest
    count: int
    expectation: Expectation
    status: Status = "pending"
    state: TaskState = field(default_factory=TaskState)
    images: list[GeneratedImage] = field(default_factory=list)
    error: RunAPIError | None = None
    cost: float | None = None
    progress: float | None = None
    started: float = field(default_factory=time.monotonic)
    phase: Phase = Phase.PREPARING
    is_resumed: bool = False
    created: float = field(default_factory=time.time)
    uploaded: float | None = None
    throttled_until: float = 0.0

    @property
    def task_id(self) -> str | None:
        """RunAPI's ID of the task, None until it is known."""
        return self.state.task_id

    @property
    def phase_text(self) -> str:
        """What is being done now, in the words that a user reads."""
        text: str = self.phase.value
        if self.phase is Phase.THROTTLED:
            text += f" ({max(0.0, self.throttled_until - time.monotonic()):.0f} s)"
        return text

    @property
    def awaits_approval(self) -> bool:
        """Whether a price or the user's confirmation must come before anything is sent."""
        return self.phase in AWAITING_APPROVAL

    @property
    def seconds(self) -> float | None:
        """Seconds since the request; None if it was made in another kernel or cell."""
        return None if self.is_resumed else time.monotonic() - self.started

    @property
    def is_done(self) -> bool:
        """Whether the task has ended."""
        return self.status in {"completed", "failed", "cancelled"}

    def stop(self, reason: str = "Stopped before anything was sent.") -> None:
        """End the task as cancelled unless it is done, and explain whether it was charged.

        Args:
            reason: What happened, if nothing was sent.
        """
        if self.is_done:
            return
        if len(self.images) == self.count:
            self.status = "completed"
            return
        self.status = "cancelled"
        if self.state.stage is not Stage.PLANNED:
            reason = "Stopped waiting. RunAPI cannot cancel a running task."
        self.error = self.state.explain(RunAPIError(reason))


@dataclass(frozen=True, slots=True)
class CellLocation:
    """A cell, identified by what does not change when the kernel restarts.

    Attributes:
        notebook: The notebook's name; empty if it is not known.
        cell: The cell's ID; empty if the front end does not send it.
    """

    notebook: str
    cell: str


def new_local_id() -> str:
    """Return an ID for a task in the journal, unique among all kernels."""
    return secrets.token_hex(8)


@dataclass(eq=False, slots=True)
class Slot:
    """One image of a request: all its versions, and which one is shown.

    Attributes:
        task: The task that generates the first version.
        position: The index of the image in the task.
        versions: The first version and its edits, oldest first.
        index: The index of the version that is shown.
        tree: The tree of edits of the versions; None until the toolbar needs it.
    """

    task: GenerationTask
    position: int
    versions: list[GeneratedImage] = field(default_factory=list)
    index: int = 0
    tree: Tree[GeneratedImage] | None = None

    @property
    def shown(self) -> GeneratedImage | None:
        """The version that is shown."""
        return self.versions[self.index] if self.versions else None


class Generation:
    """A request that runs in the background, or has ended.

    ``await`` it to wait for its end. The result is the Generation itself. If there is no image at
    all, ``await`` raises the error.

    Attributes:
        id: A unique ID.
        request: The request.
        tasks: Its tasks.
        slots: One for each of its images, in order.
        simulated: Whether the simulator answers.
        warnings: Parts of the request that the catalogue does not know.
        shown_in: The message ID of the cell that shows it.
        cell_location: The cell that made the request; None if no cell did.
        is_watched: Whether an error would be seen: there is a view, or code that waits.
        is_shown: Whether its images are displayed; the images of a batch are not.
        reservation: The ID of the reservation that pays for it if there is a budget: its own ID, or
            that of its batch.
        concurrency: Limits the number of tasks at the service; None for no limit.
        image_dir: The absolute folder or URL for its images; empty for the setting's.
    """

    def __init__(
        self,
        request: ImageRequest,
        tasks: list[GenerationTask],
        *,
        simulated: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.id: str = secrets.token_hex(8)
        self.request = request
        self.tasks: list[GenerationTask] = []
        self.slots: list[Slot] = []
        self.set_tasks(tasks)
        self.simulated = simulated
        self.warnings = warnings
        self.shown_in: str | None = None
        self.cell_location: CellLocation | None = None
        self.is_watched: bool = False
        self.is_shown: bool = True
        self.reservation: str = self.id
        self.concurrency: asyncio.Semaphore | None = None
        self.image_dir: str = ""
        # Called before ``wait`` returns or raises the request's error.
        self.on_wait: Callable[[], None] | None = None
        self._work: asyncio.Task[None] | None = None
        self._cancelled = False
        self._end = ThreadsafeEvent()
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        paths = ", ".join(str(image.path) for image in self.images)
        details = paths or ", ".join(self.task_ids)
        title = self.tasks[0].request.title if self.tasks else self.request.prompt
        return f"<Generation {title[:60]!r} {self.status}{details and ': ' + details}>"

    @property
    def status(self) -> Status:
        """``pending``, ``processing``, ``completed``, ``failed`` or ``cancelled``."""
        states = {task.status for task in self.tasks}
        if states == {"pending"}:
            return "pending"
        if not self.is_done:
            return "processing"
        if "completed" in states:
            return "completed"
        return "cancelled" if "cancelled" in states else "failed"

    @property
    def is_done(self) -> bool:
        """Whether all tasks have ended."""
        return all(task.is_done for task in self.tasks)

    @property
    def images(self) -> list[GeneratedImage]:
        """All images that are on disk: the requested ones in order, then their later versions."""
        firsts = [slot.versions[0] for slot in self.slots if slot.versions]
        return firsts + [image for slot in self.slots for image in slot.versions[1:]]

    @property
    def image(self) -> GeneratedImage:
        """The first image, in the version that is shown.

        Raises:
            InvalidRequestError: There is no image yet.
            RunAPIError: The request has failed, and this is the reason.
        """
        for slot in self.slots:
            if slot.shown is not None:
                return slot.shown
        if self.errors:
            raise self.errors[0]
        if not self.tasks:
            raise InvalidRequestError("There is no image, because there was nothing to resume.")
        raise InvalidRequestError(
            f"There is no image yet ({self.status}).",
            charged="The request is still running.",
            todo="Await the Generation, or try again later.",
        )

    def tree(self) -> Tree[GeneratedImage]:
        """Return the tree of edits that its images belong to; ``print`` it, or display it.

        Raises:
            InvalidRequestError: There is no image yet.
            RunAPIError: The request has failed, and this is the reason.
            JournalError: The journal cannot be read.
        """
        editor = self.image.editor
        if editor is None:
            return self.image.tree()  # raises the error that explains it
        return editor.tree(self.images)

    @property
    def errors(self) -> list[RunAPIError]:
        """Why images are missing: one error for each task that failed."""
        return [task.error for task in self.tasks if task.error]

    @property
    def cost(self) -> float | None:
        """USD of all tasks until now, reused images count 0; None if RunAPI has not reported it."""
        costs = [task.cost for task in self.tasks if task.cost is not None]
        return sum(costs) if costs else None

    @property
    def task_ids(self) -> list[str]:
        """RunAPI's IDs of the tasks that are known until now."""
        return [task.task_id for task in self.tasks if task.task_id]

    @property
    def parts(self) -> list[GenerationTask]:
        """The old name of ``tasks``."""
        return self.tasks

    def set_tasks(self, tasks: list[GenerationTask]) -> None:
        """Replace the tasks; the slots stay and get the images of the new tasks."""
        self.tasks = tasks
        positions = [(task, position) for task in tasks for position in range(task.count)]
        for slot, (task, position) in zip(self.slots, positions, strict=False):
            slot.task, slot.position = task, position
            slot.versions = slot.task.images[slot.position : slot.position + 1]
        self.slots += [Slot(*position) for position in positions[len(self.slots) :]]

    def attach(self, work: asyncio.Task[None]) -> None:
        """Set the asyncio task that runs this request; it must not raise."""
        self._work = work
        work.add_done_callback(self._finish)
        if self._cancelled:
            work.cancel()

    def _finish(self, _work: asyncio.Task[None]) -> None:
        if not self.is_done:  # cancelled before it started, or an unexpected failure
            for task in self.tasks:
                task.stop("Stopped before it started.")
            self.changed()
        self._end.set()

    def cancel(self) -> None:
        """Stop waiting. RunAPI cannot cancel a running task: it may finish and be charged."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._work is not None and not self._work.done():
            self._work.get_loop().call_soon_threadsafe(self._work.cancel)

    def __await__(self) -> Generator[object, None, Generation]:
        return self.wait().__await__()

    async def wait(self) -> Generation:
        """Wait until the request has ended; an interrupt ends the wait but not the request.

        Raises:
            RunAPIError: There is no image at all.
        """
        await self.ended()
        if self.on_wait is not None:
            self.on_wait()
        if self.errors and not self.images:
            raise self.errors[0]
        return self

    async def ended(self) -> None:
        """Wait until the request has ended; never raise its error."""
        self.is_watched = True
        try:
            await self._end.wait()
        except asyncio.CancelledError as error:
            # IPython shows this text instead of a traceback if the user interrupts the cell.
            error._render_traceback_ = self._explain_interrupt  # type: ignore[attr-defined]
            raise

    async def ready(self) -> None:
        """Wait until all tasks are prepared and can be sent."""
        await self._until(lambda task: task.phase is not Phase.PREPARING)

    async def served(self) -> None:
        """Wait until the service has finished all tasks; downloads may still run."""
        await self._until(lambda task: task.phase is Phase.FETCHING)

    async def _until(self, is_reached: Callable[[GenerationTask], bool]) -> None:
        """Wait until each task has reached a phase, or has ended."""
        self.is_watched = True
        done = ThreadsafeEvent()

        def check() -> None:
            if all(task.is_done or is_reached(task) for task in self.tasks):
                done.set()

        unsubscribe = self.subscribe(check)
        check()
        try:
            await done.wait()
        finally:
            unsubscribe()

    def _explain_interrupt(self) -> list[str]:
        ids = ", ".join(self.task_ids)
        return [
            f"Stopped waiting{ids and f' for task {ids}'}.",
            "The request is still running: the image will be saved, and may be charged.",
            "Await the Generation again. After a kernel restart, use %runapi resume.",
        ]

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a listener on the loop at each change; return a function that unsubscribes it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def changed(self) -> None:
        """Notify the listeners; log their exceptions."""
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 (a view's bug must not stop the request)
                _log.exception("a listener of %r failed", self.id)

    def put(self, slot: Slot, image: GeneratedImage) -> None:
        """Show an image in a slot, and drop the slot's earlier versions."""
        slot.versions, slot.index, slot.tree = [image], 0, None
        self.changed()

    def show_version(self, slot: Slot, image: GeneratedImage) -> None:
        """Show an image in a slot; if the slot does not have it yet, add it as the last version."""
        known = [version.id for version in slot.versions]
        if image.id not in known:
            slot.versions.append(image)
        slot.index = known.index(image.id) if image.id in known else len(known)
        self.changed()
