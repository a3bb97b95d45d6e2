"""Thumbnails are cached, and problems give a grey thumbnail instead of an error."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from runapi_magic.media.thumbnails import Thumbnails, flatten, read_small

FOLDER = Path("thumbnails")
GREY = (158, 158, 158)


def _original(content, name="fox.png"):
    path = Path(name)
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def _opened(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    assert max(image.size) <= 160
    return image


def _is_grey(data):
    return _opened(data).getcolors() == [(160 * 160, GREY)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 512), (160, 80)), ((400, 800), (80, 160)), ((40, 30), (40, 30)), ((900, 1), (160, 1))],
)
def test_sizes(make_image, kind, size, expected):
    """A thumbnail keeps the aspect ratio, has at most 160 pixels and is not enlarged."""
    data = Thumbnails(FOLDER).get(*_original(make_image(size, kind=kind)))
    assert _opened(data).size == expected
    red, _, blue = _opened(data).convert("RGB").getpixel((0, 0))
    assert red > 230
    assert blue < 30


def test_transparency_is_white():
    """Transparent pixels are white, half transparent ones half white."""
    image = Image.new("RGBA", (100, 50), (0, 0, 0, 0))
    image.paste((255, 0, 0, 128), (50, 0, 100, 50))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    small = _opened(Thumbnails(FOLDER).get(*_original(buffer.getvalue())))
    assert small.getpixel((10, 25)) == (255, 255, 255)
    assert small.getpixel((90, 25)) == pytest.approx((255, 127, 127), abs=4)


def test_cache(make_image):
    """A cached thumbnail needs no original and is used by the next kernel."""
    path, digest = _original(make_image((300, 200), noise=True))
    first = Thumbnails(FOLDER).get(path, digest)
    path.unlink()
    assert Thumbnails(FOLDER).get(path, digest) == first
    assert not _is_grey(first)


@pytest.mark.posix
def test_files_are_private(make_image):
    """Only the user can read the cache. Its files are named by the digest."""
    path, digest = _original(make_image())
    Thumbnails(FOLDER / "deep").get(path, digest)
    (file,) = (FOLDER / "deep").iterdir()
    assert file.name == f"{digest}.jpg"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_damaged_cache(make_image):
    """An incomplete, empty or invalid cached file is replaced."""
    path, digest = _original(make_image((300, 200), noise=True))
    thumbnails = Thumbnails(FOLDER)
    good = thumbnails.get(path, digest)
    cached = FOLDER / f"{digest}.jpg"
    for bad in (good[: len(good) // 2], b"", b"rubbish", make_image(noise=True)):
        cached.write_bytes(bad)
        assert thumbnails.get(path, digest) == good
        assert cached.read_bytes() == good


def test_a_missing_original():
    """Without the original, the thumbnail is grey and is not cached."""
    assert _is_grey(Thumbnails(FOLDER).get(Path("gone.png"), "0" * 64))
    assert not FOLDER.exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_an_original_that_is_not_an_image(content):
    """For a file that is not an image, the thumbnail is grey and is not cached."""
    assert _is_grey(Thumbnails(FOLDER).get(*_original(content)))
    assert not FOLDER.exists()


def test_an_incomplete_original(make_image):
    """For an incomplete original, the thumbnail is grey."""
    assert _is_grey(Thumbnails(FOLDER).get(*_original(make_image((300, 200), noise=True)[:90_000])))
    assert not FOLDER.exists()


def test_a_changed_original(make_image):
    """Another image in the file of the original is not shown."""
    path, _ = _original(make_image(color="red"))
    other = hashlib.sha256(make_image(color="blue")).hexdigest()
    assert _is_grey(Thumbnails(FOLDER).get(path, other))
    assert not FOLDER.exists()


def test_an_original_above_the_limit(make_image):
    """An original with too many pixels is not decoded. With a higher limit, it is."""
    path, digest = _original(make_image((1200, 1000)))
    assert _is_grey(Thumbnails(FOLDER, megapixels=1).get(path, digest))
    assert not _is_grey(Thumbnails(FOLDER, megapixels=2).get(path, digest))


@pytest.mark.parametrize("digest", ["", "../secret", "0" * 63, "G" * 64, "0" * 64 + "\n", "/" * 64])
def test_invalid_digests(make_image, digest):
    """A text that is not a hex SHA-256 is never used as a file name."""
    FOLDER.mkdir()
    secret = Path("secret.jpg")
    secret.write_bytes(make_image(kind="JPEG"))
    path, _ = _original(make_image())
    assert _is_grey(Thumbnails(FOLDER).get(path, digest))
    assert list(FOLDER.iterdir()) == []


def test_a_cache_that_cannot_be_created(make_image):
    """With a file in place of the folder, thumbnails still work."""
    FOLDER.write_text("in the way")
    assert not _is_grey(Thumbnails(FOLDER).get(*_original(make_image((300, 200)))))
    assert FOLDER.read_text() == "in the way"


def test_a_full_disk(make_image, monkeypatch):
    """On a full disk, the thumbnail is returned and no file is left."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    assert not _is_grey(Thumbnails(FOLDER).get(*_original(make_image((300, 200)))))
    assert list(FOLDER.iterdir()) == []


def test_several_threads(make_image):
    """Threads that request the same thumbnails get them, and each is cached once."""
    originals = [_original(make_image((200 + n, 150), noise=True), f"{n}.png") for n in range(6)]
    thumbnails = Thumbnails(FOLDER)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda original: thumbnails.get(*original), originals * 8))
    assert answers == answers[:6] * 8
    assert len(set(answers)) == 6
    assert {file.name for file in FOLDER.iterdir()} == {f"{digest}.jpg" for _, digest in originals}


def test_read_a_rotated_photo():
    """A rotated photo is read upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100), "red").save("turned.jpg", exif=exif)
    assert read_small(Path("turned.jpg"), 150).size == (50, 150)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "RGB"), ("L", "RGB"), ("LA", "RGB"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGB")],
)
def test_modes(mode, expected):
    """Images of all modes without transparent pixels are read as RGB."""
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new("RGBA", (300, 200), "white").convert(mode).save("any", kind)
    small = read_small(Path("any"), 100)
    assert (small.mode, small.size) == (expected, (100, 67))
    assert min(small.getpixel((50, 30))) > 250


def test_a_palette_is_reduced_smoothly():
    """An image with a palette is averaged: fine stripes become grey."""
    stripes = Image.new("L", (1000, 10))
    for x in range(0, 1000, 2):
        stripes.paste(255, (x, 0, x + 1, 10))
    stripes.convert("P").save("stripes.png")
    assert read_small(Path("stripes.png"), 100).getpixel((50, 0)) == pytest.approx(
        (127, 127, 127), abs=6
    )


def test_a_transparent_colour():
    """The transparent colour of a PNG counts as transparency."""
    Image.new("RGB", (40, 40), (1, 2, 3)).save("key.png", transparency=(1, 2, 3))
    small = read_small(Path("key.png"), 20)
    assert small.mode == "RGBA"
    assert flatten(small, "white").getpixel((9, 9)) == (255, 255, 255)


def test_flatten_on_an_image():
    """The background is visible behind transparency. Neither image is changed."""
    front, ground = Image.new("RGBA", (2, 1), (0, 0, 0, 0)), Image.new("RGB", (2, 1), "red")
    front.putpixel((0, 0), (0, 0, 255, 255))
    flat = flatten(front, ground)
    assert [flat.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 255), (255, 0, 0)]
    assert ground.getpixel((0, 0)) == (255, 0, 0)
    assert front.mode == "RGBA"
