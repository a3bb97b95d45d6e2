"""Pictures that came while nobody was there to see them: a page was closed, or loaded again.

The kernel goes on, and the picture is on disk, but the page that had the cell never gets it. Below
each picture stands something that can say whether the page shows it (widgets/placed.py). What no
page confirms is noted in the journal, and told once: in the first cell that another page runs, or
by the next ``%load_ext``.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.getipython import get_ipython

from runapi_magic.core.printing import print_text
from runapi_magic.display.environment import hand_over, parent_message, running_loop
from runapi_magic.journal.database import JournalError
from runapi_magic.journal.history import History
from runapi_magic.media.files import short_path

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.session import Session

_PATIENCE = 10.0  # seconds in which a page says that it shows a picture; it does so at once
_MOST = 5  # paths in one line
ADVICE = (
    "The picture has come, but this page was loaded after its cell ran."
    " Run the cell again to see it here, at no cost."
)


class Page(Protocol):
    """What stands below a picture in a page, and can say whether it is seen."""

    @property
    def is_heard(self) -> bool:
        """Whether the page has ever answered, and can again; not all front ends do."""

    def look(self, on_seen: Callable[[], None], otherwise: str) -> None:
        """Ask the page whether it shows a picture; it says ``otherwise`` where it does not."""


class Work(Protocol):
    """What brings pictures: a generation, or a batch."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""

    def subscribe(self, listener: Callable[[], None]) -> object:
        """Call the listener on the loop whenever something changes."""


class _Awaited:
    """One output of a cell that runs now, until its pictures are seen."""

    def __init__(
        self,
        work: Work,
        images: Callable[[], list[GeneratedImage]],
        pages: Sequence[Page],
        history: History,
    ) -> None:
        self._work = work
        self._images = images
        self._pages = pages
        self._history = history
        self._loop = running_loop()
        self._is_noted = False
        self.page = _current_page()
        self.has_come = False
        work.subscribe(self._check)

    @property
    def new(self) -> list[GeneratedImage]:
        """The pictures that were paid for here."""
        return [image for image in self._images() if not image.reused]

    def _check(self) -> None:
        if self._work.is_done and not self.has_come and self._loop is not None:
            self.has_come = True
            if not self.new or not any(page.is_heard for page in self._pages):
                self.drop()
                return
            for page in self._pages:
                page.look(self._on_seen, ADVICE)
            self._loop.call_later(_PATIENCE, self._note_soon, self._loop)

    def _on_seen(self) -> None:
        """Know that it is seen; this may be any thread."""
        if self._loop is not None:
            hand_over(self._loop, self.drop)

    def _note_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self in _awaited:
            loop.run_in_executor(None, self.note)

    def note(self) -> None:
        """Write down that nobody has seen it. Blocking."""
        self._is_noted = True
        with suppress(JournalError):
            self._history.mark_unseen([image.id for image in self.new])
        if self not in _awaited:  # seen while this was being written
            self._unnote()

    def drop(self) -> None:
        """Forget it: it is seen, or told."""
        if self in _awaited:
            _awaited.remove(self)
            if self._is_noted:
                self._unnote()

    def _unnote(self) -> None:
        with suppress(JournalError):
            self._history.mark_seen([image.id for image in self.new])


_awaited: list[_Awaited] = []


def attend(
    work: Work,
    images: Callable[[], list[GeneratedImage]],
    pages: Sequence[Page],
    session: Session,
) -> None:
    """See to it that pictures are noted and told that come when nobody sees them.

    Args:
        work: What brings them, for the cell or the click of now.
        images: Returns what came.
        pages: What stands below them in the page.
        session: Has the journal.
    """
    shell: Any = get_ipython()
    if not pages or work.is_done or _current_page() is None:
        return
    if _on_cell not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _on_cell)
    _awaited.append(_Awaited(work, images, pages, History(session.journal)))


def _current_page() -> str | None:
    """Return what tells the page that asks now from the same one, loaded again."""
    page: str | None = parent_message().get("header", {}).get("session")
    return page


def _on_cell(_info: Any) -> None:
    """Before a cell runs: what its page has asked for it also shows; what another did, is told."""
    page, missed = _current_page(), []
    for awaited in tuple(_awaited):
        if awaited.has_come:
            if awaited.page != page:
                missed += awaited.new
            awaited.drop()
    if missed:
        paths = [short_path(image.location) for image in missed]
        print_text(unseen_line(paths))


def unseen_line(paths: Sequence[str]) -> str:
    """Return what a user is told of pictures that nobody saw, by their files."""
    count = len(paths)
    more = f" and {count - _MOST} more" if count > _MOST else ""
    what = "1 picture came" if count == 1 else f"{count} pictures came"
    return (
        f"{what} while the page was closed: {', '.join(paths[:_MOST])}{more}.\n"
        "Run the same cell again to see it here, at no cost; %runapi gallery shows what there is."
    )


@atexit.register
def _note_the_rest() -> None:
    for awaited in _awaited:
        if awaited.has_come:
            awaited.note()
