"""The handle on a request under way: its status, its pictures, and how to wait for it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runapi_magic.core.events import ThreadsafeEvent
from runapi_magic.core.status import AWAITING_APPROVAL, Phase, Status
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
        id: Known before anything is sent.
        request: What it was asked.
        count: Number of pictures.
        expectation: How long it is expected to take.
        status: Where it is.
        state: How far its task has come, and so whether it was charged.
        images: Its pictures, once on disk.
        error: Why there is none.
        cost: USD of the task, where the service said.
        progress: 0 to 1, where the service says so.
        started: Monotonic time in seconds.
        phase: What is being done, for the placeholder.
        is_resumed: Whether it was sent before, by another kernel or cell.
        asked: When it was asked for, Unix time in seconds.
        uploaded: Share of the sources' bytes that is uploaded, 0 to 1.
        turn: When it may be sent, about, where the service asks to slow down; monotonic time in
            seconds.
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
    asked: float = field(default_factory=time.time)
    uploaded: float | None = None
    turn: float = 0.0

    @property
    def task_id(self) -> str | None:
        """The service's id, once known."""
        return self.state.task_id

    @property
    def doing(self) -> str:
        """What is being done, in the words that a user reads."""
        words: str = self.phase.value
        if self.phase is Phase.THROTTLED:
            words += f" ({max(0.0, self.turn - time.monotonic()):.0f} s)"
        return words

    @property
    def awaits_approval(self) -> bool:
        """Whether a price, or somebody's word, is waited for before anything is made."""
        return self.phase in AWAITING_APPROVAL

    @property
    def seconds(self) -> float | None:
        """Seconds since it was asked for; None where that was in another kernel or cell."""
        return None if self.is_resumed else time.monotonic() - self.started

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.status in {"completed", "failed", "cancelled"}

    def stop(self, what: str = "Stopped before anything was sent.") -> None:
        """End it as cancelled, with what that means for the money, unless it is done.

        Args:
            what: What happened, where nothing was sent.
        """
        if self.is_done:
            return
        if len(self.images) == self.count:
            self.status = "completed"
            return
        self.status = "cancelled"
        if not self.state.is_free:
            what = "Stopped waiting. RunAPI cannot cancel a running task."
        self.error = self.state.explain(RunAPIError(what))


@dataclass(frozen=True, slots=True)
class CellLocation:
    """A cell, by what stays the same when its kernel is restarted.

    Attributes:
        notebook: The notebook's name; empty where it is not known.
        cell: The cell's id; empty where the front end does not tell it.
    """

    notebook: str
    cell: str


def new_local_id() -> str:
    """Return an id for a task, unique among all kernels."""
    return secrets.token_hex(8)


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one picture: its versions, and the one that is shown.

    Attributes:
        task: The task that makes the first version.
        position: Which of the task's pictures.
        versions: Oldest first.
        index: Which version is shown.
        tree: How the versions came from each other, where somebody asked for that.
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
    """A request under way or done, returned at once.

    ``await`` it for the end: it returns itself, or raises where there is no picture at all.

    Attributes:
        id: Unique.
        request: What was asked for.
        tasks: Its tasks.
        slots: The places of its pictures, in order.
        simulated: Whether a simulator answers.
        warnings: What the catalogue does not know of the request.
        shown_in: The cell that shows it, by its message's id.
        cell_location: Notebook and cell that made the request; None for a request without a cell.
        is_watched: Whether anybody would notice an error: a view, or somebody who waits.
        is_shown: Whether its pictures go on the screen; the thousands of a batch do not.
        reservation: Names the money that is set aside for it, where there is a budget.
        turns: Lets so many tasks be at the service at a time, where there is a limit.
        image_dir: Where its pictures go, an absolute folder or a URL; empty: as the settings say.
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
        self.plan(tasks)
        self.simulated = simulated
        self.warnings = warnings
        self.shown_in: str | None = None
        self.cell_location: CellLocation | None = None
        self.is_watched: bool = False
        self.is_shown: bool = True
        self.reservation: str = self.id
        self.turns: asyncio.Semaphore | None = None
        self.image_dir: str = ""
        self.on_wait: Callable[[], None] | None = None
        self._work: asyncio.Task[None] | None = None
        self._cancelled = False
        self._end = ThreadsafeEvent()
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        places = ", ".join(str(image.path) for image in self.images) or ", ".join(self.task_ids)
        title = self.tasks[0].request.title if self.tasks else self.request.prompt
        return f"<Generation {title[:60]!r} {self.status}{places and ': ' + places}>"

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
        """Whether nothing more will come."""
        return all(task.is_done for task in self.tasks)

    @property
    def images(self) -> list[GeneratedImage]:
        """All pictures that are on disk: each place's first version, then later versions."""
        firsts = [slot.versions[0] for slot in self.slots if slot.versions]
        return firsts + [image for slot in self.slots for image in slot.versions[1:]]

    @property
    def image(self) -> GeneratedImage:
        """The picture that is shown first: its version on the screen.

        Raises:
            InvalidRequestError: There is none yet.
            RunAPIError: There will be none, and why.
        """
        for slot in self.slots:
            if slot.shown is not None:
                return slot.shown
        if self.errors:
            raise self.errors[0]
        raise InvalidRequestError(
            f"There is no picture yet ({self.status}).",
            charged="The task goes on.",
            todo="Wait for it: await the Generation, or look again in a moment.",
        )

    def tree(self) -> Tree[GeneratedImage]:
        """Return the tree of edits that its pictures stand in; ``print`` it, or show it.

        Raises:
            InvalidRequestError: There is no picture yet.
            RunAPIError: There will be none, and why.
            JournalError: The journal cannot be read.
        """
        editor = self.image.editor
        if editor is None:
            return self.image.tree()  # which says what is wrong
        return editor.tree(self.images)

    @property
    def errors(self) -> list[RunAPIError]:
        """Why pictures are missing, one error for each task without any."""
        return [task.error for task in self.tasks if task.error]

    @property
    def cost(self) -> float | None:
        """USD of all tasks so far as the service said, reused pictures at 0; None if it did not."""
        costs = [task.cost for task in self.tasks if task.cost is not None]
        return sum(costs) if costs else None

    @property
    def task_ids(self) -> list[str]:
        """The service's ids of the tasks, as far as known."""
        return [task.task_id for task in self.tasks if task.task_id]

    @property
    def parts(self) -> list[GenerationTask]:
        """The same as ``tasks``, by its name in version 0.1."""
        return self.tasks

    def plan(self, tasks: list[GenerationTask]) -> None:
        """Take the tasks that make the pictures; the places stay, in their order."""
        self.tasks = tasks
        places = [(task, position) for task in tasks for position in range(task.count)]
        for slot, (task, position) in zip(self.slots, places, strict=False):
            slot.task, slot.position = task, position
            slot.versions = slot.task.images[slot.position : slot.position + 1]
        self.slots += [Slot(*place) for place in places[len(self.slots) :]]

    def attach(self, work: asyncio.Task[None]) -> None:
        """Take the task that works on this; it never raises."""
        self._work = work
        work.add_done_callback(self._finish)
        if self._cancelled:
            work.cancel()

    def _finish(self, _work: asyncio.Task[None]) -> None:
        if not self.is_done:  # it was cancelled before it began, or failed in an unexpected way
            for task in self.tasks:
                task.stop("Stopped before it began.")
            self.changed()
        self._end.set()

    def cancel(self) -> None:
        """Stop waiting, once. RunAPI cannot cancel a running task: it may still be charged."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._work is not None and not self._work.done():
            self._work.get_loop().call_soon_threadsafe(self._work.cancel)

    def __await__(self) -> Generator[object, None, Generation]:
        return self.wait().__await__()

    async def wait(self) -> Generation:
        """Wait for the end; an interrupted wait leaves the task under way.

        Raises:
            RunAPIError: There is no picture at all.
        """
        await self.ended()
        if self.on_wait is not None:
            self.on_wait()
        if self.errors and not self.images:
            raise self.errors[0]
        return self

    async def ended(self) -> None:
        """Wait for the end, whatever it is."""
        self.is_watched = True
        try:
            await self._end.wait()
        except asyncio.CancelledError as error:
            # IPython shows this in place of a traceback when a cell is interrupted.
            error._render_traceback_ = self._explain_interrupt  # type: ignore[attr-defined]
            raise

    async def ready(self) -> None:
        """Wait until it stands in line for its turn, or further."""
        await self._until(lambda task: task.phase is not Phase.PREPARING)

    async def served(self) -> None:
        """Wait until the service has nothing more to do; pictures may still be fetched."""
        await self._until(lambda task: task.phase is Phase.FETCHING)

    async def _until(self, has_come: Callable[[GenerationTask], bool]) -> None:
        self.is_watched = True
        done = ThreadsafeEvent()

        def look() -> None:
            if all(task.is_done or has_come(task) for task in self.tasks):
                done.set()

        stop = self.subscribe(look)
        look()
        try:
            await done.wait()
        finally:
            stop()

    def _explain_interrupt(self) -> list[str]:
        ids = ", ".join(self.task_ids)
        return [
            f"Stopped waiting{ids and f' for task {ids}'}.",
            "It goes on, and the picture is saved when it comes; it may be charged.",
            "Await the Generation again, or %runapi resume after a restart of the kernel.",
        ]

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call the listener on the loop whenever something changes; return how to stop that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def changed(self) -> None:
        """Tell the listeners. A listener's mistake is its own and stops nothing."""
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 (whatever it is)
                _log.exception("a listener of %r failed", self.id)

    def put(self, slot: Slot, image: GeneratedImage) -> None:
        """Show a picture in a place, in the stead of all versions that were there."""
        slot.versions, slot.index, slot.tree = [image], 0, None
        self.changed()

    def show_version(self, slot: Slot, image: GeneratedImage) -> None:
        """Show a picture in a place; one that is new there becomes its last version."""
        known = [version.id for version in slot.versions]
        if image.id not in known:
            slot.versions.append(image)
        slot.index = known.index(image.id) if image.id in known else len(known)
        self.changed()
