"""Convert the pixels of any Pillow mode or numpy type to 8 bits per channel.

- 8 bits (``uint8``) are not changed. ``bool`` becomes black and white.
- 16 bits (``uint16``, Pillow's ``I;16``) are divided by 257, so that 65535 becomes 255.
- Other integers (``int8`` to ``int64``, Pillow's ``I``) count as 8 bits if they are from 0 to 255,
  and as 16 bits if they are from 0 to 65535.
- Floats (``float16`` to ``float64``, Pillow's ``F``) must be from 0 to 1. Floats that are whole
  numbers from 0 to 255 count as 8 bits.

All other values are refused, and so are two ambiguous kinds: 16 bits that are all from 0 to 255 but
not all 0, and other integers that are only 0 and 1. A wrong guess would be sent and charged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

_FULL, _FULL_16 = 255, 65_535
_STEP_16 = 257  # divisor from 16 to 8 bits: 65535 becomes 255
_GREY_DIMENSIONS, _COLOUR_DIMENSIONS, _MOST_CHANNELS = 2, 3, 4  # of an array
_ADVICE = "Scale it to 0 to 255 and convert it to uint8 (Pillow: mode L)."
# Modes that PNG does not have, and the nearest ones that it has.
_NEAREST = {
    "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB",
    "LAB": "RGB",
}  # fmt: skip


def smooth_mode(image: Image) -> Image:
    """Return an image whose mode can be resized smoothly.

    In the modes 1 and P, Pillow only uses the nearest pixel.
    """
    if image.mode not in {"1", "P"}:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def check_size(size: tuple[int, ...], label: str = "The image") -> None:
    """Refuse an image without pixels, or with so many that Pillow considers it an attack.

    Raises:
        InvalidRequestError: The image has no pixels, or too many.
    """
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    pixels = math.prod(size)
    if pixels == 0:
        raise InvalidRequestError(f"{label} has no pixels.", todo="Check the code that created it.")
    if most is not None and pixels > 2 * most:
        raise InvalidRequestError(
            f"{label} has {pixels / 1e6:,.0f} million pixels, more than the"
            f" {2 * most / 1e6:,.0f} million allowed.",
            todo="Reduce its size first.",
        )


def to_8_bit(image: Image, *, strict: bool = True) -> Image:
    """Return a Pillow image in mode 1, L, LA, P, RGB, RGBA or CMYK.

    Args:
        image: An image of any mode.
        strict: Refuse ambiguous values. Otherwise use the more likely meaning.

    Raises:
        InvalidRequestError: ``strict`` is set, and its values are ambiguous.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _to_grey(image, strict=strict)
    nearest = _NEAREST.get(image.mode)
    return image.convert(nearest) if nearest else image


def _to_grey(image: Image, *, strict: bool) -> Image:
    what = f"The image of mode {image.mode}"
    is_16_bit = image.mode.startswith("I;16")
    wide = image.convert("I") if is_16_bit else image
    low, high = cast("tuple[float, float]", wide.getextrema())
    try:
        if image.mode == "F":
            whole = high > 1 and _is_whole(wide)
            unit = _is_unit(low, high, what, nan=_has_nan(wide), whole=whole)
            factor, offset = (float(_FULL), 0.5) if unit else (1.0, 0.0)
        else:
            step = _whole_step(int(low), int(high), what, is_16_bit=is_16_bit)
            factor, offset = 1 / step, 0.5 / step  # or 257 could become 0.999, which is 0
    except InvalidRequestError:
        if strict:
            raise
        step = _STEP_16 if is_16_bit or high > _FULL else 1
        factor, offset = 1 / step, 0.5 / step
    grey = wide.point(lambda value: value * factor + offset).convert("L")
    grey.info.pop("transparency", None)  # it is a level in the old range
    return grey


def _has_nan(image: Image) -> bool:
    from PIL import ImageMath

    unequal = ImageMath.lambda_eval(lambda given: given["a"] != given["a"], a=image)
    return bool(unequal.getextrema()[1])


def _is_whole(image: Image) -> bool:
    return image.convert("L").convert("F").tobytes() == image.tobytes()


def _whole_step(low: int, high: int, what: str, *, is_16_bit: bool) -> int:
    """Return the divisor that maps integers to 0 to 255."""
    if is_16_bit:
        if 0 < high <= _FULL:
            raise InvalidRequestError(
                f"{what} has 16 bits, but its largest value is {high}, which is nearly black.",
                todo=_ADVICE,
            )
        return _STEP_16
    if low < 0 or high > _FULL_16:
        raise InvalidRequestError(
            f"{what} has values from {low} to {high}. They must be from 0 to 65535.", todo=_ADVICE
        )
    if high <= 1:
        raise InvalidRequestError(
            f"{what} has only the values 0 and 1, which can mean grey levels or black and white.",
            todo="Convert it to bool for black and white, or to uint8 (Pillow: 1 or L).",
        )
    return 1 if high <= _FULL else _STEP_16


def _is_unit(low: float, high: float, what: str, *, nan: bool, whole: bool) -> bool:
    """Whether floats are from 0 to 1. Otherwise they are levels from 0 to 255."""
    if nan:
        raise InvalidRequestError(
            f"{what} contains NaN.", todo="Replace it first, for example with numpy.nan_to_num."
        )
    if low >= 0 and high <= 1:
        return True
    if low >= 0 and high <= _FULL and whole:
        return False
    raise InvalidRequestError(
        f"{what} has floats from {low:g} to {high:g}. They must be from 0 to 1.",
        todo="Divide or clip them, or convert them to uint8 for values from 0 to 255.",
    )


def image_of_array(array: Any) -> Image:
    """Return a numpy array as a Pillow image of mode L, LA, RGB or RGBA.

    Args:
        array: Height x width, or height x width x 1, 2, 3 or 4 channels.

    Raises:
        InvalidRequestError: It does not have the shape or the values of an image.
    """
    import numpy as np
    from PIL import Image

    if np.ma.is_masked(array):
        raise InvalidRequestError(
            "The array has masked values.", todo="Replace them first: array.filled(0)."
        )
    array = np.asarray(array)
    is_colour = array.ndim == _COLOUR_DIMENSIONS
    is_flat = array.ndim == _GREY_DIMENSIONS
    channels = array.shape[2] if is_colour else 1
    if not (is_flat or is_colour) or channels > _MOST_CHANNELS or 0 in array.shape:
        has_channels_first = is_colour and array.shape[0] <= _MOST_CHANNELS
        raise InvalidRequestError(
            f"An array of shape {array.shape} is not an image.",
            todo="Put the channels last: array.transpose(1, 2, 0)."
            if has_channels_first and 0 not in array.shape
            else "Use height x width, or height x width x 1, 2, 3 or 4 channels.",
        )
    pixels = np.ascontiguousarray(_to_bytes(array))
    if channels == 1:
        pixels = pixels.reshape(array.shape[:2])
    return Image.fromarray(pixels)


def _to_bytes(array: Any) -> Any:
    import numpy as np

    what = f"The array of {array.dtype}"
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * _FULL
    if array.dtype.kind not in "iuf":
        raise InvalidRequestError(
            f"{what} is not an image.",
            todo="Use uint8 from 0 to 255, or floats from 0 to 1.",
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    low, high = array.min(), array.max()  # NaN if the array contains one
    if array.dtype.kind == "f":
        whole = bool(high > 1 and (array == np.floor(array)).all())
        if _is_unit(float(low), float(high), what, nan=bool(np.isnan(low)), whole=whole):
            return (array * _FULL + 0.5).astype(np.uint8)
        return array.astype(np.uint8)
    is_16_bit = array.dtype == np.uint16
    return (array // _whole_step(int(low), int(high), what, is_16_bit=is_16_bit)).astype(np.uint8)
