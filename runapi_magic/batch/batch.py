"""Many requests as one: so many at a time, results in order, failures beside successes.

A batch is written down before anything is sent, and its pictures stay on disk: one that was
killed goes on where it was when the same cell is run again, or by its id.
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
from runapi_magic.core.cancellation import to_the_end
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
    """Many requests under way or done, returned at once.

    ``await`` it for the end: it returns itself, or raises where there is no picture at all.
    ``async for item in batch.as_completed()`` gives the items as they end, and
    ``for item in batch`` all items in order.

    Attributes:
        id: Names it for ``resume_batch``.
        title: What it is called.
        items: Its requests, in order.
        since: Unix time in seconds; pictures that were asked for before do not count.
        concurrency: Requests under way at a time.
        held: What is waited for before anything is sent, if anything is.
        simulated: Whether a simulator in this process answers.
        index: The rows' names, where they came in a data frame that has some.
        shown_in: The cell that shows it, by its message's id.
        on_wait: Awaited at the end by whoever waits for it, in that cell.
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
            raise InvalidRequestError("There is nothing to make.", todo="Give one prompt or more.")
        if whole_number("concurrency", concurrency) < 1:
            raise InvalidRequestError(
                f"concurrency is {concurrency}: nothing would be sent.", todo="Give 1 or more."
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
        self.held: Phase | None = None
        self.shown_in: str | None = None
        self.on_wait: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._begun: float | None = None
        self._took = 0.0
        self._running: asyncio.Task[None] | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduler: Scheduler | None = None
        self._changed: list[Callable[[], None]] = []
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
        """The same requests, asked for again, are the same batch."""
        asked = [(item.request.fingerprint, item.request.count) for item in self.items]
        text = json.dumps([self.since, asked])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    # What there is

    @property
    def counts(self) -> dict[ItemStatus, int]:
        """Number of items in each status."""
        names: tuple[ItemStatus, ...] = (
            "completed", "partial", "failed", "cancelled", "running", "waiting",
        )  # fmt: skip
        return {name: sum(item.status == name for item in self.items) for name in names}

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
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
        """The requests that have ended without all their images."""
        ended = {"partial", "failed", "cancelled"}
        return [item for item in self.items if item.status in ended]

    @property
    def errors(self) -> list[RunAPIError]:
        """Why pictures are missing."""
        if self.error is not None:
            return [self.error]
        return list({str(item.error): item.error for item in self.items if item.error}.values())

    @property
    def is_refused(self) -> bool:
        """Whether all of it ended by one and the same error, which is told once."""
        return self.error is not None and all(item.error is self.error for item in self.items)

    @property
    def cost(self) -> float | None:
        """USD of all requests so far as the service said; None if it did not."""
        costs = [item.cost for item in self.items if item.cost is not None]
        return sum(costs) if costs else None

    @property
    def seconds(self) -> float:
        """How long it was worked on until now, retries included."""
        now = time.monotonic()
        return self._took + (0.0 if self._begun is None else now - self._begun)

    @property
    def saved(self) -> float:
        """USD that pictures from disk did not cost again."""
        return sum(item.saved for item in self.items)

    def records(self) -> list[dict[str, Any]]:
        """Return the table: one dict a request, with variables, status, cost, file and error.

        A variable keeps its column: where both have a name, the batch's begins with ``gpt_``.
        """
        return records(self.items)

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame, one row a request, with the pictures.

        It has the index of the data frame that was given; a resumed batch counts from 0. A column
        of that data frame stays as it is: where both have a name, the batch's begins with ``gpt_``.

        Raises:
            InvalidRequestError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise InvalidRequestError(
                "to_frame needs pandas, which is not installed.", todo="pip install pandas"
            ) from None
        return pd.DataFrame(records(self.items, images=True), self.index)

    @property
    def task_ids(self) -> list[str]:
        """The service's ids of the tasks that are under way, as far as known."""
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
        """Start working, on a loop, and return at once.

        Args:
            start: Starts one request.
            loop: The loop that works on it.
            before: Awaited before the first is sent; what it raises ends the batch.
            after: Awaited at the end, whatever it is.
            launch: Begins a retry on the loop of wherever the user is; by default on ``loop``.
        """
        self._start, self._before, self._after = start, before, after
        self._launch = launch or (lambda begin: begin(loop))
        self._begin_on(loop)

    def _begin_on(self, loop: asyncio.AbstractEventLoop) -> Self:
        self._loop = loop
        # A new one each time: what was paid under the one before counts as spent by now.
        self.reservation = secrets.token_hex(8)
        scheduler = self._scheduler = Scheduler(
            self.items,
            self.concurrency,
            partial(self._start, loop=loop, since=self.since, reservation=self.reservation),
            on_end=self._tell,
            on_begin=self._notify,
        )
        if self._is_over:
            self._ended = Feed(item for item in self.items if item.is_done)
        self._is_over, self.error = False, None
        self._begun = time.monotonic()

        def go() -> None:
            self._running = loop.create_task(self._run(scheduler))

        if loop is asyncio._get_running_loop():  # noqa: SLF001 (None instead of an exception)
            go()
        else:
            loop.call_soon_threadsafe(go)
        return self

    async def _run(self, scheduler: Scheduler) -> None:
        ended = self._ended
        self._asking = asyncio.ensure_future(self._before(self))
        if scheduler.is_cancelled:  # before it came to this
            self._asking.cancel()
        try:
            await self._asking
            self._begun = time.monotonic()  # nobody's word is waited for any more
            await scheduler.run()
        except asyncio.CancelledError:  # also where the loop comes to its end: asyncio.run does so
            await to_the_end(scheduler.stop())
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to this batch)
            sent = TaskState(Stage.SENT if scheduler.generations else Stage.PLANNED)
            self.error = sent.in_words(error)
            for item in self.items:
                if not item.is_done:
                    item.status, item.error = "failed", self.error
        finally:
            for item in self.items:
                if not item.is_done:
                    stopped = RunAPIError("Stopped before its turn.")
                    item.status, item.error = "cancelled", TaskState().explain(stopped)
            try:
                await to_the_end(self._after(self))
            except Exception:  # noqa: BLE001 (whatever it is, the batch is over)
                _log.exception("the end of batch %r failed", self.id)
            finally:
                self._took, self._begun = self.seconds, None
                self._is_over = True
                ended.close()
                self._notify()

    def hold_for(self, phase: Phase | None) -> None:
        """Say what is waited for before anything is sent; None for nothing any more."""
        self.held = phase
        self._notify()

    def cancel(self) -> None:
        """Stop, once: nothing more is sent. What the service has begun may still be charged."""
        if self._scheduler is None or self._scheduler.is_cancelled:
            return
        self._scheduler.cancel()
        if self._asking is not None and self._loop is not None:
            # There may be a question that nobody is to answer any more.
            self._loop.call_soon_threadsafe(self._asking.cancel)

    def retry_failed(self) -> Self:
        """Ask again for the images that are missing, and return itself at once.

        What was paid and could not be fetched is fetched at no cost. Only the rest is made again,
        and costs what it did; the images that there are stay. A script without a running loop, and
        terminal IPython, wait for the end.

        Raises:
            InvalidRequestError: It is still under way.
        """
        if not self._is_over:
            raise InvalidRequestError(
                "The batch is still under way.",
                charged="It goes on.",
                todo="Wait for its end: await batch.",
            )
        for item in self.failures:
            item.status, item.error = "waiting", None
        self._launch(self._begin_on)
        return self

    # Waiting and listening

    def __await__(self) -> Generator[object, None, Self]:
        return self.wait().__await__()

    async def wait(self) -> Self:
        """Wait for the end; an interrupted wait leaves the batch under way.

        Raises:
            RunAPIError: There is no picture at all.
        """
        await self.ended()
        if not self.pictures and self.failures:
            raise self.error or self.failures[0].error or RunAPIError("There is no picture.")
        return self

    async def ended(self) -> None:
        """Wait for the end, whatever it is."""
        try:
            async for _ in self.as_completed():
                pass
            await self._show_end()
        except asyncio.CancelledError as error:
            # IPython shows this in place of a traceback when a cell is interrupted.
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
            "It goes on, and its pictures are saved when they come; they may be charged.",
            "Await the Batch again, or end it: batch.cancel().",
        ]

    async def as_completed(self) -> AsyncIterator[Item]:
        """Yield the items as they end, those that ended before first."""
        async for item in self._ended.read():
            yield item

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call the listener on the loop whenever something changes."""
        self._changed.append(listener)

    def _tell(self, item: Item) -> None:
        self._ended.put(item)
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self._changed):
            try:
                listener()
            except Exception:  # noqa: BLE001 (a listener's mistake is its own and stops nothing)
                _log.exception("a listener of batch %r failed", self.id)
