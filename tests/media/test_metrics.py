"""Sharpness and noise follow their papers and are described in words."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.metrics import Quality, hint, measure


def _save(image, name="image.png", **options):
    path = Path(name)
    image.save(path, **({"compress_level": 1} | options))
    return path


def _scene(size=(480, 360)):
    """Return an array with edges and slopes, as an image has them."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    grey = 90 + 60 * x + 30 * y + 40 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _noisy(image, sigma, seed=1):
    grain = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))


def _filtered(grey, kernel):
    """Return the responses of a kernel, computed by sums of shifted arrays."""
    height, width = grey.shape
    return sum(
        factor * grey[dy : height - 2 + dy, dx : width - 2 + dx]
        for dy, row in enumerate(kernel)
        for dx, factor in enumerate(row)
    )


def test_formulas():
    """The metrics are equal to those that numpy computes from the formulas of the papers."""
    image = _noisy(_scene(), 6)
    grey = np.asarray(image.convert("L")).astype(float)
    laplacian = _filtered(grey, [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    immerkaer = _filtered(grey, [[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    assert abs(laplacian).max() <= 255
    assert abs(immerkaer).max() <= 255
    measured = measure(_save(image))
    assert measured.sharpness == pytest.approx(laplacian.var())
    assert measured.noise == pytest.approx(np.sqrt(np.pi / 2) * abs(immerkaer).mean() / 6)


@pytest.mark.parametrize("sigma", [1, 2, 5, 10, 20])
def test_noise_of_known_strength(sigma):
    """Gaussian noise of a known standard deviation is estimated within 6 %."""
    grey = Image.new("RGB", (400, 300), (128, 128, 128))
    assert measure(_save(_noisy(grey, sigma))).noise == pytest.approx(sigma, rel=0.06)


def test_strong_responses_count_as_255():
    """Responses above 255, of a checkerboard of single pixels, count as 255."""
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    measured = measure(_save(Image.fromarray(((x + y) % 2 * 255).astype(np.uint8))))
    assert measured.sharpness == pytest.approx(255**2)
    assert measured.noise == pytest.approx(np.sqrt(np.pi / 2) * 255 / 6)


def test_blur_lowers_sharpness():
    """More blur gives less sharpness."""
    scene = _noisy(_scene(), 2)
    blurred = [scene.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 0.5, 1, 2, 4)]
    figures = [measure(_save(image)).sharpness for image in blurred]
    assert figures == sorted(set(figures), reverse=True)


def test_each_noisy_pass_adds_noise():
    """Each pass that adds noise increases the metric."""
    passes = [_scene()]
    for seed in range(5):
        passes.append(_noisy(passes[-1], 3, seed))
    figures = [measure(_save(image)).noise for image in passes]
    assert figures == sorted(set(figures))


@pytest.mark.parametrize("method", Image.Resampling)
@pytest.mark.parametrize("factor", [1.5, 2])
def test_versions_of_different_size(method, factor):
    """An enlarged copy has about the same metrics."""
    scene = _noisy(_scene((1024, 768)), 3)
    large = scene.resize((int(1024 * factor), int(768 * factor)), method)
    first, second = measure(_save(scene)), measure(_save(large))
    assert 0.7 < second.noise / first.noise < 1.25
    assert 0.6 < second.sharpness / first.sharpness < 1.35


def test_small_images_are_not_enlarged():
    """A small image is measured in its own size."""
    scene = _noisy(_scene((200, 150)), 10)
    assert measure(_save(scene)).noise == pytest.approx(10, rel=0.06)


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2)])
def test_tiny_images(size):
    """An image without a pixel that has all neighbours has zeros."""
    image = Image.effect_noise(size, 50)
    assert measure(_save(image)) == Quality(sharpness=0, noise=0)


def test_a_flat_image_of_three_pixels():
    """An image of 3 x 3 pixels, the smallest possible, can be measured."""
    dot = Image.new("L", (3, 3))
    dot.putpixel((1, 1), 10)
    measured = measure(_save(dot))
    assert measured.sharpness == 0  # a single response has no variance
    assert measured.noise == pytest.approx(np.sqrt(np.pi / 2) * 40 / 6)


def test_the_border_is_left_out():
    """The pixels at the border do not count."""
    framed = Image.new("L", (64, 64), 0)
    framed.paste(100, (2, 2, 62, 62))
    bare = measure(_save(framed))
    framed.paste(100, (0, 0, 64, 64))
    assert measure(_save(framed)) == Quality(sharpness=0, noise=0)
    assert bare.sharpness > 0


def test_transparency_is_grey():
    """Hidden colours of transparent pixels do not count. They are grey."""
    hidden = _noisy(_scene(), 20)
    hidden.putalpha(0)
    assert measure(_save(hidden)) == Quality(sharpness=0, noise=0)
    half = Image.new("RGBA", (40, 40), (128, 128, 128, 255))
    half.paste((9, 9, 9, 0), (0, 0, 20, 40))
    assert measure(_save(half)) == Quality(sharpness=0, noise=0)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.gif", "a.png"])
def test_formats(name):
    """All formats of the service can be measured."""
    options = {"lossless": True} if name == "a.webp" else {}
    measured = measure(_save(_noisy(_scene(), 4), name, **options))
    assert measured.noise > 0.5
    assert measured.sharpness > 10


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_file(content):
    """A damaged file is an error that says that nothing was charged."""
    path = Path("gone.png")
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match="missing, damaged") as caught:
        measure(path)
    assert "nothing was charged" in caught.value.charged
    assert caught.value.todo


def test_a_missing_file():
    """A missing file is the same kind of error."""
    with pytest.raises(InvalidRequestError, match=r"gone\.png is missing"):
        measure(Path("gone.png"))


def test_an_incomplete_image(make_image):
    """An image without its end is not measured."""
    path = Path("cut.png")
    path.write_bytes(make_image((300, 200), noise=True)[:90_000])
    with pytest.raises(InvalidRequestError, match="damaged"):
        measure(path)


def test_an_image_above_the_limit():
    """An image with more pixels than allowed is not decoded."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    path = Path("large.png")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InvalidRequestError, match="100 million pixels, more than the 89 million"):
        measure(path)
    assert measure(path, megapixels=100) == Quality(sharpness=0, noise=0)


@pytest.mark.parametrize(
    ("quality", "first", "words"),
    [
        (Quality(82, 3.8), Quality(100, 2), "sharpness 0.82x, noise 1.9x of v1"),
        (Quality(100, 2), Quality(100, 2), "sharpness 1.0x, noise 1.0x of v1"),
        (Quality(2000, 25), Quality(100, 2), "sharpness 20x, noise 12x of v1"),
        (Quality(0, 0), Quality(100, 2), "sharpness 0.00x, noise 0.00x of v1"),
        (Quality(50, 1.25), Quality(0, 0), "sharpness 50 (v1: 0), noise 1.2 (v1: 0.0)"),
        (Quality(0, 0), Quality(0, 0), "sharpness 0 (v1: 0), noise 0.0 (v1: 0.0)"),
        (Quality(50, 2), Quality(0, 1), "sharpness 50 (v1: 0), noise 2.0 (v1: 1.0)"),
    ],
)
def test_hints(quality, first, words):
    """The text has ratios, or the values themselves if a ratio would divide by zero."""
    assert hint(quality, first) == words


def test_the_hint_names_the_first_version():
    """The text has the given name of the first version."""
    assert hint(Quality(1, 1), Quality(2, 2), "v3") == "sharpness 0.50x, noise 0.50x of v3"
