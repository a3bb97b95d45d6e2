"""A finished picture: where it came from, and what can be done with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.core.chain import BACKGROUND_MODEL, REFINE_MODEL, UPSCALE_MODEL
from runapi_magic.core.text import shorten
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import short_path
from runapi_magic.media.object_store import download
from runapi_magic.media.pixel_values import to_8_bit
from runapi_magic.media.preview import DEFAULT_LIMITS, has_alpha, make_preview

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from PIL.Image import Image

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.core.status import Status
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.errors import RunAPIError
    from runapi_magic.media.preview import Limits, Preview


_LONGEST_ALT = 300  # characters


class Handle(Protocol):
    """A request under way or done: a ``Generation``, which knows images and is not known here."""

    @property
    def id(self) -> str:
        """Unique."""

    @property
    def request(self) -> ImageRequest:
        """What was asked for."""

    @property
    def status(self) -> Status:
        """``pending``, ``processing``, ``completed``, ``failed`` or ``cancelled``."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""

    @property
    def images(self) -> list[GeneratedImage]:
        """All images that are on disk."""

    @property
    def image(self) -> GeneratedImage:
        """The image that is shown first."""

    @property
    def errors(self) -> list[RunAPIError]:
        """Why images are missing."""

    @property
    def cost(self) -> float | None:
        """USD of all tasks so far."""

    @property
    def task_ids(self) -> list[str]:
        """RunAPI's ids of the tasks, as far as known."""

    def cancel(self) -> None:
        """Stop waiting."""

    async def wait(self) -> Handle:
        """Wait for the end."""

    def __await__(self) -> Generator[object, None, Handle]: ...


class Editor(Protocol):
    """What a picture needs for what can be done with it: the session that it came from."""

    def edit(self, source: Any, instruction: str, /, **fields: Any) -> Handle:
        """Start an edit."""

    def from_original(self, image: GeneratedImage) -> Handle:
        """Start one edit of a line's first picture by all its instructions."""

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the tree of edits that pictures stand in."""

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that makes a picture again."""

    def save_copy(self, image: GeneratedImage, target: str) -> Path:
        """Copy a picture's original to a place of the user's; return its path."""


def parent_of(request: ImageRequest) -> GeneratedImage | None:
    """Return the image that a request edits, where there is one."""
    image = request.sources[0].image if request.sources else None
    return image if isinstance(image, GeneratedImage) else None


@dataclass(eq=False, slots=True, kw_only=True, weakref_slot=True)
class GeneratedImage:
    """A finished picture.

    Attributes:
        id: Unique and stable across kernels.
        path: The original on disk.
        request: What was asked for.
        width: Pixels of the original.
        height: Pixels of the original.
        task_id: The service's id of the task.
        digest: Hex SHA-256 of the original's bytes.
        url: The service's temporary address; None where it is not known to be good.
        origin: The service's base URL.
        cost: USD of this picture, None where the service did not say.
        seconds: From the request until the picture was on disk.
        simulated: Whether a simulator drew it, at no cost.
        created: Unix time in seconds.
        reused: Whether it was served from disk instead of being asked for again.
        stored: Its URL where it is in a store too; else empty.
    """

    id: str
    path: Path
    request: ImageRequest
    width: int
    height: int
    task_id: str
    digest: str
    url: str | None = field(default=None, repr=False)
    origin: str = ""
    cost: float | None = None
    seconds: float | None = None
    simulated: bool = False
    created: float = 0.0
    editor: Editor | None = field(default=None, repr=False)
    reused: bool = False
    stored: str = ""
    _preview: Preview | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        place = f"{short_path(self.path)} {self.width}x{self.height}"
        return f"<GeneratedImage {place} {self.prompt[:60]!r}>"

    @property
    def prompt(self) -> str:
        """The prompt, or the instruction of an edit."""
        return self.request.prompt

    @property
    def model(self) -> str:
        """RunAPI's name of the model."""
        return self.request.model

    @property
    def fields(self) -> Mapping[str, Any]:
        """The model's fields that were sent."""
        return self.request.fields

    @property
    def took(self) -> str:
        """How long it took, as ``12.3 s``; empty where that is not known.

        A simulated time says nothing, and would differ in each run of a notebook.
        """
        return "" if self.seconds is None or self.simulated else f"{self.seconds:.1f} s"

    @property
    def parent(self) -> GeneratedImage | None:
        """The picture that this one is an edit of, where there is one."""
        return parent_of(self.request)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the original in pixels."""
        return self.width, self.height

    @property
    def line(self) -> list[GeneratedImage]:
        """The pictures that led to this one, from the first to itself."""
        line = [self]
        while (parent := line[-1].parent) is not None and parent not in line:
            line.append(parent)
        return line[::-1]

    @property
    def version(self) -> int:
        """1 for a picture from a prompt, one more for every edit since."""
        return len(self.line)

    @property
    def instructions(self) -> list[str]:
        """What its line was edited by since the first picture; enlarging and the like not."""
        return [step.prompt for step in self.line[1:] if step.prompt]

    @property
    def alt(self) -> str:
        """What stands for it where it is not seen: what was asked for, from the first step on."""
        first, *edits = (" ".join(step.request.title.split()) for step in self.line)
        text = "; then ".join([f"Generated picture: {first}", *edits])
        return shorten(text, _LONGEST_ALT)

    @property
    def is_on_disk(self) -> bool:
        """Whether its file is still there."""
        return self.path.is_file()

    @property
    def location(self) -> str:
        """Where it is kept: its URL in the store, or its path."""
        return self.stored or str(self.path)

    def ensure_local(self) -> Path:
        """Return the path of the original, fetched from the store where the disk has it not.

        Blocking: not for the loop.

        Raises:
            DownloadError: It is in the store no more, or cannot be read.
        """
        if self.stored and not self.is_on_disk:
            download(self.stored, self.path, self.digest)
        return self.path

    def pil(self) -> Image:
        """Return the original as a new, loaded Pillow image, of the mode that the file has.

        Raises:
            DownloadError: It is neither on disk nor in a store.
        """
        from PIL import Image

        with Image.open(self.ensure_local()) as image:
            image.load()
            return image.copy()

    def numpy(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the original as an array, height x width x 3 or 4, uint8, 0 to 255.

        Raises:
            DownloadError: It is neither on disk nor in a store.
        """
        import numpy as np

        image = self.pil()
        image = to_8_bit(image, strict=False)
        return np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))

    def edit(self, instruction: str, **fields: Any) -> Handle:
        """Start an edit of this picture; fields as for ``runapi_magic.edit``.

        Raises:
            InvalidRequestError: The request cannot be right; nothing was sent.
        """
        return self._need_editor().edit(self, instruction, **fields)

    def upscale(self, factor: int = 2) -> Handle:
        """Start an enlargement by Topaz: 1, 2 or 4 times.

        Raises:
            InvalidRequestError: Another factor; nothing was sent.
        """
        return self.edit("", model=UPSCALE_MODEL, upscale_factor=factor)

    def refine(self, instruction: str, **fields: Any) -> Handle:
        """Start an edit by Flux Kontext, which RunAPI's guide recommends for several passes.

        Raises:
            InvalidRequestError: The request cannot be right; nothing was sent.
        """
        return self.edit(instruction, model=REFINE_MODEL, **fields)

    def remove_background(self) -> Handle:
        """Start Recraft's removal of the background; the result has transparency.

        Raises:
            InvalidRequestError: The picture belongs to no session; nothing was sent.
        """
        return self.edit("", model=BACKGROUND_MODEL)

    def from_original(self) -> Handle:
        """Start one edit of the line's first picture by all instructions since.

        RunAPI's guide says that repeated passes can add noise or degrade the shading.

        Raises:
            InvalidRequestError: There are fewer than two instructions; nothing was sent.
        """
        return self._need_editor().from_original(self)

    def tree(self) -> Tree[GeneratedImage]:
        """Return the tree of edits that this picture stands in.

        Raises:
            JournalError: The journal cannot be read.
        """
        return self._need_editor().tree([self])

    def cell(self) -> str:
        """Return the cell that makes this picture again, or finds it on disk at no cost.

        It runs on its own, in any notebook of this folder: the picture that it starts from is
        named by its file. ``%runapi show`` prints the cells of the whole line.

        Raises:
            JournalError: The journal cannot be read.
        """
        return self._need_editor().cell(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save a copy of the original, and return its path; **Save as** does the same.

        The path's ending names the format: ``.png``, ``.jpg``, ``.webp`` or another of Pillow's. In
        the original's own format, and without an ending, it is the same file to the byte. A JPEG
        has quality 95 without subsampling (4:4:4); colour profiles are kept. A folder
        that exists gets it under its own name; folders that are missing are made; a file that
        exists is never written over. A PNG, JPEG, WEBP or GIF says how it was made where the
        original does. Blocking.

        Raises:
            InvalidRequestError: There is such a file already, or it cannot be written, or the
                original is gone.
            DownloadError: The original is only in a store, and cannot be read there.
        """
        return self._need_editor().save_copy(self, os.fspath(path))

    def _need_editor(self) -> Editor:
        if self.editor is None:
            raise InvalidRequestError(
                "This picture belongs to no session.", todo="Use runapi_magic.edit(image, ...)."
            )
        return self.editor

    @property
    def preview(self) -> Preview:
        """The small picture for the notebook. Made on first use where it is not there yet."""
        self.prepare(DEFAULT_LIMITS)
        assert self._preview is not None
        return self._preview

    def prepare(self, limits: Limits) -> None:
        """Make the small picture where it is not there yet. Blocking: not for the loop.

        Raises:
            DownloadError: The file is gone or damaged.
        """
        if self._preview is None:
            self._preview = make_preview(self.ensure_local(), limits)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        preview = self.preview
        return (
            {preview.mime: preview.data, "text/plain": repr(self)},
            {
                preview.mime: {
                    "width": preview.width,
                    "height": preview.height,
                    "alt": self.alt,
                }
            },
        )
