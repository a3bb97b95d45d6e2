"""Run the requests of a batch in order, a limited number at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from runapi_magic.batch.item import share
from runapi_magic.core.status import AWAITING_APPROVAL, Phase
from runapi_magic.errors import RunAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.batch.item import Item
    from runapi_magic.engine.generation import Generation

_AHEAD = 2  # requests that are prepared while as many tasks as allowed are running
_NOT_BEGUN = {Phase.PREPARING, *AWAITING_APPROVAL, Phase.SOURCE, Phase.QUEUED}


class Scheduler:
    """One run through the items of a batch.

    The limit counts tasks, and a request for several images may have several tasks. While the
    images of one request are downloaded, the next request is sent.

    Args:
        items: The items of the batch; those that are done already are not requested again.
        concurrency: Number of tasks at the service at a time.
        start: Starts a request and returns its Generation. It also gets ``concurrency``, the
            semaphore that limits the tasks.
        on_end: Called with each item when it has ended.
        on_begin: Called when the service begins to work on items.
    """

    def __init__(
        self,
        items: Sequence[Item],
        concurrency: int,
        start: Callable[..., Generation],
        *,
        on_end: Callable[[Item], object],
        on_begin: Callable[[], object],
    ) -> None:
        self._units = _units(items)
        self._concurrency = concurrency
        self._start = start
        self._on_end, self._on_begin = on_end, on_begin
        self._tasks = asyncio.Semaphore(concurrency)
        self._downloads = asyncio.Semaphore(concurrency)
        self._next = asyncio.Lock()
        self._running: dict[Generation, list[Item]] = {}
        self.is_cancelled = False

    @property
    def generations(self) -> tuple[Generation, ...]:
        """The running requests."""
        return tuple(self._running)

    async def run(self) -> None:
        """Run all requests and wait for their ends."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._concurrency + _AHEAD, len(self._units))):
                workers.create_task(self._work(workers))

    async def _work(self, workers: asyncio.TaskGroup) -> None:
        while True:
            async with self._next:  # requests start in the order of the items
                if not self._units or self.is_cancelled:
                    return
                items = self._units.pop()
                generation = self._request(items)
                if generation is not None:
                    await generation.ready()
            if generation is not None:
                # The next request does not wait for the download of these images.
                await generation.served()
                await self._downloads.acquire()
                workers.create_task(self._finish(generation, items))

    async def _finish(self, generation: Generation, items: list[Item]) -> None:
        try:
            await generation.ended()
        finally:
            self._downloads.release()
        self._share(generation, items)

    def _share(self, generation: Generation, items: list[Item]) -> None:
        self._running.pop(generation, None)
        for item in share(generation, items):
            self._on_end(item)

    def _request(self, items: list[Item]) -> Generation | None:
        """Start one request for identical items; None if it cannot be started."""
        missing = [item for item in items if not item.is_done]
        count = sum(item.request.count for item in items)
        try:
            request = replace(items[0].request, count=count)
            generation = self._start(request, concurrency=self._tasks)
        except RunAPIError as error:
            for item in missing:
                item.status, item.error = "failed", error
                self._on_end(item)
            return None
        self._running[generation] = items
        if self.is_cancelled:  # by another thread in the meantime
            generation.cancel()

        def begin() -> None:
            if any(task.phase not in _NOT_BEGUN for task in generation.tasks):
                unsubscribe()
                for item in missing:
                    if not item.is_done:
                        item.status = "running"
                self._on_begin()

        unsubscribe = generation.subscribe(begin)
        return generation

    def cancel(self) -> None:
        """Send nothing more and stop waiting. Any thread may call this."""
        self.is_cancelled = True
        for generation in self.generations:
            generation.cancel()

    async def stop(self) -> None:
        """Cancel, and wait until the running items have their costs and errors."""
        running = tuple(self._running.items())
        self.cancel()
        for generation, items in running:
            await generation.ended()
            self._share(generation, items)


def _units(items: Sequence[Item]) -> list[list[Item]]:
    """Return the items to be made, with identical requests together, in reverse order.

    The scheduler takes the last one first. Identical items share one request for as many images.
    Items that are done stay with them, so that no other item gets their images.
    """
    units: dict[str, list[Item]] = {}
    for item in items:
        units.setdefault(item.request.fingerprint, []).append(item)
    left = [unit for unit in units.values() if not all(item.is_done for item in unit)]
    return left[::-1]
