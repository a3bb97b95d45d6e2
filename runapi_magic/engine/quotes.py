"""Price quotes: each distinct price is asked for once, all of them at the same time.

An answer counts for minutes and a failure for one minute, so an endpoint that fails costs one
wait of a few seconds, whatever the number of prompts.
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
# 5 s in all; time in which a long cell blocks the loop counts as one tick.
_TICKS, _TICK = 20, 0.25  # number, and seconds of each
_AT_ONCE = 16  # questions


class Quotes:
    """The quotes of one service.

    Args:
        ask: Returns the price of one task of a request for so many images, in USD.
    """

    def __init__(self, ask: Callable[[ImageRequest, int], Awaitable[float]]) -> None:
        self._ask = ask
        self._prices: dict[str, float] = {}  # USD
        self._due: dict[str, float] = {}  # when it is asked again, monotonic time in seconds
        self._asking: dict[str, asyncio.Task[None]] = {}

    def known(self, request: ImageRequest, count: int) -> float | None:
        """Return the price of one task in USD, as the service last quoted it, or None."""
        return self._prices.get(price_key(request, count))

    async def ask(self, tasks: Iterable[tuple[ImageRequest, int]]) -> None:
        """Ask for the prices of tasks that are not known or too old; return after 5 s at most.

        Args:
            tasks: For each task its request and number of images.
        """
        turns = asyncio.Semaphore(_AT_ONCE)
        distinct = {price_key(*task): task for task in tasks}
        now = time.monotonic()
        waits = [
            asyncio.shield(self._begin(key, task, turns))  # another cell may wait for it, too
            for key, task in distinct.items()
            if now >= self._due.get(key, now)
        ]
        await asyncio.gather(*waits)

    def _begin(
        self, key: str, task: tuple[ImageRequest, int], turns: asyncio.Semaphore
    ) -> asyncio.Task[None]:
        """Return what asks for a price; it may have begun already."""
        loop = asyncio.get_running_loop()
        asking = self._asking.get(key)
        if asking is None or asking.done() or asking.get_loop() is not loop:
            asking = self._asking[key] = loop.create_task(self._run(key, task, turns))
        return asking

    async def _run(
        self, key: str, task: tuple[ImageRequest, int], turns: asyncio.Semaphore
    ) -> None:
        async def ask_in_turn() -> float | None:
            async with turns:
                try:
                    return await self._ask(*task)
                except RunAPIError:
                    return None

        answer = asyncio.ensure_future(ask_in_turn())
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
        self._due[key] = time.monotonic() + lifetime


def price_key(request: ImageRequest, count: int) -> str:
    """Return what decides the price of one task: all of its request but the prompt."""
    body = request.body("namespaced", count=count)
    body.pop("prompt", None)
    return json.dumps([request.catalogue.service, request.action.name, body], sort_keys=True)
