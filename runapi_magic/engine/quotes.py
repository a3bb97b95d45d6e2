"""Get price quotes from RunAPI: one quote request for each distinct price, all concurrently.

A quote is cached for five minutes, a failure for one minute. So an endpoint that fails delays you
only once for a few seconds, however many prompts there are.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from runapi_magic.errors import RunAPIError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from runapi_magic.core.request import ImageRequest

_LIFETIME, _FAILURE_LIFETIME = 300.0, 60.0  # seconds
# The timeout is 5 s, counted in ticks: if a long cell blocks the loop, that counts as one tick.
_TICKS, _TICK = 20, 0.25  # number, and seconds of each
_MAX_CONCURRENT = 16  # quote requests


class Quotes:
    """The price quotes of one service.

    Args:
        ask: Requests the price in USD of one task with this number of images.
    """

    def __init__(self, ask: Callable[[ImageRequest, int], Awaitable[float]]) -> None:
        self._ask = ask
        self._prices: dict[str, float] = {}  # USD
        self._expires: dict[str, float] = {}  # monotonic time in seconds
        self._running: dict[str, asyncio.Task[None]] = {}

    def known(self, request: ImageRequest, count: int) -> float | None:
        """Return the last quoted price of one task in USD, None if there is none."""
        return self._prices.get(price_key(request, count))

    async def ask(self, tasks: Iterable[tuple[ImageRequest, int]]) -> None:
        """Get the missing and the expired quotes of tasks; return after 5 s at most.

        Args:
            tasks: The request and the number of images of each task.
        """
        semaphore = asyncio.Semaphore(_MAX_CONCURRENT)
        distinct = {price_key(*task): task for task in tasks}
        now = time.monotonic()
        waits = [
            # Shielded from a cancellation of this cell, because another cell may wait for it.
            asyncio.shield(self._start(key, task, semaphore))
            for key, task in distinct.items()
            if now >= self._expires.get(key, now)
        ]
        await asyncio.gather(*waits)

    def _start(
        self, key: str, task: tuple[ImageRequest, int], semaphore: asyncio.Semaphore
    ) -> asyncio.Task[None]:
        """Return the running quote request for a price; start one if there is none."""
        loop = asyncio.get_running_loop()
        running = self._running.get(key)
        if running is None or running.done() or running.get_loop() is not loop:
            running = self._running[key] = loop.create_task(self._update(key, task, semaphore))
        return running

    async def _update(
        self, key: str, task: tuple[ImageRequest, int], semaphore: asyncio.Semaphore
    ) -> None:
        """Request a quote and cache the result; give up after the timeout."""

        async def ask() -> float | None:
            async with semaphore:
                try:
                    return await self._ask(*task)
                except RunAPIError:
                    return None

        answer = asyncio.ensure_future(ask())
        try:
            for _ in range(_TICKS):
                await asyncio.wait([answer], timeout=_TICK)
                if answer.done():
                    break
            usd = answer.result() if answer.done() else None
        finally:
            answer.cancel()
        if usd is None:
            self._prices.pop(key, None)
        else:
            self._prices[key] = usd
        lifetime = _FAILURE_LIFETIME if usd is None else _LIFETIME
        self._expires[key] = time.monotonic() + lifetime


def price_key(request: ImageRequest, count: int) -> str:
    """Return a key for the price of one task: the whole request without its prompt."""
    body = request.body("namespaced", count=count)
    body.pop("prompt", None)
    return json.dumps([request.catalogue.service, request.action.name, body], sort_keys=True)
