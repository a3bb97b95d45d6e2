"""Events and values from one thread, for coroutines on the event loops of other threads.

asyncio's own events and queues belong to one loop. If another thread sets them, nothing wakes up.
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
        """Wake all coroutines that wait. Later calls of ``wait`` return at once."""
        with self._lock:
            self._is_set = True
            waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            with suppress(RuntimeError):  # the loop is closed, so nothing waits on it
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
    """A stream of values that coroutines on any event loop can read from the beginning.

    Args:
        values: The first values.
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
        """End the stream."""
        with self._lock:
            self._is_closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[Value]:
        """Yield all values, from the first one, each as soon as it is available."""
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
