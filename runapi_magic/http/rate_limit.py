"""Limit the rate of requests, for all requests with one key, in this kernel and in others.

There is no limit while the service accepts every request. A response with status 429, or with 503
and a ``Retry-After``, pauses all requests with that key. After the pause, creates are sent at a
distance. Each accepted create makes the distance shorter: the rate increases additively and
decreases multiplicatively (Chiu and Jain 1989), as TCP shares a line among senders that do not know
each other. Polls wait for the end of a pause, but they need no turn.

The kernels of one data folder share the rate in a row of the journal. The name of the row is a hash
of base URL and key. Each create claims its turn in one transaction. Without a usable journal, a
kernel uses what it has seen itself. While there is no limit, the row is read at most once per
second and never written.

All times in the process are monotonic, so changes of the clock have no effect. The row has Unix
times, which other kernels understand. A row with a time that is too far ahead was written while a
clock was wrong, and is ignored.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Protocol

from runapi_magic.core.loop_locks import LoopLocks
from runapi_magic.core.rate import Rate
from runapi_magic.errors import NOT_SENT, APIError, RateLimitError, RunAPIError
from runapi_magic.http.retry import is_set, until_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.access import Access

_REREAD = 1.0  # seconds between two reads of the shared rate
_REPORTED = 1.0  # seconds; ``on_wait`` is not called for a shorter wait
_OVERSLEPT = 1.0  # seconds after a deadline; if more pass, a long cell has blocked the loop
_TOO_MANY, _UNAVAILABLE = 429, 503


class StoppedError(RunAPIError):
    """The user stopped the request before anything was sent."""

    default_charged = NOT_SENT


class RateStore(Protocol):
    """The rate of one account, shared with other kernels."""

    async def read(self) -> Rate | None:
        """Return the rate. None if there is none, or if it cannot be right."""

    async def change(self, how: Callable[[Rate | None], Rate]) -> Rate | None:
        """Change the rate in one step and return it. None if it cannot be shared now."""


class Limiter:
    """Limits the rate of the requests with one key.

    Creates are sent one after the other, in the order in which they came. Polls wait for the end of
    a pause only.

    Args:
        shared: The rate that is shared with other kernels. None for this kernel alone.

    Attributes:
        rate: The rate that was seen last.
    """

    def __init__(self, shared: RateStore | None = None) -> None:
        self.rate = Rate()
        self._shared = shared
        self._read_at = -math.inf  # monotonic time
        self._changes = 0  # counts each change of the rate twice: when it begins and when it ends
        self._queues = LoopLocks()
        self._reads = LoopLocks()
        self._queued = 0  # creates that wait for their turn
        self._accepted = 0  # accepted creates that are not yet part of the rate
        self._returned: float | None = None  # a turn that its request did not use

    async def refresh(self) -> None:
        """Read the shared rate, at most once per second."""
        if self._shared is None or not self._is_stale():
            return
        async with self._reads.of_running_loop():
            if self._is_stale():
                changes = self._changes
                stored = await self._shared.read()
                if stored is not None and changes == self._changes:  # else it may be out of date
                    self.rate = stored
                self._read_at = time.monotonic()

    def _is_stale(self) -> bool:
        return time.monotonic() - self._read_at >= _REREAD

    async def wait(
        self, *, in_queue: bool, deadline: float, on_wait: Callable[[float], None] | None = None
    ) -> None:
        """Wait until a request may be sent.

        Args:
            in_queue: Whether the request needs a turn in the queue of creates.
            deadline: Monotonic time in seconds.
            on_wait: Called with the seconds that the request will wait, if they are many.

        Raises:
            TimeoutError: The turn of the request is after the deadline.
        """
        if not in_queue:
            while (end := self.rate.paused_until) > time.monotonic():
                await _sleep_until(end, deadline)
            return
        self._queued += 1
        try:
            self._report(on_wait, self._queued - 1)
            async with self._queues.of_running_loop():
                start = -math.inf
                while start < self.rate.paused_until:
                    start = await self._claim_turn()
                    self._report(on_wait, start=start)
                    try:
                        await _sleep_until(start, deadline)
                    except BaseException:
                        self._returned = start
                        raise
                    await self.refresh()
        finally:
            self._queued -= 1

    def _report(
        self, on_wait: Callable[[float], None] | None, ahead: int = 0, start: float = 0.0
    ) -> None:
        rate, now = self.rate, time.monotonic()
        seconds = max(start, rate.paused_until, now) + ahead * rate.spacing - now
        if on_wait is not None and seconds > _REPORTED:
            on_wait(seconds)

    async def _claim_turn(self) -> float:
        """Claim a turn and return its time."""
        if self._returned is not None:
            start, self._returned = self._returned, None
            return start
        start = 0.0

        def claim(rate: Rate) -> Rate:
            nonlocal start
            start, rate = rate.claim_turn(time.monotonic())
            return rate

        await self._change(claim)
        return start

    def accepted(self) -> None:
        """Note that the service accepted a create; the next turn makes the rate faster."""
        if self.rate.spacing:
            self._accepted += 1

    async def refused(self, sent: float, retry_after: float | None) -> float:
        """Note that the service refused a request, and return the seconds of the pause.

        Args:
            sent: The time at which the request was sent, monotonic, in seconds.
            retry_after: Seconds that the service asks to wait.
        """
        now = time.monotonic()
        rate = await self._change(lambda rate: rate.after_refusal(now, sent, retry_after))
        return rate.paused_until - now

    async def _change(self, how: Callable[[Rate], Rate]) -> Rate:
        accepted, self._accepted = self._accepted, 0
        self._changes += 1

        def change(stored: Rate | None) -> Rate:
            self.rate = how((stored or self.rate).after_accepted(accepted))
            return self.rate

        shared = None if self._shared is None else await self._shared.change(change)
        self.rate = change(None) if shared is None else shared
        self._changes += 1
        return self.rate


class Turns:
    """The turns of one request: one for each time that it is sent.

    Args:
        limiter: Limits the rate.
        in_queue: Whether the request needs a turn in the queue of creates. Otherwise it waits for
            pauses only.
        timeout: Seconds that the request may wait for all its turns together.
        stop: When it is set, there are no more turns.
        on_wait: Called with the seconds that the request will wait, if they are many, and with 0
            at the end.

    Attributes:
        waited: Seconds that the request has waited so far.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        in_queue: bool,
        timeout: float,
        stop: asyncio.Event | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self.waited = 0.0
        self._left = max(0.0, timeout)
        self._limiter = limiter
        self._in_queue = in_queue
        self._timeout = timeout
        self._stop = stop
        self._on_wait = on_wait
        self._last: RunAPIError | None = None
        self._sent = 0.0

    async def wait(self) -> None:
        """Wait until the request may be sent.

        Raises:
            RunAPIError: The last error of the request, if it may not be repeated.
            RateLimitError: The turn does not come in time. Nothing was sent.
            StoppedError: The user stopped the request. Nothing was sent.
        """
        await self._limiter.refresh()
        if is_set(self._stop):
            raise self._last or StoppedError("Stopped before the request was sent.")
        while not self._limiter.rate.is_unlimited(time.monotonic()):
            begun, most = time.monotonic(), self._left
            try:
                await self._wait_at_most(most)
            except TimeoutError:
                if time.monotonic() - begun <= most + _OVERSLEPT:
                    raise self._too_late() from None
                continue  # a long cell blocked the loop: that time does not count
            waited = time.monotonic() - begun
            self.waited += waited
            self._left -= min(waited, most)  # not below 0, even if a long cell made it wait longer
            break
        if self._on_wait is not None:
            self._on_wait(0.0)
        self._sent = time.monotonic()

    async def _wait_at_most(self, seconds: float) -> None:
        wait = self._limiter.wait(
            in_queue=self._in_queue, deadline=time.monotonic() + seconds, on_wait=self._on_wait
        )
        async with asyncio.timeout(seconds):
            done = await until_stopped(wait, self._stop)
        if not done:
            raise self._last or StoppedError("Stopped before the request was sent.")

    def _too_late(self) -> RunAPIError:
        left = max(0.0, self._limiter.rate.paused_until - time.monotonic())
        return self._last or RateLimitError(
            f"the request has no turn within {self._timeout:.0f} s"
            + (f"; RunAPI asks to wait {left:.0f} s more." if left else "."),
            status_code=_TOO_MANY,
            retry_after=left,
            charged=NOT_SENT,
        )

    async def failed(self, error: RunAPIError) -> None:
        """Note why the request failed. If the service asks to slow down, pause all requests."""
        self._last = error
        if not isinstance(error, APIError):
            return
        wanted = error.retry_after
        if error.status_code == _TOO_MANY or (error.status_code == _UNAVAILABLE and wanted):
            seconds = await self._limiter.refused(self._sent, wanted)
            if self._on_wait is not None and seconds > _REPORTED:
                self._on_wait(seconds)

    def accepted(self) -> None:
        """Note that the service accepted the request."""
        if self._in_queue:
            self._limiter.accepted()


class Limiters:
    """The limiters of one kernel, one for each account.

    Args:
        shared: Returns the rate of an account as it is shared with other kernels.
    """

    def __init__(self, shared: Callable[[str], RateStore]) -> None:
        self._shared = shared
        self._limiters: dict[str, Limiter] = {}

    def of(self, access: Access) -> Limiter:
        """Return the limiter of an account: the same one for the same base URL and key."""
        account = access.account
        if account not in self._limiters:
            self._limiters[account] = Limiter(self._shared(account))
        return self._limiters[account]


async def _sleep_until(moment: float, deadline: float) -> None:
    if moment > deadline:
        raise TimeoutError
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
