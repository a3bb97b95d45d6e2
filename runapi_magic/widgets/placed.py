"""Widgets in the outputs of cells, and how they leave a notebook that goes on without its kernel.

A saved output that names a widget shows "Error displaying widget: model not found" where it is
opened without the kernel that has the widget. So a widget leaves its output when it has done its
work, by ``%runapi freeze``, and when the kernel is shut down. A kernel that is restarted cannot say
anything any more: there the page takes the widget out (leave.js).
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import traitlets
from IPython.display import DisplayHandle
from ipywidgets import Layout, VBox

from runapi_magic.display import NOTHING, Bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipywidgets import Widget

_VIEW = "application/vnd.jupyter.widget-view+json"
_placed: list[Placed] = []


class _Leave(anywidget.AnyWidget):
    """Not seen; takes the widget with the id ``root`` out of the page's notebook at its end."""

    _esm = Path(__file__).with_name("leave.js").read_text("utf-8")
    root = traitlets.Unicode().tag(sync=True)


class Placed:
    """A widget, displayed in the cell that runs now.

    Args:
        widget: What to display. Front ends that show no widgets show nothing.
        on_removed: Called when it is taken out of the notebook, whoever does that.
    """

    def __init__(self, widget: Widget, on_removed: Callable[[], object] = lambda: None) -> None:
        leave = _Leave(layout=Layout(display="none"))
        self._root = VBox([widget, leave])
        leave.root = self._root.model_id
        self._on_removed = on_removed
        self._handle = DisplayHandle()
        view = {"model_id": self._root.model_id, "version_major": 2, "version_minor": 0}
        self._handle.display({_VIEW: view, "text/plain": ""}, raw=True)
        _placed.append(self)

    def remove(self, instead: Bundle = NOTHING) -> None:
        """Take the widget out of the notebook; its output shows something else, or nothing.

        A page that was loaded again knows no display by its name, but sees that the widget closes.
        """
        if self in _placed:
            _placed.remove(self)
            self._handle.update(instead.data, metadata=instead.metadata, raw=True)
            self._root.close()
            self._on_removed()


def remove_all() -> int:
    """Take all widgets out of the notebook, and return how many there were."""
    count = len(_placed)
    for placed in tuple(_placed):
        placed.remove()
    return count


@atexit.register
def _say_goodbye() -> None:
    with suppress(Exception):  # there may be nobody any more to say it to
        remove_all()
