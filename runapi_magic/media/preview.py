"""Pictures decoded with care, and the small ones that go into the notebook."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runapi_magic.core.formats import image_format
from runapi_magic.errors import DownloadError
from runapi_magic.media.from_python import as_shown
from runapi_magic.media.pixel_values import to_8_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_LARGEST_PREVIEW = 110_000  # bytes; as base64 in the notebook about 150 kB
_REDUCING_GAP = 2.0  # a first, coarse step leaves at least so many times the preview's side
_SMALLEST_SIDE, _LOWEST_QUALITY = 8, 60  # pixels and JPEG quality that a preview does not go below


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be, and how its preview is made.

    Attributes:
        megapixels: Largest picture to decode, millions of pixels.
        preview_size: Longest side of the preview, pixels; 0: there is to be none.
        preview_quality: JPEG quality of the preview.
    """

    megapixels: float
    preview_size: int
    preview_quality: int


DEFAULT_LIMITS = Limits(megapixels=89, preview_size=768, preview_quality=85)


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
    _, _, preview = decode_image(path, limits)
    assert preview is not None, "a size is asked for"
    return preview


def _reduce(original: ImageFile, longest_side: int, quality: int) -> Preview:
    """Decode a picture completely, at a smaller scale where its format can, and make it small."""
    from PIL import Image as PillowImage

    # Of the picture's own shape: a square would have a wide one decoded at twice the scale.
    scale = longest_side / max(original.size)
    width, height = (max(1, int(side * scale)) for side in original.size)
    original.draft("RGB", (width, height))
    original.load()
    image = to_8_bit(original, strict=False)
    if image.mode in {"1", "P"}:  # Pillow takes the nearest pixel in these, whatever is asked
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    # Where a picture is made smaller, it is as sharp as bicubic for half the work.
    image.thumbnail((longest_side, longest_side), PillowImage.Resampling.HAMMING, _REDUCING_GAP)
    image = as_shown(image, strict=False)
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


def decode_image(path: Path, limits: Limits) -> tuple[int, int, Preview | None]:
    """Decode a picture completely; return its size in pixels and its preview, None for no size.

    One with more pixels than allowed is not decoded: a grey preview stands for it.

    Raises:
        DownloadError: It is cut off, damaged or of another format.
    """
    try:
        with open_image_file(path) as image:
            if image.width * image.height > limits.megapixels * 1e6:
                return *image.size, _stand_in(image.size, limits) if limits.preview_size else None
            if not limits.preview_size:
                image.load()
                return *image.size, None
            return *image.size, _reduce(image, limits.preview_size, limits.preview_quality)
    except Exception as error:  # noqa: BLE001 (damaged files make Pillow's decoders raise anything)
        raise DownloadError(
            f"The picture is damaged or cut off ({type(error).__name__})."
        ) from None


def open_image_file(path: Path) -> ImageFile:
    """Open a picture by its bytes. ``Image.open`` would apply its own limit before ours."""
    from PIL import GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    plugins: dict[str | None, Callable[[Path], ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "jpg": JpegImagePlugin.JpegImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "gif": GifImagePlugin.GifImageFile,
    }
    with path.open("rb") as file:
        kind = image_format(file.read(16))
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
