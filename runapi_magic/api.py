"""The Python door: what the magics do, as functions.

Each function returns a Generation at once (in a script or in terminal IPython: when it is done).
``await`` it for the pictures; as the last line of a cell it shows itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

from runapi_magic.loop import Audience, audience, current_cell, launch
from runapi_magic.session import Session, current_session
from runapi_magic.sources import as_source, open_source
from runapi_magic.steps import BACKGROUND_MODEL, UPSCALE_MODEL

if TYPE_CHECKING:
    import os

    from runapi_magic.comparison import Comparison
    from runapi_magic.generation import Generation
    from runapi_magic.images import GeneratedImage
    from runapi_magic.settings import Settings


def open_session(settings: Settings | None = None) -> Session:
    """Return this process's session, fit for where it runs."""
    session = current_session(settings)
    if session.launch == session.start:
        session.launch = lambda request, *, new=False: _watched(
            launch(lambda loop: session.start(request, loop, new=new))
        )
        _teach_display(session)
    return session


def _watched(generation: Generation) -> Generation:
    """See to it that a background error is shown, also where nobody waits for it."""
    if audience() in {Audience.LIVE, Audience.UNATTENDED}:
        from runapi_magic.display import show_unwatched_errors

        generation.subscribe(lambda: show_unwatched_errors(generation))
    return generation


def _teach_display(session: Session) -> None:
    """Let a Generation that is a cell's last line show itself, live, in a kernel."""
    shell: Any = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return
    from runapi_magic.generation import Generation
    from runapi_magic.tree import Tree

    def show_itself(generation: Generation) -> None:
        show(generation, session)

    def show_tree(tree: Tree) -> None:
        from runapi_magic.display import show_tree

        show_tree(tree)

    formatter = shell.display_formatter.ipython_display_formatter
    formatter.for_type(Generation, show_itself)
    formatter.for_type(Tree, show_tree)


def show(generation: Generation, session: Session) -> None:
    """Show a generation in the output of the cell that runs now, unless it is there already."""
    from runapi_magic.display import View, show_in_terminal

    who = audience()
    if who in {Audience.TERMINAL, Audience.NONE}:
        show_in_terminal(generation)
    elif generation.shown_in is None or generation.shown_in != current_cell():
        View(generation, session, who, _toolbar(session))


def _toolbar(session: Session) -> Any:
    if not session.settings.toolbar:
        return None

    def show_toolbar(*place: Any) -> None:
        # ipywidgets is imported when the first placeholder is on the screen, not before.
        from runapi_magic.widgets.toolbar import show_toolbar

        show_toolbar(*place)

    return show_toolbar


def generate(
    prompt: str,
    *,
    sources: list[Any] | None = None,
    mask: Any = None,
    model: str | None = None,
    count: int = 1,
    aspect_ratio: str | None = None,
    output_resolution: str | None = None,
    new: bool = False,
    **params: Any,
) -> Generation:
    """Make pictures from a prompt.

    Args:
        prompt: What to see.
        sources: Pictures to start from: URLs, paths, GeneratedImages, Generations, Pillow images,
            numpy arrays, matplotlib figures, open files or the bytes of pictures.
        mask: The part to change, for models that take one.
        model: RunAPI's name of the model; by default ``RunAPIMagics.model``.
        count: Number of pictures, 1 or more; each is paid for.
        aspect_ratio: For example ``16:9``; by default the model's own choice.
        output_resolution: ``1k``, ``2k`` or ``4k``; by default the model's own choice.
        new: Ask afresh, also where the same was made before.
        params: The model's other fields, by RunAPI's names.

    Raises:
        RunAPIError: The request cannot be right, or there is no key; nothing was sent.
    """
    return open_session().generate(
        prompt,
        sources=[as_source(source) for source in sources or ()],
        mask=None if mask is None else as_source(mask),
        model=model,
        count=count,
        aspect_ratio=aspect_ratio,
        output_resolution=output_resolution,
        new=new,
        **params,
    )


def edit(source: Any, instruction: str, **fields: Any) -> Generation:
    """Edit a picture, or several together, by an instruction.

    Args:
        source: A picture in any of the forms that ``generate`` takes, or a list of them.
        instruction: What to change.
        fields: As for ``generate``.

    Raises:
        RunAPIError: The request cannot be right, or there is no key; nothing was sent.
    """
    many = list(source) if isinstance(source, list | tuple) else [source]
    return generate(instruction, sources=many, **fields)


def upscale(source: Any, factor: int = 2, **fields: Any) -> Generation:
    """Enlarge a picture with Topaz: 1, 2 or 4 times.

    Raises:
        RunAPIError: The request cannot be right, or there is no key; nothing was sent.
    """
    fields.setdefault("model", UPSCALE_MODEL)
    return edit(source, "", upscale_factor=factor, **fields)


def remove_background(source: Any, **fields: Any) -> Generation:
    """Take a picture's background away with Recraft; the result has transparency.

    Raises:
        RunAPIError: The request cannot be right, or there is no key; nothing was sent.
    """
    fields.setdefault("model", BACKGROUND_MODEL)
    return edit(source, "", **fields)


def open_image(path: str | os.PathLike[str]) -> GeneratedImage:
    """Return the picture in a file that was made here, or by somebody else with this package.

    It knows its prompt, model, fields and the line of edits that led to it: from the journal, or
    from what is written in the file.

    Args:
        path: A picture's file; its name and place do not matter.

    Raises:
        RunAPIError: There is no such file, or it does not say how it was made.
        JournalError: The journal cannot be read.
    """
    return open_session().archive.open(Path(path))


def compare(before: Any, after: Any) -> Comparison:
    """Compare two pictures: side by side, with their difference and figures.

    Args:
        before: A picture in any of the forms that ``generate`` takes, but a URL.
        after: The other one.

    Returns:
        A Comparison that shows itself as a plain picture; ``side_by_side``, ``difference``,
        ``changed`` and ``mean_difference`` are its parts.

    Raises:
        RunAPIError: One of them is no picture, is still under way, or is a URL.
    """
    from runapi_magic.comparison import compare_pictures

    sources = [as_source(one) for one in (before, after)]
    pictures = [open_source(source) for source in sources]
    names = [source.label for source in sources]
    if names[0] == names[1]:
        names = ["before", "after"]
    return compare_pictures(*pictures, names=(names[0], names[1]))


def resume(task_id: str | None = None) -> Generation:
    """Go on with what an earlier kernel, or an interrupted wait, left unfinished.

    Args:
        task_id: One task's id; None for everything that is unfinished. A request whose answer was
            lost more than a day ago is only asked again if it is named.

    Returns:
        One Generation for all of it; without pictures where nothing was unfinished.

    Raises:
        RunAPIError: No unfinished task has this id, or there is no key.
    """
    session = open_session()
    return _watched(launch(lambda loop: session.resume(task_id, loop)))
