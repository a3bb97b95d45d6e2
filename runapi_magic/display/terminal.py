"""Outputs for front ends that cannot update them: terminal IPython, scripts, ``jupyter console``.

A console is a front end of a kernel. Its cells wait for their images.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython
from IPython.display import display

from runapi_magic.batch.sweep import text_table
from runapi_magic.core.printing import print_text
from runapi_magic.core.text import shorten
from runapi_magic.display.batch_view import reasons
from runapi_magic.display.environment import current_cell
from runapi_magic.display.generation_view import (
    LONGEST_PROMPT,
    caption_bundle,
    facts,
    image_bundle,
    usual,
)
from runapi_magic.media.files import short_path

if TYPE_CHECKING:
    from runapi_magic.batch.batch import Batch
    from runapi_magic.engine.generation import Generation


def show_in_terminal(generation: Generation) -> None:
    """Print the paths of the images, and show the images if the terminal can."""
    shell = get_ipython()
    renderers = getattr(shell, "mime_renderers", {})
    for image in generation.images:
        if "image/png" in renderers:
            with suppress(OSError, ValueError):  # a closed output, or a deleted file
                display({"image/png": image.path.read_bytes()}, raw=True)
        print_text(f"{short_path(image.location)}\n  {' · '.join(facts(image))}")
    _print_rest(generation)


def _print_rest(generation: Generation) -> None:
    for parts in dict.fromkeys(error.named_parts for error in generation.errors):
        print_text("\n".join(parts))
    for note in generation.warnings:
        print_text(f"Note: {note}")


def _take_over(work: Generation | Batch) -> bool:
    """Let this cell show the result; return False if it shows the result already."""
    before, here = work.shown_in, current_cell()
    work.shown_in = here
    return before is None or before != here


def show_in_console(generation: Generation) -> None:
    """Show a generation when it ends, in the cell that waits: images, captions, errors."""
    if not _take_over(generation):
        return
    if generation.is_done:
        _show_end(generation)
    else:
        title = shorten(generation.request.title, LONGEST_PROMPT)
        print_text(f"Running: {title} (usually {usual(generation.tasks[0].expectation)})")
        generation.on_wait = lambda: _show_end(generation)


def _show_end(generation: Generation) -> None:
    generation.shown_in, generation.on_wait = current_cell(), None
    for image in generation.images:
        for bundle in (image_bundle(image), caption_bundle(image, [])):
            display(bundle.data, metadata=bundle.metadata, raw=True)
    if generation.images:  # otherwise the cell ends with the error
        _print_rest(generation)


def show_batch_in_terminal(batch: Batch) -> None:
    """Print a batch as a table with the paths of the images, and the errors."""
    if batch.is_refused and batch.error is not None:
        print_text("\n".join(batch.error.named_parts))
        return
    lines = [text_table(batch.items)]
    lines += ["\n  ".join([names, *parts]) for names, parts in reasons(batch)]
    print_text("\n".join(lines))


def show_batch_in_console(batch: Batch) -> None:
    """Print a batch when it ends, in the cell that waits."""
    if not _take_over(batch):
        return
    if batch.is_done:
        _show_batch_end(batch)
    else:
        print_text(f"Running: {shorten(batch.title, LONGEST_PROMPT)} ({len(batch)} requests)")
        batch.on_wait = lambda: _end(batch)


async def _end(batch: Batch) -> None:
    batch.shown_in, batch.on_wait = current_cell(), None
    _show_batch_end(batch)


def _show_batch_end(batch: Batch) -> None:
    if not batch.is_refused:
        print_text(repr(batch))  # a terminal prints it as Out
    show_batch_in_terminal(batch)
