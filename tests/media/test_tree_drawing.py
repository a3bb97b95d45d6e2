"""Trees of versions: layout, edges, captions, size."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from runapi_magic.media.tree_drawing import TreeNode, contain, draw_tree, fit_text, font
from tests.properties import PROPERTY

ACCENT = (25, 118, 210)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]


def _nodes(parents, *, caption=(), marked=None, size=(40, 40)):
    return [
        TreeNode(f"v{n + 1}", caption, Image.new("RGB", size, COLOURS[n % 6]), parent, n == marked)
        for n, parent in enumerate(parents)
    ]


def _boxes(image):
    """Return the box of each colour: left, top, right, bottom."""
    return [
        ImageChops.difference(image, Image.new("RGB", image.size, colour))
        .convert("L")
        .point(lambda level: 255 * (level == 0))
        .getbbox()
        for colour in COLOURS
    ]


def test_positions():
    """Children are to the right, a first child in the row of its parent, others below."""
    # v1 > v2 > v3; v1 > v4; another root v5 > v6
    boxes = _boxes(draw_tree(_nodes([None, 0, 1, 0, None, 4])))
    columns = sorted({box[0] for box in boxes})
    rows = sorted({box[1] for box in boxes})
    positions = [(columns.index(box[0]), rows.index(box[1])) for box in boxes]
    assert positions == [(0, 0), (1, 0), (2, 0), (1, 1), (0, 2), (1, 2)]
    assert {(box[2] - box[0], box[3] - box[1]) for box in boxes} == {(240, 240)}


def test_a_branch_from_the_last_child():
    """A branch is below all descendants of earlier children."""
    boxes = _boxes(draw_tree(_nodes([None, 0, 1, 1, 0])))[:5]
    tops = [box[1] for box in boxes]
    assert tops[0] == tops[1] == tops[2] < tops[3] < tops[4]
    assert boxes[4][0] == boxes[1][0]


def test_edges():
    """A grey line joins parent and child, straight in a row, with right angles below."""
    image = draw_tree(_nodes([None, 0, 0]))
    one, two, three = _boxes(image)[:3]
    line, turn = (138, 138, 138), (one[2] + two[0]) // 2
    middle, below = (one[1] + one[3]) // 2, (three[1] + three[3]) // 2
    assert {image.getpixel((x, middle)) for x in range(one[2], two[0])} == {line}
    assert {image.getpixel((turn, y)) for y in range(middle, below)} == {line}
    assert {image.getpixel((x, below)) for x in range(turn, three[0])} == {line}


def test_roots_are_not_joined():
    """No line joins versions that are not parent and child."""
    image = draw_tree(_nodes([None, None]))
    one, two = _boxes(image)[:2]
    assert image.crop((one[2] + 3, 0, *image.size)).convert("L").getextrema()[0] > 200
    assert two[1] > one[3]


def test_the_marked_version():
    """Only the marked version has a frame and a name in the accent colour."""
    plain, marked = draw_tree(_nodes([None, 0])), draw_tree(_nodes([None, 0], marked=1))
    assert ACCENT not in {colour for _, colour in plain.getcolors(1 << 20)}
    one, two = _boxes(marked)[:2]
    difference = ImageChops.difference(plain, marked).getbbox()
    assert difference[0] > one[2]
    assert marked.getpixel((two[0] - 3, two[1] + 9)) == ACCENT


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (1, 900), (900, 1)])
def test_thumbnails_keep_their_aspect_ratio(size):
    """A thumbnail is centred in its box and as large as possible."""
    image = draw_tree(_nodes([None], size=size))
    left, top, right, bottom = _boxes(image)[0]
    assert max(right - left, bottom - top) == 240
    assert (left - 24) - (264 - right) in {-1, 0, 1}
    assert (top - 24) - (264 - bottom) in {-1, 0, 1}


def test_captions_are_drawn():
    """Captions are below the name and make the row higher."""
    bare = draw_tree(_nodes([None]))
    two = draw_tree(_nodes([None], caption=("make it night", "$0.04")))
    assert two.height - bare.height == 50
    below = two.crop((0, bare.height - 10, *two.size)).convert("L")
    assert below.getextrema()[0] < 120


def test_long_captions_stay_in_their_column():
    """A long caption ends before the next column."""
    long = draw_tree(_nodes([None, 0, 1, 2, 3, 4, 5, 6], caption=("W" * 30_000,)))
    boxes = _boxes(long)
    for box, following in pairwise(boxes):
        gap = long.crop((following[0] - 8, box[3] + 5, following[0] - 2, long.height))
        assert gap.convert("L").getextrema() == (255, 255)


@pytest.mark.parametrize(
    "parents",
    [
        [None, *range(39)],
        [None, *[0] * 39],
        [None] * 40,
        [None, *[n // 2 for n in range(400)]],
        [None, *range(599)],
        [None, *[0] * 4999],
    ],
    ids=["40 in a line", "40 branches", "40 roots", "400", "600 in a line", "5000 branches"],
)
def test_many_versions(parents):
    """For any number of versions, the image has at most 1536 x 4000 pixels."""
    image = draw_tree(_nodes(parents, caption=("a", "b", "c"), size=(4, 4)))
    assert image.width <= 1536
    assert image.height <= 4000
    assert max(image.width / 1536, image.height / 4000) > 0.75


def test_eight_columns_fill_the_width():
    """Eight versions in a row have captions of full text size."""
    image = draw_tree(_nodes([None, *range(7)], caption=("make it night",)))
    assert 1500 < image.width <= 1536
    bare = draw_tree(_nodes([None, *range(7)]))
    assert image.height - bare.height == 25


def test_transparent_thumbnails():
    """Transparent pixels are white, in any mode."""
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    node = TreeNode("v1", (), clear, None)
    assert draw_tree([node]).getpixel((100, 100)) == (255, 255, 255)


def test_the_same_input_gives_the_same_pixels():
    """The same versions give the same pixels, also in several threads."""
    rng = random.Random(1)
    parents = [None, *[rng.randrange(n) for n in range(1, 30)]]
    nodes = _nodes(parents, caption=("make it night",), marked=3)
    with ThreadPoolExecutor(4) as pool:
        drawn = {image.tobytes() for image in pool.map(draw_tree, [nodes] * 8)}
    assert len(drawn) == 1


def test_no_versions():
    """A tree without versions raises ValueError."""
    with pytest.raises(ValueError):
        draw_tree([])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("v1", "v1"),
        ("Café à Zürich, 50 °C", "Cafe a Zurich, 50 °C"),
        ("straße \N{EN DASH} 4\N{MULTIPLICATION SIGN}4 → “x”", "strasse - 4x4 > “x”"),
        ("a\nb", "a b"),
        ("夜景 fox", "·· fox"),
        ("🦊", "·"),
        ("", ""),
    ],
)
def test_characters_that_the_font_does_not_have(text, shown):
    """Accents are removed, some characters are replaced, others become dots."""
    assert fit_text(text, font(20), 1000) == shown


def test_drawn_characters_are_in_the_font():
    """No character is drawn as the font's empty box."""
    face = font(40)
    box = bytes(face.getmask("\uffff"))
    drawn = {fit_text(chr(code), face, 1000) for code in range(0x20, 0x3000)}
    assert len(drawn) > 95
    assert [letter for letter in drawn if bytes(face.getmask(letter)) == box] == []


@PROPERTY
@given(st.text(max_size=60), st.integers(0, 300))
def test_texts_fit(text, width):
    """A text is not wider than allowed, and is complete if it fits."""
    face = font(20)
    shown = fit_text(text, face, width)
    assert face.getlength(shown) <= width
    assert fit_text(shown, face, width) == shown


def test_a_cut_text_ends_with_an_ellipsis():
    """A cut text ends with an ellipsis without a space before it."""
    assert fit_text("make it night", font(20), 90) == "make it…"
    assert fit_text("make it night", font(20), 3) == ""


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA"])
def test_contain(mode):
    """An image of any mode fills its box in one direction and keeps its aspect ratio."""
    assert contain(Image.new(mode, (100, 50)), (30, 30)).size == (30, 15)
    assert contain(Image.new(mode, (5, 10)), (30, 30)).size == (15, 30)
