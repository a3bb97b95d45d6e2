"""Show a batch or a sweep in its cell: the contact sheet, and a caption with the progress below it.

Both are plain outputs that are updated, like those of a single image.
"""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING

from IPython.display import DisplayHandle

from runapi_magic.batch.sweep import Sweep, text_table
from runapi_magic.core.text import dollars, shorten
from runapi_magic.core.validation import validate
from runapi_magic.display.environment import Audience, current_cell, running_loop
from runapi_magic.display.generation_view import EMPTY, Bundle, error_bundle, money
from runapi_magic.display.theme import AS_TYPED, FAULT, FONT, MUTED
from runapi_magic.media.contact_sheet import (
    DENSITY,
    MOST_CELLS,
    SheetCell,
    axes,
    draw_sheet,
    encode_sheet,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from runapi_magic.batch.batch import Batch
    from runapi_magic.batch.item import Item
    from runapi_magic.core.status import ItemStatus
    from runapi_magic.display.unseen import Page
    from runapi_magic.engine.session import Session
    from runapi_magic.media.contact_sheet import Sheet

_TICK = 1.0  # seconds between two updates
_MOST_REASONS = 5
_LONGEST_TITLE, _LONGEST_NAME = 300, 60  # characters


class SheetView:
    """The display of a batch or sweep in the output of the current cell.

    Args:
        batch: The batch.
        session: The session, for its settings and notices and for the controls.
        audience: Who sees the output. Only a person gets progress and controls.
        controls: Makes and displays the controls below the sheet; None for no controls.

    Attributes:
        batch: The batch.
        session: The session.
        pages: The elements below the sheet that can say whether the page shows it.
    """

    def __init__(
        self,
        batch: Batch,
        session: Session,
        audience: Audience,
        controls: Callable[[SheetView], Page | None] | None = None,
    ) -> None:
        self.batch = batch
        self.session = session
        batch.shown_in = current_cell()
        self._audience = audience
        self._loop = running_loop()
        self._variables = batch.variables if isinstance(batch, Sweep) else {}
        self._notes = list(dict.fromkeys(
            note for item in batch.items for note in validate(item.request)
        ))  # fmt: skip
        self._is_end_shown = False
        self._small: dict[int, tuple[str, int, Image]] = {}  # by index: ID, longest side, image
        self._sheet: Sheet | None = None
        self._drawn: list[tuple[ItemStatus, int]] = []
        self._drawing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._handles = DisplayHandle(), DisplayHandle()
        # Without a person, nothing may be displayed after the end of the cell.
        is_last = audience is Audience.UNATTENDED and batch.is_done
        sheet = EMPTY if self.is_bare else self._draw_new(with_images=is_last)
        self._shown = sheet, self._caption()
        self._show_again()
        page = controls(self) if controls is not None and audience is Audience.LIVE else None
        self.pages = [page] if page else []
        batch.subscribe(self._changed)
        if audience is Audience.UNATTENDED:
            batch.on_wait = self._finish
        if not is_last and self._loop is not None:
            self._loop.call_soon_threadsafe(self._changed)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call a function on the event loop whenever the sheet has been redrawn."""
        self._listeners.append(listener)

    def item_at(self, x: float, y: float) -> Item | None:
        """Return the item at a position on the sheet, in shares of its width and height, 0 to 1."""
        number = self._sheet.cell_at(x, y) if self._sheet else None
        return None if number is None else self.batch.items[number]

    @property
    def is_bare(self) -> bool:
        """Whether there is no sheet, because nothing was sent yet or the whole batch failed."""
        awaits_approval = self.batch.approval_phase is not None and not self.batch.pictures
        return awaits_approval or self.batch.is_refused

    @property
    def alt(self) -> str:
        """The alternative text of the sheet. The controls name each image."""
        values = [f"{name}: {', '.join(map(str, of))}" for name, of in self._variables.items()]
        about = "; ".join([shorten(self.batch.title, _LONGEST_TITLE), *values])
        return shorten(f"Contact sheet, {self._facts()[0]}: {about}", _LONGEST_TITLE)

    # When to update

    def _changed(self) -> None:
        if not self.batch.is_done:  # a retry
            self._is_end_shown = False
        is_wanted = self._audience is Audience.LIVE or self.batch.is_done
        if is_wanted and self._shown[0] == EMPTY and not self.batch.pictures:
            self._show(EMPTY, self._caption())  # at once, because the confirmation disappears
        if is_wanted and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._keep_up())

    async def _keep_up(self) -> None:
        """Redraw the sheet once a second, and once more after the end."""
        while not self.batch.is_done:
            await self._refresh()
            await asyncio.sleep(_TICK)
        await self._refresh()

    async def _refresh(self) -> None:
        async with self._drawing:
            if self.batch.is_done:
                self._notes += self.session.take_notices()
            caption = self._caption()  # before the sheet, so it counts only images on the sheet
            self._show(await asyncio.to_thread(self._draw), caption)
        for listener in self._listeners:
            listener()

    def _show(self, *bundles: Bundle) -> None:
        for handle, before, bundle in zip(self._handles, self._shown, bundles, strict=True):
            if bundle != before:
                handle.update(bundle.data, metadata=bundle.metadata, raw=True)
        self._shown = bundles[0], bundles[1]

    def _show_again(self) -> None:
        for handle, bundle in zip(self._handles, self._shown, strict=True):
            handle.display(bundle.data, metadata=bundle.metadata, raw=True)

    async def _finish(self) -> None:
        """Show the end in the cell that waits for it.

        nbclient ignores updates of a display in an earlier cell, and updates after the end.
        """
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._is_end_shown:
            return
        self._is_end_shown = True
        if current_cell() != self.batch.shown_in:
            self.batch.shown_in = current_cell()
            self._show_again()

    # What to show

    def _draw(self) -> Bundle:
        """Redraw the sheet if it has changed. Blocking: do not call it on the event loop."""
        if self.is_bare:
            self._drawn = []
            return EMPTY
        shown = {
            *range(min(len(self.batch), MOST_CELLS)),
            *(self._sheet.boxes if self._sheet else ()),
        }
        items = [self.batch.items[number] for number in sorted(shown)]
        state = [(item.status, len(item.images)) for item in items]
        if state != self._drawn:
            bundle = self._draw_new()
            self._drawn = state
            return bundle
        return self._shown[0]

    def _draw_new(self, *, with_images: bool = True) -> Bundle:
        rows, columns, heading = axes(self._variables)
        self._sheet = draw_sheet(
            [self._cell(item, with_image=with_images) for item in self.batch.items],
            rows,
            columns,
            longest_side=self.session.settings.preview_size,
            heading=heading,
            ratio=self._ratio(),
        )
        about = {
            "width": self._sheet.image.width // DENSITY,
            "height": self._sheet.image.height // DENSITY,
            "alt": self.alt,
        }
        title = shorten(self.batch.title, _LONGEST_TITLE)
        data = {
            "image/jpeg": encode_sheet(self._sheet.image),
            "text/plain": f"[contact sheet] {title}\n{_table(self.batch)}",
        }
        return Bundle(data, {"image/jpeg": about})

    def _cell(self, item: Item, *, with_image: bool) -> SheetCell:
        def read(side: int) -> Image:
            return self._read(item, side)

        name = ", ".join(map(str, item.variables.values())) if self._variables else ""
        return SheetCell(
            item.status,
            name or f"{item.index + 1} {item.request.title}",
            read if item.images and with_image else None,
            more=len(item.images) - 1,
            missing=item.request.count - len(item.images) if item.status == "partial" else 0,
            reason=item.error.what if item.error else "",
        )

    def _read(self, item: Item, side: int) -> Image:
        """Return a small version of the first image of an item, decoded once."""
        image = item.images[0]
        known = self._small.get(item.index)
        if known is not None and known[:2] == (image.id, side):
            return known[2]
        small = self.session.library.small(image, side)
        self._small[item.index] = image.id, side, small
        return small

    def _ratio(self) -> float:
        """Return width divided by height if all images have the same ratio; else 1, a square."""
        ratios = {ratio for item in self.batch.items[:MOST_CELLS] if (ratio := _ratio_of(item))}
        return ratios.pop() if len(ratios) == 1 else 1.0

    def _caption(self) -> Bundle:
        if self.batch.is_refused and self.batch.error is not None:
            return error_bundle(self.batch.error)
        title = shorten(self.batch.title, _LONGEST_TITLE)
        phase = self.batch.approval_phase
        line = phase.value if phase else " · ".join(self._facts())
        causes = reasons(self.batch)
        rows = [
            f'<div class="{AS_TYPED}" style="{FONT}"><div>{escape(title)}</div>',
            f'<div style="{MUTED}">{escape(line)}</div>',
            *(
                f'<div style="border-left:3px solid {FAULT};padding:0 10px;margin-top:4px">'
                f"<strong>{escape(names)}</strong> {'<br>'.join(map(escape, parts))}</div>"
                for names, parts in causes
            ),
            *(f'<div style="{MUTED}">Note: {escape(note)}</div>' for note in self._notes),
            "</div>",
        ]
        texts = [f"{names} {' '.join(parts)}" for names, parts in causes]
        text = "\n".join([title, line, *texts, *(f"Note: {n}" for n in self._notes)])
        return Bundle({"text/html": "".join(rows), "text/plain": text}, {})

    def _facts(self) -> list[str]:
        batch, numbers = self.batch, self.batch.counts
        asked = sum(item.request.count for item in batch.items)
        made = f"{len(batch.pictures)} of {asked} images"
        names: tuple[ItemStatus, ...] = ("partial", "failed", "cancelled", "running")
        counts = [f"{numbers[name]} {name}" for name in names if numbers[name]]
        paid = [money(batch.cost, simulated=self.batch.simulated)] if batch.cost else []
        saved = [f"saved {dollars(batch.saved)} (cached)"] if batch.saved else []
        is_timed = not (batch.is_done and self.batch.simulated)  # simulated times mean nothing
        return [
            ", ".join([made, *counts]), *paid, *saved,
            *([f"{batch.seconds:.0f} s"] if is_timed else []),
            *([f"batch {batch.id}"] if len(batch.pictures) < asked else []),
        ]  # fmt: skip


def _ratio_of(item: Item) -> float | None:
    """Return the aspect ratio of the image, or the requested one."""
    if item.images:
        return round(item.images[0].width / item.images[0].height, 2)
    width, _, height = (item.request.aspect_ratio or "").partition(":")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return None
    return round(int(width) / int(height), 2)


def _table(batch: Batch) -> str:
    left = len(batch) - MOST_CELLS
    table = text_table(batch.items[:MOST_CELLS])
    return f"{table}\n… and {left} more" if left > 0 else table


def reasons(batch: Batch) -> list[tuple[str, tuple[str, ...]]]:
    """Return each error once: the items that it belongs to, and the parts of its message."""
    found: dict[tuple[str, ...], list[str]] = {}
    for item in batch.items:
        if item.error is not None:
            parts = item.error.what, item.error.charged, item.error.todo
            found.setdefault(tuple(filter(None, parts)), []).append(item_name(item))
    shown = [
        (f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}:", parts)
        for parts, names in found.items()
    ]
    left = len(shown) - _MOST_REASONS
    return shown[:_MOST_REASONS] + ([(f"and {left} other errors", ())] if left > 0 else [])


def item_name(item: Item) -> str:
    """Return a name for an item: its values, or its number and prompt."""
    values = ", ".join(map(str, item.variables.values()))
    return shorten(values or f"{item.index + 1} {item.request.title}", _LONGEST_NAME)
