"""Encode Python values that are images (bytes, files, Pillow, numpy, matplotlib) as image files.

No library is imported for this: a value of its type can only exist if it is imported already.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.colour_profiles import to_srgb
from runapi_magic.media.figures import encode_figure, is_axes, is_figure
from runapi_magic.media.pixel_values import check_size, image_of_array, to_8_bit

if TYPE_CHECKING:
    from PIL.Image import Image

_COLOUR_DIMENSIONS, _MOST_CHANNELS = 3, 4  # of an array
_SMALLEST = 8  # pixels; a smaller array is probably not an image
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_ORIENTATION = 0x0112  # an Exif tag


def encode_value(value: Any) -> bytes | None:
    """Return a value as the bytes of an image file; None if its type is not supported.

    Supported are bytes, open files, Pillow images, numpy arrays (height x width, or height x width
    x 1 to 4 channels) and matplotlib's Figure, SubFigure and Axes. ``pixel_values`` has the rules
    for pixels. A Pillow image is rotated upright and converted to sRGB.

    Raises:
        InvalidRequestError: The type is supported, but the value is not an image.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value)
        except ValueError as error:  # the memoryview was released
            raise InvalidRequestError(
                f"The memoryview cannot be read ({error}).", todo="Use bytes instead."
            ) from None
    if callable(getattr(value, "read", None)):
        return _read(value)
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        return encode_image(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        if 0 not in value.shape:
            check_size(value.shape[:2])
        return _png(image_of_array(value))
    if is_figure(value) or is_axes(value):
        return encode_figure(value)
    return None


def is_image_like(value: Any) -> bool:
    """Whether a value is a Pillow image, a numpy array with the shape of an image, or a figure."""
    pillow, numpy = map(sys.modules.get, ("PIL.Image", "numpy"))
    if pillow is not None and isinstance(value, pillow.Image):
        return True
    if is_figure(value):
        return True
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    is_flat = value.ndim == 2  # noqa: PLR2004 (height and width)
    is_colour = value.ndim == _COLOUR_DIMENSIONS
    has_channels = is_colour and value.shape[2] in range(1, _MOST_CHANNELS + 1)
    return (is_flat or has_channels) and min(value.shape[:2]) >= _SMALLEST


def _read(file: Any) -> bytes:
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        content = file.read()
    except Exception as error:  # noqa: BLE001 (files of other libraries may raise any exception)
        raise InvalidRequestError(
            f"The open file cannot be read ({error}).", todo="Open it again, or use its path."
        ) from None
    if isinstance(content, bytearray | memoryview):
        return bytes(content)
    if not isinstance(content, bytes):
        raise InvalidRequestError(
            "The file is open in text mode.", todo='Open it with open(path, "rb"), or use its path.'
        )
    return content


def encode_image(image: Image) -> bytes:
    """Return a Pillow image as a PNG: upright, in sRGB, with 8 bits per channel.

    Raises:
        InvalidRequestError: It cannot be read, has no pixels or too many, or its values are
            ambiguous.
    """
    check_size(image.size)
    try:
        image.load()
        return _png(as_shown(image))
    except InvalidRequestError:
        raise
    except Exception as error:  # noqa: BLE001 (the file is read only now, which may raise any exception)
        raise InvalidRequestError(
            f"The Pillow image cannot be read ({type(error).__name__}: {error}).",
            todo="Open its file again, or use a complete copy of the file.",
        ) from None


def as_shown(image: Image, *, strict: bool = True) -> Image:
    """Return a loaded image as viewers show it: upright, in sRGB, with 8 bits per channel.

    Args:
        image: An image of any mode.
        strict: Refuse ambiguous values. Otherwise use the more likely meaning.

    Returns:
        An image of mode 1, L, LA, P, RGB or RGBA. It is the same object if nothing had to change.

    Raises:
        InvalidRequestError: ``strict`` is set, and its values are ambiguous.
    """
    image = to_srgb(to_8_bit(upright(image), strict=strict))
    return image if image.mode in _PNG_MODES else image.convert("RGB")


def upright(image: Image) -> Image:
    """Return an image rotated by its Exif orientation; the same object if it is upright."""
    from PIL import ImageOps

    return image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)


def orientation_of(image: Image) -> int:
    """Return the Exif orientation of an image, 1 to 8; 1 is upright."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 (damaged Exif data raises many exceptions)
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
