"""The bridge: what core ipywidgets cannot tell or do in the page, for one container of widgets.

Everything visible stays core ipywidgets and ``widgets.HTML``. The bridge stands among a container's
children, is not seen itself, and works through attributes of the HTML around it:

* ``<button data-action="..." data-value="...">`` is told when it is clicked;
* ``<input type="range" data-slide>`` moves the CSS variable ``--at`` of its ``[data-slider]``;
* an element with ``data-key`` that has the focus gets it again when its HTML is replaced;
* where it is asked for, a click on the plain picture above the container is told, and where;
* that picture gets its alt text, which JupyterLab leaves out;
* buttons of ipywidgets whose words are a sign are called what their tooltips say;
* a control that goes away with the focus on it hands it on.

A click on a button of ipywidgets is told together with what stands in the fields around it, in one
message, where both are carried (:meth:`Bridge.carry`). By themselves ipywidgets hold back what was
typed or chosen while the kernel still works on the change before, and send a click at once; and
ipykernel 7.4 takes in each widget's messages on one of two threads. So a click might come first,
and an older prompt be sent and paid for.

Escape anywhere in the container is told too, Enter in a line of text, and the arrow keys left and
right on a button. Keys pressed there are no shortcuts of JupyterLab's, except with Ctrl, Alt or
Cmd.

The page gets the bridge from anywidget's part in Jupyter's own environment. Where the kernel has
another one and only the kernel's has anywidget, nothing of this works, and a note says so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

import anywidget
import traitlets
from ipywidgets import HTML, BoundedIntText, Button, Dropdown, Layout, Text, Textarea

from runapi_magic.display.theme import MUTED
from runapi_magic.widgets import read_script

if TYPE_CHECKING:
    from collections.abc import Callable

Carried: TypeAlias = Button | BoundedIntText | Dropdown | Text | Textarea

_PATIENCE = 5  # seconds until a bridge counts as missing: a slow line takes its time
_MISSING = f"""<style>
.runapi-missing {{max-height:0; margin:0; overflow:hidden; visibility:hidden;
  animation:runapi-missing 0s {_PATIENCE}s forwards}}
[data-bridged] > .runapi-missing {{display:none}}
@keyframes runapi-missing {{to {{max-height:none; margin:4px 2px; visibility:visible}}}}
</style>
<div style="font-size:13px;line-height:1.5;{MUTED}">Some of these
buttons do not work: the environment that Jupyter itself runs in lacks the package anywidget.
Install it there (<code>pip install anywidget</code>) and restart Jupyter. Cells work without
it.</div>"""


class Bridge(anywidget.AnyWidget):
    """Tells what happens in the page, and does two things there.

    Args:
        on_action: Called with an action and a value, perhaps on another thread than the kernel's:
            a button's own two, ``("escape", "")``, ``("enter", text)``, ``("turn", "-1" or "1")``
            for the arrow keys, ``("picture", ...)`` for ``read_place``, or ``("copied", "yes" or
            "no")`` after :meth:`copy`. The page is not trusted: the two are strings, and may be
            any.
        container_class: The CSS class of the ipywidgets container that the bridge stands in.
        pictures: Whether to tell clicks on the last picture before the container among the plain
            outputs of its cell.

    Attributes:
        alt: What stands for the plain picture above; empty where there is none.
        missing: A note to be placed directly in the same container. It takes no room and is seen
            only where the page has no bridge.
    """

    _esm = read_script("outputs.js", "access.js", "bridge.js")
    alt = traitlets.Unicode().tag(sync=True)
    container_class = traitlets.Unicode().tag(sync=True)
    pictures = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        on_action: Callable[[str, str], None],
        container_class: str,
        *,
        pictures: bool = False,
    ) -> None:
        super().__init__(
            container_class=container_class, pictures=pictures, layout=Layout(display="none")
        )
        self._on_action = on_action
        self._carried: WeakValueDictionary[int, Carried] = WeakValueDictionary()
        self._last = 0
        self.missing = HTML(_MISSING)
        self.missing.add_class("runapi-missing")
        self.on_msg(self._on_message)

    def copy(self, text: str) -> None:
        """Put a text on the clipboard of whoever looks at this; the outcome is told."""
        self.send({"copy": text})

    def say(self, text: str) -> None:
        """Let screen readers say something, once they have said what they are at."""
        self.send({"say": text})

    def focus(self, selector: str) -> None:
        """Focus the container's first element that a CSS selector finds.

        Not where the focus has gone to another part of the page since.
        """
        self.send({"focus": selector})

    def carry(self, part: Carried) -> None:
        """Tell a button's clicks with what stands in the carried fields, or carry such a field.

        A button's callbacks are called as ever, after the fields have their values. Without the
        bridge in the page it works as ipywidgets do.
        """
        self._last += 1
        self._carried[self._last] = part
        part.add_class("runapi-carried")
        part.add_class(f"runapi-carried-{self._last}")

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        match content:
            case {"action": str(action), "value": str(value)}:
                self._on_action(action, value)
            case {"click": int(number), "shown": list(shown)}:
                for one in shown:
                    match one:
                        case [int(field), str(text)]:
                            _fill(self._carried.get(field), text)
                button = self._carried.get(number)
                if isinstance(button, Button):
                    button.click()


def _fill(field: Carried | None, text: str) -> None:
    """Give a field what stands in it in the page, as if ipywidgets had told; what cannot be, not.

    The page takes this for an older echo where it has told more since: nobody's typing is undone.
    """
    with suppress(ValueError, traitlets.TraitError):
        match field:
            case Dropdown() if field.index != int(text):
                field.set_state({"index": int(text)})
            case BoundedIntText() if field.value != int(text):
                field.set_state({"value": int(text)})
            case Text() | Textarea() if field.value != text:
                field.set_state({"value": text})


def read_place(value: str) -> tuple[float, float] | None:
    """Return where a picture was clicked: shares of its width and height, 0 to 1; else None."""
    try:
        x, y = map(float, value.split(","))
    except ValueError:
        return None
    return (x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None
