"""The guard: a word before the third pass on a line of edits, and what else could be done."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets

from runapi_magic.display.theme import FONT
from runapi_magic.widgets.drawers import display_when, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.engine.image import GeneratedImage

_MANY_PASSES = 2  # instructions on one line, after which the next one is the third
_LONGEST_WORTH = "sharpness 0.00x, noise 0.00x of v1"  # as it is worded mostly


class Guard:
    """Words and buttons. Room that they took once is kept: nothing moves when a picture comes.

    Args:
        make_buttons: Makes what could be done instead of one more edit, when it first speaks up.

    Attributes:
        widget: All of it.
        words: What it says now, for screen readers; empty where it is silent.
    """

    def __init__(self, make_buttons: Callable[[], Sequence[widgets.Button]]) -> None:
        self._make_buttons = make_buttons
        self._words: widgets.HTML | None = None
        self.words = ""
        self.widget = row(display="none", visibility="hidden")

    def show(self, shown: GeneratedImage | None, worth: str) -> None:
        """Speak up where one more edit of a picture would be one too many.

        Args:
            shown: The picture that is shown.
            worth: What was measured of it; empty where that is not known.
        """
        passes = len(shown.instructions) if shown else 0
        is_many = passes >= _MANY_PASSES
        self.widget.layout.visibility = None if is_many else "hidden"
        self.words = _words(passes + 1) if is_many else ""
        if is_many:
            self._say(passes + 1, worth)

    def keep_room(self, shown: GeneratedImage) -> None:
        """Take the room before an edit of a picture brings one that needs it."""
        passes = len(shown.instructions) + 1
        if passes >= _MANY_PASSES and self.widget.layout.display is not None:
            self.widget.layout.visibility = "hidden"
            self._say(passes + 1, "")

    def _say(self, next_pass: int, worth: str) -> None:
        if self._words is None:
            self._words = widgets.HTML()
            self.widget.children = (self._words, row(*self._make_buttons()))
        unseen = "" if worth else ' style="visibility:hidden"'  # it is measured a little later
        self._words.value = (
            f'<div role="note" style="{FONT}">{_words(next_pass)}'
            f"<span{unseen}> Measured: {escape(worth or _LONGEST_WORTH)}.</span></div>"
        )
        display_when(self.widget, when=True)


def _words(next_pass: int) -> str:
    return (
        f"The next edit would be pass {next_pass} on this line;"
        " repeated passes can add noise or degrade shading."
    )
