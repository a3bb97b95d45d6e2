"""Objects that an edit adds to an image: sunglasses, a hat, stars, prints, notes, a sign."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageOps

from runapi_magic.simulator.art import painting
from runapi_magic.simulator.art.canvas import darker, lighter
from runapi_magic.simulator.art.pen import INK, WHITE, Pen
from runapi_magic.simulator.art.subjects import SUBJECTS, paint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.simulator.art.canvas import Colour

    Painter = Callable[[Pen, Colour], None]


def _sunglasses(pen: Pen, colour: Colour) -> None:
    pen.stroke([(6, 40), (94, 40)], colour, 6, soft=False)
    for left in (10, 54):
        lens = [(left, 40), (left + 36, 40), (left + 34, 60), (left + 18, 68), (left + 2, 60)]
        pen.shape(lens, colour)
        pen.shape([(left + 5, 44), (left + 15, 44), (left + 8, 58)], lighter(colour, 0.35))


def _hat(pen: Pen, colour: Colour) -> None:
    pen.oval(50, 76, 46, 9, darker(colour, 0.2))
    pen.shape([(24, 74), (28, 26), (72, 26), (76, 74)], colour)
    pen.oval(50, 26, 22, 5, lighter(colour, 0.2))
    pen.shape([(24.6, 62), (75.4, 62), (76, 75), (50, 79), (24, 75)], (196, 64, 72))


def _sun(pen: Pen, colour: Colour) -> None:
    for ray in range(12):
        angle = math.tau * ray / 12
        x, y = math.cos(angle), math.sin(angle)
        pen.stroke([(50 + 31 * x, 50 + 31 * y), (50 + 44 * x, 50 + 44 * y)], colour, 4.5)
    pen.disc(50, 50, 25, colour)
    pen.disc(50, 50, 20, lighter(colour, 0.35))


def _star(pen: Pen, colour: Colour) -> None:
    for x, y, r in ((50, 46, 34), (16, 78, 13), (84, 82, 15), (86, 18, 11)):
        spikes = [
            (x + reach * math.sin(turn), y - reach * math.cos(turn))
            for index in range(10)
            for reach, turn in [(r if index % 2 == 0 else r * 0.45, math.pi * index / 5)]
        ]
        pen.shape(spikes, colour)


def _moon(pen: Pen, colour: Colour) -> None:
    outer = [(50 + 40 * math.cos(a / 20), 50 + 40 * math.sin(a / 20)) for a in range(20, 106)]
    inner = [(62 + 33 * math.cos(a / 20), 44 + 34 * math.sin(a / 20)) for a in range(104, 22, -1)]
    pen.shape([*outer, *inner], colour)


def _heart(pen: Pen, colour: Colour) -> None:
    pen.disc(32, 36, 21, colour)
    pen.disc(68, 36, 21, colour)
    pen.shape([(13, 45), (50, 30), (87, 45), (50, 92)], colour)
    pen.oval(27, 30, 6, 5, lighter(colour, 0.55))


def _crown(pen: Pen, colour: Colour) -> None:
    pen.shape([(12, 80), (8, 34), (31, 54), (50, 20), (69, 54), (92, 34), (88, 80)], colour)
    pen.slab(12, 76, 88, 88, darker(colour, 0.2), 3)
    for x, y in ((8, 32), (50, 17), (92, 32)):
        pen.disc(x, y, 6, (222, 74, 92))


def _bow(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.shape([(50, 50), (50 + side * 42, 24), (50 + side * 42, 76)], colour)
        pen.shape([(50, 50), (50 + side * 30, 40), (50 + side * 30, 60)], darker(colour, 0.25))
    pen.disc(50, 50, 10, darker(colour, 0.12))


_OWN: Final[dict[str, tuple[Painter, Colour, tuple[float, float, float]]]] = {
    "sunglasses": (_sunglasses, INK, (0.5, 0.4, 0.34)),
    "hat": (_hat, (52, 46, 66), (0.5, 0.19, 0.34)),
    "crown": (_crown, (244, 190, 74), (0.5, 0.18, 0.3)),
    "bow": (_bow, (226, 74, 98), (0.5, 0.7, 0.24)),
    "sun": (_sun, (255, 196, 66), (0.82, 0.2, 0.26)),
    "moon": (_moon, (255, 244, 206), (0.82, 0.2, 0.24)),
    "star": (_star, (255, 214, 92), (0.2, 0.22, 0.28)),
    "heart": (_heart, (232, 70, 98), (0.8, 0.24, 0.22)),
}
"""Painter, colour, and position: centre and side as fractions of width, height, shorter side."""

THINGS: Final = (*_OWN, *SUBJECTS)
"""Names of the objects that an edit can add."""

ALIASES: Final = {
    "sunglasses": ("glasses", "shades"),
    "hat": ("cap", "tophat"),
    "sun": ("sunshine",),
    "moon": ("crescent",),
    "star": ("sparkle",),
    **{name: tuple(called.split()) for name, (_, called, _) in SUBJECTS.items()},
}
"""Other words for the same object."""


def add(image: Image.Image, thing: str, colour: Colour | None) -> Image.Image:
    """Return the image with one of `THINGS` on it, in ``colour`` or in its own colour."""
    if thing in _OWN:
        painter, own, (x, y, share) = _OWN[thing]
        side = max(16, round(min(image.size) * share))
        pen = Pen(side)
        painter(pen, colour or own)
        layer = pen.layer
    else:
        x, y, side = 0.24, 0.72, max(16, round(min(image.size) * 0.36))
        layer = paint(thing, side, colour)
    changed = image.copy()
    left, top = round(x * image.width - side / 2), round(y * image.height - side / 2)
    painting.paste_layer(changed, layer, (max(0, left), max(0, top)))
    return changed


def add_note(image: Image.Image, text: str) -> Image.Image:
    """Return the image with a strip of text at the top."""
    changed = image.copy()
    letters = " ".join(text.split())[:48]
    tag = painting.label(letters, max(10.0, min(image.size) * 0.034), ground=(20, 22, 40, 190))
    if tag.width > image.width * 0.9:
        tag = ImageOps.contain(tag, (round(image.width * 0.9), tag.height))
    margin = round(image.height * 0.03)
    painting.paste_layer(changed, tag, ((image.width - tag.width) // 2, margin))
    return changed


def add_sign(image: Image.Image, text: str) -> Image.Image:
    """Return the image with a text in large letters on a light board."""
    pixels = max(12.0, min(image.size) * 0.13)
    face = painting.font(pixels)
    left, top, right, bottom = face.getbbox(text)
    pad = round(pixels * 0.45)
    size = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
    board = Image.new("RGBA", size)
    pen = ImageDraw.Draw(board)
    box = (0, 0, size[0] - 1, size[1] - 1)
    pen.rounded_rectangle(box, radius=pad * 0.5, fill=(*WHITE, 236))
    pen.text((pad - left, pad - top), text, font=face, fill=(*INK, 255))
    board = ImageOps.contain(board, (round(image.width * 0.84), round(image.height * 0.4)))
    changed = image.copy()
    middle = (image.width - board.width) // 2
    painting.paste_layer(changed, board, (middle, round(image.height * 0.62 - board.height / 2)))
    return changed


def add_prints(image: Image.Image, others: Sequence[Image.Image]) -> Image.Image:
    """Return the image with other images as small prints at the bottom."""
    changed = image.copy()
    side = min(round(min(image.size) * 0.24), round(image.width * 0.9 / len(others)))
    rim = max(1, side // 16)
    step = min(side + rim, (image.width - side) // len(others))
    for index, other in enumerate(others):
        inside = max(1, side - 2 * rim)
        card = Image.new("RGBA", (side, side), (*WHITE, 255))
        card.paste(
            ImageOps.fit(other.convert("RGB"), (inside, inside), Image.Resampling.LANCZOS),
            (rim, rim),
        )
        top = round(image.height * 0.9) - side
        painting.paste_layer(changed, card, (rim * 2 + index * step, max(0, top)))
    return changed
