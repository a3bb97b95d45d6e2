"""When a request may leave: one limiter for all that uses one key, in this kernel and in others.

As long as the service takes what comes there is no limit. An answer of 429, or of 503 with a time
to wait, pauses everything under that key and puts a distance between creates, which shrinks again
with every create that is taken: additive increase, multiplicative decrease of the rate (Chiu and
Jain 1989), as TCP shares a line among senders who do not know of each other. Looks wait for the end
of a pause, but not for each other.

Kernels of one data folder share the figures as a row of the journal, named by a hash of address
and key; a create takes its turn in one transaction. Without a usable journal a kernel goes by what
it has seen itself. While nothing is slowed down the row is read once a second at most, and never
written.

Inside the process all times are monotonic, so that a clock that is set changes nothing. The row has
Unix times, which other kernels understand; one that is further ahead than any pause can be was
written while the clock was wrong, and is ignored.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from runapi_magic.core.rate import Rate
from runapi_magic.errors import NOT_SENT, APIError, RateLimitError, RunAPIError
from runapi_magic.http.retry import is_set, until_stopped

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from runapi_magic.core.access import Access
_LOOK = 1.0  # seconds between two looks at what other kernels have seen
_WORTH_TELLING = 1.0  # seconds; a shorter wait is not mentioned
_OVERSLEPT = 1.0  # seconds beyond a deadline, after which a long cell has kept the loop busy
_TOO_MANY, _UNAVAILABLE = 429, 503


class StoppedError(RunAPIError):
    """The user wants no more, and nothing was sent yet."""

    default_charged = NOT_SENT


class RateStore(Protocol):
    """An account's rate, shared with other kernels."""

    async def read(self) -> Rate | None:
        """Return the rate; None where there is none that can be true."""

    async def change(self, how: Callable[[Rate | None], Rate]) -> Rate | None:
        """Change the rate in one step, and return it; None where it cannot be shared now."""


class Limiter:
    """Lets requests under one key leave one after the other, first come first served.

    Args:
        shared: What is shared with other kernels; None for this kernel alone.

    Attributes:
        rate: As last seen.
    """

    def __init__(self, shared: RateStore | None = None) -> None:
        self.rate = Rate()
        self._shared = shared
        self._looked = -math.inf  # monotonic time
        self._lines: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._looks: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._in_line = 0
        self._taken = 0  # creates that the service took, not yet in the rate
        self._returned: float | None = None  # a turn that its request did not use

    async def look(self) -> None:
        """See what other kernels have found, not more than once a second."""
        if self._shared is None or not self._is_stale():
            return
        async with lock_of_loop(self._looks):
            if self._is_stale():
                self.rate = await self._shared.read() or self.rate
                self._looked = time.monotonic()

    def _is_stale(self) -> bool:
        return time.monotonic() - self._looked >= _LOOK

    async def wait(
        self, *, in_line: bool, deadline: float, told: Callable[[float], None] | None = None
    ) -> None:
        """Wait until a request may leave.

        Args:
            in_line: Whether it takes a turn among the creates.
            deadline: Monotonic time in seconds.
            told: Told how many seconds that will take, where it is long.

        Raises:
            TimeoutError: Its turn is after the deadline.
        """
        if not in_line:
            while (end := self.rate.paused_until) > time.monotonic():
                await _sleep_until(end, deadline)
            return
        self._in_line += 1
        try:
            self._tell(told, self._in_line - 1)
            async with lock_of_loop(self._lines):
                start = -math.inf
                while start < self.rate.paused_until:
                    start = await self._take()
                    self._tell(told, start=start)
                    try:
                        await _sleep_until(start, deadline)
                    except BaseException:
                        self._returned = start
                        raise
                    await self.look()
        finally:
            self._in_line -= 1

    def _tell(
        self, told: Callable[[float], None] | None, ahead: int = 0, start: float = 0.0
    ) -> None:
        rate, now = self.rate, time.monotonic()
        seconds = max(start, rate.paused_until, now) + ahead * rate.spacing - now
        if told is not None and seconds > _WORTH_TELLING:
            told(seconds)

    async def _take(self) -> float:
        """Take a turn, and return when it is."""
        if self._returned is not None:
            start, self._returned = self._returned, None
            return start
        start = 0.0

        def take(rate: Rate) -> Rate:
            nonlocal start
            start, rate = rate.take(time.monotonic())
            return rate

        await self._change(take)
        return start

    def taken(self) -> None:
        """Note that the service took a create; counts with the next turn, where there are any."""
        if self.rate.spacing:
            self._taken += 1

    async def refused(self, sent: float, told: float | None) -> float:
        """Note that the service asks to slow down; return the seconds that everything pauses.

        Args:
            sent: The moment at which the request left, monotonic time in seconds.
            told: Seconds that the service asks to wait.
        """
        now = time.monotonic()
        return (await self._change(lambda rate: rate.refused(now, sent, told))).paused_until - now

    async def _change(self, how: Callable[[Rate], Rate]) -> Rate:
        taken, self._taken = self._taken, 0

        def settle(stored: Rate | None) -> Rate:
            self.rate = how((stored or self.rate).taken(taken))
            return self.rate

        shared = None if self._shared is None else await self._shared.change(settle)
        return settle(None) if shared is None else shared


class Turns:
    """The turns of one request, one for each time that it is sent.

    Args:
        limiter: What it waits for.
        in_line: Whether it takes a turn among the creates; else it waits for pauses only.
        patience: Seconds that it waits for all its turns together.
        stopping: Once it is set, there are no more turns.
        told: Told how many seconds it will wait, where that is long, and 0 at the end.

    Attributes:
        waited: Seconds that it has waited so far.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        in_line: bool,
        patience: float,
        stopping: asyncio.Event | None = None,
        told: Callable[[float], None] | None = None,
    ) -> None:
        self.waited = 0.0
        self._left = max(0.0, patience)
        self._limiter = limiter
        self._in_line = in_line
        self._patience = patience
        self._stopping = stopping
        self._told = told
        self._last: RunAPIError | None = None
        self._sent = 0.0

    async def take(self) -> None:
        """Wait until the request may leave.

        Raises:
            RunAPIError: Why it failed the last time, where it may not leave again.
            RateLimitError: Its turn does not come in time; nothing was sent.
            StoppedError: The user wants no more; nothing was sent.
        """
        await self._limiter.look()
        if is_set(self._stopping):
            raise self._last or StoppedError("Stopped before it was sent.")
        while not self._limiter.rate.is_free(time.monotonic()):
            begun, most = time.monotonic(), self._left
            try:
                await self._wait(most)
            except TimeoutError:
                if time.monotonic() - begun <= most + _OVERSLEPT:
                    raise self._too_late() from None
                continue  # its turn may have come behind a long cell: that time does not count
            waited = time.monotonic() - begun
            self.waited += waited
            self._left -= min(waited, most)  # never below 0: the end may have come behind a cell
            break
        if self._told is not None:
            self._told(0.0)
        self._sent = time.monotonic()

    async def _wait(self, most: float) -> None:
        wait = self._limiter.wait(
            in_line=self._in_line, deadline=time.monotonic() + most, told=self._told
        )
        async with asyncio.timeout(most):
            done = await until_stopped(wait, self._stopping)
        if not done:
            raise self._last or StoppedError("Stopped before its turn came.")

    def _too_late(self) -> RunAPIError:
        left = max(0.0, self._limiter.rate.paused_until - time.monotonic())
        return self._last or RateLimitError(
            f"its turn did not come in {self._patience:.0f} s"
            + (f"; the service asks to wait {left:.0f} s more." if left else "."),
            status_code=_TOO_MANY,
            retry_after=left,
            charged=NOT_SENT,
        )

    async def failed(self, error: RunAPIError) -> None:
        """Note how it failed; where the service asks to slow down, everything does."""
        self._last = error
        if not isinstance(error, APIError):
            return
        told = error.retry_after
        if error.status_code == _TOO_MANY or (error.status_code == _UNAVAILABLE and told):
            seconds = await self._limiter.refused(self._sent, told)
            if self._told is not None and seconds > _WORTH_TELLING:
                self._told(seconds)

    def taken(self) -> None:
        """Note that the service took it."""
        if self._in_line:
            self._limiter.taken()


class Rates:
    """The limiters of one kernel, one for each account.

    Args:
        shared: Returns an account's rate as it is shared with other kernels.
    """

    def __init__(self, shared: Callable[[str], RateStore]) -> None:
        self._shared = shared
        self._limiters: dict[str, Limiter] = {}

    def of(self, access: Access) -> Limiter:
        """Return the limiter of an account, the same for the same address and key."""
        account = access.account
        if account not in self._limiters:
            self._limiters[account] = Limiter(self._shared(account))
        return self._limiters[account]


def lock_of_loop(locks: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock]) -> asyncio.Lock:
    """Return the running loop's lock: one that was waited for belongs to its loop for good."""
    return locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _sleep_until(moment: float, deadline: float) -> None:
    if moment > deadline:
        raise TimeoutError
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
