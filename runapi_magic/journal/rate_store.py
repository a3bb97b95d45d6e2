"""The rate limit of an account, shared by all kernels of one journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runapi_magic.core.rate import Rate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.task_log import Journal


class SharedRate:
    """The row of an account in the journal.

    Args:
        account: The hash of base URL and key.
        journal: The journal.
        record: Call the journal from an event loop.
    """

    def __init__(self, account: str, journal: Journal, record: AsyncJournal) -> None:
        self._account = account
        self._journal = journal
        self._record = record

    async def change(self, how: Callable[[Rate | None], Rate]) -> Rate | None:
        """Change the row in one transaction and return it.

        Args:
            how: Return the new rate. Its argument is the stored rate, or None if there is none or
                if it is not plausible.

        Returns:
            The new rate; None if the journal cannot be used now.
        """
        changed: Rate | None = await self._record.if_not_busy(self._change, how)
        return changed

    async def read(self) -> Rate | None:
        """Return the stored rate; None if there is none, or it is not plausible or not readable."""
        found: Rate | None = await self._record.if_not_busy(self._read)
        return found

    def _read(self) -> Rate | None:
        with self._journal.reading() as connection:
            return self._stored(connection)[0]

    def _stored(self, connection: sqlite3.Connection) -> tuple[Rate | None, float]:
        """Return the stored rate, and by how many seconds Unix time exceeds monotonic time."""
        row = connection.execute(
            "SELECT paused_until, spacing, next FROM rates WHERE account = ?", (self._account,)
        ).fetchone()
        now = time.monotonic()
        ahead = time.time() - now
        rate = Rate(*row).shifted(-ahead) if row else None
        return (rate if rate and rate.is_plausible(now) else None), ahead

    def _change(self, how: Callable[[Rate | None], Rate]) -> Rate:
        with self._journal.transaction() as connection:
            before, ahead = self._stored(connection)
            rate = how(before)
            if rate != (before or Rate()):
                written = rate.shifted(ahead)
                connection.execute(
                    "INSERT OR REPLACE INTO rates (account, paused_until, spacing, next)"
                    " VALUES (?, ?, ?, ?)",
                    (self._account, written.paused_until, written.spacing, written.next),
                )
            return rate
