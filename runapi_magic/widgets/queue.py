"""What the panel has asked for and waits for: a line each, with progress and Cancel."""

from __future__ import annotations

import asyncio
import time
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets

from runapi_magic.display.theme import FONT, progress_bar
from runapi_magic.widgets.drawers import button, row

if TYPE_CHECKING:
    from runapi_magic.engine.generation import Generation
    from runapi_magic.widgets.drawers import Run

_TICK = 1.0  # seconds between two updates of the progress
_FULL = 0.95  # of the bar, where only the time is known
_LONGEST_TITLE = 80  # characters


class Queue:
    """The generations that are under way, and what became of those without a picture.

    Args:
        run: Calls a function on the kernel's loop.

    Attributes:
        widget: The lines.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.widget = widgets.VBox()

    async def follow(self, generation: Generation, title: str) -> None:
        """Show a generation until its end; an error stays until it is dismissed.

        Args:
            generation: What is under way.
            title: What it is called.
        """
        short = title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"
        bar, words = widgets.HTML(), _words("")
        cancel = button("Cancel", "Stop waiting for this", self._run, generation.cancel)
        line = self._add(bar, cancel, words)
        begun, end = time.monotonic(), asyncio.ensure_future(generation.ended())
        while not end.done():
            elapsed = time.monotonic() - begun
            share, state = _state(generation, elapsed)
            bar.value = progress_bar(share, short, "width:100px;margin:10px 0")
            words.value = _html(f"{short} · {state}")
            await asyncio.wait([end], timeout=_TICK)
        self.remove(line)
        for error in generation.errors:
            self.tell(f"{short}: {' '.join(error.parts)}")

    def tell(self, text: str) -> None:
        """Show a message until it is dismissed."""
        dismiss = button("Dismiss", "Take this message away", self._run, lambda: self.remove(line))
        line = self._add(dismiss, _words(text, "alert"))

    def offer(self, text: str, *buttons: widgets.Button) -> widgets.Box:
        """Show a message with buttons; ``remove`` takes it away."""
        return self._add(*buttons, _words(text))

    def _add(self, *children: widgets.Widget) -> widgets.Box:
        line = row(*children)
        line.layout.flex_flow = "row nowrap"  # the words take the room that is left
        self.widget.children = (*self.widget.children, line)
        return line

    def remove(self, line: widgets.Widget) -> None:
        """Take a line away."""
        self.widget.children = tuple(one for one in self.widget.children if one is not line)


def _words(text: str, role: str = "none") -> widgets.HTML:
    return widgets.HTML(_html(text, role), layout=widgets.Layout(flex="1 1 0", min_width="0"))


def _html(text: str, role: str = "none") -> str:
    return f'<div role="{role}" style="{FONT};overflow-wrap:anywhere">{escape(text)}</div>'


def _state(generation: Generation, elapsed: float) -> tuple[float, str]:
    """Return how far a generation is, 0 to 1, and in words."""
    tasks = generation.tasks
    shares = [
        1.0 if task.is_done
        else task.progress if task.progress is not None
        else min(elapsed / task.expectation.high, _FULL)
        for task in tasks
    ]  # fmt: skip
    waiting = next((task for task in tasks if not task.is_done), tasks[0])
    done = sum(task.is_done for task in tasks)
    counted = f"{done} of {len(tasks)}, " if len(tasks) > 1 else ""
    about = waiting.expectation.median
    words = f"{waiting.phase_text} · {counted}{elapsed:.0f} s, usually about {about:.0f} s"
    return sum(shares) / len(shares), words
