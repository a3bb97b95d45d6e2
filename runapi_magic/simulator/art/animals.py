"""Animals, drawn with a `Pen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runapi_magic.simulator.art.canvas import darker, lighter, mix
from runapi_magic.simulator.art.pen import INK, WHITE

if TYPE_CHECKING:
    from runapi_magic.simulator.art.canvas import Colour
    from runapi_magic.simulator.art.pen import Pen


def _eyes(pen: Pen, x: float, y: float, apart: float, r: float) -> None:
    for side in (-1, 1):
        pen.oval(x + side * apart, y, r, r * 1.2, INK)
        pen.disc(x + side * apart + r * 0.3, y - r * 0.45, r * 0.36, WHITE)


def cat(pen: Pen, colour: Colour) -> None:
    """Draw a sitting cat that looks at the viewer."""
    shade, belly = darker(colour, 0.16), lighter(colour, 0.55)
    pen.stroke([(70, 88), (88, 84), (92, 66), (84, 56), (88, 48)], shade, 7.5)
    pen.shape(
        [(50, 40), (66, 52), (75, 78), (73, 95), (50, 97), (27, 95), (25, 78), (34, 52)],
        colour,
        soft=True,
    )
    pen.shape([(50, 56), (59, 64), (61, 84), (50, 94), (39, 84), (41, 64)], belly, soft=True)
    for side in (-1, 1):
        pen.shape([(50 + side * 26, 5), (50 + side * 5, 20), (50 + side * 25, 34)], colour)
        pen.shape(
            [(50 + side * 23.5, 11), (50 + side * 11, 20), (50 + side * 23, 28)],
            mix(colour, (255, 150, 160), 0.6),
        )
        pen.oval(50 + side * 13, 94, 9.5, 4.6, lighter(colour, 0.25))
    pen.oval(50, 34, 27, 22.5, colour)
    for offset in (-6, 0, 6):
        pen.stroke([(50 + offset, 13.5), (50 + offset * 0.8, 20)], shade, 2.2)
    pen.oval(50, 43, 11, 8, lighter(colour, 0.6))
    _eyes(pen, 50, 33, 11.5, 3.7)
    pen.shape([(47.2, 39.5), (52.8, 39.5), (50, 42.8)], (226, 110, 124))
    pen.stroke([(50, 42.5), (48.5, 46), (45, 46.4)], INK, 1)
    pen.stroke([(50, 42.5), (51.5, 46), (55, 46.4)], INK, 1)
    for side in (-1, 1):
        for rise in (-1.6, 1.8):
            pen.stroke(
                [(50 + side * 14, 42.5 + rise / 2), (50 + side * 31, 41.5 + rise * 2)],
                lighter(colour, 0.75),
                0.7,
            )


def fox(pen: Pen, colour: Colour) -> None:
    """Draw a sitting fox with its tail around its body."""
    dark, cream = darker(colour, 0.55), (255, 244, 228)
    pen.shape([(60, 92), (86, 90), (97, 70), (90, 48), (84, 62), (72, 74)], colour, soft=True)
    pen.shape([(97, 68), (94, 54), (89.5, 47), (86, 59), (90, 66)], cream, soft=True)
    pen.shape(
        [(50, 42), (64, 56), (70, 82), (66, 96), (34, 96), (30, 82), (36, 56)], colour, soft=True
    )
    pen.shape([(50, 52), (59, 62), (57, 84), (50, 92), (43, 84), (41, 62)], cream, soft=True)
    for side in (-1, 1):
        pen.shape([(50 + side * 29, 3), (50 + side * 6, 20), (50 + side * 28, 33)], colour)
        pen.shape([(50 + side * 29, 3), (50 + side * 20.5, 9.5), (50 + side * 28.7, 15)], dark)
        pen.oval(50 + side * 11, 94.5, 8, 3.8, dark)
    pen.shape(
        [(50, 13), (70, 20), (82, 37), (66, 47), (50, 59), (34, 47), (18, 37), (30, 20)],
        colour,
        soft=True,
    )
    for side in (-1, 1):
        pen.shape(
            [
                (50 + side * 31, 37.5),
                (50 + side * 16, 46.5),
                (50 + side * 2, 57.5),
                (50 + side * 4, 44),
                (50 + side * 15, 35),
            ],
            cream,
            soft=True,
        )
    _eyes(pen, 50, 34.5, 11.5, 3)
    pen.oval(50, 54.6, 4.4, 3.4, INK)
    pen.oval(49, 53.4, 1.2, 0.8, (120, 112, 130))


def dog(pen: Pen, colour: Colour) -> None:
    """Draw a puppy with hanging ears."""
    shade, cream = darker(colour, 0.35), lighter(colour, 0.7)
    pen.stroke([(70, 86), (84, 78), (86, 66)], colour, 7)
    pen.shape(
        [(50, 44), (66, 56), (72, 84), (66, 96), (34, 96), (28, 84), (34, 56)], colour, soft=True
    )
    pen.oval(50, 76, 11, 16, cream)
    for side in (-1, 1):
        pen.oval(50 + side * 12, 94, 9, 4.6, cream)
    pen.oval(50, 34, 25, 24, colour)
    pen.shape([(50, 12), (55, 28), (58, 40), (50, 46), (42, 40), (45, 28)], cream, soft=True)
    for side in (-1, 1):
        pen.shape(
            [
                (50 + side * 15, 12),
                (50 + side * 29, 18),
                (50 + side * 33, 40),
                (50 + side * 27, 52),
                (50 + side * 20, 36),
            ],
            shade,
            soft=True,
        )
    pen.oval(50, 46, 12, 9, cream)
    _eyes(pen, 50, 33, 10.5, 3.5)
    pen.oval(50, 42, 4.6, 3.4, INK)
    pen.shape([(46.5, 50), (53.5, 50), (52.5, 57), (47.5, 57)], (232, 106, 122), soft=True)
    pen.stroke([(43, 48.5), (47, 50.5), (50, 48), (53, 50.5), (57, 48.5)], INK, 1)


def bird(pen: Pen, colour: Colour) -> None:
    """Draw a round little bird on a twig."""
    pen.stroke([(4, 90), (40, 86), (96, 90)], (112, 80, 62), 3.4)
    pen.shape([(26, 66), (4, 78), (2, 70), (20, 54)], darker(colour, 0.32))
    for x in (46, 56):
        pen.stroke([(x, 76), (x, 87)], (214, 132, 62), 1.8)
    pen.shape(
        [(52, 14), (70, 20), (78, 40), (74, 66), (52, 80), (28, 72), (20, 54), (32, 34)],
        colour,
        soft=True,
    )
    pen.shape(
        [(66, 38), (73, 52), (68, 68), (52, 77), (44, 66), (52, 48)],
        lighter(colour, 0.66),
        soft=True,
    )
    pen.shape([(24, 50), (40, 40), (52, 54), (44, 68), (28, 66)], darker(colour, 0.22), soft=True)
    pen.shape([(75, 29), (92, 34), (75, 39.5)], (244, 172, 70))
    pen.disc(63, 30, 4, INK)
    pen.disc(64.3, 28.5, 1.4, WHITE)


def fish(pen: Pen, colour: Colour) -> None:
    """Draw a fish with stripes."""
    pen.shape([(26, 52), (4, 32), (9, 53), (4, 74)], darker(colour, 0.14), soft=False)
    pen.shape([(40, 32), (54, 16), (70, 32)], darker(colour, 0.14))
    pen.shape([(48, 72), (56, 86), (64, 70)], darker(colour, 0.14))
    pen.shape(
        [(20, 53), (36, 34), (60, 28), (84, 38), (96, 52), (84, 66), (60, 76), (36, 70)],
        colour,
        soft=True,
    )
    for x, half in ((40, 16), (56, 20)):
        pen.shape(
            [
                (x, 52 - half),
                (x + 7, 52 - half),
                (x + 9, 52),
                (x + 7, 52 + half),
                (x, 52 + half),
                (x + 2, 52),
            ],
            WHITE,
            soft=True,
        )
    pen.disc(82, 47, 4.8, WHITE)
    pen.disc(83, 47, 2.7, INK)
    pen.stroke([(94, 55), (88, 58)], darker(colour, 0.5), 1.3)
