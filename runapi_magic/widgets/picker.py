"""The pictures that the panel's next request starts from: uploads, addresses, recent, variables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.sources import as_source, find_source, picture_variables
from runapi_magic.widgets.drawers import BUTTON, button, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runapi_magic.images import GeneratedImage
    from runapi_magic.requests import Source
    from runapi_magic.widgets.drawers import Run

LABELS = {"description_width": "60px"}  # of the panel's fields, below each other
_LONGEST_LABEL = 40  # characters
_NOTHING = ""  # None would be a menu without any choice
_CHOOSE = ("recent pictures and variables", _NOTHING)


class Picker:
    """The sources of the next request, in their order.

    Args:
        namespace: The user's variables.
        run: Calls a function on the kernel's loop.
        changed: Called when a source comes or goes.
        failed: Called with what is wrong with a source.

    Attributes:
        widget: All of it.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        run: Run,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._namespace = namespace
        self._run = run
        self._changed = changed
        self._failed = failed
        self._chosen: list[tuple[str, Any]] = []
        self._recent: list[GeneratedImage] = []
        self._upload = widgets.FileUpload(
            accept="image/*", multiple=True, description="Upload", layout=widgets.Layout(**BUTTON)
        )
        self._upload.observe(lambda _: run(self._take_uploads), "value")
        self._address = widgets.Text(
            placeholder="https://…, a path, or a variable",
            description="Source",
            continuous_update=False,
            layout=widgets.Layout(width="auto", flex="1 1 200px"),
            style=LABELS,
        )
        self._address.observe(lambda _: run(self._take_address), "value")
        self._list = widgets.Dropdown(
            options=[_CHOOSE],
            description="or pick",
            layout=widgets.Layout(width="auto"),
            style=LABELS,
        )
        self._is_filling = False
        self._list.observe(self._on_list, "value")
        self._chips = row()
        self.widget = widgets.VBox(
            [
                row(
                    self._address,
                    button("Add", "Start from this picture", run, self._take_address),
                    self._upload,
                ),
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
        return [
            find_source(value, self._namespace) if isinstance(value, str)
            else as_source(value, label=label)
            for label, value in self._chosen
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self._chosen)

    def offer(self, recent: list[GeneratedImage]) -> None:
        """Offer recent pictures, and the variables that hold pictures now."""
        self._recent = recent
        options: list[tuple[str, Any]] = [_CHOOSE]
        names = picture_variables(self._namespace)[::-1]
        options += [(f"variable {name}", name) for name in names]
        options += [(_shorten(image.request.title), image.id) for image in recent]
        if options != list(self._list.options):
            self._is_filling = True
            self._list.options = options
            self._is_filling = False

    def add(self, label: str, value: Any) -> None:
        """Add a source: anything picture-like, or text that a cell would name it by."""
        self._chosen.append((label, value))
        self._draw()

    def clear(self) -> None:
        """Take all sources away."""
        self._chosen = []
        self._draw()

    def _draw(self) -> None:
        chips = []
        for place, (label, _) in enumerate(self._chosen):
            words = f"✕ {_shorten(label)}"
            drop = partial(self._drop, place)
            chips.append(button(words, "Leave this source out", self._run, drop))
        self._chips.children = tuple(chips)
        self._changed()

    def _drop(self, place: int) -> None:
        del self._chosen[place]
        self._draw()

    def _take_address(self) -> None:
        text = self._address.value.strip()
        if not text:
            return
        try:
            find_source(text, self._namespace)
        except Exception as error:  # noqa: BLE001 (told where it was typed)
            self._failed(error)
            return
        self._address.value = ""
        self.add(text, text)

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


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"
