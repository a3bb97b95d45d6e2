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
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from runapi_magic.batch.item import share
from runapi_magic.batch.table import records
from runapi_magic.core.cancellation import to_the_end
from runapi_magic.core.events import Feed
from runapi_magic.core.request import whole_number
from runapi_magic.core.status import HELD, Phase, Step
from runapi_magic.core.task_state import TaskState
from runapi_magic.errors import InvalidRequestError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence

    from runapi_magic.batch.item import Item
    from runapi_magic.core.status import ItemStatus
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import GeneratedImage

_log = logging.getLogger(__name__)

_LONGEST_PROMPT = 40  # characters in a title
_AHEAD = 2  # requests that are made ready while others have the turns at the service
_NOT_BEGUN = {Step.PREPARING, *HELD, Step.SOURCE, Step.QUEUED}


class Batch:
    """Many requests under way or done, returned at once.

    ``await`` it for the end: it returns itself, or raises where there is no picture at all.
    ``async for item in batch.as_completed()`` gives the items as they end.

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
        launch: Begins it on the loop of wherever the user is; None: on the loop that it has.
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
        self.hold: str = secrets.token_hex(8)
        self.error: RunAPIError | None = None
        self.held: Step | None = None
        self.shown_in: str | None = None
        self.on_wait: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.launch: Callable[[Callable[[asyncio.AbstractEventLoop], Batch]], object] | None = None
        self._begun: float | None = None
        self._took = 0.0
        self._start: Callable[..., Generation] | None = None
        self._running: asyncio.Task[None] | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: dict[Generation, list[Item]] = {}  # and what each is asked for
        self._changed: list[Callable[[], None]] = []
        self._ended: Feed[Item] = Feed(item for item in self.items if item.is_done)
        self._cancelled = self._is_over = False

    def __len__(self) -> int:
        return len(self.items)

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
    def pictures(self) -> list[GeneratedImage]:
        """All pictures, in the order of the requests."""
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
        return [task_id for generation in self._under_way for task_id in generation.task_ids]

    # Running

    def begin(
        self, start: Callable[..., Generation], loop: asyncio.AbstractEventLoop,
        before: Callable[[Batch], Any], after: Callable[[Batch], Any],
    ) -> None:  # fmt: skip
        """Start working, on a loop, and return at once.

        Args:
            start: Starts one request.
            loop: The loop that works on it.
            before: Awaited before the first is sent; what it raises ends the batch.
            after: Awaited at the end, whatever it is.
        """
        self._start, self._loop, self._before, self._after = start, loop, before, after
        # A new one each time: what was paid under the one before counts as spent by now.
        self.hold = secrets.token_hex(8)
        # The limit is one of tasks: a request for several pictures takes several turns.
        self._turns = asyncio.Semaphore(self.concurrency)
        if self._is_over:
            self._ended = Feed(item for item in self.items if item.is_done)
        self._cancelled, self._is_over, self.error = False, False, None
        self._under_way = {}
        self._begun = time.monotonic()

        def go() -> None:
            self._running = loop.create_task(self._run())

        if loop is asyncio._get_running_loop():  # noqa: SLF001 (None instead of an exception)
            go()
        else:
            loop.call_soon_threadsafe(go)

    async def _run(self) -> None:
        units, ended = self._units(), self._ended
        self._asking = asyncio.ensure_future(self._before(self))
        if self._cancelled:  # before it came to this
            self._asking.cancel()
        try:
            await self._asking
            self._begun = time.monotonic()  # nobody's word is waited for any more
            async with asyncio.TaskGroup() as workers:
                line, fetching = asyncio.Lock(), asyncio.Semaphore(self.concurrency)
                for _ in range(min(self.concurrency + _AHEAD, len(units))):
                    workers.create_task(self._work(units, workers, line, fetching))
        except asyncio.CancelledError:  # also where the loop comes to its end: asyncio.run does so
            self._cancelled = True
            await to_the_end(self._stop_under_way())
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to this batch)
            sent = TaskState(Phase.SENT if self._under_way else Phase.PLANNED)
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

    def _units(self) -> list[list[Item]]:
        """Return the items to be made, those with identical requests together, the first last.

        Identical requests are so many pictures of one, each its own; those that are there
        already are among them, so that no other item gets their pictures.
        """
        units: dict[str, list[Item]] = {}
        for item in self.items:
            units.setdefault(item.request.fingerprint, []).append(item)
        left = [unit for unit in units.values() if not all(item.is_done for item in unit)]
        return left[::-1]

    async def _work(
        self,
        units: list[list[Item]],
        workers: asyncio.TaskGroup,
        line: asyncio.Lock,
        fetching: asyncio.Semaphore,
    ) -> None:
        while True:
            async with line:  # they stand in line for a turn in their order
                if not units or self._cancelled:
                    return
                items = units.pop()
                generation = self._ask(items)
                if generation is not None:
                    await generation.ready()
            if generation is not None:
                # The next request need not wait until this one's pictures are on the disk.
                await generation.served()
                await fetching.acquire()
                workers.create_task(self._finish(generation, items, fetching))

    async def _finish(
        self, generation: Generation, items: list[Item], fetching: asyncio.Semaphore
    ) -> None:
        try:
            await generation.ended()
        finally:
            fetching.release()
        self._share(generation, items)

    def _share(self, generation: Generation, items: list[Item]) -> None:
        self._under_way.pop(generation, None)
        for item in share(generation, items):
            self._tell(item)

    async def _stop_under_way(self) -> None:
        """Let the requests under way say what they cost: the service may have them."""
        under_way = tuple(self._under_way.items())
        for generation, _ in under_way:
            generation.cancel()
        for generation, items in under_way:
            await generation.ended()
            self._share(generation, items)

    def _ask(self, items: list[Item]) -> Generation | None:
        assert self._start is not None, "a batch is begun before it runs"
        count = sum(item.request.count for item in items)
        waiting = [item for item in items if not item.is_done]
        try:
            request = replace(items[0].request, count=count)
            generation = self._start(
                request, self._loop, since=self.since, hold=self.hold, turns=self._turns
            )
        except RunAPIError as error:
            for item in waiting:
                item.status, item.error = "failed", error
                self._tell(item)
            return None
        self._under_way[generation] = items
        if self._cancelled:  # by another thread, meanwhile
            generation.cancel()

        def begin() -> None:
            if any(part.step not in _NOT_BEGUN for part in generation.parts):
                stop()
                for item in waiting:
                    if not item.is_done:
                        item.status = "running"
                self._notify()

        stop = generation.subscribe(begin)
        return generation

    def hold_for(self, step: Step | None) -> None:
        """Say what is waited for before anything is sent; None for nothing any more."""
        self.held = step
        self._notify()

    def cancel(self) -> None:
        """Stop, once: nothing more is sent. What the service has begun may still be charged."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._asking is not None and self._loop is not None:
            # There may be a question that nobody is to answer any more.
            self._loop.call_soon_threadsafe(self._asking.cancel)
        for generation in tuple(self._under_way):
            generation.cancel()

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
        start, loop = self._start, self._loop
        assert start is not None, "a batch that is over was begun"
        assert loop is not None, "a batch that is over was begun"

        def again(loop: asyncio.AbstractEventLoop) -> Batch:
            self.begin(start, loop, self._before, self._after)
            return self

        (self.launch or (lambda again: again(loop)))(again)
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
