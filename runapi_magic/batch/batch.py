"""A batch: many requests that run as one, with their results in order.

A batch is written to the journal before anything is sent, and its images stay on disk. If the
kernel is killed, run the same cell again or resume the batch by its ID. It continues where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from runapi_magic.batch.scheduler import Scheduler
from runapi_magic.batch.table import records
from runapi_magic.core.cancellation import finish_despite_cancellation
from runapi_magic.core.events import Feed
from runapi_magic.core.status import Stage
from runapi_magic.core.task_state import TaskState
from runapi_magic.core.validation import whole_number
from runapi_magic.errors import InvalidRequestError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence

    from runapi_magic.batch.item import Item
    from runapi_magic.core.status import ItemStatus, Phase
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import GeneratedImage

_log = logging.getLogger(__name__)

_LONGEST_PROMPT = 40  # characters in a title


class Batch:
    """Many requests that run in the background, and their results.

    ``await batch`` waits for all items. It returns the batch, or raises an error if there are no
    images at all. ``async for item in batch.as_completed()`` yields the items as they end, and
    ``for item in batch`` yields all items in order.

    Attributes:
        id: The ID, for ``resume_batch``.
        title: The title, which the progress bar and the sheet show.
        items: The requests, in order.
        since: Unix time in seconds; images that were requested before this time are not reused.
        concurrency: Number of tasks that run at the same time.
        approval_phase: The price or the confirmation that the batch waits for before anything is
            sent; None if it waits for neither.
        error: Why the whole batch failed, for example a BudgetError; None if it did not.
        reservation: The ID of the money that is reserved for this run if there is a budget.
        simulated: Whether the simulator in this process makes the images.
        index: The index of the data frame, if the rows came from one.
        shown_in: The cell that shows the batch, by the ID of its message.
        on_wait: Awaited at the end of each wait, on the loop of the batch. It shows the end.
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        title: str = "",
        concurrency: int = 8,
        since: float = 0.0,
        batch_id: str | None = None,
    ) -> None:
        if not items:
            raise InvalidRequestError("There are no prompts.", todo="Pass one prompt or more.")
        if whole_number("concurrency", concurrency) < 1:
            raise InvalidRequestError(
                f"concurrency must be at least 1 (got {concurrency}).", todo="Pass 1 or more."
            )
        self.items: list[Item] = list(items)
        self.title: str = title or items[0].request.title[:_LONGEST_PROMPT]
        self.concurrency = concurrency
        self.since = since
        self.simulated: bool = False
        self.index: Any = None
        self.id: str = batch_id or self._make_id()
        self.reservation: str = secrets.token_hex(8)
        self.error: RunAPIError | None = None
        self.approval_phase: Phase | None = None
        self.shown_in: str | None = None
        self.on_wait: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._begun: float | None = None
        self._duration = 0.0
        self._running: asyncio.Task[None] | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduler: Scheduler | None = None
        self._listeners: list[Callable[[], None]] = []
        self._ended: Feed[Item] = Feed(item for item in self.items if item.is_done)
        self._is_over = False

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number)
        money = "" if self.cost is None else f", ${self.cost:.2f}{' simulated' * self.simulated}"
        return f"<{type(self).__name__} {self.id} {self.title!r}: {counts}{money}>"

    def _make_id(self) -> str:
        """Return an ID that is the same in each run with the same requests."""
        requests = [(item.request.fingerprint, item.request.count) for item in self.items]
        text = json.dumps([self.since, requests])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    # Results

    @property
    def counts(self) -> dict[ItemStatus, int]:
        """The number of items in each status."""
        names: tuple[ItemStatus, ...] = (
            "completed", "partial", "failed", "cancelled", "running", "waiting",
        )  # fmt: skip
        return {name: sum(item.status == name for item in self.items) for name in names}

    @property
    def is_done(self) -> bool:
        """Whether all items have ended."""
        return all(item.is_done for item in self.items)

    @property
    def images(self) -> list[GeneratedImage]:
        """All images, in the order of the requests."""
        return self.pictures

    @property
    def pictures(self) -> list[GeneratedImage]:
        """The former name of ``images``. A Sweep has all its images in order under this name."""
        return [image for item in self.items for image in item.images]

    @property
    def failures(self) -> list[Item]:
        """The items that ended without all their images."""
        ended = {"partial", "failed", "cancelled"}
        return [item for item in self.items if item.status in ended]

    @property
    def errors(self) -> list[RunAPIError]:
        """Why images are missing; each error once."""
        if self.error is not None:
            return [self.error]
        return list({str(item.error): item.error for item in self.items if item.error}.values())

    @property
    def is_refused(self) -> bool:
        """Whether all items ended with the same error, which is shown once."""
        return self.error is not None and all(item.error is self.error for item in self.items)

    @property
    def cost(self) -> float | None:
        """USD of all requests so far; None if RunAPI has not stated any cost."""
        costs = [item.cost for item in self.items if item.cost is not None]
        return sum(costs) if costs else None

    @property
    def seconds(self) -> float:
        """How many seconds the batch has run so far, retries included."""
        now = time.monotonic()
        return self._duration + (0.0 if self._begun is None else now - self._begun)

    @property
    def saved(self) -> float:
        """USD that was not spent because images came from disk."""
        return sum(item.saved for item in self.items)

    def records(self) -> list[dict[str, Any]]:
        """Return the results as dicts, one for each item: variables, status, cost, file and error.

        Your columns keep their names. A column of the batch that has the same name as one of them
        gets the prefix ``gpt_``.
        """
        return records(self.items)

    def to_frame(self) -> Any:
        """Return the results as a pandas DataFrame, one row for each item, with the images.

        The index is that of the data frame that you passed; after ``resume_batch`` it counts from
        0. Your columns keep their names. A column of the batch that has the same name as one of
        them gets the prefix ``gpt_``.

        Raises:
            InvalidRequestError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise InvalidRequestError(
                "to_frame needs pandas, which is not installed.",
                charged="The batch and its images are not changed.",
                todo="pip install pandas",
            ) from None
        return pd.DataFrame(records(self.items, images=True), self.index)

    @property
    def task_ids(self) -> list[str]:
        """The IDs of the running tasks, as far as they are known."""
        generations = self._scheduler.generations if self._scheduler else ()
        return [task_id for generation in generations for task_id in generation.task_ids]

    # Running

    def begin(
        self,
        start: Callable[..., Generation],
        loop: asyncio.AbstractEventLoop,
        *,
        before: Callable[[Batch], Any],
        after: Callable[[Batch], Any],
        launch: Callable[[Callable[[asyncio.AbstractEventLoop], Self]], object] | None = None,
    ) -> None:
        """Start the batch on an event loop and return at once.

        Args:
            start: Starts one request and returns its Generation.
            loop: The event loop; it may run on another thread.
            before: Awaited before the first request is sent; an exception ends the batch.
            after: Awaited at the end, also after an error.
            launch: Calls a function with the right event loop for a retry; by default ``loop``.
        """
        self._start, self._before, self._after = start, before, after
        self._launch = launch or (lambda begin: begin(loop))
        self._begin_on(loop)

    def _begin_on(self, loop: asyncio.AbstractEventLoop) -> Self:
        self._loop = loop
        # A new one for each run, because budgets already count the cost of the run before.
        self.reservation = secrets.token_hex(8)
        scheduler = self._scheduler = Scheduler(
            self.items,
            self.concurrency,
            partial(self._start, loop=loop, since=self.since, reservation=self.reservation),
            on_end=self._end_item,
            on_begin=self._notify,
        )
        if self._is_over:
            self._ended = Feed(item for item in self.items if item.is_done)
        self._is_over, self.error = False, None
        self._begun = time.monotonic()

        def go() -> None:
            self._running = loop.create_task(self._run(scheduler))
            # A callback, because asyncio.run may cancel the task before its first step.
            self._running.add_done_callback(lambda _: self._close())

        if loop is asyncio._get_running_loop():  # noqa: SLF001 (None instead of an exception)
            go()
        else:
            loop.call_soon_threadsafe(go)
        return self

    async def _run(self, scheduler: Scheduler) -> None:
        self._asking = asyncio.ensure_future(self._before(self))
        if scheduler.is_cancelled:  # before this coroutine began
            self._asking.cancel()
        try:
            await self._asking
            self._begun = time.monotonic()  # the time that you took to confirm does not count
            await scheduler.run()
        except asyncio.CancelledError:  # also when asyncio.run ends before the batch
            await finish_despite_cancellation(scheduler.stop())
        except Exception as error:  # noqa: BLE001 (any error is the result of this batch)
            sent = TaskState(Stage.SENT if scheduler.generations else Stage.PLANNED)
            self.error = sent.as_runapi_error(error)
            self._end_rest("failed", self.error)
        finally:
            self._cancel_rest()
            try:
                await finish_despite_cancellation(self._after(self))
            except Exception:  # noqa: BLE001 (the batch is over in any case)
                _log.exception("the end of batch %r failed", self.id)

    def _close(self) -> None:
        self._cancel_rest()
        self._duration, self._begun = self.seconds, None
        self._is_over = True
        self._ended.close()
        self._notify()

    def _cancel_rest(self) -> None:
        stopped = RunAPIError("Stopped before the request was sent.")
        self._end_rest("cancelled", TaskState().explain(stopped))

    def _end_rest(self, status: ItemStatus, error: RunAPIError) -> None:
        """End all items that have not ended, with the same status and error."""
        for item in self.items:
            if not item.is_done:
                item.status, item.error = status, error
                self._ended.put(item)

    def set_approval_phase(self, phase: Phase | None) -> None:
        """Set ``approval_phase``, and notify the listeners."""
        self.approval_phase = phase
        self._notify()

    def cancel(self) -> None:
        """Send nothing more and stop waiting. Tasks that RunAPI has begun may still be charged."""
        if self._scheduler is None or self._scheduler.is_cancelled or self._is_over:
            return
        self._scheduler.cancel()
        if self._asking is not None and self._loop is not None:
            # A question may still wait for an answer.
            self._loop.call_soon_threadsafe(self._asking.cancel)

    def retry_failed(self) -> Self:
        """Request the missing images again and return the batch at once.

        Images that exist stay. Images that you have paid for but that could not be downloaded are
        downloaded at no cost. Unfinished tasks are continued, and are not charged twice. All other
        images are requested again and charged. In a script without a running event loop, and in
        terminal IPython, the call waits for the end.

        Raises:
            InvalidRequestError: The batch is still running.
        """
        if not self._is_over:
            raise InvalidRequestError(
                "The batch is still running.",
                charged="It continues.",
                todo="Wait for it first: await batch.",
            )
        for item in self.failures:
            item.status, item.error = "waiting", None
        self._launch(self._begin_on)
        return self

    # Waiting and listening

    def __await__(self) -> Generator[object, None, Self]:
        return self.wait().__await__()

    async def wait(self) -> Self:
        """Wait for the end. If you interrupt the wait, the batch continues.

        Raises:
            RunAPIError: The batch ended without any image.
        """
        await self.ended()
        if not self.pictures and self.failures:
            raise self.error or self.failures[0].error or RunAPIError("The batch has no images.")
        return self

    async def ended(self) -> None:
        """Wait for the end, also if it is an error."""
        try:
            async for _ in self.as_completed():
                pass
            await self._show_end()
        except asyncio.CancelledError as error:
            # IPython shows this instead of a traceback when a cell is interrupted.
            error._render_traceback_ = self._explain_interrupt  # type: ignore[attr-defined]
            raise

    async def _show_end(self) -> None:
        if self.on_wait is None or self._loop is None:
            return
        if self._loop is asyncio.get_running_loop():
            await self.on_wait()
        else:
            shown = asyncio.run_coroutine_threadsafe(self.on_wait(), self._loop)
            await asyncio.wrap_future(shown)

    def _explain_interrupt(self) -> list[str]:
        return [
            f"Stopped waiting for the batch {self.id}.",
            "The batch continues; its images are saved, and may be charged.",
            "To wait again: await batch. To stop it: batch.cancel().",
        ]

    async def as_completed(self) -> AsyncIterator[Item]:
        """Yield all items as they end, also those that fail; the ended ones come first."""
        async for item in self._ended.read():
            yield item

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call a function on the event loop whenever something changes."""
        self._listeners.append(listener)

    def _end_item(self, item: Item) -> None:
        self._ended.put(item)
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 (an error in a listener must not stop the batch)
                _log.exception("a listener of batch %r failed", self.id)
