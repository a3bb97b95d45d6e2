"""Picture-like Python values as the bytes of a picture file.

A library is only asked for its types where it is loaded already: a value of its type cannot exist
without it, and nothing is imported for this.
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

_RGB, _RGBA = 3, 4  # dimensions, and most channels, of an array
_SMALLEST = 8  # pixels; a smaller array is hardly meant as a picture
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_ORIENTATION = 0x0112  # an Exif tag


def encode_value(value: Any) -> bytes | None:
    """Return a value as the bytes of a picture file; None where it is of no known type.

    Known are bytes, open files, Pillow images, numpy arrays (height x width, with 1 to 4 channels
    as a third dimension) and matplotlib's Figure, SubFigure and Axes. ``pixel_values`` has the
    rules for their values. A Pillow image is turned upright and brought to sRGB.

    Raises:
        InvalidRequestError: It is of a known type and does not hold a picture.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value)
        except ValueError as error:  # a memoryview that was released
            raise InvalidRequestError(
                f"The memoryview cannot be read ({error}).", todo="Use the bytes themselves."
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
    """Whether a value is a Pillow image, a numpy array of a picture's shape, or a figure."""
    pillow, numpy = map(sys.modules.get, ("PIL.Image", "numpy"))
    if pillow is not None and isinstance(value, pillow.Image):
        return True
    if is_figure(value):
        return True
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    is_flat = value.ndim == 2  # noqa: PLR2004 (height and width)
    has_channels = value.ndim == _RGB and value.shape[2] in range(1, _RGBA + 1)
    return (is_flat or has_channels) and min(value.shape[:2]) >= _SMALLEST


def _read(file: Any) -> bytes:
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        content = file.read()
    except Exception as error:  # noqa: BLE001 (a file of another library may raise anything)
        raise InvalidRequestError(
            f"The open file cannot be read ({error}).", todo="Open it again, or name its path."
        ) from None
    if isinstance(content, bytearray | memoryview):
        return bytes(content)
    if not isinstance(content, bytes):
        raise InvalidRequestError(
            "The file is open as text.", todo='Open it with open(path, "rb"), or name its path.'
        )
    return content


def encode_image(image: Image) -> bytes:
    """Return a Pillow image as a PNG: upright, in sRGB, with 8 bits per channel.

    Raises:
        InvalidRequestError: It cannot be read, has no pixels or too many, or values without a
            clear meaning.
    """
    check_size(image.size)
    try:
        image.load()
        return _png(as_shown(image))
    except InvalidRequestError:
        raise
    except Exception as error:  # noqa: BLE001 (a lazily read file may raise anything)
        raise InvalidRequestError(
            f"The Pillow image cannot be read ({type(error).__name__}: {error}).",
            todo="Open its file again, or use a complete copy of the file.",
        ) from None


def as_shown(image: Image, *, strict: bool = True) -> Image:
    """Return a loaded image as viewers show it: upright, in sRGB, with 8 bits per channel.

    Args:
        image: An image of any mode.
        strict: Refuse values that may mean two things; otherwise take the likelier meaning.

    Returns:
        An image of mode 1, L, LA, P, RGB or RGBA; the same object where there is nothing to do.

    Raises:
        InvalidRequestError: Its values have no clear meaning.
    """
    image = to_srgb(to_8_bit(upright(image), strict=strict))
    return image if image.mode in _PNG_MODES else image.convert("RGB")


def upright(image: Image) -> Image:
    """Return an image turned as its Exif orientation says; the same object where it is upright."""
    from PIL import ImageOps

    return image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)


def orientation_of(image: Image) -> int:
    """Return an image's Exif orientation, 1 to 8; 1 is upright."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 (damaged Exif data raise anything)
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
