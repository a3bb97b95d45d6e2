"""Calls of the journal from several event loops."""

from __future__ import annotations

import asyncio

from runapi_magic.journal.async_journal import AsyncJournal


def test_flush_while_another_loop_writes(journal):
    """A call of another thread's loop that begins during ``flush`` does not disturb it."""
    asynchronous = AsyncJournal(journal, lambda _: None)

    class OtherTask:
        def get_loop(self):
            asynchronous._unwritten.add(OtherTask())

    asynchronous._unwritten.add(OtherTask())
    asyncio.run(asynchronous.flush())
    assert len(asynchronous._unwritten) == 2
