"""Draw the contact sheet of a sweep or a batch: many small images in one.

It is drawn with two pixels for each pixel on the screen, so that its text stays readable.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runapi_magic.media.preview import LARGEST_PREVIEW, encode_jpeg
from runapi_magic.media.thumbnails import flatten
from runapi_magic.media.tree_drawing import INK, LINE, MUTED, contain, fit_text, font

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from runapi_magic.core.status import ItemStatus
    from runapi_magic.media.tree_drawing import Font

    Box = tuple[int, int, int, int]

DENSITY = 2  # pixels of the file for each pixel on the screen
MOST_ACROSS, MOST_CELLS = 12, 100  # rows or columns with axes; cells without axes
_LARGEST_BOX = 512  # pixels
_LARGE_ENOUGH = 0.9  # of the largest possible box; a smaller box may give an even grid
_TEXT, _SMALL_TEXT = 24, 20  # pixels
_LINE = 32  # pixels
_MARGIN, _GAP = 16, 12  # pixels
_LONGEST_LABEL = 80  # characters that are measured for the width of labels
_NARROWEST = 4  # pixels of a character
_WIDEST_LABEL = 0.22  # of the width of the sheet, for the labels of rows
_QUALITIES = (85, 75, 65)  # of the JPEG
_SMALLEST_SIDE, _SMALLEST_SHEET = 64, 300  # pixels of the file; pixels on the screen
_FAULT, _FAULT_BACKGROUND, _EMPTY, _RUNNING = "#b71c1c", "#fdecea", "#eeeeee", "#e3f2fd"
_WORDS: dict[ItemStatus, str] = {"waiting": "…", "running": "running", "completed": "…"}


@dataclass(frozen=True, slots=True)
class Axis:
    """The rows or the columns of a sheet.

    Attributes:
        name: The name of the variable, or of several.
        values: One label for each row or column. A label may have several lines.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SheetCell:
    """One cell of a sheet.

    Attributes:
        status: The status of its request.
        label: The text below it on a sheet without axes.
        image: Read its first image, with about this many pixels on the longest side. None if there
            is no image, or if it is not to be read now.
        more: The number of its other images.
        missing: The number of requested images that are missing.
        reason: Why there is no image.
    """

    status: ItemStatus
    label: str = ""
    image: Callable[[int], Image] | None = None
    more: int = 0
    missing: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A drawn sheet.

    Attributes:
        image: The sheet, twice as large as it is shown.
        boxes: Left, top, right and bottom of each cell in pixels, by the number of the cell.
    """

    image: Image
    boxes: Mapping[int, Box]

    def cell_at(self, x: float, y: float) -> int | None:
        """Return the number of the cell at a position; None if there is none.

        Args:
            x: The position as a share of the width, 0 to 1.
            y: The position as a share of the height, 0 to 1.
        """
        across, down = x * self.image.width, y * self.image.height
        return next(
            (
                number
                for number, (left, top, right, bottom) in self.boxes.items()
                if left <= across < right and top <= down < bottom
            ),
            None,
        )


def axes(variables: Mapping[str, Sequence[object]]) -> tuple[Axis | None, Axis | None, str]:
    """Return the rows, the columns and the heading of a sheet.

    The last variable gives the columns, the others the rows. A variable with one value is only in
    the heading. With one variable there are no axes, and its values are in a grid.
    """
    varied = {name: values for name, values in variables.items() if len(values) > 1}
    fixed = [f"{name}: {values[0]}" for name, values in variables.items() if len(values) == 1]
    if len(varied) < 2:  # noqa: PLR2004 (two axes)
        return None, None, " · ".join([*varied, *fixed])
    *outer, last = varied
    labels = itertools.product(*(varied[name] for name in outer))
    rows = Axis(" · ".join(outer), tuple("\n".join(map(str, values)) for values in labels))
    return rows, Axis(last, tuple(map(str, varied[last]))), " · ".join(fixed)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of the cells, in pixels: the size, the distance and the start of the boxes."""

    box: tuple[int, int]
    pitch: tuple[int, int]
    start: tuple[int, int]
    columns: int
    rows: int
    below: int  # height of the label under each box

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.start[0] + self.columns * self.pitch[0] - _GAP + _MARGIN,
            self.start[1] + self.rows * self.pitch[1] - _GAP + _MARGIN,
        )

    def corner(self, row: int, column: int) -> tuple[int, int]:
        aside = (self.pitch[0] - _GAP - self.box[0]) // 2
        return (
            self.start[0] + column * self.pitch[0] + aside,
            self.start[1] + row * self.pitch[1],
        )


def draw_sheet(
    cells: Sequence[SheetCell],
    rows: Axis | None,
    columns: Axis | None,
    *,
    longest_side: int,
    heading: str = "",
    ratio: float = 1.0,
) -> Sheet:
    """Draw a contact sheet on white.

    With axes, the number of a cell is ``row * len(columns.values) + column``. At most the first 12
    rows and columns are drawn, without axes the first 100 cells. The heading notes if cells are
    left out.

    Args:
        cells: At least one cell.
        rows: The rows; None together with ``columns`` for a grid.
        columns: The columns.
        longest_side: The longest side of the sheet on the screen in pixels.
        heading: A line above the sheet.
        ratio: The aspect ratio of most images, width by height.
    """
    side = max(longest_side, _SMALLEST_SHEET) * DENSITY
    across, drawn = _drawn_cells(cells, rows, columns)
    if len(drawn) < len(cells):
        heading = " · ".join([*filter(None, [heading]), f"first {len(drawn)} of {len(cells)}"])
    labels = columns.values[:MOST_ACROSS] if columns else [cells[number].label for number in drawn]
    layout = _fit(
        len(drawn), across, _start(rows, columns, heading, side), side=side, ratio=ratio,
        below=0 if columns else _LINE, label=_widest(labels),
    )  # fmt: skip
    image, draw = _new_sheet(layout, heading, side)
    if rows is not None and columns is not None:
        _draw_axes(image, draw, layout, rows, columns)
    boxes: dict[int, Box] = {}
    for position, number in enumerate(drawn):
        left, top = layout.corner(*divmod(position, layout.columns))
        boxes[number] = left, top, left + layout.box[0], top + layout.box[1]
        _draw_cell(image, draw, cells[number], boxes[number])
        if layout.below:
            _draw_label(draw, layout, cells[number].label, boxes[number])
    return _shrink(Sheet(image, boxes), longest_side * DENSITY)


def _widest(labels: Sequence[str]) -> int:
    """Return the width of the widest label in pixels. Very long labels are not measured fully."""
    face = font(_TEXT)
    widths = (face.getlength(label[:_LONGEST_LABEL]) for label in labels)
    return round(max(widths, default=0)) + 1


def _start(rows: Axis | None, columns: Axis | None, heading: str, side: int) -> tuple[int, int]:
    """Return where the cells begin: right of the labels of rows, below heading and columns."""
    top = _MARGIN + _LINE * (bool(heading) + 2 * (columns is not None))
    if rows is None:
        return _MARGIN, top
    lines = [line for value in rows.values[:MOST_ACROSS] for line in value.split("\n")]
    room = min(_widest(lines), round(side * _WIDEST_LABEL))
    return _MARGIN + _LINE + room + _GAP, top


def _new_sheet(layout: _Layout, heading: str, side: int) -> tuple[Image, ImageDraw]:
    """Return a white sheet with its heading, and its drawing."""
    from PIL import Image, ImageDraw

    face = font(_TEXT)
    width, height = layout.size
    title = round(face.getlength(heading[:side])) + 2 * _MARGIN
    image = Image.new("RGB", (min(side, max(width, title)), height), "white")
    draw = ImageDraw.Draw(image)
    if heading:
        text = _cut(heading, face, image.width - 2 * _MARGIN)
        draw.text((_MARGIN, _MARGIN - 4), text, MUTED, face)
    return image, draw


def _draw_label(draw: ImageDraw, layout: _Layout, label: str, box: Box) -> None:
    """Draw a label centred below its box."""
    face = font(_TEXT)
    text = _cut(label, face, layout.pitch[0] - _GAP)
    middle = box[0] + (layout.box[0] - face.getlength(text)) / 2
    draw.text((middle, box[3] + 2), text, INK, face)


def _shrink(sheet: Sheet, side: int) -> Sheet:
    """Return a sheet that is not larger than this. Its text may be too small to read then."""
    scale = side / max(sheet.image.size)
    if scale >= 1:
        return sheet
    boxes = {
        number: (int(left * scale), int(top * scale), int(right * scale), int(bottom * scale))
        for number, (left, top, right, bottom) in sheet.boxes.items()
    }
    return Sheet(contain(sheet.image, (side, side)), boxes)


def _drawn_cells(
    cells: Sequence[SheetCell], rows: Axis | None, columns: Axis | None
) -> tuple[int | None, list[int]]:
    """Return the number of columns, None without axes, and the numbers of the cells to draw."""
    if rows is None or columns is None:
        return None, list(range(min(len(cells), MOST_CELLS)))
    across = min(len(columns.values), MOST_ACROSS)
    down = min(len(rows.values), MOST_ACROSS)
    return across, [
        row * len(columns.values) + column for row in range(down) for column in range(across)
    ]


def _fit(
    number: int, across: int | None, start: tuple[int, int], *, side: int, ratio: float,
    below: int, label: int,
) -> _Layout:  # fmt: skip
    """Return the layout with large boxes. Of similar ones, it has the fewest empty cells."""
    layouts = []
    for columns in [across] if across else range(1, number + 1):
        rows = -(-number // columns)
        widest = (side - start[0] - _MARGIN + _GAP) // columns - _GAP
        tallest = (side - start[1] - _MARGIN + _GAP) // rows - _GAP - below
        scale = min(widest, tallest * ratio, _LARGEST_BOX * min(1.0, ratio))
        box = max(1, int(scale)), max(1, int(scale / ratio))
        pitch = max(box[0], min(widest, label)) + _GAP, box[1] + below + _GAP
        layouts.append(_Layout(box, pitch, start, columns, rows, below))
    largest = max(layout.box[0] for layout in layouts)
    large = [layout for layout in layouts if layout.box[0] >= largest * _LARGE_ENOUGH]
    return min(large, key=lambda layout: (layout.rows * layout.columns, layout.rows))


def _draw_axes(image: Image, draw: ImageDraw, layout: _Layout, rows: Axis, columns: Axis) -> None:
    from PIL import Image, ImageDraw

    face = font(_TEXT)
    left, top = layout.start
    wide = layout.columns * layout.pitch[0] - _GAP
    high = layout.rows * layout.pitch[1] - _GAP
    name = _cut(columns.name, face, wide)
    middle = left + (wide - face.getlength(name)) / 2
    draw.text((middle, top - 2 * _LINE - 2), name, MUTED, face)
    for column, value in enumerate(columns.values[: layout.columns]):
        room = layout.pitch[0] - _GAP
        text = _cut(value, face, room)
        middle = left + column * layout.pitch[0] + (room - face.getlength(text)) / 2
        draw.text((middle, top - _LINE), text, INK, face)
    turned = Image.new("RGB", (high, _LINE), "white")
    name = _cut(rows.name, face, high)
    ImageDraw.Draw(turned).text(((high - face.getlength(name)) / 2, 2), name, MUTED, face)
    image.paste(turned.rotate(90, expand=True), (_MARGIN - 8, top))
    room = left - _GAP - _LINE - _MARGIN
    for row, value in enumerate(rows.values[: layout.rows]):
        lines = value.split("\n")[: max(1, layout.box[1] // _LINE)]
        y = top + row * layout.pitch[1] + (layout.box[1] - len(lines) * _LINE) // 2
        for line in lines:
            text = _cut(line, face, room)
            draw.text((left - _GAP - face.getlength(text), y + 2), text, INK, face)
            y += _LINE


def _draw_cell(image: Image, draw: ImageDraw, cell: SheetCell, box: Box) -> None:
    left, top, right, bottom = box
    size = right - left, bottom - top
    if cell.image is None:
        _draw_status(draw, cell, box)
        return
    small = flatten(contain(cell.image(max(size)), size), "white")
    left += (size[0] - small.width) // 2
    top += (size[1] - small.height) // 2
    image.paste(small, (left, top))
    if cell.more or cell.missing:
        _draw_number(draw, cell, (left + small.width, top + small.height))


def _draw_number(draw: ImageDraw, cell: SheetCell, corner: tuple[int, int]) -> None:
    """Draw how many images a cell has, in the lower right corner of its first image."""
    face = font(_SMALL_TEXT)
    have = 1 + cell.more
    text = f"{have} of {have + cell.missing}" if cell.missing else f"+{cell.more}"
    right, bottom = corner
    left, top = right - face.getlength(text) - 14, bottom - _SMALL_TEXT - 12
    draw.rectangle((left, top, right - 1, bottom - 1), _FAULT if cell.missing else INK)
    draw.text((left + 7, top + 4), text, "white", face)


def _draw_status(draw: ImageDraw, cell: SheetCell, box: Box) -> None:
    """Draw the status of a cell without an image: centred, or a fault at the upper left."""
    left, top, right, bottom = box
    size = right - left, bottom - top
    face = font(_SMALL_TEXT)
    waits = cell.status in _WORDS
    background = _RUNNING if cell.status == "running" else _EMPTY if waits else _FAULT_BACKGROUND
    draw.rectangle((left, top, right - 1, bottom - 1), background, LINE)
    words = _WORDS.get(cell.status) or f"{cell.status}: {cell.reason}"
    ink = MUTED if waits else _FAULT
    lines = _wrap(words, face, size[0] - 12, max(1, (size[1] - 8) // (_SMALL_TEXT + 4)))
    y = top + (size[1] - len(lines) * (_SMALL_TEXT + 4)) // 2 if waits else top + 6
    for line in lines:
        x = left + (size[0] - face.getlength(line)) / 2 if waits else left + 6
        draw.text((x, y), line, ink, face)
        y += _SMALL_TEXT + 4


def _wrap(text: str, face: Font, width: float, most: int) -> list[str]:
    """Return a text in lines of this width. The last line ends with ``…`` if the text is cut."""
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < most:
        count = 1
        while count < len(words) and face.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        is_last = len(lines) == most - 1
        lines.append(_cut(" ".join(words if is_last else words[:count]), face, width))
        words = words[count:]
    return lines


def _cut(text: str, face: Font, width: float) -> str:
    """Return the part of a text that fits. At most as many characters as could fit are measured."""
    most = int(max(0, width) / _NARROWEST)
    return fit_text(text if len(text) <= most else f"{text[:most]}…", face, width)


def encode_sheet(image: Image) -> bytes:
    """Return a sheet as a JPEG of at most 110 kB, with fewer pixels if necessary."""
    from PIL import Image as PillowImage

    for quality in _QUALITIES:
        data = encode_jpeg(image, quality)
        if len(data) <= LARGEST_PREVIEW:
            return data
    while len(data) > LARGEST_PREVIEW and min(image.size) > _SMALLEST_SIDE:
        scale = 0.97 * (LARGEST_PREVIEW / len(data)) ** 0.5
        smaller = int(image.width * scale), int(image.height * scale)
        image = image.resize(smaller, PillowImage.Resampling.LANCZOS)
        data = encode_jpeg(image, quality)
    return data
