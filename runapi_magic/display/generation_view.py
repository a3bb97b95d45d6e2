"""Show a generation in its cell: placeholder and progress, then image and caption, or an error.

Images and captions are plain outputs: they need neither a kernel nor a script. Each slot has two
displays that are updated: the image and the caption below it.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display

from runapi_magic.core.printing import print_text
from runapi_magic.core.status import Phase
from runapi_magic.core.text import dollars, shorten
from runapi_magic.display.environment import Audience, current_cell, hand_over, running_loop
from runapi_magic.display.theme import (
    AS_TYPED,
    CHECKERBOARD,
    FAULT,
    FONT,
    LINE,
    MUTED,
    progress_bar,
)
from runapi_magic.media.files import short_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.polling import Expectation
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.display.gallery import Album
    from runapi_magic.display.unseen import Page
    from runapi_magic.engine.generation import Generation, GenerationTask, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.engine.session import Session
    from runapi_magic.errors import RunAPIError

_TICK = 1.0  # seconds between two updates of the progress
_FULL = 0.95  # the most that the progress bar shows before the end is known
_AT_WORK = {Phase.DRAWING, Phase.JOINED}  # the phases that the expected duration covers
_SQUARE = (1, 1)
LONGEST_PROMPT = 300  # characters in a caption
_TRANSPARENT = "image/png"  # a preview without transparency is a JPEG
_ASKED = ("aspect_ratio", "output_resolution")  # the fields that captions show


@dataclass(frozen=True, slots=True)
class Bundle:
    """The content of one display: data and metadata by MIME type."""

    data: dict[str, Any]
    metadata: dict[str, Any]


EMPTY = Bundle({"text/html": "", "text/plain": ""}, {})


def image_bundle(image: GeneratedImage) -> Bundle:
    """Return the preview of an image with its description as text."""
    data, metadata = image._repr_mimebundle_()
    data["text/plain"] = describe(image)
    return Bundle(data, metadata)


def describe(image: GeneratedImage) -> str:
    """Return one line of text that describes an image."""
    title = image.request.title
    return f"[image] {title} · {image.width}x{image.height} px · {short_path(image.location)}"


def facts(image: GeneratedImage) -> list[str]:
    """Return the facts in a caption: model, fields, size, duration and cost."""
    asked = [str(image.fields[name]) for name in _ASKED if image.fields.get(name)]
    return [
        image.model,
        *asked,
        f"{image.width} x {image.height} px",
        *([image.took] if image.took else []),
        _cached(image) if image.reused else money(image.cost, simulated=image.simulated),
    ]


def _cached(image: GeneratedImage) -> str:
    """Return the fact that an image was loaded from disk, with its date and price."""
    made = datetime.fromtimestamp(image.created).astimezone().strftime("%Y-%m-%d %H:%M")
    worth = "" if image.cost is None else f", saved {dollars(image.cost)}"
    simulated = " (simulated)" if image.simulated else ""
    return f"cached (generated {made}), no charge{worth}{simulated}; use --new to regenerate"


def money(usd: float | None, *, simulated: bool) -> str:
    """Return a cost as text. A simulated cost is marked as such."""
    if usd is None:
        return "cost not stated"
    return dollars(usd) + (" (simulated, not charged)" if simulated else "")


def nothing_found(words: str) -> str:
    """Return the message for a search that found no image; see ``Library.page``."""
    return f"No image has {words!r} in its prompt or model."


def caption_bundle(image: GeneratedImage, notes: list[str], position: str = "") -> Bundle:
    """Return the caption of an image: prompt, facts, file and notes."""
    prompt = shorten(image.request.title, LONGEST_PROMPT)
    line = " · ".join([*([position] if position else []), *facts(image)])
    path = short_path(image.location)
    rows = [
        f'<div class="{AS_TYPED}" style="{FONT}">',
        f"<div>{escape(prompt)}</div>" if prompt else "",
        f'<div style="{MUTED}">{escape(line)}<br><code>{escape(path)}</code></div>',
        *(f'<div style="{MUTED}">Note: {escape(note)}</div>' for note in notes),
        "</div>",
    ]
    text = "\n".join([*([prompt] if prompt else []), line, path, *(f"Note: {n}" for n in notes)])
    if image.preview.mime == _TRANSPARENT:
        rows.append(CHECKERBOARD)
    return Bundle({"text/html": "".join(rows), "text/plain": text}, {})


def error_bundle(error: RunAPIError) -> Bundle:
    """Return an error: its name, what happened, whether it was charged, what to do."""
    what, *rest = error.named_parts
    html = "".join(f"<div>{escape(part).replace(chr(10), '<br>')}</div>" for part in rest)
    return Bundle(
        {
            "text/html": (
                f'<div role="alert" class="{AS_TYPED}" style="{FONT};border-left:3px solid {FAULT};'
                f'padding:4px 10px;white-space:normal"><strong>{escape(what)}</strong>{html}</div>'
            ),
            "text/plain": "\n".join(error.named_parts),
        },
        {},
    )


def placeholder_bundle(
    generation: Generation, slot: Slot, elapsed: float, longest_side: int
) -> Bundle:
    """Return the placeholder of an image, of about the same size.

    While the request waits for a price or a confirmation, all slots share one line of text.

    Args:
        generation: The generation.
        slot: The slot of the image.
        elapsed: Seconds since the service began; before that, seconds since the cell began.
        longest_side: The longest side of the image in pixels.
    """
    task = slot.task
    if task.awaits_approval:
        return _approval_bundle(generation, slot)
    share = 0.0
    if task.phase in _AT_WORK:
        share = min(elapsed / task.expectation.high, _FULL)
        share = share if task.progress is None else task.progress
    elif task.phase is Phase.FETCHING:
        share = _FULL
    width, height = _box(_ratio(task.request), longest_side)
    doing = task.phase_text
    if task.phase is Phase.UPLOADING and task.uploaded is not None:
        share, doing = task.uploaded, f"{doing}, {task.uploaded:.0%}"
    timing = _timing(task, elapsed)
    simulated = "simulated · " if generation.simulated else ""
    prompt = shorten(task.request.title, LONGEST_PROMPT)
    return Bundle(
        {
            "text/html": (
                # Not a live region: a screen reader would read it every second.
                f'<div class="{AS_TYPED}" style="{FONT};box-sizing:border-box;max-width:100%;'
                f"width:{width}px;aspect-ratio:{width}/{height};border:1px solid {LINE};"
                "border-radius:4px;display:flex;flex-direction:column;justify-content:center;"
                'gap:8px;padding:24px;overflow:hidden">'
                f'<div style="overflow:hidden">{escape(prompt)}</div>'
                f"{progress_bar(share, doing)}"
                f'<div style="{MUTED}">{escape(simulated)}{escape(doing)} · {escape(timing)}</div>'
                "</div>"
            ),
            "text/plain": f"{doing}: {prompt} ({timing})",
        },
        {},
    )


def _approval_bundle(generation: Generation, slot: Slot) -> Bundle:
    if slot is not generation.slots[0]:
        return EMPTY
    words = slot.task.phase_text
    html = f'<div style="{FONT};{MUTED}">{escape(words)}</div>'
    return Bundle({"text/html": html, "text/plain": words}, {})


def placeholder_caption(slot: Slot) -> Bundle:
    """Return the caption below a placeholder, as high as the final one."""
    if slot.task.awaits_approval:
        return EMPTY
    request = slot.task.request
    asked = [str(request.fields[name]) for name in _ASKED if request.fields.get(name)]
    line = " · ".join([request.model, *asked])
    task = f"task {slot.task.task_id}" if slot.task.task_id else "no task yet"
    prompt = shorten(request.title, LONGEST_PROMPT)
    return Bundle(
        {
            "text/html": (
                f'<div class="{AS_TYPED}" style="{FONT}"><div>{escape(prompt)}</div>'
                f'<div style="{MUTED}">{escape(line)}<br><code>{escape(task)}</code></div></div>'
            ),
            "text/plain": f"{prompt}\n{line}\n{task}",
        },
        {},
    )


def _ratio(request: ImageRequest) -> str | None:
    """Return the aspect ratio that an image will have: the requested one, or that of its source."""
    if request.aspect_ratio not in {None, "auto"} or not request.sources:
        return request.aspect_ratio
    source = request.sources[0]
    if source.image is not None:
        return f"{source.image.width}:{source.image.height}"
    return _ratio(source.pending.request) if source.pending is not None else None


def _box(ratio: str | None, longest_side: int) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", ratio or "")
    width, height = (int(side) for side in match.groups()) if match else _SQUARE
    if not width or not height:
        width, height = _SQUARE
    scale = longest_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _timing(task: GenerationTask, elapsed: float) -> str:
    """Return the elapsed time and the expected duration."""
    expected = task.expectation
    if task.phase in _AT_WORK and elapsed > expected.high:
        return f"{elapsed:.0f} s · longer than usual ({usual(expected)})"
    return f"{elapsed:.0f} s · about {_seconds(expected.median)} s, usually {usual(expected)}"


def usual(expected: Expectation) -> str:
    """Return the usual range of a duration."""
    return f"{_seconds(expected.low)} to {_seconds(expected.high)} s"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 1 else f"{value:.1f}"


def _path(slot: Slot) -> str:
    """Return the path to the shown version, such as ``v1 > v3``; empty for the only version."""
    if slot.tree is None and slot.index:
        return "the version chosen here"
    here = slot.tree.find(slot.shown) if slot.tree and slot.shown else None
    if slot.tree is None or here is None or len(slot.tree) == 1:
        return ""
    return " > ".join(node.name for node in slot.tree.path(here))


class _Output:
    """One display of a cell, which is updated only when its content changes."""

    def __init__(self, first: Bundle) -> None:
        self._handle = DisplayHandle()
        self._shown = first
        self._handle.display(first.data, metadata=first.metadata, raw=True)

    def show(self, bundle: Bundle) -> None:
        if bundle != self._shown:
            self._shown = bundle
            self._handle.update(bundle.data, metadata=bundle.metadata, raw=True)

    def show_again(self) -> None:
        self._handle.display(self._shown.data, metadata=self._shown.metadata, raw=True)


class GenerationView:
    """The display of a generation in the output of the current cell.

    Args:
        generation: The generation.
        session: The session, for its settings and notices and for the buttons.
        audience: Who sees the output. Only a person gets buttons.
        toolbar: Makes and displays the buttons of one slot; None for no buttons.

    Attributes:
        pages: The elements below the images that can say whether the page shows them.
    """

    def __init__(
        self,
        generation: Generation,
        session: Session,
        audience: Audience,
        toolbar: Callable[[Generation, Slot, Session], Page | None] | None = None,
    ) -> None:
        self._generation = generation
        self._session = session
        self._audience = audience
        generation.shown_in = current_cell()
        generation.is_watched = True
        self._begun = time.monotonic()
        self._at_work: dict[str, float] = {}  # when work began, by the ID of the task
        self._side = session.settings.preview_size
        self._outputs: list[tuple[Slot, _Output, _Output]] = []
        self._notes = [*generation.warnings]
        self.pages: list[Page] = []
        for slot in generation.slots:
            image, caption = self._content(slot)
            self._outputs.append((slot, _Output(image), _Output(caption)))
            if toolbar is not None and audience is Audience.LIVE:
                page = toolbar(generation, slot, session)
                self.pages += [page] if page else []
        generation.subscribe(self.refresh)
        if audience is Audience.UNATTENDED:
            generation.on_wait = self._show_in_this_cell
        loop = running_loop()
        if audience is Audience.LIVE and loop is not None and not generation.is_done:
            hand_over(loop, self._start_ticker)  # this may be another thread

    def refresh(self) -> None:
        """Update the displays."""
        for slot, image, caption in self._outputs:
            # Only a person sees progress. Without a person, only the end is shown.
            if self._audience is Audience.LIVE or slot.shown or slot.task.is_done:
                new_image, new_caption = self._content(slot)
                image.show(new_image)
                caption.show(new_caption)

    def _content(self, slot: Slot) -> tuple[Bundle, Bundle]:
        if slot.shown is not None:
            self._notes += self._session.take_notices()
            return image_bundle(slot.shown), caption_bundle(slot.shown, self._notes, _path(slot))
        if slot.task.error is not None:
            # An error that several slots share is shown once.
            first = next(one for one in self._generation.slots if one.task.error is slot.task.error)
            return error_bundle(slot.task.error) if first is slot else EMPTY, EMPTY
        if slot.task.is_done:  # images from elsewhere will be put into this slot
            return EMPTY, EMPTY
        now = time.monotonic()
        if slot.task.awaits_approval:
            self._begun = now
        if slot.task.phase in _AT_WORK:
            # The expected duration does not include uploads and waiting for a turn.
            self._at_work.setdefault(slot.task.id, now)
        begun = self._at_work.get(slot.task.id, self._begun)
        return (
            placeholder_bundle(self._generation, slot, now - begun, self._side),
            placeholder_caption(slot),
        )

    def _show_in_this_cell(self) -> None:
        """Show the end in the first cell that waits, if that is another cell.

        nbclient ignores updates of a display in an earlier cell.
        """
        self._generation.on_wait = None
        cell = current_cell()
        if cell != self._generation.shown_in:
            self._generation.shown_in = cell
            for _, image, caption in self._outputs:
                image.show_again()
                caption.show_again()

    def _start_ticker(self) -> None:
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while not self._generation.is_done:
            await asyncio.sleep(_TICK)
            self.refresh()


def show_unwatched_errors(generation: Generation) -> None:
    """Show the errors of a generation that is not displayed, when it has ended."""
    if generation.is_done and not generation.is_watched:
        generation.is_watched = True
        for error in generation.errors:
            bundle = error_bundle(error)
            display(bundle.data, metadata=bundle.metadata, raw=True)


def show_drawing(thing: Tree[GeneratedImage] | Album) -> None:
    """Show a tree or an album as an image and as text; in a terminal only as text."""
    if len(thing) and getattr(get_ipython(), "kernel", None) is not None:
        data, metadata = thing._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
    print_text(thing)
