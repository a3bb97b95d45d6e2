"""Writing to the journal off the loop, and what becomes of a request when that fails.

- Without a usable journal, images are made all the same, and the user is told once.
- Where another program holds the journal, calls wait in line for it. What is to be written down
  before something is sent gives up after a minute, with ``JournalBusyError``: then nothing is sent.
  What has happened already (see ``database.afterwards``) is repeated until it is written; it holds
  a request up for a few seconds only, and is waited for once more at the request's end.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from runapi_magic.journal.database import JournalBusyError, JournalDamagedError, JournalError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from runapi_magic.journal.task_log import Journal

_PATIENCE = 60.0  # seconds until a request is refused
_WORTH_TELLING = 5.0  # seconds of waiting
_HELD_UP = 5.0  # seconds that a request waits for what has happened to be written down
_SETTLING = 60.0  # seconds that it waits for that at its end
_AGAIN = 0.25  # seconds between two tries


class AsyncJournal:
    """The journal as the pipeline uses it.

    Args:
        journal: The journal.
        notice: Takes a notice to be shown once.
    """

    def __init__(self, journal: Journal, notice: Callable[[str], None]) -> None:
        self.journal = journal
        self._notice = notice
        self._lines: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._unwritten: set[asyncio.Task[Any]] = set()

    async def __call__(self, call: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Call the journal, off the loop; None, and a notice, where it cannot be used.

        A call that has begun is carried to its end, also when the wait for it is cancelled.

        Raises:
            JournalBusyError: Another program holds it, and what was to be written down before
                something is sent is not.
        """
        work = partial(call, *values, **options)
        if not getattr(call, "is_afterwards", False):
            return await self._in_turn(work, _PATIENCE)
        writing = asyncio.ensure_future(self._in_turn(work, math.inf))
        self._unwritten.add(writing)
        writing.add_done_callback(self._unwritten.discard)
        await asyncio.wait([writing], timeout=0 if self._line.locked() else _HELD_UP)
        return writing.result() if writing.done() else None

    async def if_free(self, call: Callable[..., Any], *values: Any) -> Any:
        """Call the journal for what is good to know; None also where another program holds it."""
        try:
            return None if self._line.locked() else await self._attempt(partial(call, *values))
        except JournalBusyError:
            return None

    async def settled(self) -> None:
        """Wait until everything that happened on this loop is written down, a minute at most."""
        here = asyncio.get_running_loop()
        writing = [each for each in self._unwritten if each.get_loop() is here]
        if writing:
            await asyncio.wait(writing, timeout=_SETTLING)

    @property
    def _line(self) -> asyncio.Lock:
        """The line of those who wait for another program; it keeps their order."""
        return self._lines.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _in_turn(self, work: Callable[[], Any], patience: float) -> Any:
        line, begun = self._line, time.monotonic()
        if not line.locked():
            try:
                return await self._attempt(work)
            except JournalBusyError:
                pass
        try:
            async with asyncio.timeout(None if patience == math.inf else patience):
                await line.acquire()
        except TimeoutError:
            raise JournalBusyError(self.journal.path) from None
        try:
            while True:
                try:
                    return await self._attempt(work)
                except JournalBusyError:
                    waited = time.monotonic() - begun
                    if waited >= patience:
                        raise
                if waited >= _WORTH_TELLING:
                    self._tell_busy()
                await asyncio.sleep(_AGAIN)
        finally:
            line.release()

    async def _attempt(self, work: Callable[[], Any]) -> Any:
        def hurried() -> Any:
            with self.journal.hurried():
                try:
                    return work()
                except JournalDamagedError:
                    return work()

        # No task, which the end of asyncio.run would cancel: a thread cannot be stopped.
        inside = contextvars.copy_context().run
        working = asyncio.get_running_loop().run_in_executor(None, inside, hurried)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            while not working.done():  # it may be cancelled once more
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([working])
            working.exception()
            raise
        except JournalBusyError:
            raise
        except JournalError as error:
            self._notice(
                f"{error.what} Images are still generated, but new requests are not recorded and"
                f" cannot be found again after a restart. {error.todo}"
            )
            return None
        finally:
            if self.journal.set_aside is not None:
                self._notice(
                    "The journal was damaged. A new one was begun; the old one is kept as"
                    f" {self.journal.set_aside}."
                )

    def _tell_busy(self) -> None:
        self._notice(
            f"{JournalBusyError(self.journal.path).what} New requests wait for it, and are refused"
            f" after {_PATIENCE:.0f} s; what was sent goes on and is written down later."
        )
