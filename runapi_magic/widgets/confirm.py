"""A question with two buttons, in the output of a cell or in the panel."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.display.theme import FONT
from runapi_magic.widgets.desk import Desk
from runapi_magic.widgets.drawers import button, display_when, row, style
from runapi_magic.widgets.placed import Placed

if TYPE_CHECKING:
    import asyncio


class Confirm:
    """Asks whether something may be paid for. It takes its place at once.

    Taken out of the notebook before there is an answer, it answers no.

    Args:
        box: Where it is shown; by default in the output of the cell that runs now.

    Attributes:
        again: What the user can do to be asked again.
    """

    def __init__(self, box: widgets.Box | None = None) -> None:
        self._box = box
        self.again = "Run the cell again to be asked again."
        self._desk = Desk(lambda lines: self._show(" ".join(lines)))
        self._answer: asyncio.Future[bool] | None = None
        self._is_gone = False
        self._words = widgets.HTML()
        run = self._desk.run
        self.yes = button("Generate", "Pay for it", run, lambda: self._say(answer=True))
        self.yes.button_style = "primary"
        self.no = button("Cancel", "Send nothing", run, lambda: self._say(answer=False))
        self.widget = row(self._words, self.yes, self.no, style())
        self.widget.add_class("runapi-confirm")
        display_when(self.widget, when=False)
        self._placed = None
        if box is None:
            self._placed = Placed(self.widget, self._leave)
        else:
            self.again = "Click the button again to be asked again."
            box.children = (*box.children, self.widget)
            box.observe(self._on_children, "children")

    async def ask(self, question: str) -> bool:
        """Ask, and wait for a click."""
        if self._is_gone:  # before the price was known
            return False
        self._answer = self._desk.loop.create_future()
        self._show(question)
        display_when(self.widget, when=True)
        return await self._answer

    def close(self) -> None:
        """Leave its place: there is nothing to ask any more."""
        if self._placed is not None:
            self._placed.remove()
        elif self._box is not None:
            self._box.children = tuple(one for one in self._box.children if one is not self.widget)

    def _on_children(self, change: Any) -> None:
        if self._box is not None and self.widget not in change["new"]:
            self._box.unobserve(self._on_children, "children")
            self._leave()

    def _leave(self) -> None:
        self._is_gone = True
        self._say(answer=False)

    def _show(self, text: str) -> None:
        self._words.value = f'<div role="alert" style="{FONT}">{escape(text)}</div>'

    def _say(self, *, answer: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
