"""The progress bar of a batch: plain output in a notebook, tqdm in a terminal."""

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
    """Show the progress of a batch until its end; show nothing if there is no person.

    In a notebook the bar is not a widget, so you still see it when you open the notebook later.
    """
    match audience():
        case Audience.LIVE:
            _update_on_change(batch, _in_notebook())
        case Audience.TERMINAL | Audience.CONSOLE | Audience.NONE:
            _update_on_change(batch, _in_terminal(batch))
        case Audience.UNATTENDED:
            pass


def _update_on_change(batch: Batch, show: Callable[[Batch, int], None]) -> None:
    def update() -> None:
        counts = batch.counts
        with suppress(OSError, ValueError):  # a closed output
            show(batch, len(batch) - counts["waiting"] - counts["running"])

    batch.subscribe(update)
    update()


def _in_notebook() -> Callable[[Batch, int], None]:
    from tqdm import tqdm

    handle, shown = DisplayHandle(), ""

    def show(batch: Batch, done: int) -> None:
        nonlocal shown
        line = tqdm.format_meter(
            done,
            len(batch),
            batch.seconds,
            ncols=_WIDTH,
            prefix=batch.title,
            unit="request",
            postfix=_failed(batch),
        )
        if not shown:
            handle.display({"text/plain": line}, raw=True)
        elif line != shown:
            handle.update({"text/plain": line}, raw=True)
        shown = line

    return show


def _in_terminal(batch: Batch) -> Callable[[Batch, int], None]:
    from tqdm import tqdm

    # stderr may be closed, or missing in a program without a console.
    is_hidden = sys.stderr is None or sys.stderr.closed
    bar = tqdm(total=len(batch), desc=batch.title, unit="request", disable=is_hidden)

    def show(batch: Batch, done: int) -> None:
        bar.n = done
        bar.set_postfix_str(_failed(batch), refresh=False)
        bar.refresh()
        if batch.is_done:
            bar.close()

    return show


def _failed(batch: Batch) -> str:
    counts = batch.counts
    words: tuple[ItemStatus, ...] = ("failed", "partial")
    return ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
