"""What opens below a picture's buttons: a field to write in, a choice, a comparison, a cell.

One is open at a time. None of them asks the service for anything: they call back. What of one gets
the focus is its class's ``focused``, a CSS selector.
"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Protocol

import ipywidgets as widgets

from runapi_magic.display.theme import ACCENT, FONT, MUTED
from runapi_magic.media.comparison import compare_images
from runapi_magic.widgets.slider import slider_html

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Node
    from runapi_magic.widgets.bridge import Carried

    Run = Callable[[Callable[[], object]], None]  # calls a function on the kernel's loop
    Carry = Callable[[Carried], None]  # Bridge.carry

BUTTON = {"width": "auto", "height": "28px"}
_ROW = {"flex_flow": "row wrap", "align_items": "center", "display": "flex"}
_QUALITY = 85  # of a JPEG
SLIDER, SIDES, DIFFERENCE = "Slider", "Side by side", "Difference"

_STYLE = f"""<style>
:is(.runapi-toolbar, .runapi-panel, .runapi-sheet, .runapi-confirm)
  :is(button, input, select, textarea):focus-visible {{outline:2px solid {ACCENT} !important;
  outline-offset:1px}}
.runapi-unseen-label > .widget-label {{position:absolute; width:1px; height:1px; margin:0;
  overflow:hidden; clip-path:inset(50%)}}
.runapi-panel .widget-label {{text-align:left}}
.runapi-above {{height:auto; flex-direction:column; align-items:stretch}}
.runapi-above > .widget-label {{width:auto !important; text-align:left}}
.runapi-above > textarea {{flex:none; box-sizing:border-box; width:100%}}
.runapi-toolbar select, .runapi-sheet select, .runapi-panel select {{
  background-image:linear-gradient(45deg, transparent 50%, currentColor 50%),
    linear-gradient(135deg, currentColor 50%, transparent 50%);
  background-position:right 13px center, right 8px center; background-size:5px 5px;
  padding-right:24px}}
</style>"""


def button(
    text: str,
    hint: str,
    run: Run,
    act: Callable[[], object],
    *,
    beside: widgets.Button | None = None,
) -> widgets.Button:
    """Return a button that acts on the kernel's loop, whatever thread its click comes on.

    Args:
        text: Its words.
        hint: Its tooltip.
        run: Calls a function on the kernel's loop.
        act: What it does.
        beside: A button that is always shown and hidden together with it: they share their layout
            and style, which are one message each to the page.
    """
    shared = (
        {"layout": beside.layout, "style": beside.style}
        if beside
        else {"layout": widgets.Layout(**BUTTON)}
    )
    made = widgets.Button(description=text, tooltip=hint, **shared)
    made.on_click(lambda _: run(act))
    return made


def row(*children: widgets.Widget, **layout: str) -> widgets.Box:
    """Return widgets beside each other, on several lines where they need them.

    Args:
        children: The widgets.
        layout: More of its layout, by ipywidgets' names.
    """
    return widgets.Box(children, layout=widgets.Layout(**_ROW | layout))


def style() -> widgets.HTML:
    """Return what the rest needs beside it: a ring around what has the focus, and two classes.

    ``runapi-above`` puts a field's label above it, ``runapi-unseen-label`` leaves it to screen
    readers. And an arrow on menus that can be seen in a dark theme: that of ipywidgets 8.1 is black
    in every theme.
    """
    return widgets.HTML(_STYLE, layout=widgets.Layout(display="none"))


def display_when(widget: widgets.Widget, *, when: bool) -> None:
    """Show a widget or not."""
    widget.layout.display = None if when else "none"


class Drawer(Protocol):
    """What opens below the buttons."""

    widget: widgets.Box
    focused: str


class EntryDrawer:
    """A field for one line of text. Its button submits; Enter is the bridge's to tell.

    Args:
        run: Calls a function on the kernel's loop.
        carry: Makes the bridge tell a click together with the text.
        submit: Called with the text.
        close: Closes the drawer.
    """

    focused = ".runapi-drawer-entry input"

    def __init__(
        self, run: Run, carry: Carry, submit: Callable[[str], None], close: Callable[[], None]
    ) -> None:
        self._submit = submit
        self.text = widgets.Text(
            continuous_update=False,
            layout=widgets.Layout(width="min(480px, 100%)"),
            style={"description_width": "initial"},
        )
        self.go = button("Go", "Send", run, self._go)
        carry(self.text)
        carry(self.go)
        end = button("Close", "Close this field (Escape)", run, close, beside=self.go)
        self.widget = row(self.text, self.go, end)
        self.widget.add_class("runapi-drawer-entry")

    def fill(self, label: str, hint: str, text: str, go: str) -> None:
        """Prepare the field before it is seen: a change afterwards would undo what is typed.

        Args:
            label: What the field is for.
            hint: An example, in the empty field.
            text: What stands in it.
            go: The button's words.
        """
        with self.text.hold_sync():
            self.text.description, self.text.placeholder, self.text.value = label, hint, text
        self.go.description = go

    def _go(self) -> None:
        self._submit(self.text.value.strip())


class ChoiceDrawer:
    """A few things to choose from.

    Args:
        run: Calls a function on the kernel's loop.
        close: Closes the drawer.

    Attributes:
        buttons: What can be chosen now.
    """

    focused = ".runapi-drawer-choice button"

    def __init__(self, run: Run, close: Callable[[], None]) -> None:
        self._run = run
        self._close = button("Close", "Close this choice (Escape)", run, close)
        self.buttons: list[widgets.Button] = []
        self.widget = row()
        self.widget.add_class("runapi-drawer-choice")

    def open(
        self,
        label: str,
        choices: Sequence[tuple[str, str, Callable[[], None]]],
        *,
        is_careful: bool = False,
    ) -> None:
        """Prepare the choices.

        Args:
            label: What is chosen.
            choices: Words, hint and what is done, for each.
            is_careful: Whether the focus goes to Close, and not to the first choice.
        """
        end = self._close
        self.buttons = [
            button(text, hint, self._run, act, beside=end) for text, hint, act in choices
        ]
        self.widget.children = (widgets.Label(label), *self.buttons, end)
        last = ":last-of-type" if is_careful else ""
        self.focused = f".runapi-drawer-choice button{last}"


class CompareDrawer:
    """The picture that is shown beside another version.

    Args:
        run: Calls a function on the kernel's loop.
        redraw: Called when another version or way is chosen; it calls ``draw`` off the loop.
        close: Closes the drawer.
    """

    focused = ".runapi-drawer-comparison select"

    def __init__(self, run: Run, redraw: Callable[[], None], close: Callable[[], None]) -> None:
        self.other = widgets.Dropdown(
            description="Compare with",
            layout=widgets.Layout(width="min(400px, 100%)"),
            style={"description_width": "initial"},
        )
        self.way = widgets.Dropdown(
            description="Shown as",
            options=[SLIDER, SIDES, DIFFERENCE],
            layout=widgets.Layout(width="220px"),
            style={"description_width": "initial"},
        )
        self.picture = widgets.HTML()
        self.widget = widgets.VBox(
            [row(self.other, self.way, button("Close", "Close (Escape)", run, close)), self.picture]
        )
        self.widget.add_class("runapi-drawer-comparison")
        self._is_filling = False
        for choice in (self.other, self.way):
            choice.observe(lambda _: None if self._is_filling else run(redraw), "value")

    def open(self, others: Sequence[Node[GeneratedImage]], chosen: Node[GeneratedImage]) -> None:
        """Offer versions to compare with."""
        self._is_filling = True
        self.other.options = [(_worded(node), node.image.id) for node in others]
        self.other.value = chosen.image.id
        self._is_filling = False

    def draw(self, before: GeneratedImage, after: GeneratedImage, names: tuple[str, str]) -> str:
        """Return the comparison as HTML. Blocking; both pictures' previews are there."""
        preview = after.preview
        if self.way.value == SLIDER:
            return slider_html(
                before.preview.data,
                preview.data,
                names=names,
                width=preview.width,
                height=preview.height,
            )
        compared = compare_images(before.pil(), after.pil(), names=names)
        plain = compared.side_by_side if self.way.value == SIDES else compared.difference
        return _plain_html(plain, f"{self.way.value}. {compared}")


def _plain_html(picture: Image, words: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(words)}" style="max-width:100%">'
        f'<div style="{FONT};{MUTED}">{escape(words)}</div>'
    )


def _worded(node: Node[GeneratedImage]) -> str:
    title = " ".join(node.image.request.title.split())
    return f"{node.name}: {title[:40]}"


class CellDrawer:
    """The cell of a picture, to be copied.

    Args:
        run: Calls a function on the kernel's loop.
        copy: Called with the text to be copied.
        close: Closes the drawer.
    """

    focused = ".runapi-drawer-cell textarea"

    def __init__(self, run: Run, copy: Callable[[str], None], close: Callable[[], None]) -> None:
        self._copy = copy
        self._step = self._line = ""
        self.text = widgets.Textarea(
            layout=widgets.Layout(width="min(640px, 100% - 4px)"),
            rows=4,
            description="Cell",
        )
        self.text.add_class("runapi-above")
        step = button("Copy", "Copy this step's cell", run, lambda: self._choose(self._step))
        line = button(
            "Copy whole line",
            "Copy the cells from the first version to this one",
            run,
            lambda: self._choose(self._line),
            beside=step,
        )
        end = button("Close", "Close (Escape)", run, close, beside=step)
        self.widget = widgets.VBox([self.text, row(step, line, end)])
        self.widget.add_class("runapi-drawer-cell")

    def open(self, step: str, line: str) -> None:
        """Show a cell, and copy it.

        Args:
            step: The cell of this picture.
            line: The cells from the first version to it.
        """
        self._step, self._line = step, line
        self._choose(step)

    def _choose(self, text: str) -> None:
        self.text.value = text
        self._copy(text)
