"""Writing to the journal off the loop; without one, pictures are made all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runapi_magic.database import JournalDamagedError, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.journal import Journal


class Recorder:
    """The journal as the pipeline uses it.

    Args:
        journal: The journal.
        notice: Takes a notice to be shown once.
    """

    def __init__(self, journal: Journal, notice: Callable[[str], None]) -> None:
        self.journal = journal
        self._notice = notice

    async def __call__(self, write: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Call the journal, off the loop; None, and a notice, where it cannot be used."""
        try:
            try:
                return await asyncio.to_thread(write, *values, **options)
            except JournalDamagedError:
                return await asyncio.to_thread(write, *values, **options)
        except JournalError as error:
            self._notice(
                f"The journal cannot be used ({error}). Pictures are made all the same, but what"
                " is under way now cannot be found again after a restart."
            )
            return None
        finally:
            if self.journal.set_aside is not None:
                self._notice(
                    "The journal was damaged. A new one was begun; the old one is kept as"
                    f" {self.journal.set_aside}."
                )
