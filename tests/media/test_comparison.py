"""Comparison of two images: side by side, their difference, and numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from runapi_magic.media.comparison import compare_images


def _grey(level, size=(40, 30), mode="RGB"):
    return Image.new(mode, size, (level,) * len(mode) if mode != "L" else level)


def _noise(size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def _sheet(comparison):
    data, metadata = comparison._repr_mimebundle_()
    assert set(data) == {"image/jpeg", "text/plain"}
    image = Image.open(io.BytesIO(data["image/jpeg"]))
    assert image.format == "JPEG"
    about = {"width": image.width, "height": image.height, "alt": str(comparison)}
    assert metadata == {"image/jpeg": about}
    return image, data


def test_identical_images():
    """Identical images have a black difference with gain 1, and the text says so."""
    comparison = compare_images(_noise((40, 30), 1), _noise((40, 30), 1))
    assert comparison.difference.getextrema() == ((0, 0),) * 3
    assert (comparison.gain, comparison.changed, comparison.mean_difference) == (1, 0, 0)
    assert str(comparison) == "before and after, compared at 40 x 30 px: no difference"


def test_numbers():
    """Share, mean and gain are equal to those of numpy."""
    before, after = _grey(100), _grey(100)
    after.paste((100, 160, 90), (0, 0, 10, 30))
    comparison = compare_images(before, after)
    difference = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert comparison.changed == pytest.approx(0.25)
    assert comparison.mean_difference == pytest.approx(difference.mean())
    assert comparison.gain == pytest.approx(255 / 60)
    assert comparison.difference.getpixel((5, 5)) == (0, 255, round(10 * 255 / 60))
    assert comparison.difference.getpixel((20, 5)) == (0, 0, 0)
    assert str(comparison) == (
        "before and after, compared at 40 x 30 px: 25.0 % of the pixels changed by more than 8 of "
        "255, mean difference 5.8 of 255, difference shown 4.2 times as strong"
    )


@pytest.mark.parametrize(("level", "changed"), [(108, 0), (109, 1), (92, 0), (91, 1)])
def test_threshold(level, changed):
    """A pixel counts as changed from a difference of 9 of 255, lighter or darker."""
    assert compare_images(_grey(100), _grey(level)).changed == changed


def test_small_shares():
    """A share that would be rounded to 0 is shown as small."""
    before, after = _grey(0, (100, 100)), _grey(0, (100, 100))
    after.putpixel((3, 3), (255, 255, 255))
    words = str(compare_images(before, after))
    assert "less than 0.1 % of the pixels" in words
    assert "times as strong" not in words


def test_opposites():
    """Black and white have the largest difference."""
    comparison = compare_images(_grey(0), _grey(255))
    assert (comparison.gain, comparison.changed, comparison.mean_difference) == (1, 1, 255)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((400, 300), (200, 150), (200, 150)),
        ((200, 150), (400, 300), (200, 150)),
        ((2048, 1024), (4096, 2048), (768, 384)),
        ((300, 200), (100, 100), (100, 100)),
        ((100, 100), (100, 99), (100, 99)),
    ],
)
def test_sizes(first, second, expected):
    """Both images are scaled to the size of the smaller one, at most to 768 pixels."""
    comparison = compare_images(_grey(50, first), _grey(50, second))
    assert comparison.before.size == comparison.after.size == expected
    assert comparison.difference.size == expected


def test_longest_side():
    """The caller can set the longest side."""
    comparison = compare_images(_grey(1, (400, 100)), _grey(1, (400, 100)), longest_side=100)
    assert comparison.before.size == (100, 25)


def test_an_enlarged_copy():
    """An image and its enlarged copy have no visible difference."""
    small = Image.radial_gradient("L")
    comparison = compare_images(small, small.resize((1024, 1024)))
    assert comparison.changed == 0


def test_another_aspect_ratio():
    """An image with another aspect ratio gets grey bars, which count as changed."""
    comparison = compare_images(_grey(10, (100, 100)), _grey(10, (400, 200)))
    assert comparison.after.getpixel((50, 10)) == (189, 189, 189)
    assert comparison.after.getpixel((50, 50)) == (10, 10, 10)
    assert comparison.changed == pytest.approx(0.5, abs=0.03)


def test_nearly_the_same_aspect_ratio():
    """A difference of one pixel by rounding adds no bars."""
    comparison = compare_images(_grey(10, (100, 99)), _grey(10, (200, 197)))
    assert comparison.mean_difference == 0


def test_transparency():
    """Transparency shows the same checkerboard in both images, half transparency half of it."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 128))
    comparison = compare_images(clear, half)
    colours = {comparison.before.getpixel((x, 3))[0] for x in range(40)}
    assert colours == {225, 255}
    assert comparison.after.getpixel((3, 3))[0] in range(111, 114)
    assert compare_images(clear, clear.copy()).changed == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "I;16", "F"])
def test_modes(mode):
    """Images of all modes can be compared and are not changed."""
    image = Image.new(mode, (20, 10))
    comparison = compare_images(image, _grey(0, (20, 10)))
    assert comparison.before.mode == comparison.after.mode == "RGB"
    assert image.mode == mode


def test_side_by_side():
    """Both images are side by side in full size, each under its name."""
    comparison = compare_images(_grey(0, (200, 100)), _grey(90, (200, 100)), names=("v1", "v2"))
    image = comparison.side_by_side
    assert image.getpixel((100, 80)) == (0, 0, 0)
    assert image.getpixel((330, 80)) == (90, 90, 90)
    left, right = (image.crop((x, 0, x + 60, 28)).convert("L") for x in (12, 224))
    assert left.getextrema()[0] < 100
    assert right.getextrema()[0] < 100
    assert left.tobytes() != right.tobytes()


@pytest.mark.parametrize(
    ("size", "height"), [((1536, 1024), 566), ((1024, 1024), 810), ((1024, 1536), 480)]
)
def test_image_for_the_notebook(size, height):
    """The image for the notebook is 768 pixels wide and not much higher."""
    image, data = _sheet(compare_images(_grey(20, size), _grey(200, size)))
    assert image.size == (768, height)
    assert "mean difference 180 of 255" in data["text/plain"]


@pytest.mark.parametrize("size", [(768, 768), (768, 1024), (1024, 512)])
def test_noise_is_small(size):
    """Even for noise, which compresses worst, the file has at most 110 kB."""
    _, data = _sheet(compare_images(_noise(size, 1), _noise(size, 2)))
    assert len(data["image/jpeg"]) <= 110_000


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, 1), (1, 1)), ((2000, 3), (3, 2000)), ((5000, 1), (5000, 1)), ((1, 5000), (1, 5000))],
)
def test_extreme_shapes(first, second):
    """Strips and dots can be compared, too, in an image with space for the text."""
    image, _ = _sheet(compare_images(_grey(0, first), _grey(9, second)))
    assert 500 < image.width <= 768
    assert 200 < image.height <= 1000


def test_long_names():
    """Long names are cut to the width of their image."""
    names = ("W" * 5000, "x")
    comparison = compare_images(_grey(0, (300, 200)), _grey(0, (300, 200)), names=names)
    gap = comparison.side_by_side.crop((313, 0, 323, 29)).convert("L")
    assert gap.getextrema() == (255, 255)


def test_same_bytes_again():
    """The same images give the same bytes."""
    pair = _noise((300, 200), 1), _noise((300, 200), 2)
    assert _sheet(compare_images(*pair))[1] == _sheet(compare_images(*pair))[1]
