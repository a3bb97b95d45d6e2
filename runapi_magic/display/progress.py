"""The progress bar of a batch: plain output in a notebook, tqdm's own in a terminal."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from IPython.display import DisplayHandle

from runapi_magic.display.environment import Audience, audience

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.batch.batch import Batch
    from runapi_magic.core.status import ItemStatus

_WIDTH = 72  # characters


def show_progress(batch: Batch) -> None:
    """Show how far a batch is, until its end; nothing where nobody is there.

    In a notebook the bar is no widget: it is seen wherever the notebook is opened later.
    """
    match audience():
        case Audience.LIVE:
            _follow(batch, _in_notebook())
        case Audience.TERMINAL | Audience.CONSOLE | Audience.NONE:
            _follow(batch, _in_terminal(batch))
        case Audience.UNATTENDED:
            pass


def _follow(batch: Batch, tell: Callable[[Batch, int], None]) -> None:
    def update() -> None:
        counts = batch.counts
        with suppress(OSError, ValueError):  # a closed output
            tell(batch, len(batch) - counts["waiting"] - counts["running"])

    batch.subscribe(update)
    update()


def _in_notebook() -> Callable[[Batch, int], None]:
    from tqdm import tqdm

    handle, shown = DisplayHandle(), ""

    def tell(batch: Batch, done: int) -> None:
        nonlocal shown
        line = tqdm.format_meter(
            done,
            len(batch),
            batch.seconds,
            ncols=_WIDTH,
            prefix=batch.title,
            unit="picture",
            postfix=_failed(batch),
        )
        if not shown:
            handle.display({"text/plain": line}, raw=True)
        elif line != shown:
            handle.update({"text/plain": line}, raw=True)
        shown = line

    return tell


def _in_terminal(batch: Batch) -> Callable[[Batch, int], None]:
    from tqdm import tqdm

    # Closed, or none at all as in a program without a console: there is nothing to show.
    is_hidden = sys.stderr is None or sys.stderr.closed
    bar = tqdm(total=len(batch), desc=batch.title, unit="picture", disable=is_hidden)

    def tell(batch: Batch, done: int) -> None:
        bar.n = done
        bar.set_postfix_str(_failed(batch), refresh=False)
        bar.refresh()
        if batch.is_done:
            bar.close()

    return tell


def _failed(batch: Batch) -> str:
    counts = batch.counts
    words: tuple[ItemStatus, ...] = ("failed", "partial")
    return ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
