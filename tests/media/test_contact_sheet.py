"""Contact sheets: cells, axes, labels, size."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image, ImageChops

from runapi_magic.media.contact_sheet import Axis, SheetCell, axes, draw_sheet, encode_sheet

SIDE = 768
WHITE = (255, 255, 255)
ROWS, COLUMNS = Axis("style", ("oil", "ink", "pixel")), Axis("time", ("dawn", "noon", "dusk"))


def _colour(number):
    return 40 + number % 12 * 15, 40 + number // 12 * 15, 128


def _cell(number, size=(40, 40)):
    return SheetCell(
        "completed", str(number), lambda _side: Image.new("RGB", size, _colour(number))
    )


def _is_in(sheet, box, colour):
    left, top, right, bottom = box
    return sheet.image.getpixel(((left + right) // 2, (top + bottom) // 2)) == colour


def _ink(sheet, box):
    """Return the box of the non-white part: left, top, right, bottom."""
    part = sheet.image.crop(box)
    return ImageChops.difference(part, Image.new("RGB", part.size, WHITE)).getbbox()


def test_axes():
    """The last variable gives columns, the others rows. One value is in the heading."""
    rows, columns, heading = axes({"a": [1, 2], "b": ["x", "y"], "c": [True], "d": ["p", "q"]})
    assert rows == Axis("a · b", ("1\nx", "1\ny", "2\nx", "2\ny"))
    assert columns == Axis("d", ("p", "q"))
    assert heading == "c: True"
    assert axes({"a": [1, 2], "b": ["x"]}) == (None, None, "a · b: x")
    assert axes({}) == (None, None, "")


@pytest.mark.parametrize(
    ("down", "across"), [(2, 2), (3, 4), (4, 8), (12, 2), (2, 12), (10, 10), (12, 12)]
)
@pytest.mark.parametrize("ratio", [0.5, 1, 16 / 9])
def test_cells_follow_the_axes(down, across, ratio):
    """Each cell is in its row and column, and a click finds it."""
    rows = Axis("style", tuple(f"a rather long style {number}" for number in range(down)))
    columns = Axis("time", tuple(map(str, range(across))))
    cells = [_cell(number) for number in range(down * across)]
    sheet = draw_sheet(cells, rows, columns, longest_side=SIDE, ratio=ratio)
    assert max(sheet.image.size) <= 2 * SIDE
    for number, (left, top, right, bottom) in sheet.boxes.items():
        assert _is_in(sheet, (left, top, right, bottom), _colour(number))
        middle = (left + right) / 2 / sheet.image.width, (top + bottom) / 2 / sheet.image.height
        assert sheet.cell_at(*middle) == number
        assert right - left > 50
        assert (right - left) / (bottom - top) == pytest.approx(ratio, rel=0.05)
    lefts = [sheet.boxes[number][0] for number in range(across)]
    tops = [sheet.boxes[number * across][1] for number in range(down)]
    assert lefts == sorted(set(lefts))
    assert tops == sorted(set(tops))
    assert {box[0] for box in sheet.boxes.values()} == set(lefts)
    assert sheet.cell_at(0, 0) is None


@pytest.mark.parametrize(
    ("number", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (12, 4), (30, 6), (100, 10)]
)
def test_a_grid_without_axes(number, columns):
    """Without axes, cells are in an even grid, each with a label below it."""
    cells = [_cell(one) for one in range(number)]
    sheet = draw_sheet(cells, None, None, longest_side=SIDE)
    assert len({box[0] for box in sheet.boxes.values()}) == columns
    assert max(sheet.image.size) <= 2 * SIDE
    for one, (left, top, right, bottom) in sheet.boxes.items():
        assert _is_in(sheet, (left, top, right, bottom), _colour(one))
        assert _ink(sheet, (left, bottom + 1, right, bottom + 30)) is not None


def test_more_cells_than_fit():
    """A sheet of too many cells shows the first ones and says how many there are."""
    cells = [_cell(number) for number in range(130)]
    grid = draw_sheet(cells, None, None, longest_side=SIDE)
    assert list(grid.boxes) == list(range(100))
    hundred = draw_sheet(cells[:100], None, None, longest_side=SIDE)
    assert min(box[1] for box in grid.boxes.values()) > min(
        box[1] for box in hundred.boxes.values()
    )
    long = Axis("time", tuple(map(str, range(26))))
    sheet = draw_sheet(cells, Axis("style", tuple("abcde")), long, longest_side=SIDE)
    assert list(sheet.boxes) == [row * 26 + column for row in range(5) for column in range(12)]


def test_labels_of_axes():
    """Names and values of both axes are drawn with at least 10 pixels on the screen."""
    cells = [_cell(number) for number in range(9)]
    sheet = draw_sheet(cells, ROWS, COLUMNS, longest_side=SIDE)
    first = sheet.boxes[0]
    words = [
        _ink(sheet, (sheet.boxes[column][0], first[1] - 32, sheet.boxes[column][2], first[1]))
        for column in range(3)
    ]
    assert [bottom - top >= 16 for _, top, _, bottom in words] == [
        True,
        False,
        True,
    ]  # "noon" has low letters
    for row in range(3):
        _, top, _, bottom = sheet.boxes[row * 3]
        assert _ink(sheet, (50, top, first[0] - 4, bottom)) is not None
    assert _ink(sheet, (first[0], 0, sheet.image.width, first[1] - 36)) is not None
    assert _ink(sheet, (0, first[1], 40, sheet.image.height)) is not None


def test_long_labels():
    """A label as long as a prompt is cut, and rows do not overlap."""
    rows = Axis("style", ("word " * 300, "ink"))
    columns = Axis("time", ("x" * 5000, "y\u0301 \N{SNOWMAN}"))
    sheet = draw_sheet([_cell(n) for n in range(4)], rows, columns, longest_side=SIDE)
    assert sheet.boxes[0][0] < sheet.image.width * 0.3
    assert max(sheet.image.size) <= 2 * SIDE


def test_cells_without_an_image():
    """Waiting, running and failed cells look different. A failed one has its reason."""
    cells = [
        SheetCell("waiting"), SheetCell("running"), SheetCell("failed", reason="It was refused."),
        SheetCell("failed", reason="The service was not reached for " + "a long time " * 90),
    ]  # fmt: skip
    sheet = draw_sheet(cells, None, None, longest_side=SIDE)
    parts = [sheet.image.crop(sheet.boxes[number]) for number in range(4)]
    grounds = [part.getpixel((3, part.height - 4)) for part in parts]
    assert len(set(grounds)) == 3
    inks = [ImageChops.difference(part, Image.new("RGB", part.size, ground)).crop(
        (2, 2, part.width - 2, part.height - 2)).getbbox()
        for part, ground in zip(parts, grounds, strict=True)]  # fmt: skip
    assert len(set(inks)) == 4
    assert inks[3][3] - inks[3][1] > parts[3].height * 0.8
    assert inks[3][2] <= parts[3].width - 8


@pytest.mark.parametrize("size", [(200, 50), (50, 200), (7, 7)])
def test_aspect_ratio_is_kept(size):
    """An image with another aspect ratio is centred in its cell on white."""
    cells = [_cell(number, size) for number in range(9)]
    sheet = draw_sheet(cells, ROWS, COLUMNS, longest_side=SIDE)
    left, top, right, bottom = sheet.boxes[4]
    found = _ink(sheet, sheet.boxes[4])
    assert (found[2] - found[0]) / (found[3] - found[1]) == pytest.approx(size[0] / size[1], 0.02)
    assert abs(found[0] - (right - left - found[2])) <= 1
    assert abs(found[1] - (bottom - top - found[3])) <= 1


def test_transparency_is_white():
    """Transparent pixels are white."""
    clear = SheetCell("completed", image=lambda _side: Image.new("RGBA", (8, 8), (255, 0, 0, 0)))
    sheet = draw_sheet([clear], None, None, longest_side=SIDE)
    assert _is_in(sheet, sheet.boxes[0], WHITE)


def test_several_images_in_a_cell():
    """A cell with several images shows the first one and the number of others."""
    one, two = (
        SheetCell("completed", image=lambda _side: Image.new("RGB", (9, 9), "orange"), more=more)
        for more in (0, 1)
    )
    sheet = draw_sheet([one, two], None, None, longest_side=SIDE)
    plain, marked = (sheet.image.crop(sheet.boxes[number]) for number in (0, 1))
    assert len(plain.getcolors()) == 1
    difference = ImageChops.difference(plain, marked).getbbox()
    assert difference[0] > plain.width * 0.8
    assert difference[1] > plain.height * 0.8


def test_each_image_is_read_once():
    """Each image is read once, at about the size of its cell."""
    requested = []

    def cell(number):
        def read(side):
            requested.append((number, side))
            return Image.new("RGB", (8, 8))

        return SheetCell("completed", image=read)

    sheet = draw_sheet([cell(number) for number in range(120)], None, None, longest_side=SIDE)
    left, _, right, _ = sheet.boxes[0]
    assert requested == [(number, right - left) for number in range(100)]


@pytest.mark.parametrize("longest_side", [64, 300, SIDE])
def test_any_preview_size(longest_side):
    """A sheet is not larger than the preview size, however small that is."""
    cells = [_cell(number) for number in range(144)]
    axis = Axis("number", tuple(map(str, range(12))))
    for rows, columns in ((None, None), (axis, axis)):
        sheet = draw_sheet(cells, rows, columns, longest_side=longest_side, heading="h" * 500)
        assert max(sheet.image.size) <= 2 * longest_side
        last = max(sheet.boxes)
        left, top, right, bottom = sheet.boxes[last]
        assert right <= sheet.image.width
        assert bottom <= sheet.image.height
        at = (left + right) / 2 / sheet.image.width, (top + bottom) / 2 / sheet.image.height
        assert sheet.cell_at(*at) == last


@pytest.mark.parametrize("number", [12, 100])
def test_the_file_is_small(number):
    """Even for images of noise, the sheet has at most 150 kB in the notebook."""
    source = random.Random(1)
    noise = Image.frombytes("RGB", (256, 256), source.randbytes(256 * 256 * 3))
    cells = [SheetCell("completed", str(n), lambda _side: noise) for n in range(number)]
    sheet = draw_sheet(cells, None, None, longest_side=SIDE)
    data = encode_sheet(sheet.image)
    assert len(base64.b64encode(data)) <= 150_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.width / image.height == pytest.approx(
            sheet.image.width / sheet.image.height, rel=0.01
        )


def test_a_small_file_keeps_its_pixels():
    """A sheet that is small enough keeps two pixels for each on the screen."""
    sheet = draw_sheet([_cell(n) for n in range(9)], ROWS, COLUMNS, longest_side=SIDE)
    with Image.open(io.BytesIO(encode_sheet(sheet.image))) as image:
        assert image.size == sheet.image.size
