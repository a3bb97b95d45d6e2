"""Calls of the journal from an event loop, and what happens to a request when they fail.

- Without a usable journal, images are still generated, and the user gets one notice.
- If another program locks the journal, calls wait in a queue. A call that must come before a POST
  gives up after a minute with ``JournalBusyError``, and nothing is sent. A call that records what
  has already happened (see ``database.retry_until_written``) is retried until it is written. The
  request waits for it a few seconds, and once more at its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from runapi_magic.core.loop_locks import LoopLocks
from runapi_magic.journal.database import JournalBusyError, JournalDamagedError, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.journal.task_log import Journal

_TIMEOUT = 60.0  # seconds until a call before a POST gives up
_NOTICE_AFTER = 5.0  # seconds of waiting
_LONGEST_DELAY = 5.0  # seconds that a request waits until an event is written
_FLUSH_TIMEOUT = 60.0  # seconds that a request waits for all events at its end
_RETRY_DELAY = 0.25  # seconds


class AsyncJournal:
    """The journal of a session, called in worker threads of the event loop.

    Args:
        journal: The journal.
        notice: Show a notice to the user once.
    """

    def __init__(self, journal: Journal, notice: Callable[[str], None]) -> None:
        self.journal = journal
        self._notice = notice
        self._queues = LoopLocks()
        self._unwritten: set[asyncio.Task[Any]] = set()

    async def __call__(self, call: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Call a method of the journal in a thread.

        A call that has begun is completed, even if the caller is cancelled.

        Returns:
            The result of the method. None if the call is written later. None, and a notice to the
            user, if the journal cannot be used.

        Raises:
            JournalBusyError: Another program locks the journal, and the call must come before a
                POST.
        """
        work = partial(call, *values, **options)
        if not getattr(call, "retries_until_written", False):
            return await self._call_in_queue(work, _TIMEOUT)
        writing = asyncio.ensure_future(self._call_in_queue(work, math.inf))
        self._unwritten.add(writing)
        writing.add_done_callback(self._unwritten.discard)
        await asyncio.wait([writing], timeout=0 if self._queue.locked() else _LONGEST_DELAY)
        return writing.result() if writing.done() else None

    async def if_not_busy(self, call: Callable[..., Any], *values: Any) -> Any:
        """Call a method whose result is optional. Return None if another program locks the file."""
        try:
            return None if self._queue.locked() else await self._call(partial(call, *values))
        except JournalBusyError:
            return None

    async def flush(self) -> None:
        """Wait until all events of this loop are written, at most a minute."""
        here = asyncio.get_running_loop()
        # The loops of other threads may change the set during the iteration.
        writing = [each for each in tuple(self._unwritten) if each.get_loop() is here]
        if writing:
            await asyncio.wait(writing, timeout=_FLUSH_TIMEOUT)

    @property
    def _queue(self) -> asyncio.Lock:
        """The queue of the calls that wait for another program. It keeps their order."""
        return self._queues.of_running_loop()

    async def _call_in_queue(self, work: Callable[[], Any], timeout_seconds: float) -> Any:
        queue, begun = self._queue, time.monotonic()
        if not queue.locked():
            try:
                return await self._call(work)
            except JournalBusyError:
                pass
        try:
            async with asyncio.timeout(None if timeout_seconds == math.inf else timeout_seconds):
                await queue.acquire()
        except TimeoutError:
            raise JournalBusyError(self.journal.path) from None
        try:
            while True:
                try:
                    return await self._call(work)
                except JournalBusyError:
                    waited = time.monotonic() - begun
                    if waited >= timeout_seconds:
                        raise
                if waited >= _NOTICE_AFTER:
                    self._notify_busy()
                await asyncio.sleep(_RETRY_DELAY)
        finally:
            queue.release()

    async def _call(self, work: Callable[[], Any]) -> Any:
        def call_with_short_timeout() -> Any:
            with self.journal.short_timeout():
                try:
                    return work()
                except JournalDamagedError:
                    return work()

        # Not asyncio.to_thread, whose task is cancelled at the end of asyncio.run: a thread cannot
        # be stopped.
        inside = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(None, inside, call_with_short_timeout)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            while not working.done():  # the caller may be cancelled again
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
            if self.journal.damaged_file is not None:
                self._notice(
                    "The journal was damaged. A new journal was created. The old one was renamed to"
                    f" {self.journal.damaged_file}."
                )

    def _notify_busy(self) -> None:
        self._notice(
            f"{JournalBusyError(self.journal.path).what} New requests wait for it and are refused"
            f" after {_TIMEOUT:.0f} s. Requests that were sent continue and are recorded later."
        )
