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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from runapi_magic.errors import NOT_SENT, APIError, RateLimitError, RunAPIError
from runapi_magic.http.retry import is_set, until_stopped

if TYPE_CHECKING:
    import sqlite3
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from runapi_magic.core.access import Access
    from runapi_magic.journal.async_journal import Recorder
    from runapi_magic.journal.task_log import Journal

_FIRST_SPACING, _LONGEST_SPACING = 0.25, 30.0  # seconds; doubled by each refusal
_INCREASE = 0.1  # creates a second that each create that is taken adds to the rate
_NO_LIMIT = 20.0  # creates a second from which on none are held back; no person is faster
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 3600.0  # seconds; the first where the service names none
_LONGEST_WAIT = _LONGEST_PAUSE + 100 * _LONGEST_SPACING  # seconds, with 100 kernels in line
_FORGOTTEN = 60.0  # seconds without a create until the limit counts as over
_LOOK = 1.0  # seconds between two looks at what other kernels have seen
_WORTH_TELLING = 1.0  # seconds; a shorter wait is not mentioned
_OVERSLEPT = 1.0  # seconds beyond a deadline, after which a long cell has kept the loop busy
_TOO_MANY, _UNAVAILABLE = 429, 503


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast requests may leave under one key. Times are monotonic, in seconds.

    Attributes:
        paused_until: Until then nothing leaves.
        spacing: Seconds between two creates; 0 for no limit.
        next: The next free turn for a create.
    """

    paused_until: float = 0.0
    spacing: float = 0.0
    next: float = 0.0

    def is_free(self, now: float) -> bool:
        """Whether every request may leave at once."""
        return self.spacing == 0 and now >= self.paused_until

    def take(self, now: float) -> tuple[float, Rate]:
        """Return when the next create may leave, and the rate after it has taken that turn."""
        idle = now - max(self.next, self.paused_until)
        spacing = 0.0 if idle > _FORGOTTEN else self.spacing
        start = max(now, self.paused_until, self.next)
        return start, replace(self, spacing=spacing, next=start + spacing)

    def refused(self, now: float, sent: float, told: float | None = None) -> Rate:
        """Return the rate after the service has refused a request: a pause, and half as fast.

        What had left before an earlier refusal was heard of slows down only once.

        Args:
            now: The moment of the answer.
            sent: The moment at which the request left.
            told: Seconds that the service asks to wait.
        """
        spacing = self.spacing
        if sent >= self.paused_until:
            spacing = min(2 * spacing or _FIRST_SPACING, _LONGEST_SPACING)
        pause = min(told or max(_SHORTEST_PAUSE, spacing), _LONGEST_PAUSE)
        return replace(self, spacing=spacing, paused_until=max(self.paused_until, now + pause))

    def moved(self, seconds: float) -> Rate:
        """Return the same rate on a clock that is so many seconds ahead."""
        return replace(self, paused_until=self.paused_until + seconds, next=self.next + seconds)

    def is_sensible(self, now: float) -> bool:
        """Whether a service and a clock that is right can have led to this."""
        latest = now + _LONGEST_WAIT
        return (
            self.paused_until <= latest
            and self.next <= latest
            and 0 <= self.spacing <= _LONGEST_SPACING
        )

    def taken(self, creates: int = 1) -> Rate:
        """Return the rate after the service has taken so many creates: a little faster."""
        if self.spacing == 0:
            return self
        faster = 1 / self.spacing + creates * _INCREASE
        return replace(self, spacing=0.0 if faster >= _NO_LIMIT else 1 / faster)


class StoppedError(RunAPIError):
    """The user wants no more, and nothing was sent yet."""

    default_charged = NOT_SENT


class SharedRate:
    """An account's row in the journal.

    Args:
        account: Its name.
        journal: The journal.
        record: Calls it off the loop.
    """

    def __init__(self, account: str, journal: Journal, record: Recorder) -> None:
        self._account = account
        self._journal = journal
        self._record = record

    async def change(self, how: Callable[[Rate | None], Rate]) -> Rate | None:
        """Change the row in one transaction, and return it.

        Args:
            how: Returns what follows from what the row says; it says None where there is none, or
                none that can be true.

        Returns:
            None where the journal cannot be used now.
        """
        changed: Rate | None = await self._record.if_free(self._change, how)
        return changed

    async def read(self) -> Rate | None:
        """Return the row; None where there is none that can be true."""
        found: Rate | None = await self._record.if_free(self._read)
        return found

    def _read(self) -> Rate | None:
        with self._journal.reading() as connection:
            return self._stored(connection)[0]

    def _stored(self, connection: sqlite3.Connection) -> tuple[Rate | None, float]:
        """Return the row, and the seconds that Unix time is ahead of the monotonic one."""
        row = connection.execute(
            "SELECT paused_until, spacing, next FROM rates WHERE account = ?", (self._account,)
        ).fetchone()
        now = time.monotonic()
        ahead = time.time() - now
        rate = Rate(*row).moved(-ahead) if row else None
        return (rate if rate and rate.is_sensible(now) else None), ahead

    def _change(self, how: Callable[[Rate | None], Rate]) -> Rate:
        with self._journal.transaction() as connection:
            before, ahead = self._stored(connection)
            rate = how(before)
            if rate != (before or Rate()):
                written = rate.moved(ahead)
                connection.execute(
                    "INSERT OR REPLACE INTO rates (account, paused_until, spacing, next)"
                    " VALUES (?, ?, ?, ?)",
                    (self._account, written.paused_until, written.spacing, written.next),
                )
            return rate


class Limiter:
    """Lets requests under one key leave one after the other, first come first served.

    Args:
        shared: What is shared with other kernels; None for this kernel alone.

    Attributes:
        rate: As last seen.
    """

    def __init__(self, shared: SharedRate | None = None) -> None:
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
        journal: What is shared with other kernels.
        record: Calls it off the loop.
    """

    def __init__(self, journal: Journal, record: Recorder) -> None:
        self._journal = journal
        self._record = record
        self._limiters: dict[str, Limiter] = {}

    def of(self, access: Access) -> Limiter:
        """Return the limiter of an account, the same for the same address and key."""
        account = access.account
        if account not in self._limiters:
            shared = SharedRate(account, self._journal, self._record)
            self._limiters[account] = Limiter(shared)
        return self._limiters[account]


def account_of(access: Access) -> str:
    """Return a name for address and key that neither can be told from: 16 hex digits."""
    return access.account


def lock_of_loop(locks: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock]) -> asyncio.Lock:
    """Return the running loop's lock: one that was waited for belongs to its loop for good."""
    return locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _sleep_until(moment: float, deadline: float) -> None:
    if moment > deadline:
        raise TimeoutError
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
