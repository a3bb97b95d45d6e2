"""When open panels are to be brought up to date: after each cell, and when the history changes.

One for each session, however many panels are open. The history is not read to find that out: the
requests of this kernel say when they end, and SQLite says whether another kernel has written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

from runapi_magic.journal.database import JournalError
from runapi_magic.widgets.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.engine.session import Session

_LULL = 1.0  # seconds in which changes are told together


class Updates:
    """Tells the panels of one session; nothing is done where no panel listens."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._desk = Desk(lambda _: None)
        self._panels: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._version: int | None = None  # of the journal, as last seen
        self._is_due = False

    def subscribe(
        self, after_cell: Callable[[], object], on_history: Callable[[], object]
    ) -> Callable[[], None]:
        """Take a panel's listeners; return what ends that.

        Args:
            after_cell: Called after each cell.
            on_history: Called when the history has changed, not more than once a second.
        """
        panel = (after_cell, on_history)
        if not self._panels:
            self._listen()
        self._panels.append(panel)

        def stop() -> None:
            if panel in self._panels:
                self._panels.remove(panel)
                if not self._panels:
                    self._stop_listening()

        return stop

    def _listen(self) -> None:
        self._version = None
        self._session.on_ended.append(self._request_ended)
        shell = get_ipython()
        if shell is not None:
            shell.events.register("post_run_cell", self._cell_ran)

    def _stop_listening(self) -> None:
        _updates.pop(self._session, None)
        self._session.on_ended.remove(self._request_ended)
        shell = get_ipython()
        if shell is not None:
            shell.events.unregister("post_run_cell", self._cell_ran)

    def _cell_ran(self, *_: Any) -> None:
        for after_cell, _on_history in tuple(self._panels):
            after_cell()
        self._desk.run(lambda: self._desk.work(self._look()))

    def _request_ended(self) -> None:
        """Note what was made here; this may be any thread."""
        self._desk.run(self._changed)

    async def _look(self) -> None:
        """Find out whether another kernel has written to the journal."""
        try:
            version = await asyncio.to_thread(self._session.journal.data_version)
        except JournalError:
            return  # a panel that reads the history says so
        if self._version not in {None, version}:
            self._changed()
        self._version = version

    def _changed(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._desk.work(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(_LULL)
        self._is_due = False
        for _after_cell, on_history in tuple(self._panels):
            on_history()


_updates: dict[Session, Updates] = {}  # of the sessions that have an open panel


def updates_of(session: Session) -> Updates:
    """Return a session's updates, the same for all its open panels."""
    return _updates.setdefault(session, Updates(session))
