"""Pixels of all modes and types are converted to 8 bits, or refused with advice."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from runapi_magic.errors import NOT_SENT, InvalidRequestError
from runapi_magic.media.from_python import as_shown, encode_value
from runapi_magic.media.limits import DEFAULT_LIMITS
from runapi_magic.media.preview import decode_image
from runapi_magic.media.thumbnails import flatten, read_small

SIZE = (16, 12)


def _decoded(value):
    return Image.open(io.BytesIO(encode_value(value)))


def _grey(level, mode):
    return Image.new(mode, SIZE, level)


@pytest.mark.parametrize(
    ("image", "mode", "pixel"),
    [
        (_grey(1, "1"), "1", 255),
        (_grey(100, "L"), "L", 100),
        (Image.new("LA", SIZE, (100, 50)), "LA", (100, 50)),
        (Image.new("LA", SIZE, (0, 128)).convert("La"), "LA", (0, 128)),
        (Image.new("RGB", SIZE, (9, 90, 200)).quantize(4), "P", 0),
        (Image.new("RGBA", SIZE, (9, 90, 200, 30)).convert("PA"), "RGBA", None),
        (Image.new("RGB", SIZE, (9, 90, 200)), "RGB", (9, 90, 200)),
        (Image.new("RGBX", SIZE, (9, 90, 200, 0)), "RGB", (9, 90, 200)),
        (Image.new("RGBA", SIZE, (9, 90, 200, 30)), "RGBA", (9, 90, 200, 30)),
        (Image.new("RGBA", SIZE, (0, 255, 0, 128)).convert("RGBa"), "RGBA", (0, 255, 0, 128)),
        (Image.new("CMYK", SIZE, (255, 0, 255, 0)), "RGB", (0, 255, 0)),
        (Image.new("RGB", SIZE, (255, 0, 0)).convert("YCbCr"), "RGB", (254, 0, 0)),
        (Image.new("RGB", SIZE, (255, 0, 0)).convert("HSV"), "RGB", (255, 0, 0)),
        (Image.new("LAB", SIZE, (255, 128, 128)), "RGB", (254, 255, 254)),
        (_grey(30000, "I;16"), "L", 116),
        (_grey(65535, "I;16"), "L", 255),
        (_grey(30000, "I;16B"), "L", 116),
        (_grey(30000, "I;16L"), "L", 116),
        (_grey(30000, "I;16N"), "L", 116),
        (_grey(0, "I;16"), "L", 0),
        (_grey(200, "I"), "L", 200),
        (_grey(30000, "I"), "L", 116),
        (_grey(0.5, "F"), "L", 128),
        (_grey(1.0, "F"), "L", 255),
        (_grey(128.0, "F"), "L", 128),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_pillow_modes(image, mode, pixel):
    """Images of all Pillow modes look the same after the conversion, with transparency."""
    made = _decoded(image)
    assert (made.size, made.mode) == (SIZE, mode)
    assert pixel in {None, made.getpixel((3, 2))}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (_grey(200, "I;16"), "largest value is 200"),
        (_grey(-3, "I"), "from -3 to -3"),
        (_grey(70_000, "I"), "70000"),
        (_grey(1, "I"), "0 and 1"),
        (_grey(1.5, "F"), "floats from 1.5"),
        (_grey(300.0, "F"), "300"),
        (_grey(-0.1, "F"), "-0.1"),
        (_grey(float("nan"), "F"), "NaN"),
        (_grey(float("inf"), "F"), "inf"),
        (Image.new("RGB", (0, 5)), "no pixels"),
    ],
)
def test_ambiguous_pillow_images(image, words):
    """Ambiguous values are refused with advice, and nothing is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        encode_value(image)
    assert words in caught.value.what
    assert caught.value.todo
    assert caught.value.charged == NOT_SENT


WHOLE = ["int8", "int16", "int32", "int64", "uint32", "uint64", ">i4", "<i8", ">u8"]


@pytest.mark.parametrize("dtype", [*WHOLE, "float32", "float64", ">f4"])
def test_integers_of_8_bits(dtype):
    """Integers from 0 to 255 are levels, for any type and byte order."""
    assert _decoded(np.full((12, 16), 100, dtype)).getpixel((0, 0)) == 100


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "<u2", "int32", "uint32", "int64", ">i8"])
@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 3)])
def test_integers_of_16_bits(dtype, shape):
    """Integers above 255 count as 16 bits, for any type."""
    pixel = _decoded(np.full(shape, 30000, dtype)).getpixel((0, 0))
    assert pixel == ((116,) * 3 if shape[-1] == 3 else 116)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f8"])
def test_floats(dtype):
    """Floats from 0 to 1 are black to white, for any type."""
    assert _decoded(np.full((12, 16, 4), 0.5, dtype)).getpixel((0, 0)) == (128,) * 4


def test_numpy_and_pillow_agree():
    """An array and a Pillow image with the same numbers give the same bytes."""
    for dtype in ("uint16", "int32", "float32"):
        array = np.linspace(0, 1 if dtype == "float32" else 65535, 256).reshape(16, 16)
        array = array.astype(dtype)
        assert encode_value(array) == encode_value(Image.fromarray(array))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((9, 9), 200, "uint16"), "largest value is 200"),
        (np.array([[-1, 200]]), "from -1"),
        (np.array([[0, 70_000]]), "70000"),
        (np.array([[0, 1]]), "0 and 1"),
        (np.array([[0.2, 1.1]]), "1.1"),
        (np.array([[0.2, 120.5]]), "120.5"),
        (np.array([[0.2, np.inf]]), "inf"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[None, 5]]), "object"),
        (np.array([[0, 1]], "datetime64[s]"), "datetime64"),
        (np.zeros((2, 2), [("r", "u1"), ("g", "u1")]), "'r'"),
        (np.ma.masked_less(np.ones((4, 4), "uint8"), 5), "masked"),
        (np.zeros((3, 20, 20), "uint8"), "(3, 20, 20)"),
        (np.zeros((), "uint8"), "()"),
        (np.zeros((5, 0, 3), "uint8"), "(5, 0, 3)"),
        (np.broadcast_to(np.uint8(0), (30_000, 30_000)), "900 million pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ambiguous_arrays(array, words):
    """An array with ambiguous values or shape is refused with a reason."""
    with pytest.raises(InvalidRequestError) as caught:
        encode_value(array)
    assert words in caught.value.what
    assert caught.value.todo


def test_channels_first():
    """An array with channels first, as in torch, is refused with the line that transposes it."""
    with pytest.raises(InvalidRequestError, match=r"array\.transpose\(1, 2, 0\)"):
        encode_value(np.zeros((3, 20, 20), "uint8"))


def test_arrays_that_are_views():
    """Transposed, mirrored and read-only views give the image that they show."""
    array = np.zeros((16, 12, 3), "uint8")
    array[0, 0] = 7, 8, 9
    array.flags.writeable = False
    assert _decoded(array[::-1].transpose(1, 0, 2)).getpixel((15, 0)) == (7, 8, 9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phone_photo(orientation, tmp_path):
    """A photo that was opened with Pillow is encoded upright."""
    upright = Image.new("RGB", (24, 16), "white")
    upright.paste("black", (0, 0, 8, 8))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that undoes each orientation
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    made = _decoded(Image.open(tmp_path / "photo.png"))
    assert made.size == (24, 16)
    assert [made.getpixel(spot)[0] for spot in ((2, 2), (21, 2), (2, 13))] == [0, 255, 255]
    assert made.getexif().get(0x0112) is None


def _closed(folder):
    image = Image.open(folder / "whole.png")
    image.close()
    return image


def _incomplete(folder):
    whole = (folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return Image.open(folder / "cut.png")


@pytest.mark.parametrize("make", [_closed, _incomplete])
def test_images_that_cannot_be_read(make, tmp_path):
    """A closed or incomplete image is refused with a reason."""
    Image.effect_noise((64, 64), 60).save(tmp_path / "whole.png")
    image = make(tmp_path)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        encode_value(image)
    image.close()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif(tmp_path):
    """Damaged Exif data is ignored."""
    Image.new("RGB", SIZE).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x09\xff\xff")
    assert _decoded(Image.open(tmp_path / "a.jpg")).size == SIZE


def test_the_frame_of_an_animation(tmp_path):
    """The current frame of an animation is used."""
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        assert _decoded(image).convert("RGB").getpixel((0, 0)) == (0, 255, 0)


def test_views_of_16_bits(tmp_path):
    """Preview, thumbnail and comparison of a 16-bit grey file show its grey, not white."""
    path = tmp_path / "deep.png"
    _grey(30000, "I;16").save(path)
    _, _, preview = decode_image(path, DEFAULT_LIMITS)
    shown = [Image.open(io.BytesIO(preview.data)), read_small(path, 99), flatten(
        as_shown(Image.open(path)), "white")]  # fmt: skip
    assert {abs(image.convert("L").getpixel((1, 1)) - 116) <= 2 for image in shown} == {True}


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_generated_image_is_shown(mode):
    """A generated image has a preview for any values."""
    for level in (0, 1, 200, 300, 70_000):
        assert as_shown(_grey(level % 65_536, mode), strict=False).mode == "L"
