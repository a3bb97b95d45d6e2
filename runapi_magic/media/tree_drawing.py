"""Plain pictures for notebooks, drawn with Pillow: the tree of a picture's versions."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runapi_magic.media.thumbnails import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

INK, MUTED, LINE, ACCENT = "#212121", "#616161", "#8a8a8a", "#1976d2"

_WIDEST, _TALLEST = 1536, 4000  # pixels of a tree
_LARGEST_BOX, _USUAL_BOX = 240, 152  # pixels; with the usual one, eight columns fill the width
_CAPTION_BOX, _NAME_BOX = 100, 28  # pixels; smaller ones have no caption, no name
_USUAL_TEXT, _SMALLEST_TEXT = 20, 14  # pixels; half as large on screen
_MARGIN = 24  # pixels
_LEADING = 1.25  # line height, in sizes of the letters

# What Pillow's own font has, which is a part of Aileron, and stand-ins for what it has not.
_DRAWABLE = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("…·“”«»°±©™")
_STAND_INS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHTWARDS ARROW}": ">",
        "\N{LATIN SMALL LETTER SHARP S}": "ss",
        "\n": " ",
    }
)


def font(size: float) -> Font:
    """Return Pillow's own font, the only one that is everywhere; size in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def fit_text(text: str, face: Font, width: float) -> str:
    """Return what of a line of text can be drawn in so many pixels, with ``…`` for the rest.

    Accents are dropped and characters that the font has not become ``·``.
    """
    text = text[: max(0, int(width))]  # no prompt of 30,000 characters is measured
    plain = unicodedata.normalize("NFD", text.translate(_STAND_INS))
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    text = "".join(letter if letter in _DRAWABLE else "·" for letter in kept)
    if face.getlength(text) <= width:
        return text
    fits, most = 0, len(text)
    while fits < most:  # each measure takes a while
        middle = (fits + most + 1) // 2
        if face.getlength(f"{text[:middle].rstrip()}…") <= width:
            fits = middle
        else:
            most = middle - 1
    text = text[:fits].rstrip()
    return f"{text}…" if text else ""


def contain(image: Image, box: tuple[int, int]) -> Image:
    """Return a picture scaled to fit a box, without a change of its shape."""
    from PIL import Image as PillowImage

    scale = min(box[0] / image.width, box[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if image.mode in {"1", "P"}:  # Pillow takes the nearest pixel in these, whatever is asked
        image = image.convert("RGBA")
    return image.resize(size, PillowImage.Resampling.LANCZOS)


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One version in a tree.

    Attributes:
        name: Short, such as ``v1``.
        caption: Lines under the name.
        thumbnail: The picture, of any size.
        parent: Index of the version that it was made from, smaller than its own; None for a root.
        marked: Whether it is the one that is looked at.
    """

    name: str
    caption: tuple[str, ...]
    thumbnail: Image
    parent: int | None
    marked: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things go, for one size of the boxes; all in pixels."""

    box: int
    columns: int
    rows: int
    caption_lines: int

    @property
    def text(self) -> float:
        usual = _USUAL_TEXT * min(1, self.box / _USUAL_BOX)
        return max(_SMALLEST_TEXT, usual)

    @property
    def lines(self) -> int:
        """How many lines of text have room under a box."""
        if self.box < _NAME_BOX:
            return 0
        return 1 + (self.caption_lines if self.box >= _CAPTION_BOX else 0)

    @property
    def gap(self) -> int:
        return max(2, self.box // 4)

    @property
    def row(self) -> int:
        return self.box + self.gap * 3 // 4 + round(self.lines * self.text * _LEADING)

    @property
    def size(self) -> tuple[int, int]:
        across = self.columns * (self.box + self.gap) - self.gap
        return across + 2 * _MARGIN, self.rows * self.row + 2 * _MARGIN - self.gap // 2

    def corner(self, column: int, row: int) -> tuple[int, int]:
        return _MARGIN + column * (self.box + self.gap), _MARGIN + row * self.row


def draw_tree(nodes: Sequence[TreeNode]) -> Image:
    """Draw versions as a tree: later ones to the right, branches below, on white.

    The picture is at most 1536 x 4000 pixels and meant to be shown at half its size; where that
    is too small for all, boxes shrink, then captions and at last names are left out.

    Args:
        nodes: At least one, each after its parent.
    """
    from PIL import Image, ImageDraw

    places = _places([node.parent for node in nodes])
    columns, rows = (max(numbers) + 1 for numbers in zip(*places, strict=True))
    lines = max(len(node.caption) for node in nodes)
    for box in range(_LARGEST_BOX, 0, -1):
        layout = _Layout(box, columns, rows, lines)
        if layout.size[0] <= _WIDEST and layout.size[1] <= _TALLEST:
            break
    picture = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(picture)
    for node, place in zip(nodes, places, strict=True):
        if node.parent is not None:
            _draw_edge(draw, layout, places[node.parent], place)
    for node, place in zip(nodes, places, strict=True):
        _draw_node(picture, draw, layout, node, layout.corner(*place))
    picture.thumbnail((_WIDEST, _TALLEST))
    return picture


def _places(parents: Sequence[int | None]) -> list[tuple[int, int]]:
    """Return each node's column and row; a first child stands in the row of its parent."""
    children: list[list[int]] = [[] for _ in parents]
    roots: list[int] = []
    for index, parent in enumerate(parents):
        (roots if parent is None else children[parent]).append(index)
    places = [(0, 0)] * len(parents)
    waiting = [(root, 0) for root in reversed(roots)]
    row = -1
    goes_on = False  # whether the next node stands in the row of the one before
    while waiting:
        node, column = waiting.pop()
        row += not goes_on
        places[node] = column, row
        waiting += [(child, column + 1) for child in reversed(children[node])]
        goes_on = bool(children[node])
    return places


def _draw_edge(
    draw: ImageDraw, layout: _Layout, parent: tuple[int, int], child: tuple[int, int]
) -> None:
    x0, y0 = layout.corner(*parent)
    x1, y1 = layout.corner(*child)
    middle = layout.box // 2
    turn = x1 - layout.gap // 2
    points = [(x0 + layout.box, y0 + middle), (turn, y0 + middle), (turn, y1 + middle),
              (x1, y1 + middle)]  # fmt: skip
    draw.line(points, LINE, max(1, layout.gap // 12), joint="curve")


def _draw_node(
    picture: Image, draw: ImageDraw, layout: _Layout, node: TreeNode, corner: tuple[int, int]
) -> None:
    x, y = corner
    box = layout.box
    frame = max(1, box // 40) if node.marked else 1
    draw.rectangle((x, y, x + box - 1, y + box - 1), "#f5f5f5")
    small = flatten(contain(node.thumbnail, (box, box)), "white")
    picture.paste(small, (x + (box - small.width) // 2, y + (box - small.height) // 2))
    draw.rectangle(
        (x - frame, y - frame, x + box - 1 + frame, y + box - 1 + frame),
        outline=ACCENT if node.marked else LINE,
        width=frame,
    )
    face = font(layout.text)
    y += box + round(layout.text * 0.4)
    for number, line in enumerate((node.name, *node.caption)[: layout.lines]):
        ink = MUTED if number else ACCENT if node.marked else INK
        text = fit_text(line, face, box + layout.gap // 3)
        draw.text((x, y), text, ink, face)
        if number == 0:  # the font has one weight: twice, a pixel apart, is bold
            draw.text((x + 1, y), text, ink, face)
        y += round(layout.text * _LEADING)
