"""Below a contact sheet: open one of its pictures, stop, ask again for what failed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.core.text import dollars
from runapi_magic.display.batch_view import item_name
from runapi_magic.display.theme import FONT
from runapi_magic.widgets.bridge import Bridge, read_place
from runapi_magic.widgets.desk import Desk
from runapi_magic.widgets.drawers import button, display_when, row, style
from runapi_magic.widgets.placed import Placed
from runapi_magic.widgets.stage import Stage

if TYPE_CHECKING:
    from runapi_magic.batch.item import Item
    from runapi_magic.display.batch_view import SheetView

_CLASS = "runapi-sheet"
_NONE = ("a picture …", "")


class SheetControls:
    """The controls of one sheet. A click on the sheet itself opens a picture, too.

    Attributes:
        widget: All of it, without the opened picture, which is plain output below.
    """

    def __init__(self, view: SheetView) -> None:
        self._desk = Desk(lambda lines: self._say(" ".join(lines)))
        self._view = view
        self._batch = view.batch
        self._filling = False
        self._opening = 0
        self._priced = False
        self._was_done = self._batch.is_done
        self._stage = Stage(view.session)
        self._bridge = Bridge(self._on_action, _CLASS, pictures=True)
        self.open = widgets.Dropdown(
            options=[_NONE],
            description="Open",
            layout=widgets.Layout(width="auto", max_width="100%"),
            style={"description_width": "initial"},
        )
        self.open.observe(self._on_choice, "value")
        self.cancel = button(
            "Cancel", "Send nothing more, and stop waiting", self._desk.run, self._batch.cancel
        )
        self.retry = button(
            "Retry failed",
            "Ask again for what has no picture",
            self._desk.run,
            self._batch.retry_failed,
        )
        self.status = widgets.HTML()
        self.widget = widgets.VBox(
            [
                row(self.open, self.cancel, self.retry),
                self.status, style(), self._bridge, self._bridge.missing,
            ]
        )  # fmt: skip
        self.widget.add_class(_CLASS)
        self._refresh()
        view.subscribe(self._refresh)

    def show(self) -> Placed:
        """Display the controls, and below them the place of the opened picture."""
        placed = Placed(self.widget)
        self._stage.show()
        return placed

    def _say(self, text: str) -> None:
        self.status.value = f'<div style="{FONT}">{escape(text)}</div>'
        self._bridge.say(text)

    # What is seen

    def _refresh(self) -> None:
        pictures = [
            (_title(item, number), f"{item.index},{number}")
            for item in self._batch.items
            for number in range(len(item.images))
        ]
        if tuple(self.open.options[1:]) != tuple(pictures):
            chosen = self.open.value
            self._filling = True
            self.open.options = [_NONE, *pictures]
            self.open.value = chosen
            self._filling = False
        self._bridge.alt = self._view.alt
        if self._batch.is_done and not self._was_done and not self._view.is_bare:
            self._bridge.say(self._view.alt)
        self._was_done = self._batch.is_done
        failures = [] if self._view.is_bare else self._batch.failures
        display_when(self.open, when=bool(pictures))
        display_when(self.cancel, when=not (self._batch.is_done or self._view.is_bare))
        display_when(self.retry, when=self._batch.is_done and bool(failures))
        if not self._batch.is_done:
            self._priced = False
        elif failures and not self._priced:
            self._priced = True
            self.retry.description = f"Retry failed ({len(failures)}): asking for the price"
            self.retry.disabled = True
            self._desk.work(self._price())

    async def _price(self) -> None:
        """Put the price on the button, once it is known."""
        failures = self._batch.failures
        # Identical requests share their images, so what is there already counts for one of them.
        failing = {item.request.fingerprint for item in failures}
        requests = [each.request for each in self._batch.items]
        requests = [each for each in requests if each.fingerprint in failing]
        price = "price not known"
        try:
            cost = await self._view.session.cost(requests, since=self._batch.since)
            if cost.usd is not None:
                price = ("" if cost.is_quote else "about ") + dollars(cost.usd)
        finally:
            if failures == self._batch.failures:
                self.retry.description = f"Retry failed ({len(failures)}): {price}"
                self.retry.disabled = False

    # What is done

    def _on_action(self, action: str, value: str) -> None:
        """Act on what happened in the page; it is not trusted."""
        place = read_place(value) if action == "picture" else None
        if place is not None:
            self._desk.run(lambda: self._open_at(*place))

    def _on_choice(self, change: Any) -> None:
        if change["new"] and not self._filling:
            index, number = map(int, change["new"].split(","))
            self._desk.run(lambda: self._desk.work(self._open(self._batch.items[index], number)))

    def _open_at(self, x: float, y: float) -> None:
        item = self._view.item_at(x, y)
        if item is None:
            return
        if item.images:
            self._filling = True
            if f"{item.index},0" in dict(self.open.options).values():
                self.open.value = f"{item.index},0"
            self._filling = False
            self._desk.work(self._open(item, 0))
        elif item.error is not None:
            self._say(f"{item_name(item)}: {' '.join(item.error.parts)}")
        else:
            self._say(f"{item_name(item)}: not there yet ({item.status}).")

    async def _open(self, item: Item, number: int) -> None:
        self._opening += 1
        mine = self._opening
        # A copy: the batch's own pictures keep no previews, thousands of them fill the memory.
        image = replace(item.images[number])
        await asyncio.to_thread(self._view.session.library.prepare, image)
        if mine == self._opening:  # else another one was opened since
            self.status.value = ""
            self._stage.put(image)


def _title(item: Item, number: int) -> str:
    return f"{item_name(item)} ({number + 1})" if len(item.images) > 1 else item_name(item)


def show_sheet_controls(view: SheetView) -> Placed:
    """Make the controls of a sheet and display them in the cell that runs now."""
    return SheetControls(view).show()
