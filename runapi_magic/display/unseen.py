"""Images that you have not seen, because the page was closed or loaded again before they arrived.

The kernel continues and saves the image, but the old page never gets it. An element below each
image can confirm that the page shows it (widgets/placed.py). An image that no page confirms is
marked in the journal. You get one message about it: in the first cell that another page runs, or
from the next ``%load_ext``.
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

_TIMEOUT = 10.0  # seconds for the page to confirm an image; it usually answers at once
_MOST = 5  # paths in one line
NOT_SHOWN = (
    "The image is ready, but this page was loaded after its cell ran."
    " Run the cell again to see it here, at no cost."
)


class Page(Protocol):
    """An element below an image that can say whether the page shows the image."""

    @property
    def can_answer(self) -> bool:
        """Whether the page has answered before and can answer again; not all front ends can."""

    def ask(self, on_seen: Callable[[], None], otherwise: str) -> None:
        """Ask the page whether it shows the image; if not, it shows the text ``otherwise``."""


class Work(Protocol):
    """A generation or a batch."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""

    def subscribe(self, listener: Callable[[], None]) -> object:
        """Call a function on the event loop whenever something changes."""


class _Output:
    """One output of a cell, until its images have been seen."""

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
        self._is_marked = False
        self.page = _current_page()
        self.has_ended = False
        work.subscribe(self._check)

    @property
    def new(self) -> list[GeneratedImage]:
        """The images that did not come from disk."""
        return [image for image in self._images() if not image.reused]

    def _check(self) -> None:
        if self._work.is_done and not self.has_ended and self._loop is not None:
            self.has_ended = True
            if not self.new or not any(page.can_answer for page in self._pages):
                self.drop()
                return
            for page in self._pages:
                page.ask(self._on_seen, NOT_SHOWN)
            self._loop.call_later(_TIMEOUT, self._mark_soon, self._loop)

    def _on_seen(self) -> None:
        """Handle the confirmation of the page; it may come on any thread."""
        if self._loop is not None:
            hand_over(self._loop, self.drop)

    def _mark_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self in _outputs:
            loop.run_in_executor(None, self.mark)

    def mark(self) -> None:
        """Mark the images as unseen in the journal. Blocking."""
        self._is_marked = True
        with suppress(JournalError):
            self._history.mark_unseen([image.id for image in self.new])
        if self not in _outputs:  # confirmed during this write
            self._unmark()

    def drop(self) -> None:
        """Forget the output: it was seen, or the user got the message."""
        if self in _outputs:
            _outputs.remove(self)
            if self._is_marked:
                self._unmark()

    def _unmark(self) -> None:
        with suppress(JournalError):
            self._history.mark_seen([image.id for image in self.new])


_outputs: list[_Output] = []


def watch(
    work: Work,
    images: Callable[[], list[GeneratedImage]],
    pages: Sequence[Page],
    session: Session,
) -> None:
    """Watch whether the page shows the images of a generation or batch, for a message if not.

    Args:
        work: The generation or batch that the current cell or click has started.
        images: Returns its images.
        pages: The elements below the images.
        session: The session, for the journal.
    """
    shell: Any = get_ipython()
    if not pages or work.is_done or _current_page() is None:
        return
    if _on_cell not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _on_cell)
    _outputs.append(_Output(work, images, pages, History(session.journal)))


def _current_page() -> str | None:
    """Return the ID of the page that runs the cell; it changes when the page is loaded again."""
    page: str | None = parent_message().get("header", {}).get("session")
    return page


def _on_cell(_info: Any) -> None:
    """Before a cell runs, print the images that other pages have not shown.

    The page of this cell shows the images that it has requested itself.
    """
    page, missed = _current_page(), []
    for output in tuple(_outputs):
        if output.has_ended:
            if output.page != page:
                missed += output.new
            output.drop()
    if missed:
        paths = [short_path(image.location) for image in missed]
        print_text(unseen_message(paths))


def unseen_message(paths: Sequence[str]) -> str:
    """Return the message about unseen images."""
    count = len(paths)
    more = f" and {count - _MOST} more" if count > _MOST else ""
    what = "1 image arrived" if count == 1 else f"{count} images arrived"
    return (
        f"{what} while the page was closed: {', '.join(paths[:_MOST])}{more}.\n"
        "To see an image here, run its cell again, at no cost. %runapi gallery shows all images."
    )


@atexit.register
def _mark_the_rest() -> None:
    for output in _outputs:
        if output.has_ended:
            output.mark()
