"""Draw the tree of an image's versions with Pillow, and text and images for other drawings."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runapi_magic.media.pixel_values import smooth_mode
from runapi_magic.media.thumbnails import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

INK, MUTED, LINE, ACCENT = "#212121", "#616161", "#8a8a8a", "#1976d2"

_WIDEST, _TALLEST = 1536, 4000  # pixels of a tree
_LARGEST_BOX, _USUAL_BOX = 240, 152  # pixels; eight columns of usual boxes fill the width
_CAPTION_BOX, _NAME_BOX = 100, 28  # pixels; smaller boxes have no caption or no name
_USUAL_TEXT, _SMALLEST_TEXT = 20, 14  # pixels; on screen they are half as large
_MARGIN = 24  # pixels
_LEADING = 1.25  # line height, relative to the text size

# The characters of Pillow's own font (a subset of Aileron), and replacements for others.
_DRAWABLE = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("…·“”«»°±©™")
_REPLACEMENTS = str.maketrans(
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
    """Return Pillow's own font, which is always available. The size is in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def fit_text(text: str, face: Font, width: float) -> str:
    """Return a line of text that can be drawn in this width. A cut text ends with ``…``.

    Accents are removed. Characters that the font does not have become ``·``.
    """
    text = text[: max(0, int(width))]  # do not measure a prompt of 30,000 characters
    plain = unicodedata.normalize("NFD", text.translate(_REPLACEMENTS))
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    text = "".join(letter if letter in _DRAWABLE else "·" for letter in kept)
    if face.getlength(text) <= width:
        return text
    fits, most = 0, len(text)
    while fits < most:  # binary search, because measuring is slow
        middle = (fits + most + 1) // 2
        if face.getlength(f"{text[:middle].rstrip()}…") <= width:
            fits = middle
        else:
            most = middle - 1
    text = text[:fits].rstrip()
    return f"{text}…" if text else ""


def contain(image: Image, box: tuple[int, int]) -> Image:
    """Return an image scaled to fit into a box. Its aspect ratio is kept."""
    from PIL import Image as PillowImage

    scale = min(box[0] / image.width, box[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return smooth_mode(image).resize(size, PillowImage.Resampling.LANCZOS)


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One version in a tree.

    Attributes:
        name: A short name, such as ``v1``.
        caption: The lines under the name.
        thumbnail: The image, of any size.
        parent: The index of its parent, which is smaller than its own; None for a root.
        marked: Whether it is highlighted.
    """

    name: str
    caption: tuple[str, ...]
    thumbnail: Image
    parent: int | None
    marked: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of a tree for one box size. All values are in pixels."""

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
        """The number of text lines under a box."""
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
    """Draw versions as a tree on white: later versions to the right, branches below.

    The result has at most 1536 x 4000 pixels and is meant to be shown at half its size. For many
    versions, the boxes shrink, then captions and finally names are left out.

    Args:
        nodes: At least one version. Each comes after its parent.
    """
    from PIL import Image, ImageDraw

    positions = _positions([node.parent for node in nodes])
    columns, rows = (max(numbers) + 1 for numbers in zip(*positions, strict=True))
    lines = max(len(node.caption) for node in nodes)
    for box in range(_LARGEST_BOX, 0, -1):
        layout = _Layout(box, columns, rows, lines)
        if layout.size[0] <= _WIDEST and layout.size[1] <= _TALLEST:
            break
    image = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(image)
    for node, position in zip(nodes, positions, strict=True):
        if node.parent is not None:
            _draw_edge(draw, layout, positions[node.parent], position)
    for node, position in zip(nodes, positions, strict=True):
        _draw_node(image, draw, layout, node, layout.corner(*position))
    image.thumbnail((_WIDEST, _TALLEST))
    return image


def _positions(parents: Sequence[int | None]) -> list[tuple[int, int]]:
    """Return the column and row of each node. The first child is in the row of its parent."""
    children: list[list[int]] = [[] for _ in parents]
    roots: list[int] = []
    for index, parent in enumerate(parents):
        (roots if parent is None else children[parent]).append(index)
    positions = [(0, 0)] * len(parents)
    waiting = [(root, 0) for root in reversed(roots)]
    row = -1
    is_first_child = False  # whether the next node is in the row of the previous one
    while waiting:
        node, column = waiting.pop()
        row += not is_first_child
        positions[node] = column, row
        waiting += [(child, column + 1) for child in reversed(children[node])]
        is_first_child = bool(children[node])
    return positions


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
    image: Image, draw: ImageDraw, layout: _Layout, node: TreeNode, corner: tuple[int, int]
) -> None:
    x, y = corner
    box = layout.box
    frame = max(1, box // 40) if node.marked else 1
    draw.rectangle((x, y, x + box - 1, y + box - 1), "#f5f5f5")
    small = flatten(contain(node.thumbnail, (box, box)), "white")
    image.paste(small, (x + (box - small.width) // 2, y + (box - small.height) // 2))
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
        if number == 0:  # the font has no bold: draw the text twice, one pixel apart
            draw.text((x + 1, y), text, ink, face)
        y += round(layout.text * _LEADING)
