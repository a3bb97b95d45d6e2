"""Widgets in the outputs of cells, and how they leave a notebook that goes on without its kernel.

A saved output that names a widget shows "Error displaying widget: model not found" where it is
opened without the kernel that has the widget. So a widget leaves its output when it has done its
work, by ``%runapi freeze``, and when the kernel is shut down. A kernel that is restarted cannot say
anything any more: there the page takes the widget out (placed.js).

The page also says whether it shows a picture: one that was closed, or loaded again, does not.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import DisplayHandle
from ipywidgets import Layout, VBox

from runapi_magic.display.generation_view import EMPTY
from runapi_magic.display.theme import AS_TYPED
from runapi_magic.widgets import read_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipywidgets import Widget

_VIEW = "application/vnd.jupyter.widget-view+json"
_placed: list[Placed] = []


class _Page(anywidget.AnyWidget):
    """Not seen; acts in the page for the widget with the id ``root`` that it stands in."""

    _esm = read_script("outputs.js", "placed.js")
    root = traitlets.Unicode().tag(sync=True)


class Placed:
    """A widget, displayed in the cell that runs now.

    Args:
        widget: What to display. Front ends that show no widgets show nothing.
        on_removed: Called when it is taken out of the notebook, whoever does that.
        on_shown: Called with whether any page shows it, when that changes, perhaps on another
            thread than the kernel's; never where the front end does not tell.

    Attributes:
        can_answer: Whether its page has answered, and can again; JupyterLab's and Notebook 7's do.
    """

    def __init__(
        self,
        widget: Widget,
        on_removed: Callable[[], object] = lambda: None,
        on_shown: Callable[[bool], object] = lambda _: None,
    ) -> None:
        self._page = _Page(layout=Layout(display="none"))
        self._page.on_msg(self._on_message)
        self._root = VBox([widget, self._page])
        for name in AS_TYPED.split():
            self._root.add_class(name)
        self._page.root = self._root.model_id
        self._on_seen: Callable[[], object] = lambda: None
        self._on_removed = on_removed
        self._on_shown = on_shown
        self._views = 0
        self.can_answer = False
        self._handle = DisplayHandle()
        view = {"model_id": self._root.model_id, "version_major": 2, "version_minor": 0}
        self._handle.display({_VIEW: view, "text/plain": ""}, raw=True)
        _placed.append(self)

    def ask(self, on_seen: Callable[[], object], otherwise: str) -> None:
        """Ask the page whether there is a picture above the widget.

        Args:
            on_seen: Called when there is, perhaps on another thread than the kernel's.
            otherwise: What the page is to say where there is none, having been loaded again.
        """
        self._on_seen = on_seen
        self._page.send({"look": otherwise})

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Take what the page says; it is not trusted."""
        match content:
            case {"says": "here"}:
                self.can_answer = True
                self._count(self._views + 1)
            case {"says": "gone"}:
                self._count(max(0, self._views - 1))
            case {"says": "seen"}:
                self._on_seen()

    def _count(self, views: int) -> None:
        before, self._views = self._views, views
        if bool(before) != bool(views):
            self._on_shown(bool(views))

    def remove(self) -> None:
        """Take the widget out of the notebook.

        A page that was loaded again knows no display by its name, but sees that the widget closes.
        """
        if self in _placed:
            _placed.remove(self)
            self._handle.update(EMPTY.data, raw=True)
            self._root.close()
            self.can_answer = False
            self._on_removed()


def remove_all() -> bool:
    """Take all widgets out of the notebook, and return whether there were any."""
    there = tuple(_placed)
    for placed in there:
        placed.remove()
    return bool(there)


@atexit.register
def _say_goodbye() -> None:
    with suppress(Exception):  # there may be nobody any more to say it to
        remove_all()
