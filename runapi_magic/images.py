"""A picture on disk: where it came from, how it is shown, and how it gets there safely."""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runapi_magic.client import picture_kind
from runapi_magic.errors import DownloadError, InvalidRequestError
from runapi_magic.steps import BACKGROUND_MODEL, REFINE_MODEL, UPSCALE_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from runapi_magic.generation import Generation
    from runapi_magic.requests import ImageRequest

_LARGEST_PREVIEW = 110_000  # bytes; as base64 in the notebook about 150 kB
_SMALLEST_SIDE, _LOWEST_QUALITY = 8, 60  # pixels and JPEG quality that a preview does not go below
_LONGEST_SLUG = 48  # characters of the prompt in a file name


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be, and how its preview is made.

    Attributes:
        megapixels: Largest picture to decode, millions of pixels.
        preview_size: Longest side of the preview, pixels.
        preview_quality: JPEG quality of the preview.
    """

    megapixels: float
    preview_size: int
    preview_quality: int


DEFAULT_LIMITS = Limits(megapixels=89, preview_size=768, preview_quality=85)


class Editor(Protocol):
    """What a picture needs to be edited: the session that it came from."""

    def edit(self, source: Any, instruction: str, /, **fields: Any) -> Generation:
        """Start an edit."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The small picture that goes into the notebook.

    Attributes:
        data: The encoded picture.
        mime: ``image/jpeg``, or ``image/png`` where there is transparency.
        width: Pixels.
        height: Pixels.
    """

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int


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
    _preview: Preview | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<GeneratedImage {self.path} {self.width}x{self.height} {self.prompt[:60]!r}>"

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
    def parent(self) -> GeneratedImage | None:
        """The picture that this one is an edit of, where there is one."""
        return self.request.sources[0].image if self.request.sources else None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the original in pixels."""
        return self.width, self.height

    @property
    def version(self) -> int:
        """1 for a picture from a prompt, one more for every edit since."""
        return 1 if self.parent is None else self.parent.version + 1

    def pil(self) -> Image:
        """Return the original as a new, loaded Pillow image."""
        from PIL import Image

        with Image.open(self.path) as image:
            image.load()
            return image.copy()

    def numpy(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the original as an array, height x width x 3 or 4, uint8, 0 to 255."""
        import numpy as np

        image = self.pil()
        return np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))

    def edit(self, instruction: str, **fields: Any) -> Generation:
        """Start an edit of this picture; fields as for ``runapi_magic.edit``.

        Raises:
            InvalidRequestError: The request cannot be right; nothing was sent.
        """
        return self._need_editor().edit(self, instruction, **fields)

    def upscale(self, factor: int = 2) -> Generation:
        """Start an enlargement by Topaz: 1, 2 or 4 times.

        Raises:
            InvalidRequestError: Another factor; nothing was sent.
        """
        return self.edit("", model=UPSCALE_MODEL, upscale_factor=factor)

    def refine(self, instruction: str, **fields: Any) -> Generation:
        """Start an edit by Flux Kontext, which keeps more of a picture over several passes."""
        return self.edit(instruction, model=REFINE_MODEL, **fields)

    def remove_background(self) -> Generation:
        """Start Recraft's removal of the background; the result has transparency."""
        return self.edit("", model=BACKGROUND_MODEL)

    def _need_editor(self) -> Editor:
        if self.editor is None:
            raise InvalidRequestError(
                "This picture belongs to no session.", todo="Use runapi_magic.edit(image, ...)."
            )
        return self.editor

    @property
    def preview(self) -> Preview:
        """The small picture for the notebook. Made on first use where it is not there yet."""
        if self._preview is None:
            self._preview = make_preview(self.path, DEFAULT_LIMITS)
        return self._preview

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        preview = self.preview
        return (
            {preview.mime: preview.data, "text/plain": repr(self)},
            {preview.mime: {"width": preview.width, "height": preview.height}},
        )


def has_alpha(image: Image) -> bool:
    """Whether any pixel lets through what is behind it."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    extrema = image.convert("RGBA").getchannel("A").getextrema()
    return bool(extrema[0] != 255)  # noqa: PLR2004 (opaque)


def make_preview(path: Path, limits: Limits) -> Preview:
    """Make the small picture for the notebook, at most about 110 kB.

    Raises:
        DownloadError: The file is no good picture.
    """
    return _look_at(path, limits)[2]


def _reduce(original: ImageFile, longest_side: int, quality: int) -> Preview:
    """Decode a picture completely, at a smaller scale where its format can, and make it small."""
    from PIL import ImageOps

    original.draft("RGB", (longest_side, longest_side))
    original.load()
    image = ImageOps.exif_transpose(original)
    image.thumbnail((longest_side, longest_side), reducing_gap=2.0)
    transparent = has_alpha(image)
    image = image.convert("RGBA" if transparent else "RGB")
    width, height = image.size
    while True:
        data = _encode(image, quality, transparent=transparent)
        if len(data) <= _LARGEST_PREVIEW or min(image.size) < _SMALLEST_SIDE:
            # Shown at this size even where fewer pixels had to do.
            return Preview(data, "image/png" if transparent else "image/jpeg", width, height)
        if not transparent and quality > _LOWEST_QUALITY:
            quality -= 10
        else:
            image = image.resize((image.width * 4 // 5, image.height * 4 // 5))


def _encode(image: Image, quality: int, *, transparent: bool) -> bytes:
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    if transparent:
        palette = image.quantize(256, method=PillowImage.Quantize.FASTOCTREE)
        palette.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Saved:
    """A picture that is safely on disk, and its preview."""

    path: Path
    width: int
    height: int
    digest: str
    preview: Preview


def _look_at(path: Path, limits: Limits) -> tuple[int, int, Preview]:
    """Decode a picture completely; return its size in pixels and its preview.

    One with more pixels than allowed is not decoded: a grey preview stands for it.

    Raises:
        DownloadError: It is cut off, damaged or of another format.
    """
    try:
        with _open_picture(path) as image:
            if image.width * image.height > limits.megapixels * 1e6:
                return *image.size, _stand_in(image.size, limits)
            return *image.size, _reduce(image, limits.preview_size, limits.preview_quality)
    except Exception as error:  # noqa: BLE001 (damaged files make Pillow's decoders raise anything)
        raise DownloadError(
            f"The picture is damaged or cut off ({type(error).__name__})."
        ) from None


def _open_picture(path: Path) -> ImageFile:
    """Open a picture by its bytes. ``Image.open`` would apply its own limit before ours."""
    from PIL import GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    plugins: dict[str | None, Callable[[Path], ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "jpg": JpegImagePlugin.JpegImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "gif": GifImagePlugin.GifImageFile,
    }
    with path.open("rb") as file:
        kind = picture_kind(file.read(16))
    return plugins[kind](path)


def _stand_in(size: tuple[int, int], limits: Limits) -> Preview:
    from PIL import Image, ImageDraw

    scale = limits.preview_size / max(size)
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    image = Image.new("RGB", small, "#9e9e9e")
    millions = size[0] * size[1] / 1e6
    ImageDraw.Draw(image).text(
        (12, 12), f"{millions:.0f} million pixels: too many to show here", fill="white"
    )
    return Preview(_encode(image, limits.preview_quality, transparent=False), "image/jpeg", *small)


def open_part(folder: Path, unique: str) -> Path:
    """Make the folder and an empty file in it to download to, hidden until it has its name.

    Args:
        folder: Where pictures go.
        unique: The picture's id, so that what a dead kernel left is written over.

    Raises:
        DownloadError: The folder cannot be written to.
    """
    part = folder / f".{unique}.part"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise DownloadError(
            f"The folder {folder} cannot be written to ({error.strerror}).",
            todo="Make it writable or set %config RunAPIMagics.image_dir, then %runapi resume.",
        ) from None
    return part


def is_intact(path: Path, digest: str) -> bool:
    """Whether a picture's file is still there, unchanged."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def settle(part: Path, stem: str, kind: str, limits: Limits) -> Saved:
    """Check a downloaded file, flush it to the disk and give it its name, in one step.

    Args:
        part: The downloaded file; it is gone afterwards, whatever happens.
        stem: The name without its ending; made unique where another picture has it.
        kind: ``png``, ``jpg``, ``webp`` or ``gif``.
        limits: Largest picture to decode, and the preview's measures.

    Raises:
        DownloadError: It is no good picture, or the disk does not take it.
    """
    try:
        width, height, preview = _look_at(part, limits)
        with part.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return Saved(_give_name(part, stem, kind, digest), width, height, digest, preview)
    except OSError as error:
        raise DownloadError(
            f"The picture cannot be written ({error.strerror}).",
            todo="Make room or set %config RunAPIMagics.image_dir, then %runapi resume.",
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _give_name(part: Path, stem: str, kind: str, digest: str) -> Path:
    number = 1
    while True:
        path = part.parent / (f"{stem}.{kind}" if number == 1 else f"{stem}-{number}.{kind}")
        try:
            os.link(part, path)  # unlike a rename, never on top of another file
        except FileExistsError:
            if is_intact(path, digest):
                return path
            number += 1
        except OSError:  # a file system without hard links
            try:
                path.touch(0o600, exist_ok=False)
            except FileExistsError:
                number += 1
                continue
            return part.replace(path)
        else:
            return path


def file_stem(prompt: str, unique: str) -> str:
    """Return a readable file name for a picture, without folder and ending.

    Args:
        prompt: Its letters and digits make the readable part.
        unique: What tells this picture from all others; only its hash goes into the name.
    """
    words = re.sub(r"[^\w]+", "-", prompt.lower(), flags=re.ASCII).strip("-_")
    slug = words[:_LONGEST_SLUG].rstrip("-_") or "image"
    return f"{slug}-{hashlib.sha256(unique.encode()).hexdigest()[:8]}"
