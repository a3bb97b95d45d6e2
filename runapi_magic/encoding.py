"""Picture-like Python values as the bytes of a picture file.

A library is only asked for its types where it is loaded already: a value of its type cannot exist
without it, and nothing is imported for this.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY, _GREY_ALPHA, _RGB, _RGBA = 1, 2, 3, 4
_SMALLEST = 8  # pixels; a smaller array is hardly meant as a picture
_FULL = 255
_FULL_16 = 257  # from 16 to 8 bits: 65535 becomes 255


def encode_picture(value: Any) -> bytes | None:
    """Return a value as the bytes of a picture file; None where it is of no known type.

    Known are bytes, open files, Pillow images, numpy arrays (height x width, with 1 to 4 channels
    as a third dimension; bool, uint8, uint16, or float from 0 to 1) and matplotlib figures.

    Raises:
        InvalidRequestError: It is of a known type and no picture.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if callable(getattr(value, "read", None)):
        return _read(value)
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        return _png(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _png(_from_array(value, numpy))
    figure = sys.modules.get("matplotlib.figure")
    if figure is not None and isinstance(value, figure.FigureBase):
        buffer = io.BytesIO()
        # Without the version in it, the same figure is the same picture tomorrow.
        value.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()
    return None


def is_picture_like(value: Any) -> bool:
    """Whether a value is a Pillow image, a numpy array of a picture's shape, or a figure."""
    pillow, numpy, figure = map(sys.modules.get, ("PIL.Image", "numpy", "matplotlib.figure"))
    if pillow is not None and isinstance(value, pillow.Image):
        return True
    if figure is not None and isinstance(value, figure.FigureBase):
        return True
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    is_flat = value.ndim == 2  # noqa: PLR2004 (height and width)
    has_channels = value.ndim == _RGB and value.shape[2] in range(1, _RGBA + 1)
    return (is_flat or has_channels) and min(value.shape[:2]) >= _SMALLEST


def _read(file: Any) -> bytes:
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidRequestError(
            f"The open file cannot be read ({error}).", todo="Open it again, or name its path."
        ) from None
    if not isinstance(content, bytes):
        raise InvalidRequestError(
            "The file is open as text.", todo='Open it with open(path, "rb"), or name its path.'
        )
    return content


def _png(image: Image) -> bytes:
    # PNG holds these modes as they are; others, such as CMYK, become RGB.
    fits = image.mode in {"1", "L", "LA", "P", "RGB", "RGBA"}
    buffer = io.BytesIO()
    (image if fits else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def _from_array(array: Any, numpy: Any) -> Image:
    from PIL import Image

    channels = array.shape[2] if array.ndim == _RGB else _GREY
    if array.ndim not in {2, 3} or channels > _RGBA or 0 in array.shape:
        raise InvalidRequestError(
            f"An array of shape {array.shape} is no picture.",
            todo="It takes height x width, or height x width x 1, 2, 3 or 4 channels.",
        )
    pixels = numpy.ascontiguousarray(_to_bytes(array, numpy))
    if channels == _GREY:
        pixels = pixels.reshape(array.shape[:2])
    return Image.fromarray(pixels)


def _to_bytes(array: Any, numpy: Any) -> Any:
    if array.dtype == numpy.uint8:
        return array
    if array.dtype == numpy.uint16:
        return (array // _FULL_16).astype(numpy.uint8)
    if array.dtype == bool:
        return array.astype(numpy.uint8) * _FULL
    if numpy.issubdtype(array.dtype, numpy.floating):
        low, high = array.min(), array.max()
        if low >= 0 and high <= 1:  # false for NaN
            return (array * _FULL + 0.5).astype(numpy.uint8)
        raise InvalidRequestError(
            f"The array's floats go from {low:g} to {high:g}.",
            todo="Floats go from 0 to 1; divide, or convert to uint8 for 0 to 255.",
        )
    raise InvalidRequestError(
        f"An array of {array.dtype} is no picture.",
        todo="Use uint8 from 0 to 255, or floats from 0 to 1.",
    )
