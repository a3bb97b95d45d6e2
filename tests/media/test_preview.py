"""Previews: size, format, transparency, and as little work as possible."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, JpegImagePlugin

from runapi_magic.media.limits import DEFAULT_LIMITS, Limits
from runapi_magic.media.preview import has_alpha, make_preview

LARGEST = 110_000


def _preview(content, side=768, quality=85):
    path = Path("original")
    path.write_bytes(content)
    return make_preview(path, Limits(178, side, quality))


def _opened(preview):
    return Image.open(io.BytesIO(preview.data))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((2048, 1024), 768, (768, 384)),
        ((1024, 2048), 768, (384, 768)),
        ((100, 50), 768, (100, 50)),
        ((768, 768), 768, (768, 768)),
        ((3000, 1), 768, (768, 1)),
        ((640, 480), 64, (64, 48)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_preview_sizes(make_image, size, side, expected, kind):
    """A preview keeps the aspect ratio and is not larger than requested or than the original."""
    preview = _preview(make_image(size, kind=kind), side)
    assert (preview.width, preview.height) == expected
    assert preview.mime == "image/jpeg"
    assert _opened(preview).format == "JPEG"


@pytest.mark.parametrize(
    ("size", "quality"), [((1024, 1024), 85), ((2000, 700), 95), ((300, 1500), 30)]
)
def test_previews_of_noise_are_small(make_image, size, quality):
    """Even the preview of noise, which compresses worst, has at most 110 kB."""
    preview = _preview(make_image(size, noise=True), quality=quality)
    assert len(preview.data) <= LARGEST
    assert max(preview.width, preview.height) == 768


@pytest.mark.parametrize("size", [(768, 768), (2048, 512)])
def test_transparent_previews_are_small(make_image, size):
    """The preview of transparent noise is a transparent PNG of at most 110 kB."""
    preview = _preview(make_image(size, mode="RGBA", noise=True))
    assert preview.mime == "image/png"
    assert len(preview.data) <= LARGEST
    assert has_alpha(_opened(preview))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_narrow_previews_are_small(make_image, mode):
    """The preview of a strip at the largest size has at most 110 kB."""
    preview = _preview(make_image((4096, 60), mode=mode, noise=True), side=4096, quality=95)
    assert len(preview.data) <= LARGEST


@pytest.mark.parametrize(
    ("mode", "color", "mime"),
    [
        ("RGBA", (255, 0, 0, 255), "image/jpeg"),
        ("RGBA", (255, 0, 0, 254), "image/png"),
        ("RGBA", (0, 0, 0, 0), "image/png"),
        ("LA", (9, 0), "image/png"),
        ("LA", (9, 255), "image/jpeg"),
        ("L", 9, "image/jpeg"),
        ("1", 1, "image/jpeg"),
        ("P", 3, "image/jpeg"),
    ],
)
def test_only_transparency_makes_a_png(make_image, mode, color, mime):
    """A preview is a PNG only if a pixel is transparent."""
    assert _preview(make_image((20, 20), mode=mode, color=color)).mime == mime


def test_transparency_of_a_palette():
    """One transparent colour of a palette counts as transparency."""
    buffer = io.BytesIO()
    Image.new("P", (10, 10), 0).save(buffer, "PNG", transparency=0)
    preview = _preview(buffer.getvalue())
    assert preview.mime == "image/png"
    assert _opened(preview).convert("RGBA").getpixel((5, 5))[3] == 0


def test_a_preview_shows_the_image():
    """The left half of the preview has the colour of the left half of the image."""
    image = Image.new("RGB", (1000, 500), "red")
    image.paste("blue", (500, 0, 1000, 500))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    small = _opened(_preview(buffer.getvalue())).convert("RGB")
    left, right = small.getpixel((10, 100)), small.getpixel((700, 100))
    assert left[0] > 200
    assert left[2] < 60
    assert right[2] > 200
    assert right[0] < 60


def test_a_rotated_photo():
    """A preview follows the orientation in the Exif data."""
    image = Image.new("RGB", (100, 50))
    exif = image.getexif()
    exif[0x0112] = 6  # rotated by 90 degrees
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    preview = _preview(buffer.getvalue())
    assert (preview.width, preview.height) == (50, 100)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4096, 2304), (1024, 576)),  # with a square of 768, it would be decoded twice as large
        ((2304, 4096), (576, 1024)),
        ((800, 600), (800, 600)),
        ((3000, 2), (1500, 1)),
    ],
)
def test_scale_of_a_jpeg(tmp_path, monkeypatch, size, decoded):
    """A JPEG of any aspect ratio is decoded at the smallest sufficient scale."""
    path = tmp_path / "image.jpg"
    Image.new("RGB", size, "orange").save(path)
    load, loaded = JpegImagePlugin.JpegImageFile.load, []

    def note(image):
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", note)
    preview = make_preview(path, DEFAULT_LIMITS)
    assert loaded[0] == decoded
    assert max(preview.width, preview.height) == min(768, max(size))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_rotated_image(tmp_path, kind):
    """A preview is rotated by the Exif orientation after it was reduced."""
    path = tmp_path / f"image.{kind}"
    image = Image.new("RGB", (1600, 800), "blue")
    image.paste("red", (0, 0, 800, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(path, exif=exif)
    preview = make_preview(path, DEFAULT_LIMITS)
    assert (preview.width, preview.height) == (384, 768)
