"""Waiting on any thread's event loop for what happens on another one.

asyncio's own events and queues belong to one loop: set from another thread, they wake nothing.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Value = TypeVar("Value")


class ThreadsafeEvent:
    """An event that coroutines on any event loop can wait for, and that any thread can set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._waiters: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        """Wake all coroutines that wait, and let later ones pass."""
        with self._lock:
            self._is_set = True
            waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            with suppress(RuntimeError):  # its loop is closed, so nothing waits there
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    async def wait(self) -> None:
        """Wait until the event is set."""
        waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._is_set:
                return
            self._waiters.add(waiter)
        try:
            await waiter
        finally:
            with self._lock:
                self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Feed(Generic[Value]):
    """Values that come one by one, to be read to their end on any event loop.

    Args:
        values: The values that are known already.
    """

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self._lock = threading.Lock()
        self._values = list(values)
        self._is_closed = False
        self._news = ThreadsafeEvent()

    def put(self, value: Value) -> None:
        """Add a value."""
        with self._lock:
            self._values.append(value)
            news, self._news = self._news, ThreadsafeEvent()
        news.set()

    def close(self) -> None:
        """Say that no more values come."""
        with self._lock:
            self._is_closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[Value]:
        """Yield all values from the first on, each as soon as it is there."""
        count = 0
        while True:
            with self._lock:
                new, is_closed, news = self._values[count:], self._is_closed, self._news
            for value in new:
                yield value
            count += len(new)
            if not new:
                if is_closed:
                    return
                await news.wait()
