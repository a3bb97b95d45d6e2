"""A pen for small subjects on a transparent layer.

A subject is drawn in a box of 100 by 100 units. Its lower edge is near y = 96.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw

from runapi_magic.simulator.art.canvas import smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.simulator.art.canvas import Colour, Point

INK: Final = (43, 37, 54)
WHITE: Final = (255, 252, 246)


class Pen:
    """Draws on a square layer, in units of a hundredth of its side."""

    def __init__(self, side: int) -> None:
        self.layer = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.layer)
        self._scale = side / 100

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Draw an ellipse around a centre."""
        s = self._scale
        self._draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=colour)

    def disc(self, x: float, y: float, r: float, colour: Colour) -> None:
        """Draw a circle."""
        self.oval(x, y, r, r, colour)

    def shape(self, points: Sequence[Point], colour: Colour, *, soft: bool = False) -> None:
        """Draw a polygon. With ``soft``, draw a curve through its points."""
        outline = smooth(points) if soft else points
        self._draw.polygon([(x * self._scale, y * self._scale) for x, y in outline], fill=colour)

    def slab(  # noqa: PLR0917 - four edges in Pillow's order
        self, left: float, top: float, right: float, bottom: float, colour: Colour, r: float = 0
    ) -> None:
        """Draw a rectangle with round corners."""
        s = self._scale
        box = (left * s, top * s, right * s, bottom * s)
        self._draw.rounded_rectangle(box, radius=r * s, fill=colour)

    def stroke(
        self, points: Sequence[Point], colour: Colour, width: float, *, soft: bool = True
    ) -> None:
        """Draw a line with round ends. With ``soft``, draw a curve through its points."""
        path = smooth(points, closed=False) if soft and len(points) > 2 else points  # noqa: PLR2004 - two points are straight
        pixels = [(x * self._scale, y * self._scale) for x, y in path]
        self._draw.line(pixels, fill=colour, width=round(width * self._scale), joint="curve")
        for x, y in (path[0], path[-1]):
            self.disc(x, y, width / 2, colour)
