"""A small canvas over Pillow: gradients, glows and soft shapes. Colours are tuples.

Large areas are filled with masks and with small gradients that are resized. These Pillow functions
release the interpreter lock, so that other threads can run. Compositing whole images does not.
"""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

_SOFT_SCALE = 6
"""Soft shapes are drawn this many times smaller, because they have no detail."""


def rgb(code: str) -> Colour:
    """Return a colour from six hexadecimal digits."""
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def hls(hue: float, lightness: float, saturation: float) -> Colour:
    """Return a colour from hue (in turns), lightness and saturation (both 0 to 1)."""
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour that is ``share`` (0 to 1) of the way from one colour to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def lighter(colour: Colour, share: float) -> Colour:
    """Return a colour closer to white."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float) -> Colour:
    """Return a colour closer to black."""
    return mix(colour, (0, 0, 0), share)


def smooth(points: Sequence[Point], *, steps: int = 10, closed: bool = True) -> list[Point]:
    """Return a Catmull-Rom curve through the points."""
    count = len(points)
    curve: list[Point] = []
    for index in range(count if closed else count - 1):
        if closed:
            near = [points[(index + offset) % count] for offset in (-1, 0, 1, 2)]
        else:
            near = [points[min(count - 1, max(0, index + offset))] for offset in (-1, 0, 1, 2)]
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = near
        for step in range(steps):
            t = step / steps
            curve.append((_spline(ax, bx, cx, dx, t), _spline(ay, by, cy, dy, t)))
    return curve if closed else [*curve, points[-1]]


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    linear = (c - a) * t
    square = (2 * a - 5 * b + 4 * c - d) * t * t
    cube = (3 * b - a - 3 * c + d) * t**3
    return 0.5 * (2 * b + linear + square + cube)


def gradient(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Return a vertical gradient, from the first colour at the top to the last at the bottom."""
    strip = Image.new("RGB", (1, len(colours)))
    strip.putdata(colours)
    # Sampling starts inside the first pixel and ends inside the last: the ends are not flat.
    return strip.resize(size, Image.Resampling.BICUBIC, box=(0, 0.3, 1, len(colours) - 0.3))


class Canvas:
    """An image to paint on. Positions are fractions of the width and height, 0 to 1."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.image = Image.new("RGB", size)
        self.width, self.height = size
        self.unit = math.sqrt(self.width * self.height)
        """Reference length in pixels, for wide and tall images. Lengths are fractions of it."""
        self._pen = ImageDraw.Draw(self.image)

    def at(self, point: Point) -> Point:
        """Return the pixel coordinates of a position."""
        return point[0] * self.width, point[1] * self.height

    def sky(self, *colours: Colour) -> None:
        """Fill the whole image with a vertical gradient."""
        self.image.paste(gradient(self.image.size, colours), (0, 0))

    def band(self, top: float, bottom: float, *colours: Colour) -> None:
        """Fill a horizontal band with a vertical gradient."""
        first, last = round(top * self.height), round(bottom * self.height)
        if last > first:
            self.image.paste(gradient((self.width, last - first), colours), (0, first))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._pen.polygon([self.at(point) for point in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Draw a filled circle. The radius is a fraction of `unit`."""
        x, y = self.at(centre)
        r = radius * self.unit
        self._pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draw a filled rectangle."""
        self._pen.rectangle((*self.at((left, top)), *self.at((right, bottom))), fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a line. The width is a fraction of `unit`."""
        pixels = max(1, round(width * self.unit))
        self._pen.line([self.at(p) for p in points], fill=colour, width=pixels, joint="curve")

    def glow(self, centre: Point, radius: float, colour: Colour, strength: float) -> None:
        """Draw a light that fades outwards."""
        x, y = self.at(centre)
        r = max(2, round(radius * self.unit))
        fall = Image.radial_gradient("L").resize((2 * r, 2 * r), Image.Resampling.BILINEAR)
        # The mask is 255 at the corners, sqrt(2) radii from the centre. Squaring softens the edge.
        table = [round(strength * 255 * max(0.0, 1 - v / 180) ** 2) for v in range(256)]
        self.image.paste(colour, (round(x) - r, round(y) - r), fall.point(table))

    def soft(
        self,
        paint: Callable[[ImageDraw.ImageDraw, float, float], None],
        colour: Colour,
        blur: float,
    ) -> None:
        """Draw a blurred shape.

        Args:
            paint: Draws the shape in grey (255: full colour); gets a pen, the width and the height.
            colour: Colour of the shape.
            blur: Blur radius as a fraction of `unit`.
        """
        size = max(1, self.width // _SOFT_SCALE), max(1, self.height // _SOFT_SCALE)
        mask = Image.new("L", size)
        paint(ImageDraw.Draw(mask), *size)
        mask = mask.filter(ImageFilter.GaussianBlur(blur * self.unit / _SOFT_SCALE))
        self.image.paste(colour, (0, 0), mask.resize(self.image.size, Image.Resampling.BICUBIC))

    def veil(self, top: float, bottom: float, colour: Colour, strengths: Sequence[float]) -> None:
        """Draw a translucent band, such as mist. Strengths go from top to bottom."""
        first, last = round(top * self.height), round(bottom * self.height)
        if last <= first:
            return
        strip = Image.new("L", (1, len(strengths)))
        strip.putdata([round(255 * strength) for strength in strengths])
        mask = strip.resize((self.width, last - first), Image.Resampling.BICUBIC)
        self.image.paste(colour, (0, first), mask)

    def translucent(self, points: Sequence[Point], colour: Colour, strength: float) -> None:
        """Fill a polygon with a translucent colour."""
        pixels = [self.at(point) for point in points]
        xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
        left, top = math.floor(min(xs)), math.floor(min(ys))
        mask = Image.new("L", (math.ceil(max(xs)) - left + 1, math.ceil(max(ys)) - top + 1))
        outline = [(x - left, y - top) for x, y in pixels]
        ImageDraw.Draw(mask).polygon(outline, fill=round(255 * strength))
        self.image.paste(colour, (left, top), mask)

    def circle_points(self, centre: Point, radius: float, count: int = 72) -> list[Point]:
        """Return the outline of a circle. The radius is a fraction of `unit`."""
        rx, ry = radius * self.unit / self.width, radius * self.unit / self.height
        angles = (2 * math.pi * index / count for index in range(count))
        return [(centre[0] + rx * math.cos(a), centre[1] + ry * math.sin(a)) for a in angles]

    def vignette(self, strength: float) -> None:
        """Darken the corners slightly."""
        table = [round(strength * 255 * max(0.0, v / 255 - 0.45) ** 1.5 * 2) for v in range(256)]
        mask = Image.radial_gradient("L").point(table)
        shade = mask.resize(self.image.size, Image.Resampling.BILINEAR)
        self.image.paste((8, 8, 20), (0, 0), shade)


def happens(rng: random.Random, share: float) -> bool:
    """Return True with this probability."""
    return rng.random() < share


def stars(canvas: Canvas, rng: random.Random, bottom: float, count: int = 150) -> None:
    """Draw stars from the top to ``bottom``, fewer towards the bottom."""
    for _ in range(count):
        size = rng.choice((0.0006, 0.0009, 0.0009, 0.0016))
        spot = rng.random(), rng.uniform(0, bottom) * rng.random() ** 0.5
        canvas.disc(spot, size, mix((150, 165, 215), (255, 255, 250), rng.random()))
