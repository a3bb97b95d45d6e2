"""Read images at a small size, and cache thumbnails on disk."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import is_intact
from runapi_magic.media.from_python import as_shown
from runapi_magic.media.limits import DEFAULT_LIMITS
from runapi_magic.media.pixel_values import smooth_mode, to_8_bit
from runapi_magic.media.preview import encode_jpeg, has_alpha, open_image_file

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE, _QUALITY = 160, 80  # pixels, and JPEG quality; a thumbnail has about 5 kB
_DIGEST = re.compile("[0-9a-f]{64}")


def read_small(
    path: Path, longest_side: int, *, megapixels: float = DEFAULT_LIMITS.megapixels
) -> Image:
    """Read an image upright and reduced, as RGBA if it has transparency, else as RGB.

    A smaller image is not enlarged.

    Args:
        path: A PNG, JPEG, WEBP or GIF.
        longest_side: The longest side of the result in pixels.
        megapixels: The largest image to decode, in millions of pixels.

    Raises:
        InvalidRequestError: The file is missing, damaged, in another format or too large.
    """
    try:
        with open_image_file(path) as image:
            millions = image.width * image.height / 1e6
            if millions <= megapixels:
                image.draft("RGB", (2 * longest_side, 2 * longest_side))
                small = _reduce(image, longest_side)
                small = as_shown(small, strict=False)
                return small.convert("RGBA" if has_alpha(small) else "RGB")
    except Exception as error:  # noqa: BLE001 (Pillow raises many exceptions for damaged files)
        raise InvalidRequestError(
            f"{path} is missing, damaged or not an image ({type(error).__name__}).",
            todo="Use another image.",
        ) from None
    raise InvalidRequestError(
        f"{path} has {millions:.0f} million pixels, more than the {megapixels:g} million allowed.",
        todo="Use a smaller image.",
    )


def _reduce(image: Image, longest_side: int) -> Image:
    image = to_8_bit(image, strict=False)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    image = smooth_mode(image)
    image.thumbnail((longest_side, longest_side), reducing_gap=2.0)
    return image


def flatten(image: Image, background: Image | str) -> Image:
    """Return an image as RGB, on a background.

    Args:
        image: An image of any mode.
        background: An image of the same size, or a colour.
    """
    from PIL import Image as PillowImage

    if not has_alpha(image):
        return image.convert("RGB")
    if isinstance(background, str):
        flat = PillowImage.new("RGB", image.size, background)
    else:
        flat = background.copy()
    image = image.convert("RGBA")
    flat.paste(image, mask=image)
    return flat


class Thumbnails:
    """A cache of thumbnails. Each is created when it is first requested.

    Several threads and kernels may use one folder at the same time.
    """

    def __init__(self, folder: Path, *, megapixels: float = DEFAULT_LIMITS.megapixels) -> None:
        """Use a folder as the cache.

        Args:
            folder: A folder for this class only. It is created with the first thumbnail.
            megapixels: The largest original to decode, in millions of pixels.
        """
        self._folder = folder
        self._megapixels = megapixels

    def get(self, path: Path, digest: str) -> bytes:
        """Return the thumbnail of an image: a JPEG of at most 160 x 160 pixels, on white.

        It is grey if the original is missing, changed, damaged or too large. A cached thumbnail
        does not need the original. This blocks while files are read and decoded.

        Args:
            path: The original.
            digest: Its hex SHA-256, as in ``GeneratedImage.digest``.
        """
        if not _DIGEST.fullmatch(digest):
            return _stand_in()
        cached = self._folder / f"{digest}.jpg"
        known = _read_intact(cached)
        if known is not None:
            return known
        try:
            small = read_small(path, LONGEST_SIDE, megapixels=self._megapixels)
        except InvalidRequestError:
            return _stand_in()
        if not is_intact(path, digest):
            return _stand_in()
        data = encode_jpeg(flatten(small, "white"), _QUALITY)
        with contextlib.suppress(OSError):  # it also works without a cache
            _store(cached, data)
        return data


def _read_intact(cached: Path) -> bytes | None:
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        data = cached.read_bytes()
        with JpegImageFile(io.BytesIO(data)) as image:
            image.load()
    except Exception:  # noqa: BLE001 (missing or damaged; it is created again)
        return None
    return data


def _store(cached: Path, data: bytes) -> None:
    """Write a file in one step. Only the user can read it."""
    cached.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=cached.parent, prefix=".", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        part.replace(cached)
    finally:
        part.unlink(missing_ok=True)


@cache
def _stand_in() -> bytes:
    from PIL import Image

    return encode_jpeg(Image.new("RGB", (LONGEST_SIDE, LONGEST_SIDE), "#9e9e9e"), _QUALITY)
