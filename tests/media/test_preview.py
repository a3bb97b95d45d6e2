"""Previews take no more work than they need."""

from __future__ import annotations

import pytest
from PIL import Image, JpegImagePlugin

from runapi_magic.media.preview import DEFAULT_LIMITS, make_preview


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4096, 2304), (1024, 576)),  # a square of 768 would leave it at half its size
        ((2304, 4096), (576, 1024)),
        ((800, 600), (800, 600)),
        ((3000, 2), (1500, 1)),
    ],
)
def test_jpeg_is_decoded_at_the_smallest_scale_that_is_enough(tmp_path, monkeypatch, size, decoded):
    """Whatever its shape, a JPEG is decoded no larger than its preview needs."""
    path = tmp_path / "picture.jpg"
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
def test_a_turned_picture_is_upright(tmp_path, kind):
    """The Exif orientation counts for the preview, which is turned after it was made small."""
    path = tmp_path / f"picture.{kind}"
    picture = Image.new("RGB", (1600, 800), "blue")
    picture.paste("red", (0, 0, 800, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    picture.save(path, exif=exif)
    preview = make_preview(path, DEFAULT_LIMITS)
    assert (preview.width, preview.height) == (384, 768)
