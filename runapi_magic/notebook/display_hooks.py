"""Show generations, batches and trees in the output of a cell.

A cell shows its last line. These hooks make a Generation there update itself, with its controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

from runapi_magic.display.environment import Audience, audience, current_cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.batch.batch import Batch
    from runapi_magic.display.batch_view import SheetView
    from runapi_magic.display.unseen import Page
    from runapi_magic.engine.generation import Generation, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.engine.session import Session


def register_display(session: Session) -> None:
    """Register with IPython how to show a Generation, a Batch and a Tree in a kernel."""
    shell: Any = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return

    def show_itself(generation: Generation) -> None:
        show(generation, session)

    def show_tree(tree: Tree[GeneratedImage]) -> None:
        from runapi_magic.display.generation_view import show_drawing

        show_drawing(tree)

    def show_sheet(batch: Batch) -> None:
        show_batch(batch, session)

    formatter = shell.display_formatter.ipython_display_formatter
    # By name, so that these modules are not imported before there is such an object.
    formatter.for_type_by_name("runapi_magic.engine.generation", "Generation", show_itself)
    formatter.for_type_by_name("runapi_magic.engine.lineage", "Tree", show_tree)
    formatter.for_type_by_name("runapi_magic.batch.batch", "Batch", show_sheet)


def show(generation: Generation, session: Session) -> None:
    """Show a generation in the output of the current cell, unless it is shown there already."""
    who = audience()
    if who not in {Audience.LIVE, Audience.UNATTENDED}:
        from runapi_magic.display.terminal import show_in_console, show_in_terminal

        (show_in_console if who is Audience.CONSOLE else show_in_terminal)(generation)
    elif generation.shown_in is None or generation.shown_in != current_cell():
        from runapi_magic.display.generation_view import GenerationView
        from runapi_magic.display.unseen import watch

        view = GenerationView(generation, session, who, _toolbar(session))
        watch(generation, lambda: generation.images, view.pages, session)


def _toolbar(session: Session) -> Callable[[Generation, Slot, Session], Page | None] | None:
    if not session.settings.toolbar:
        return None

    def display_buttons(generation: Generation, slot: Slot, session: Session) -> Page | None:
        # Import ipywidgets only after the first placeholder is displayed.
        from runapi_magic.widgets import availability

        if not availability.are_possible(session):
            return None
        from runapi_magic.widgets.toolbar import show_toolbar

        return show_toolbar(generation, slot, session)

    return display_buttons


def show_batch(batch: Batch, session: Session) -> None:
    """Show a batch in the output of the current cell, unless it is shown there already."""
    who = audience()
    if who not in {Audience.LIVE, Audience.UNATTENDED}:
        from runapi_magic.display.terminal import show_batch_in_console, show_batch_in_terminal

        in_console = who is Audience.CONSOLE
        (show_batch_in_console if in_console else show_batch_in_terminal)(batch)
    elif batch.shown_in is None or batch.shown_in != current_cell():
        from runapi_magic.display.batch_view import SheetView
        from runapi_magic.display.unseen import watch

        view = SheetView(batch, session, who, _controls(session))
        watch(batch, lambda: batch.pictures, view.pages, session)


def _controls(session: Session) -> Callable[[SheetView], Page | None] | None:
    if not session.settings.toolbar:
        return None

    def display_controls(view: SheetView) -> Page | None:
        from runapi_magic.widgets import availability

        if not availability.are_possible(session):
            return None
        from runapi_magic.widgets.sheet import show_sheet_controls

        return show_sheet_controls(view)

    return display_controls
