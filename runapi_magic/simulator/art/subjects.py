"""Subjects in the middle of an image: flat, simple drawings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from runapi_magic.simulator.art.animals import bird, cat, dog, fish, fox
from runapi_magic.simulator.art.canvas import darker, lighter, mix
from runapi_magic.simulator.art.palettes import colour_word, words
from runapi_magic.simulator.art.pen import INK, WHITE, Pen

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from runapi_magic.simulator.art.canvas import Colour

    Painter: TypeAlias = Callable[[Pen, Colour], None]


def bottle(pen: Pen, colour: Colour) -> None:
    """Draw a perfume bottle with a gold cap."""
    glass, gold = lighter(colour, 0.35), (206, 164, 82)
    pen.slab(24, 36, 76, 96, darker(colour, 0.1), 9)
    pen.slab(27, 39, 73, 93, glass, 7)
    pen.slab(30, 52, 70, 90, mix(colour, glass, 0.25), 5)
    pen.slab(30, 52, 70, 55, lighter(colour, 0.2), 1.5)
    pen.slab(40, 28, 60, 37, darker(gold, 0.25), 1.5)
    pen.slab(36, 6, 64, 29, gold, 3)
    for x, tone in ((39, lighter(gold, 0.5)), (45, lighter(gold, 0.18)), (57, darker(gold, 0.2))):
        pen.slab(x, 6.5, x + 2.6, 28.5, tone, 1)
    pen.slab(37, 62, 63, 82, WHITE, 1.5)
    pen.slab(38.5, 63.5, 61.5, 80.5, lighter(gold, 0.72), 1)
    pen.slab(42, 68, 58, 69.6, gold)
    pen.slab(44.5, 72, 55.5, 73.2, gold)
    pen.slab(46.5, 75.4, 53.5, 76.4, gold)
    pen.slab(29.5, 42, 32.5, 89, lighter(glass, 0.65), 1.5)
    pen.slab(34, 42, 35, 86, lighter(glass, 0.45), 0.5)


def robot(pen: Pen, colour: Colour) -> None:
    """Draw a friendly robot that waves."""
    steel, shade, glow = lighter(colour, 0.25), darker(colour, 0.28), (120, 236, 226)
    pen.stroke([(50, 16), (50, 6)], shade, 2)
    pen.disc(50, 5.5, 3.4, (255, 122, 96))
    pen.stroke([(72, 60), (86, 52), (88, 36)], shade, 5.5)
    pen.stroke([(28, 60), (15, 68), (17, 82)], shade, 5.5)
    pen.disc(88, 34, 5.5, steel)
    pen.disc(17, 84, 5.5, steel)
    for side in (-1, 1):
        pen.slab(50 + side * 11 - 5, 84, 50 + side * 11 + 5, 93, shade, 2)
        pen.slab(50 + side * 12 - 9, 90, 50 + side * 12 + 9, 97, steel, 3.5)
        pen.slab(50 + side * 29 - 3.5, 26, 50 + side * 29 + 3.5, 39, shade, 2.5)
    pen.slab(28, 52, 72, 87, colour, 9)
    pen.slab(36, 60, 64, 78, darker(colour, 0.5), 4)
    for index, tone in enumerate(((255, 122, 96), (255, 205, 104), glow)):
        pen.disc(42.5 + index * 7.5, 66, 2.3, tone)
    pen.slab(40, 71.5, 60, 74, lighter(colour, 0.1), 1.2)
    pen.slab(43, 46, 57, 54, shade, 2)
    pen.slab(22, 16, 78, 49, steel, 11)
    pen.slab(27.5, 21.5, 72.5, 43.5, (37, 43, 68), 8)
    for side in (-1, 1):
        pen.disc(50 + side * 10.5, 31, 4.6, glow)
        pen.disc(50 + side * 10.5 + 1.3, 29.4, 1.5, WHITE)
    pen.stroke([(43.5, 37.5), (50, 40.5), (56.5, 37.5)], glow, 1.6)


def flower(pen: Pen, colour: Colour) -> None:
    """Draw a flower with two leaves."""
    leaf = (76, 142, 92)
    pen.stroke([(50, 44), (48, 70), (50, 97)], darker(leaf, 0.12), 3.4)
    pen.shape([(49, 86), (36, 82), (22, 66), (38, 66), (47, 76)], leaf, soft=True)
    pen.shape([(50, 80), (62, 74), (78, 60), (62, 58), (52, 68)], lighter(leaf, 0.14), soft=True)
    for ring, reach, tone in ((0.0, 21, darker(colour, 0.14)), (0.5, 18.5, colour)):
        for petal in range(8):
            angle = math.tau * (petal + ring) / 8
            across = angle + math.pi / 2
            tip = 50 + reach * 1.5 * math.cos(angle), 34 + reach * 1.5 * math.sin(angle)
            middle = 50 + reach * math.cos(angle), 34 + reach * math.sin(angle)
            wing = 6.8 * math.cos(across), 6.8 * math.sin(across)
            pen.shape(
                [
                    (50, 34),
                    (middle[0] + wing[0], middle[1] + wing[1]),
                    tip,
                    (middle[0] - wing[0], middle[1] - wing[1]),
                ],
                tone,
                soft=True,
            )
    pen.disc(50, 34, 9.5, (244, 190, 76))
    pen.disc(50, 34, 6.6, (224, 156, 52))
    for dot in range(9):
        pen.disc(
            50 + 4.6 * math.cos(dot * 2.4), 34 + 4.6 * math.sin(dot * 2.4), 0.8, (250, 220, 140)
        )


def tree(pen: Pen, colour: Colour) -> None:
    """Draw a round tree."""
    bark = (112, 78, 60)
    pen.shape([(46, 58), (54, 58), (56, 84), (61, 97), (39, 97), (44, 84)], bark, soft=False)
    pen.stroke([(50, 74), (62, 60)], bark, 3)
    pen.stroke([(50, 70), (38, 56)], bark, 3)
    crown = ((50, 26, 22), (32, 38, 19), (68, 38, 19), (40, 52, 16), (60, 53, 16))
    for x, y, r in crown:
        pen.disc(x, y + 2, r, darker(colour, 0.25))
    for x, y, r in crown:
        pen.disc(x - 1.5, y - 1.5, r * 0.94, colour)
    for x, y, r in ((44, 20, 10), (26, 34, 8), (62, 32, 8), (42, 46, 7)):
        pen.disc(x, y, r, lighter(colour, 0.2))


def house(pen: Pen, colour: Colour) -> None:
    """Draw a small house with a lit window."""
    wall, roof = lighter(colour, 0.72), colour
    pen.slab(66, 20, 75, 44, darker(roof, 0.35))
    pen.slab(20, 48, 80, 96, wall)
    pen.slab(20, 48, 80, 53, darker(wall, 0.14))
    pen.shape([(50, 14), (90, 51), (10, 51)], roof)
    pen.shape([(50, 14), (90, 51), (82, 51), (50, 21)], darker(roof, 0.2))
    pen.slab(42, 68, 58, 96, darker(roof, 0.45), 2)
    pen.disc(54.5, 83, 1.2, (250, 214, 120))
    for x in (25, 63):
        pen.slab(x, 61, x + 12, 76, WHITE, 1)
        pen.slab(x + 1.2, 62.2, x + 10.8, 74.8, (255, 219, 128))
        pen.slab(x + 5.4, 62, x + 6.6, 75, WHITE)
        pen.slab(x + 1, 68, x + 11, 69.2, WHITE)
    pen.disc(50, 38, 5, WHITE)
    pen.disc(50, 38, 3.6, (255, 219, 128))


def boat(pen: Pen, colour: Colour) -> None:
    """Draw a sailing boat."""
    pen.slab(48.8, 6, 51.2, 80, (110, 84, 70))
    pen.shape([(52.5, 8), (86, 70), (52.5, 72)], WHITE)
    pen.shape([(52.5, 50), (75, 50), (86, 70), (52.5, 72)], (232, 226, 218))
    pen.shape([(47.5, 16), (47.5, 71), (19, 70)], colour)
    pen.shape([(47.5, 52), (47.5, 71), (19, 70), (28, 52)], darker(colour, 0.14))
    pen.shape([(10, 77), (90, 77), (77, 93), (24, 93)], darker(colour, 0.5))
    pen.shape([(10, 77), (90, 77), (87.5, 81), (13, 81)], WHITE)
    pen.shape([(51.2, 6), (60, 8.5), (51.2, 11.5)], (240, 98, 86))


def balloon(pen: Pen, colour: Colour) -> None:
    """Draw a hot-air balloon."""
    pen.shape(
        [(50, 3), (78, 12), (87, 36), (74, 60), (58, 76), (42, 76), (26, 60), (13, 36), (22, 12)],
        colour,
        soft=True,
    )
    pen.shape(
        [(50, 3), (66, 12), (71, 36), (63, 60), (54, 76), (46, 76), (37, 60), (29, 36), (34, 12)],
        lighter(colour, 0.72),
        soft=True,
    )
    pen.shape(
        [
            (50, 3),
            (56, 12),
            (58.5, 36),
            (55, 60),
            (51.6, 76),
            (48.4, 76),
            (45, 60),
            (41.5, 36),
            (44, 12),
        ],
        colour,
        soft=True,
    )
    for x in (43, 57):
        pen.stroke([(x, 75), (50 + (x - 50) * 0.9, 87)], (120, 92, 74), 0.9)
    pen.slab(42.5, 86, 57.5, 97, (168, 118, 76), 2.5)
    pen.slab(41.5, 85, 58.5, 88.4, (128, 86, 56), 1.5)


def rocket(pen: Pen, colour: Colour) -> None:
    """Draw a flying rocket."""
    pen.shape([(42, 78), (58, 78), (60, 88), (50, 100), (40, 88)], (255, 168, 66), soft=True)
    pen.shape([(45.5, 78), (54.5, 78), (55, 85), (50, 93), (45, 85)], (255, 232, 150), soft=True)
    for side in (-1, 1):
        pen.shape(
            [
                (50 + side * 15, 52),
                (50 + side * 30, 72),
                (50 + side * 29, 84),
                (50 + side * 14, 75),
            ],
            darker(colour, 0.2),
        )
    pen.shape(
        [(50, 2), (61, 15), (67, 36), (66, 60), (60, 78), (40, 78), (34, 60), (33, 36), (39, 15)],
        WHITE,
        soft=True,
    )
    pen.shape([(50, 2), (57, 9), (62, 20), (50, 23), (38, 20), (43, 9)], colour, soft=True)
    pen.slab(35, 63, 65, 68, colour)
    pen.disc(50, 40, 10, darker(colour, 0.25))
    pen.disc(50, 40, 7.4, (126, 206, 232))
    pen.oval(47.4, 37.2, 2.6, 1.9, WHITE)
    pen.slab(48, 66, 52, 86, darker(colour, 0.3), 1.5)


def cup(pen: Pen, colour: Colour) -> None:
    """Draw a cup of a hot drink."""
    for x in (40, 52, 64):
        pen.stroke([(x, 34), (x - 4, 26), (x + 3, 18), (x - 1, 9)], (240, 238, 236), 2)
    pen.oval(50, 92, 42, 5.5, lighter(colour, 0.5))
    pen.oval(50, 90.5, 32, 3.6, lighter(colour, 0.28))
    pen.stroke([(76, 50), (92, 50), (92, 68), (72, 74)], colour, 5)
    pen.shape([(20, 42), (80, 42), (77, 68), (66, 88), (50, 91), (34, 88), (23, 68)], colour)
    pen.shape([(62, 42), (80, 42), (77, 68), (66, 88), (58, 90)], darker(colour, 0.14))
    pen.oval(50, 42, 30, 6.4, lighter(colour, 0.4))
    pen.oval(50, 42.8, 26.5, 4.7, (94, 60, 44))
    pen.shape([(50, 70), (43, 62), (44.5, 57), (50, 60), (55.5, 57), (57, 62)], WHITE, soft=True)


def mushroom(pen: Pen, colour: Colour) -> None:
    """Draw a mushroom with spots."""
    pen.shape(
        [(42, 50), (58, 50), (60, 78), (66, 96), (34, 96), (40, 78)], (250, 240, 224), soft=True
    )
    pen.shape(
        [
            (6, 52),
            (14, 26),
            (34, 9),
            (50, 6),
            (66, 9),
            (86, 26),
            (94, 52),
            (72, 58),
            (50, 60),
            (28, 58),
        ],
        colour,
        soft=True,
    )
    pen.oval(50, 55.5, 32, 4, (238, 220, 198))
    for x, y, r in ((34, 27, 6.5), (58, 20, 5.5), (72, 38, 6.4), (48, 42, 5), (22, 43, 4)):
        pen.oval(x, y, r, r * 0.88, WHITE)


def lighthouse(pen: Pen, colour: Colour) -> None:
    """Draw a striped lighthouse on its rock."""
    pen.shape([(14, 97), (26, 84), (50, 80), (72, 85), (88, 97)], (92, 88, 100), soft=False)
    pen.shape([(40, 30), (60, 30), (66, 88), (34, 88)], WHITE)
    for top in (38, 60):
        inset, low = 40 - (top - 30) * 0.103, 40 - (top - 19) * 0.103
        pen.shape(
            [(inset, top), (100 - inset, top), (100 - low, top + 11), (low, top + 11)], colour
        )
    pen.slab(36, 27, 64, 31, darker(colour, 0.45), 1)
    pen.slab(42, 14, 58, 27, (255, 228, 140), 1)
    pen.slab(49.2, 14, 50.8, 27, darker(colour, 0.45))
    pen.shape([(50, 3), (62, 15), (38, 15)], colour)
    pen.slab(45, 76, 55, 88, darker(colour, 0.45), 3)


def car(pen: Pen, colour: Colour) -> None:
    """Draw a small car, seen from the side."""
    pen.shape([(24, 62), (32, 42), (42, 37), (62, 37), (72, 44), (80, 62)], colour, soft=False)
    pen.shape([(31, 59), (37, 44.5), (50, 42), (50, 59)], (190, 226, 236))
    pen.shape([(53, 42), (62, 42), (69, 48), (73, 59), (53, 59)], (190, 226, 236))
    pen.slab(6, 58, 95, 80, colour, 8)
    pen.slab(6, 70, 95, 80, darker(colour, 0.24), 5)
    pen.slab(89, 63, 95, 68, (255, 236, 160), 2)
    pen.slab(6, 63, 10, 68, (230, 84, 76), 2)
    for x in (27, 74):
        pen.disc(x, 80, 11, INK)
        pen.disc(x, 80, 5.6, (206, 208, 214))
        pen.disc(x, 80, 2, (120, 122, 132))
    pen.slab(54, 63, 61, 65, darker(colour, 0.4), 1)


SUBJECTS: Final[dict[str, tuple[Painter, str, Colour]]] = {
    "cat": (cat, "cat kitten kitty", (233, 150, 84)),
    "fox": (fox, "fox", (226, 112, 52)),
    "dog": (dog, "dog puppy", (206, 152, 98)),
    "bottle": (bottle, "bottle perfume flask", (168, 128, 196)),
    "robot": (robot, "robot android droid", (116, 150, 190)),
    "rocket": (rocket, "rocket spaceship astronaut", (232, 84, 84)),
    "flower": (flower, "flower rose tulip daisy sunflower blossom", (232, 96, 128)),
    "house": (house, "house cottage cabin hut", (204, 92, 78)),
    "boat": (boat, "boat ship sailboat yacht", (222, 94, 82)),
    "balloon": (balloon, "balloon", (230, 94, 92)),
    "lighthouse": (lighthouse, "lighthouse", (214, 74, 72)),
    "bird": (bird, "bird robin sparrow owl parrot", (86, 148, 206)),
    "fish": (fish, "fish goldfish", (244, 138, 66)),
    "cup": (cup, "cup coffee mug tea latte", (84, 158, 164)),
    "mushroom": (mushroom, "mushroom toadstool", (216, 70, 66)),
    "car": (car, "car taxi vehicle", (222, 88, 76)),
    "tree": (tree, "tree oak", (86, 154, 98)),
}
"""Name -> painter, the words for it in a prompt, and its default colour."""

FLOATING: Final = frozenset({"balloon", "bird", "fish", "rocket"})
"""Subjects that do not stand on the ground."""


def choose(prompt: str) -> str | None:
    """Return the first subject in `SUBJECTS` that the prompt names, or None."""
    named = words(prompt)
    return next((name for name, entry in SUBJECTS.items() if named & set(entry[1].split())), None)


def own_colour(prompt: str, name: str) -> Colour | None:
    """Return the subject's colour in the prompt: a colour word shortly before the subject."""
    listed = re.findall(r"[^\W\d_]+", prompt.lower())
    called = set(SUBJECTS[name][1].split())
    for index, word in enumerate(listed):
        colour = colour_word(word)
        if colour and any(words(near) & called for near in listed[index + 1 : index + 4]):
            return colour
    return None


def paint(name: str, side: int, colour: Colour | None) -> Image.Image:
    """Draw the subject on a transparent square of ``side`` pixels; None: in its default colour."""
    painter, _, own = SUBJECTS[name]
    pen = Pen(side)
    painter(pen, colour or own)
    return pen.layer
