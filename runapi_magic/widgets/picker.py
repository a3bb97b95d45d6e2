"""The pictures that the panel's next request starts from: uploads, addresses, recent, variables.

One of them may be the mask instead, for a model that takes one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.core.text import shorten
from runapi_magic.engine.sources import as_source, find_source, image_variables
from runapi_magic.widgets.drawers import BUTTON, button, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runapi_magic.core.request import Source
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.widgets.drawers import Carry, Run

LABELS = {"description_width": "60px"}  # of the panel's fields, below each other
_LONGEST_LABEL = 40  # characters
_NOTHING = ""  # None would be a menu without any choice
_CHOOSE = ("recent pictures and variables", _NOTHING)


class Picker:
    """The sources of the next request, in their order.

    Args:
        namespace: The user's variables.
        run: Calls a function on the kernel's loop.
        carry: Makes the bridge tell clicks together with what stands in the field.
        changed: Called when a source comes or goes.
        failed: Called with what is wrong with a source.

    Attributes:
        widget: All of it.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        run: Run,
        carry: Carry,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._namespace = namespace
        self._run = run
        self._changed = changed
        self._failed = failed
        self._chosen: list[tuple[str, Any]] = []
        self._mask: tuple[str, Any] | None = None  # one of the chosen
        self._takes_mask = False
        self._recent: list[GeneratedImage] = []
        self._upload = widgets.FileUpload(
            accept="image/*", multiple=True, description="Upload", layout=widgets.Layout(**BUTTON)
        )
        self._upload.observe(lambda _: run(self._take_uploads), "value")
        self._address = widgets.Text(
            placeholder="URL, path or variable",
            description="Source",
            continuous_update=False,
            layout=widgets.Layout(width="auto", flex="1 1 200px"),
            style=LABELS,
        )
        self._address.observe(lambda _: run(self.take_address), "value")
        add = button("Add", "Start from this picture", run, self.take_address)
        carry(self._address)
        carry(add)
        self._list = widgets.Dropdown(
            options=[_CHOOSE],
            description="or pick",
            tooltip="Start from a recent picture or a variable",
            layout=widgets.Layout(width="auto"),
            style=LABELS,
        )
        self._is_filling = False
        self._list.observe(self._on_list, "value")
        self._chips = row()
        self.widget = widgets.VBox(
            [
                row(self._address, add, self._upload),
                self._list,
                self._chips,
            ]
        )

    @property
    def sources(self) -> list[Source]:
        """The sources, as they are now.

        Raises:
            InvalidRequestError: One is no picture any more.
        """
        return [self._source(one) for one in self._chosen if one is not self._mask]

    @property
    def has_mask(self) -> bool:
        """Whether one is marked and the model takes one."""
        return self._mask is not None and self._takes_mask

    @property
    def mask(self) -> Source | None:
        """The mask, where one is marked and the model takes one.

        Raises:
            InvalidRequestError: It is no picture any more.
        """
        return self._source(self._mask) if self._mask and self.has_mask else None

    def _source(self, chosen: tuple[str, Any]) -> Source:
        label, value = chosen
        if isinstance(value, str):
            return find_source(value, self._namespace)
        return as_source(value, label=label)

    def __len__(self) -> int:
        return len(self._chosen) - (self._mask is not None)

    def take_mask(self, *, when: bool) -> None:
        """Offer to mark one as the mask, or not; one that is marked stays, and is not a source."""
        if when != self._takes_mask:
            self._takes_mask = when
            self._draw_chips()

    def offer(self, recent: list[GeneratedImage]) -> None:
        """Offer recent pictures, and the variables that hold pictures now."""
        self._recent = recent
        options: list[tuple[str, Any]] = [_CHOOSE]
        names = image_variables(self._namespace)[::-1]
        options += [(f"variable {name}", name) for name in names]
        options += [(shorten(image.request.title, _LONGEST_LABEL), image.id) for image in recent]
        if options != list(self._list.options):
            self._is_filling = True
            self._list.options = options
            self._is_filling = False

    def add(self, label: str, value: Any, *, is_mask: bool = False) -> None:
        """Add a source: anything picture-like, or text that a cell would name it by."""
        self._chosen.append((label, value))
        if is_mask:
            self._mask = self._chosen[-1]
        self._draw()

    def clear(self) -> None:
        """Take all sources away."""
        self._chosen, self._mask = [], None
        self._draw()

    def take_address(self) -> None:
        """Add what stands in the field, and empty it.

        Raises:
            InvalidRequestError: It is no picture.
        """
        text = self._address.value.strip()
        if not text:
            return
        find_source(text, self._namespace)
        self._address.value = ""
        # The page tells of a field once when it is left and again with a click.
        if all(text != value for _, value in self._chosen if isinstance(value, str)):
            self.add(text, text)

    def _draw(self) -> None:
        self._draw_chips()
        self._changed()

    def _draw_chips(self) -> None:
        chips = []
        for chosen in self._chosen:
            words = f"✕ {shorten(chosen[0], _LONGEST_LABEL)}"
            drop = partial(self._drop, chosen)
            chips.append(
                button(words, f"Leave out {shorten(chosen[0], _LONGEST_LABEL)}", self._run, drop)
            )
            if self._takes_mask or chosen is self._mask:
                chips.append(self._mask_button(chosen))
        self._chips.children = tuple(chips)

    def _mask_button(self, chosen: tuple[str, Any]) -> widgets.Button:
        hint = "The part of the source to change: where this is transparent"
        made = button("Use as mask", hint, self._run, partial(self._mark, chosen))
        if chosen is self._mask:
            made.description = "is the mask" if self._takes_mask else "is a mask: not used here"
            made.tooltip = "Make it a source again"
            made.button_style = "info"
        return made

    def _mark(self, chosen: tuple[str, Any]) -> None:
        self._mask = None if chosen is self._mask else chosen
        self._draw()

    def _drop(self, chosen: tuple[str, Any]) -> None:
        self._chosen = [one for one in self._chosen if one is not chosen]
        if chosen is self._mask:
            self._mask = None
        self._draw()

    def _take_uploads(self) -> None:
        uploads = self._upload.value
        if not uploads:
            return
        self._upload.value = ()
        for upload in uploads:
            try:
                self.add(upload["name"], as_source(bytes(upload["content"]), label=upload["name"]))
            except Exception as error:  # noqa: BLE001 (told where it was chosen)
                self._failed(error)

    def _on_list(self, change: Any) -> None:
        value = change["new"]
        if value in {None, _NOTHING} or self._is_filling:
            return
        self._list.value = _NOTHING
        image = next((image for image in self._recent if image.id == value), None)
        if image is None:
            self._run(lambda: self.add(value, value))
        else:
            self._run(lambda: self.add(image.request.title, image))
