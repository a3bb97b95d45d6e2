"""Decode images safely, and make the previews that are shown in the notebook."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runapi_magic.core.formats import image_format
from runapi_magic.errors import DownloadError
from runapi_magic.media.from_python import as_shown
from runapi_magic.media.pixel_values import smooth_mode, to_8_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from runapi_magic.media.limits import Limits

LARGEST_PREVIEW = 110_000  # bytes; in the notebook, as base64, it is about 150 kB
_REDUCING_GAP = 2.0  # the first, coarse reduction leaves at least this many times the size
_SMALLEST_SIDE, _LOWEST_QUALITY = 8, 60  # pixels, and JPEG quality


@dataclass(frozen=True, slots=True)
class Preview:
    """The small image that is shown in the notebook.

    Attributes:
        data: The encoded image.
        mime: ``image/jpeg``, or ``image/png`` if there is transparency.
        width: Pixels.
        height: Pixels.
    """

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int


def has_alpha(image: Image) -> bool:
    """Whether any pixel is transparent or translucent."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    extrema = image.convert("RGBA").getchannel("A").getextrema()
    return bool(extrema[0] != 255)  # noqa: PLR2004 (opaque)


def make_preview(path: Path, limits: Limits) -> Preview:
    """Make the preview of an image, at most about 110 kB.

    Raises:
        DownloadError: The file is not a valid image.
    """
    _, _, preview = decode_image(path, limits)
    assert preview is not None, "preview_size is not 0"
    return preview


def _reduce(original: ImageFile, longest_side: int, quality: int) -> Preview:
    """Decode the whole image, at a smaller scale if its format supports it, and reduce it."""
    from PIL import Image as PillowImage

    # With the aspect ratio of the image: with a square, a wide image would be decoded too large.
    scale = longest_side / max(original.size)
    width, height = (max(1, int(side * scale)) for side in original.size)
    original.draft("RGB", (width, height))
    original.load()
    image = smooth_mode(to_8_bit(original, strict=False))
    # For reducing, HAMMING is as sharp as BICUBIC and twice as fast.
    image.thumbnail((longest_side, longest_side), PillowImage.Resampling.HAMMING, _REDUCING_GAP)
    image = as_shown(image, strict=False)
    transparent = has_alpha(image)
    image = image.convert("RGBA" if transparent else "RGB")
    width, height = image.size
    while True:
        data = _encode(image, quality, transparent=transparent)
        if len(data) <= LARGEST_PREVIEW or min(image.size) < _SMALLEST_SIDE:
            # It is shown at this size, even if it was reduced further.
            return Preview(data, "image/png" if transparent else "image/jpeg", width, height)
        if not transparent and quality > _LOWEST_QUALITY:
            quality -= 10
        else:
            image = image.resize((image.width * 4 // 5, image.height * 4 // 5))


def _encode(image: Image, quality: int, *, transparent: bool) -> bytes:
    from PIL import Image as PillowImage

    if not transparent:
        return encode_jpeg(image, quality)
    buffer = io.BytesIO()
    palette = image.quantize(256, method=PillowImage.Quantize.FASTOCTREE)
    palette.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_jpeg(image: Image, quality: int) -> bytes:
    """Return an image without transparency as a JPEG of this quality, 1 to 95."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def decode_image(path: Path, limits: Limits) -> tuple[int, int, Preview | None]:
    """Decode the whole image, and return its width, its height and its preview.

    The preview is None if its size is 0. An image with more pixels than allowed is not decoded, and
    its preview is grey.

    Raises:
        DownloadError: It is incomplete, damaged or in another format.
    """
    try:
        with open_image_file(path) as image:
            if image.width * image.height > limits.megapixels * 1e6:
                return *image.size, _stand_in(image.size, limits) if limits.preview_size else None
            if not limits.preview_size:
                image.load()
                return *image.size, None
            return *image.size, _reduce(image, limits.preview_size, limits.preview_quality)
    except Exception as error:  # noqa: BLE001 (Pillow raises many exceptions for damaged files)
        raise DownloadError(
            f"The image is damaged or incomplete ({type(error).__name__})."
        ) from None


def open_image_file(path: Path) -> ImageFile:
    """Open an image by its bytes. ``Image.open`` would apply its own limit first."""
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
    return Preview(encode_jpeg(image, limits.preview_quality), "image/jpeg", *small)
