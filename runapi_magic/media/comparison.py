"""Compare two images: side by side, with their difference, and in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runapi_magic.media.from_python import as_shown
from runapi_magic.media.preview import LARGEST_PREVIEW, encode_jpeg
from runapi_magic.media.thumbnails import flatten
from runapi_magic.media.tree_drawing import INK, LINE, MUTED, contain, fit_text, font

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

_THRESHOLD = 8  # of 255; JPEG with quality 85 changes about as much, which is hardly visible
_FULL = 255
_BARS = "#bdbdbd"  # beside an image with another aspect ratio
_SQUARE = 8  # pixels of a square of the checkerboard behind transparency
_GAP, _TEXT, _LABEL = 12, 15, 24  # pixels
_NARROWEST, _LOWEST = 160, 72  # pixels of a cell
_WIDTH = 768  # pixels of the image in the notebook
_QUALITY, _LOWEST_QUALITY = 85, 35
_SAME_RATIO = 0.01  # relative difference of aspect ratios that rounding explains


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two images of the same size and their difference.

    Attributes:
        before: The first image in RGB, with a checkerboard behind transparency.
        after: The second image, in the same way.
        difference: The absolute difference of each channel, times the gain. Black means equal.
        gain: The factor that makes the largest difference 255; 1 if there is no difference.
        changed: The share of pixels that differ by more than 8 of 255 in a channel, 0 to 1.
        mean_difference: The mean over all pixels and channels, 0 to 255.
        names: The names of the two images.
    """

    before: Image
    after: Image
    difference: Image
    gain: float
    changed: float
    mean_difference: float
    names: tuple[str, str]

    def __str__(self) -> str:
        before, after = self.names
        pair = f"{before} and {after}, compared at {self.before.width} x {self.before.height} px: "
        return pair + ", ".join(self._numbers())

    __repr__ = __str__

    @property
    def side_by_side(self) -> Image:
        """Both images in one, each under its name."""
        return _draw_grid((self.before, self.after), self.names, columns=2)

    def _numbers(self) -> list[str]:
        if not self.mean_difference:
            return ["no difference"]
        numbers = [
            f"{_percent(self.changed)} of the pixels changed by more than {_THRESHOLD} of {_FULL}",
            f"mean difference {_format(self.mean_difference)} of {_FULL}",
        ]
        if _format(self.gain) != "1":
            numbers.append(f"difference shown {_format(self.gain)} times as strong")
        return numbers

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        sheet = self._draw_sheet()
        about = {"width": sheet.width, "height": sheet.height, "alt": str(self)}
        return {"image/jpeg": _encode(sheet), "text/plain": str(self)}, {"image/jpeg": about}

    def _draw_sheet(self) -> Image:
        """Draw tall images in one row with the numbers below, and wide ones in two rows."""
        from PIL import ImageDraw

        names = (*self.names, "difference")
        images = (self.before, self.after, self.difference)
        columns = 3 if self.before.height > self.before.width else 2
        side = (_WIDTH - _GAP * (columns + 1)) // columns
        small = [contain(image, (side, 2 * side)) for image in images]
        lines = self._numbers()
        below = _LABEL * len(lines) + _GAP // 2 if columns == len(images) else 0
        sheet = _draw_grid(small, names, columns, below=below)
        draw = ImageDraw.Draw(sheet)
        face = font(_TEXT)
        width, height = _cell(small[0])
        x, y = (_GAP, below - _GAP // 2) if below else (2 * _GAP + width, height)
        y = sheet.height - _GAP - y
        for line in lines:
            draw.text((x, y), fit_text(line, face, sheet.width - x - _GAP), MUTED, face)
            y += _LABEL
        return sheet


def compare_images(
    before: Image,
    after: Image,
    *,
    names: tuple[str, str] = ("before", "after"),
    longest_side: int = 768,
) -> Comparison:
    """Compare two images.

    Both are scaled to the size of the one with fewer pixels, at most to ``longest_side``. If the
    other one has another aspect ratio, it gets grey bars, which count as a difference.

    Args:
        before: Any Pillow image.
        after: Any Pillow image.
        names: The names of the two images.
        longest_side: The longest side of the result in pixels.
    """
    from PIL import ImageChops, ImageStat

    before, after = (as_shown(image, strict=False) for image in (before, after))
    smaller = min(before, after, key=lambda image: image.width * image.height)
    scale = min(1, longest_side / max(smaller.size))
    size = max(1, round(smaller.width * scale)), max(1, round(smaller.height * scale))
    first, second = (_scale_to(image, size) for image in (before, after))
    difference = ImageChops.difference(first, second)
    red, green, blue = difference.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    counts = largest.histogram()
    strongest = max(level for level, count in enumerate(counts) if count)
    gain = _FULL / strongest if strongest else 1.0
    return Comparison(
        before=first,
        after=second,
        difference=difference.point(lambda level: round(level * gain)),
        gain=gain,
        changed=sum(counts[_THRESHOLD + 1 :]) / sum(counts),
        mean_difference=math.fsum(ImageStat.Stat(difference).mean) / 3,
        names=names,
    )


def _scale_to(image: Image, size: tuple[int, int]) -> Image:
    from PIL import Image as PillowImage

    small = contain(image, size)
    ratio, wanted = image.width / image.height, size[0] / size[1]
    if small.size != size and abs(ratio / wanted - 1) <= _SAME_RATIO:
        small = small.resize(size)
    flat = flatten(small, _checkerboard(small.size))
    whole = PillowImage.new("RGB", size, _BARS)
    whole.paste(flat, ((size[0] - flat.width) // 2, (size[1] - flat.height) // 2))
    return whole


def _checkerboard(size: tuple[int, int]) -> Image:
    from PIL import Image

    across, down = (-(-length // _SQUARE) for length in size)
    light = [255 if (x + y) % 2 else 225 for y in range(down) for x in range(across)]
    squares = Image.frombytes("L", (across, down), bytes(light)).convert("RGB")
    large = squares.resize((across * _SQUARE, down * _SQUARE), Image.Resampling.NEAREST)
    return large.crop((0, 0, *size))


def _cell(image: Image) -> tuple[int, int]:
    """Return the size of a cell for an image, a name and the numbers."""
    return max(image.width, _NARROWEST), max(image.height, _LOWEST)


def _draw_grid(
    images: Sequence[Image], names: Sequence[str], columns: int, *, below: int = 0
) -> Image:
    """Draw images of one size in rows on white, each under its name."""
    from PIL import Image, ImageDraw

    width, height = _cell(images[0])
    rows = -(-len(images) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + _GAP) + _GAP, rows * (_LABEL + height + _GAP) + _GAP // 2 + below),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    face = font(_TEXT)
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), _GAP // 2 + row * (_LABEL + height + _GAP)
        draw.text((x, y), fit_text(name, face, width), INK, face)
        y += _LABEL
        draw.rectangle((x - 1, y - 1, x + image.width, y + image.height), outline=LINE)
        sheet.paste(image, (x, y))
    return sheet


def _encode(sheet: Image) -> bytes:
    for quality in range(_QUALITY, _LOWEST_QUALITY - 1, -10):
        data = encode_jpeg(sheet, quality)
        if len(data) <= LARGEST_PREVIEW:
            break
    return data


def _format(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 (two digits)


def _percent(share: float) -> str:
    if 0 < share < 0.001:  # noqa: PLR2004 (it would be shown as 0.0 %)
        return "less than 0.1 %"
    return f"{share:.1%}".replace("%", " %")
