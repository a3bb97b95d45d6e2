"""Previews are made with as little work as possible."""

from __future__ import annotations

import pytest
from PIL import Image, JpegImagePlugin

from runapi_magic.media.preview import DEFAULT_LIMITS, make_preview


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
