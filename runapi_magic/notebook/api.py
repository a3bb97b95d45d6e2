"""The Python functions: ``generate``, ``edit`` and others do what the magics do.

Those that make images return a Generation or a Batch at once; in a script and in terminal IPython,
when it is done. ``await`` it to wait for the images. As the last line of a cell, it shows itself.
"""

from __future__ import annotations

import os
import time
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runapi_magic.core.validation import check_type
from runapi_magic.display.environment import (
    Audience,
    audience,
    current_cell,
    current_cell_location,
    launch,
)
from runapi_magic.engine.session import Session, current_session
from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.errors import InvalidRequestError
from runapi_magic.notebook.display_hooks import register_display

if TYPE_CHECKING:
    from runapi_magic.batch.batch import Batch
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.pipeline import Gate
    from runapi_magic.engine.settings import Settings
    from runapi_magic.media.comparison import Comparison


def open_session(settings: Settings | None = None) -> Session:
    """Return the session of this process, set up for the notebook, terminal or script."""
    session = current_session(settings)
    if session.launch == session.start:
        session.connection.cell_id = current_cell

        def launch_here(request: ImageRequest, **options: Any) -> Generation:
            options = {"cell_location": current_cell_location(), **options}
            return _watched(launch(lambda loop: session.start(request, loop, **options)))

        session.launch = launch_here
        register_display(session)
    return session


def _watched(generation: Generation) -> Generation:
    """Show the errors of a generation, even if no cell waits for it or shows it."""
    if audience() in {Audience.LIVE, Audience.CONSOLE, Audience.UNATTENDED}:
        from runapi_magic.display.generation_view import show_unwatched_errors

        generation.subscribe(lambda: show_unwatched_errors(generation))
    return generation


def generate(
    prompt: str,
    *,
    sources: list[Any] | None = None,
    mask: Any = None,
    model: str | None = None,
    count: int = 1,
    aspect_ratio: str | None = None,
    output_resolution: str | None = None,
    service: str | None = None,
    action: str | None = None,
    new: bool = False,
    **params: Any,
) -> Generation:
    """Make images from a prompt.

    Args:
        prompt: The description of the image; empty if the model takes none.
        sources: Source images: URLs, paths, GeneratedImages, Generations, Pillow images, numpy
            arrays, matplotlib figures, open files or the bytes of images.
        mask: The mask of the area to change, for models that take one.
        model: RunAPI's name of the model; by default ``RunAPIMagics.model``.
        count: Number of images, 1 or more; each is charged.
        aspect_ratio: For example ``16:9``; by default the model chooses.
        output_resolution: ``1k``, ``2k`` or ``4k``; by default the model chooses.
        service: The service of a model that ``%runapi models`` does not list; its sources are sent
            as ``source_image_urls``.
        action: The action of that service, for example ``text_to_image``.
        new: Generate a new image, even if the same one is on disk.
        params: Other fields of the model, with RunAPI's names.

    Returns:
        A Generation, at once; in a script, when it is done. ``await`` it to wait for the images.

    Raises:
        RunAPIError: The request is not valid, or there is no API key; nothing was sent.
    """
    from runapi_magic.engine.sources import as_source, as_sources

    return open_session().generate(
        prompt,
        sources=as_sources(sources),
        mask=None if mask is None else as_source(mask),
        model=model,
        count=count,
        aspect_ratio=aspect_ratio,
        output_resolution=output_resolution,
        service=service,
        action=action,
        new=new,
        **params,
    )


def generate_many(
    prompts: Any,
    *,
    prompt: str | None = None,
    sources: list[Any] | None = None,
    model: str | None = None,
    aspect_ratio: str | None = None,
    output_resolution: str | None = None,
    service: str | None = None,
    action: str | None = None,
    concurrency: int | None = None,
    title: str = "",
    new: bool = False,
    max_cost: float | None = None,
    progress: bool = True,
    client: Any = None,
    **params: Any,
) -> Batch:
    """Make an image for each prompt or row, several at a time.

    An interrupted batch continues where it was if you call this again with the same arguments, or
    with ``resume_batch``. Two identical prompts make two images.

    Args:
        prompts: Texts, dicts, or a pandas DataFrame; each text or row makes one image.
        prompt: For rows, the prompt with ``{column}`` in it; by default the column ``prompt``.
        sources: Source images, the same for all; texts may contain ``{column}``.
        model: RunAPI's name of the model; by default ``RunAPIMagics.model``.
        aspect_ratio: For example ``16:9``, or with ``{column}``.
        output_resolution: ``1k``, ``2k`` or ``4k``, or with ``{column}``.
        service: The service of a model that ``%runapi models`` does not list; its sources are sent
            as ``source_image_urls``.
        action: The action of that service, for example ``text_to_image``.
        concurrency: Number of tasks that run at the same time, 1 or more; by default
            ``RunAPIMagics.concurrency``.
        title: The title of the batch.
        new: Generate new images, even if the same ones are on disk.
        max_cost: The highest price in USD. If the price is higher or unknown, nothing is sent and
            the batch ends with a BudgetError.
        progress: Whether to show a progress bar.
        client: A ``dask.distributed`` Client whose workers make the images.
        params: Other fields of the model, with RunAPI's names; texts may contain ``{column}``.

    Returns:
        A Batch, at once; in a script, when it is done. ``await`` it, or use
        ``async for item in batch.as_completed()``.

    Raises:
        RunAPIError: A request is not valid, or there is no API key; nothing was sent.
    """
    from runapi_magic.batch.batch import Batch
    from runapi_magic.batch.dataframe import batch_items, is_frame
    from runapi_magic.engine.sources import as_list

    check_type("title", title, str, "text")
    check_type("max_cost", max_cost, (Real, type(None)), "USD as a number, such as 0.5")
    session = open_session()
    fields = {
        "model": model,
        "aspect_ratio": aspect_ratio,
        "output_resolution": output_resolution,
        "service": service,
        "action": action,
        **params,
    }
    items = batch_items(prompts, prompt, as_list(sources), fields, session.request)
    batch = Batch(
        items,
        title=title,
        concurrency=session.settings.concurrency if concurrency is None else concurrency,
        since=time.time() if new or not session.settings.reuse else 0.0,
    )
    batch.index = prompts.index if is_frame(prompts) else None
    return run_batch(batch, session, max_cost=max_cost, progress=progress, client=client)


def add_frame_accessor() -> None:
    """Add ``gpt_image.generate`` to the data frames of pandas."""
    from runapi_magic.batch.dataframe import add_accessor

    add_accessor(generate_many)


def resume_batch(batch_id: str, *, progress: bool = True, client: Any = None) -> Batch:
    """Continue an interrupted batch. Finished images are not made again.

    Args:
        batch_id: The ID, from ``batch.id`` or ``%runapi batches``.
        progress: Whether to show a progress bar.
        client: A ``dask.distributed`` Client whose workers make the images.

    Returns:
        A Batch, at once; in a script, when it is done. New images count against budgets.

    Raises:
        RunAPIError: There is no such batch, it belongs to another service, or there is no API key.
        JournalError: The journal cannot be read.
    """
    check_type("batch_id", batch_id, str, "text, as %runapi batches lists it")
    session = open_session()
    origin = session.service().access.base_url
    from runapi_magic.batch.saved import saved_batches

    batch = saved_batches(session).load(batch_id, session.settings.concurrency, origin)
    return run_batch(batch, session, progress=progress, client=client)


def run_batch(
    batch: Batch,
    session: Session,
    *,
    max_cost: float | None = None,
    progress: bool = True,
    client: Any = None,
) -> Batch:
    """Start a batch on the right event loop, with a progress bar if there is a person."""
    session.connection.require_key()
    requests = [item.request for item in batch.items]
    gate = gate_for(session, requests, max_cost=max_cost, asks=False, since=batch.since)
    if progress:
        from runapi_magic.display.progress import show_progress

        show_progress(batch)
    if client is not None:
        from runapi_magic.batch.dask_driver import run_on_cluster

        return launch(
            lambda loop: run_on_cluster(batch, session, client, loop, gate=gate, launch=launch)
        )
    return start_batch(batch, session, gate)


def start_batch(batch: Batch, session: Session, gate: Gate | None) -> Batch:
    """Start a batch on the event loop of the notebook, terminal or script."""
    from runapi_magic.batch.begin import begin_batch

    return launch(lambda loop: begin_batch(session, batch, loop, gate=gate, launch=launch))


def edit(source: Any, instruction: str, **fields: Any) -> Generation:
    """Edit an image, or several images together, by an instruction.

    Args:
        source: An image of any kind that ``generate`` takes as a source, or a list of images.
        instruction: What to change.
        fields: ``model``, ``mask``, ``count``, ``new`` and the other arguments of ``generate``. The
            default model is ``RunAPIMagics.edit_model``; if that is empty, ``RunAPIMagics.model``.

    Returns:
        A Generation, at once; in a script, when it is done. ``await`` it to wait for the images.

    Raises:
        RunAPIError: The request is not valid, or there is no API key; nothing was sent.
    """
    from runapi_magic.engine.sources import as_many

    return generate(instruction, sources=as_many(source), **fields)


def upscale(source: Any, factor: int = 2, **fields: Any) -> Generation:
    """Enlarge an image with Topaz.

    Args:
        source: An image of any kind that ``generate`` takes as a source.
        factor: The factor for width and height: 1, 2 or 4.
        fields: ``new``, or another ``model`` that enlarges images.

    Returns:
        A Generation, at once; in a script, when it is done. ``await`` it to wait for the images.

    Raises:
        RunAPIError: The request is not valid, or there is no API key; nothing was sent.
    """
    from runapi_magic.core.chain import UPSCALE_MODEL

    fields.setdefault("model", UPSCALE_MODEL)
    return edit(source, "", upscale_factor=factor, **fields)


def remove_background(source: Any, **fields: Any) -> Generation:
    """Remove the background of an image with Recraft. The result is transparent there.

    Args:
        source: An image of any kind that ``generate`` takes as a source.
        fields: ``new``, or another ``model`` that removes backgrounds.

    Returns:
        A Generation, at once; in a script, when it is done. ``await`` it to wait for the images.

    Raises:
        RunAPIError: The request is not valid, or there is no API key; nothing was sent.
    """
    from runapi_magic.core.chain import BACKGROUND_MODEL

    fields.setdefault("model", BACKGROUND_MODEL)
    return edit(source, "", **fields)


def open_image(path: str | os.PathLike[str]) -> GeneratedImage:
    """Open an image file that you or somebody else made with this package.

    The image knows its prompt, model, fields and lineage, from the journal or from the record in
    the file.

    Args:
        path: The file. It may have been moved or renamed.

    Returns:
        A GeneratedImage, which you can edit like any other.

    Raises:
        RunAPIError: There is no such file, or it does not say how it was made.
        JournalError: The journal cannot be read.
    """
    check_type("The path", path, (str, os.PathLike), 'text, such as "gpt-images/fox.png"')
    return open_session().library.open(Path(path))


def compare(before: Any, after: Any) -> Comparison:
    """Compare two images: side by side, with their difference and numbers.

    Args:
        before: An image of any kind that ``generate`` takes as a source, except a URL.
        after: The other image.

    Returns:
        A Comparison, which shows itself as an image. Its parts are ``side_by_side``,
        ``difference``, ``changed`` and ``mean_difference``.

    Raises:
        RunAPIError: One of them is not an image, is still running, or is a URL.
    """
    from runapi_magic.engine.sources import LOCAL_KINDS, as_source, open_source
    from runapi_magic.media.comparison import compare_images

    sources = [as_source(one, kinds=LOCAL_KINDS) for one in (before, after)]
    images = [open_source(source) for source in sources]
    names = [source.label for source in sources]
    if names[0] == names[1]:
        names = ["before", "after"]
    return compare_images(*images, names=(names[0], names[1]))


def resume(task_id: str | None = None) -> Generation:
    """Resume the requests that an earlier kernel, or an interrupted wait, left unfinished.

    Args:
        task_id: The ID of one task; None for all unfinished tasks. A request that was sent more
            than a day ago and never answered is resumed only by its ID.

    Returns:
        One Generation for all tasks; it has no images if nothing was unfinished.

    Raises:
        RunAPIError: No unfinished task has this ID, or there is no API key.
    """
    from runapi_magic.engine.resume import resume_tasks

    session = open_session()
    return _watched(launch(lambda loop: resume_tasks(session, task_id, loop)))


def forget(task_id: str | None = None, *, lost: bool = False) -> list[str]:
    """Give up unfinished tasks that cannot be finished; the journal keeps their rows.

    They are not resumed or counted as unfinished any more. A task that was sent may have been
    charged, and still counts against budgets. If you request the same image again, you pay for a
    new one.

    Args:
        task_id: The service's ID of one task, or its ID in the journal.
        lost: Give up all tasks that the service does not know any more, and all requests that were
            sent more than a day ago and never answered.

    Returns:
        The IDs of these tasks: the service's ID if it is known, else the journal's.

    Raises:
        InvalidRequestError: No unfinished task has this ID, a kernel is working on it, or you gave
            neither or both of an ID and ``lost=True``.
        JournalError: The journal cannot be changed.
    """
    if (task_id is None) != lost:
        raise InvalidRequestError(
            "forget takes either the ID of a task or lost=True.",
            charged="Nothing was changed.",
            todo='forget("tsk_1") or forget(lost=True)',
        )
    from runapi_magic.engine.resume import forget_tasks

    found = forget_tasks(open_session().journal, task_id)
    return [task.task_id or task.id for task in found]
