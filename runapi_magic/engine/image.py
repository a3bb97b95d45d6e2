"""A finished image: its file, its request, and how to edit or save it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.core.chain import BACKGROUND_MODEL, REFINE_MODEL, UPSCALE_MODEL
from runapi_magic.core.text import shorten
from runapi_magic.errors import DownloadError, InvalidRequestError
from runapi_magic.media.files import short_path
from runapi_magic.media.limits import DEFAULT_LIMITS
from runapi_magic.media.object_store import download
from runapi_magic.media.pixel_values import to_8_bit
from runapi_magic.media.preview import has_alpha, make_preview

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from PIL.Image import Image

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.core.status import Status
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.errors import RunAPIError
    from runapi_magic.media.limits import Limits
    from runapi_magic.media.preview import Preview


_LONGEST_ALT = 300  # characters
GENERATE_AGAIN = "To generate the image again, run the cell that image.cell() returns."


class Handle(Protocol):
    """A ``Generation``, which this module cannot import: a Generation has images."""

    @property
    def id(self) -> str:
        """A unique ID."""

    @property
    def request(self) -> ImageRequest:
        """The request."""

    @property
    def status(self) -> Status:
        """``pending``, ``processing``, ``completed``, ``failed`` or ``cancelled``."""

    @property
    def is_done(self) -> bool:
        """Whether all tasks have ended."""

    @property
    def images(self) -> list[GeneratedImage]:
        """All images that are on disk."""

    @property
    def image(self) -> GeneratedImage:
        """The first image, in the version that is shown."""

    @property
    def errors(self) -> list[RunAPIError]:
        """Why images are missing."""

    @property
    def cost(self) -> float | None:
        """USD of all tasks until now."""

    @property
    def task_ids(self) -> list[str]:
        """RunAPI's IDs of the tasks that are known until now."""

    def tree(self) -> Tree[GeneratedImage]:
        """Return the tree of edits that its images belong to."""

    def cancel(self) -> None:
        """Stop waiting."""

    async def wait(self) -> Handle:
        """Wait until the request has ended."""

    def __await__(self) -> Generator[object, None, Handle]: ...


class Editor(Protocol):
    """What an image needs to be edited and saved: the session that it belongs to."""

    def edit(self, source: Any, instruction: str, /, **fields: Any) -> Handle:
        """Start an edit."""

    def from_original(self, image: GeneratedImage) -> Handle:
        """Start one edit of the first image of a lineage, with all its instructions."""

    def tree(self, images: Sequence[GeneratedImage]) -> Tree[GeneratedImage]:
        """Return the tree of edits that images belong to."""

    def cell(self, image: GeneratedImage) -> str:
        """Return the cell that generates an image again."""

    def save_copy(self, image: GeneratedImage, target: str) -> Path:
        """Copy an image's original file to a path; return the path of the copy."""


def parent_of(request: ImageRequest) -> GeneratedImage | None:
    """Return the image that a request edits, None if it edits none that was generated here."""
    image = request.sources[0].image if request.sources else None
    return image if isinstance(image, GeneratedImage) else None


@dataclass(eq=False, slots=True, kw_only=True, weakref_slot=True)
class GeneratedImage:
    """A finished image.

    Attributes:
        id: A unique ID, the same in all kernels.
        path: The original file on disk.
        request: The request that it was generated for.
        width: Pixels of the original.
        height: Pixels of the original.
        task_id: RunAPI's ID of the task.
        digest: Hex SHA-256 of the original file.
        url: RunAPI's URL of the image, which expires; None for an image of an earlier kernel.
        origin: The service's base URL.
        cost: USD of this image; None if RunAPI did not report it.
        seconds: Seconds from the request until the image was on disk or, for an image of an earlier
            kernel, until RunAPI had finished it; None if they are not known.
        simulated: Whether the simulator generated it, at no cost.
        created: When it was generated, Unix time in seconds.
        reused: Whether it was loaded from disk instead of being generated again.
        stored: Its URL in an object store; empty if it is only on disk.
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
        file = f"{short_path(self.path)} {self.width}x{self.height}"
        return f"<GeneratedImage {file} {self.prompt[:60]!r}>"

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
        """The fields of the model that were sent."""
        return self.request.fields

    @property
    def took(self) -> str:
        """How long the generation took, as ``12.3 s``; empty if it is unknown or simulated."""
        return "" if self.seconds is None or self.simulated else f"{self.seconds:.1f} s"

    @property
    def parent(self) -> GeneratedImage | None:
        """The image that this one is an edit of; None if it is no edit of a generated image."""
        return parent_of(self.request)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the original in pixels."""
        return self.width, self.height

    @property
    def line(self) -> list[GeneratedImage]:
        """The lineage of this image: the first image and all edits, up to this image itself."""
        lineage = [self]
        while (parent := lineage[-1].parent) is not None and parent not in lineage:
            lineage.append(parent)
        return lineage[::-1]

    @property
    def version(self) -> int:
        """1 for an image from a prompt, one more for each edit after that."""
        return len(self.line)

    @property
    def instructions(self) -> list[str]:
        """The instructions of all edits since the first image; an upscale has none."""
        return [image.prompt for image in self.line[1:] if image.prompt]

    @property
    def alt(self) -> str:
        """The alternative text: the prompt of the first image and the instructions of the edits."""
        first, *edits = (" ".join(image.request.title.split()) for image in self.line)
        text = "; then ".join([f"Generated picture: {first}", *edits])
        return shorten(text, _LONGEST_ALT)

    @property
    def is_on_disk(self) -> bool:
        """Whether its file exists."""
        return self.path.is_file()

    @property
    def location(self) -> str:
        """Its URL in the object store, or its path."""
        return self.stored or str(self.path)

    def ensure_local(self) -> Path:
        """Return the path of the original; download it from the object store if necessary.

        If the image is in no object store, the file may be missing. Blocking: do not call it on the
        event loop.

        Raises:
            DownloadError: It cannot be read from the object store.
        """
        if self.stored and not self.is_on_disk:
            download(self.stored, self.path, self.digest)
        return self.path

    def pil(self) -> Image:
        """Return the original as a new, loaded Pillow image, in the mode of the file.

        Raises:
            DownloadError: It is neither on disk nor in an object store.
        """
        from PIL import Image

        path = self.ensure_local()
        if not self.is_on_disk:
            raise DownloadError(
                f"The image file {short_path(path)} is missing.", todo=GENERATE_AGAIN
            )
        with Image.open(path) as image:
            image.load()
            return image.copy()

    def numpy(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the original as an array, height x width x 3 or 4, uint8, 0 to 255.

        Raises:
            DownloadError: It is neither on disk nor in an object store.
        """
        import numpy as np

        image = self.pil()
        image = to_8_bit(image, strict=False)
        return np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))

    def edit(self, instruction: str, **fields: Any) -> Handle:
        """Start an edit of this image; the fields are those of ``runapi_magic.edit``.

        Raises:
            InvalidRequestError: The request is invalid; nothing was sent.
        """
        return self._need_editor().edit(self, instruction, **fields)

    def upscale(self, factor: int = 2) -> Handle:
        """Start an upscale by Topaz; the factor is 1, 2 or 4.

        Raises:
            InvalidRequestError: The factor is invalid; nothing was sent.
        """
        return self.edit("", model=UPSCALE_MODEL, upscale_factor=factor)

    def refine(self, instruction: str, **fields: Any) -> Handle:
        """Start an edit by Flux Kontext, which RunAPI's guide recommends for repeated edits.

        Raises:
            InvalidRequestError: The request is invalid; nothing was sent.
        """
        return self.edit(instruction, model=REFINE_MODEL, **fields)

    def remove_background(self) -> Handle:
        """Start a background removal by Recraft; the result has transparency.

        Raises:
            InvalidRequestError: The image belongs to no session; nothing was sent.
        """
        return self.edit("", model=BACKGROUND_MODEL)

    def from_original(self) -> Handle:
        """Start one edit of the first image of the lineage, with all instructions of the edits.

        RunAPI's guide says that repeated edits can add noise or degrade the shading.

        Raises:
            InvalidRequestError: There are fewer than two instructions; nothing was sent.
        """
        return self._need_editor().from_original(self)

    def tree(self) -> Tree[GeneratedImage]:
        """Return the tree of edits that this image belongs to.

        Raises:
            JournalError: The journal cannot be read.
        """
        return self._need_editor().tree([self])

    def cell(self) -> str:
        """Return the cell that loads this image from disk at no cost, or generates it again.

        The cell works in any notebook of this folder: it refers to its source image by the file
        name. ``%runapi show`` prints the cells of the whole lineage.

        Raises:
            JournalError: The journal cannot be read.
        """
        return self._need_editor().cell(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save a copy of the original and return its path, like the **Save as** button.

        The suffix of the path selects the format: ``.png``, ``.jpg``, ``.webp`` or another format
        of Pillow. Without a suffix, or in the format of the original, the copy has the same bytes.
        A JPEG has quality 95 without chroma subsampling (4:4:4). Colour profiles are kept. If the
        path is a folder, the copy gets the name of the original. Missing folders are created.
        Existing files are never overwritten. A PNG, JPEG, WEBP or GIF contains how the image was
        made if the original does. Blocking.

        Raises:
            InvalidRequestError: The file exists already or cannot be written, or the original is
                missing.
            DownloadError: The original is only in an object store, and cannot be read there.
        """
        return self._need_editor().save_copy(self, os.fspath(path))

    def _need_editor(self) -> Editor:
        if self.editor is None:
            raise InvalidRequestError(
                "This image belongs to no session.", todo="Use runapi_magic.edit(image, ...)."
            )
        return self.editor

    @property
    def preview(self) -> Preview:
        """The small image for the notebook, created on first use."""
        self.prepare(DEFAULT_LIMITS)
        assert self._preview is not None
        return self._preview

    def prepare(self, limits: Limits) -> None:
        """Create the preview if it does not exist. Blocking: do not call it on the event loop.

        Raises:
            DownloadError: The file is missing or damaged.
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
