"""Files are checked, and encoded for an upload if the service does not accept them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image, features

from runapi_magic.core.request import ImageRequest
from runapi_magic.core.validation import validate
from runapi_magic.engine.sources import as_source, open_source
from runapi_magic.errors import NOT_SENT, InvalidRequestError
from runapi_magic.media.uploads import (
    check_file,
    check_mask,
    decode,
    encode_for_upload,
    upload_name,
)
from tests.media import profiles

SIZE = (48, 32)
IMAGE = Image.effect_noise(SIZE, 60).convert("RGB")


def _encoded(kind, image=IMAGE, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _animated(kind, **options):
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    return _encoded(kind, frames[0], save_all=True, append_images=frames[1:], **options)


RIGHT = {
    "PNG": (_encoded("PNG"), "png"),
    "PNG of 16 bits": (_encoded("PNG", Image.new("I;16", SIZE, 30000)), "png"),
    "PNG with a palette": (_encoded("PNG", IMAGE.quantize(8)), "png"),
    "JPEG": (_encoded("JPEG"), "jpg"),
    "progressive JPEG": (_encoded("JPEG", progressive=True), "jpg"),
    "grey JPEG": (_encoded("JPEG", IMAGE.convert("L")), "jpg"),
    "wide JPEG": (_encoded("JPEG", icc_profile=profiles.rgb(profiles.DISPLAY_P3)), "jpg"),
    "MPO": (_animated("MPO"), "jpg"),
    "WEBP": (_encoded("WEBP"), "webp"),
    "lossless WEBP": (_encoded("WEBP", lossless=True), "webp"),
}


@pytest.mark.parametrize(("content", "kind"), RIGHT.values(), ids=RIGHT)
def test_accepted_formats(content, kind):
    """A file in an accepted format is not changed and has no note."""
    assert encode_for_upload(content, "cat") == (content, kind)
    assert check_file(content, "cat") == ""


CONVERTED = {
    "TIFF": (_encoded("TIFF"), "a TIFF file"),
    "BMP": (_encoded("BMP"), "a BMP file"),
    "PPM": (_encoded("PPM"), "a PPM file"),
    "JPEG 2000": (_encoded("JPEG2000"), "a JPEG2000 file"),
    "CMYK JPEG": (_encoded("JPEG", IMAGE.convert("CMYK")), "CMYK"),
}


@pytest.mark.parametrize(("content", "words"), CONVERTED.values(), ids=CONVERTED)
def test_converted_formats(content, words):
    """Other formats are converted to a PNG with the same pixels, and a note says so."""
    made, kind = encode_for_upload(content, "cat")
    with Image.open(io.BytesIO(made)) as image:
        assert (kind, image.format, image.size, image.mode) == ("png", "PNG", SIZE, "RGB")
        assert image.tobytes() == decode(content, "cat").convert("RGB").tobytes()
    note = check_file(content, "cat")
    assert words in note
    assert "PNG" in note


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations(kind):
    """The first frame of an animation or of several pages is used, and a note says so."""
    content = _animated(kind)
    assert "3 frames. The first is sent" in check_file(content, "cat")
    made, ending = encode_for_upload(content, "cat")
    with Image.open(io.BytesIO(made)) as image:
        red, green, blue = image.convert("RGB").getpixel((9, 9))
        assert (ending, image.format, getattr(image, "n_frames", 1)) == ("png", "PNG", 1)
    assert (red > 250, green < 5, blue < 5) == (True, True, True)


def test_a_gif():
    """A GIF with one frame is converted and keeps its transparency."""
    image = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 9, 9))
    made, kind = encode_for_upload(_encoded("GIF", image), "cat")
    assert kind == "png"
    assert Image.open(io.BytesIO(made)).convert("RGBA").getchannel("A").getextrema() == (0, 255)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif():
    """An AVIF file is converted."""
    made, kind = encode_for_upload(_encoded("AVIF"), "cat")
    assert (kind, Image.open(io.BytesIO(made)).size) == ("png", SIZE)


def test_a_rotated_tiff_of_16_bits():
    """A converted file is upright, has 8 bits and is in sRGB."""
    exif = Image.Exif()
    exif[0x0112] = 6
    made, _ = encode_for_upload(_encoded("TIFF", Image.new("I;16", SIZE, 30000), exif=exif), "cat")
    with Image.open(io.BytesIO(made)) as image:
        assert (image.size, image.mode, image.getpixel((0, 0))) == (SIZE[::-1], "L", 116)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEIC, "HEIC"),
        (HEIC.replace(b"heic", b"mif1"), "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged"),
        (b"II*\0" + bytes(60), "damaged"),
    ],
)
def test_refused_files(content, words):
    """A file that cannot be read is refused with its type and advice."""
    with pytest.raises(InvalidRequestError) as caught:
        as_source(content, label="cat")
    assert words in caught.value.what
    assert caught.value.what.startswith("cat ")
    assert caught.value.todo
    assert caught.value.charged == NOT_SENT


def test_too_many_pixels():
    """A file with too many pixels for Pillow is refused, not decoded."""
    header = bytearray(_encoded("BMP"))
    header[18:26] = (40_000).to_bytes(4, "little") * 2
    with pytest.raises(InvalidRequestError, match="cat has 1,600 million pixels"):
        as_source(bytes(header), label="cat")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("left", [0.5, 0.9])
def test_incomplete_files(kind, left):
    """An incomplete file of any format is refused before the upload."""
    whole = _encoded(kind)
    content = whole[: int(len(whole) * left)]

    def use():
        check_file(content, "cat")
        encode_for_upload(content, "cat")

    with pytest.raises(InvalidRequestError, match="cat is damaged or incomplete"):
        use()


def test_compare_with_an_incomplete_jpeg():
    """A comparison with an incomplete file is refused."""
    Path("a.jpg").write_bytes(_encoded("JPEG")[:-300])
    source = as_source("a.jpg")
    with pytest.raises(InvalidRequestError, match="damaged or incomplete"):
        open_source(source)


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("a/cat.png", "png", "cat.png"),
        ("a/cat.PNG", "png", "cat.PNG"),
        ("cat.JPEG", "jpg", "cat.JPEG"),
        ("cat.png", "webp", "cat.webp"),
        ("cat.tif", "png", "cat.png"),
        ("cat", "jpg", "cat.jpg"),
        (None, "webp", "picture.webp"),
    ],
)
def test_names(path, kind, name):
    """The name of an upload has the ending of its type."""
    assert upload_name(path and Path(path), kind) == name


@pytest.mark.parametrize("make", [
    lambda content: "data:image/png;base64," + base64.b64encode(content).decode(),
    lambda content: "DATA:;base64," + quote(base64.b64encode(content).decode()),
    lambda content: "data:image/png," + quote(content),
])  # fmt: skip
def test_data_urls(make, make_image):
    """An image in a data URL is used."""
    content = make_image()
    source = as_source(make(content))
    assert (source.content, source.digest) == (content, as_source(content).digest)


@pytest.mark.parametrize("url", ["data:image/png;base64,iVBOR", "data:", "data:image/png;base64,A"])
def test_damaged_data_urls(url):
    """An incomplete data URL is refused."""
    with pytest.raises(InvalidRequestError, match="data URL"):
        as_source(url)


def test_the_note_of_a_source():
    """A source that will be converted has a note, once for each file."""
    Path("cat.tif").write_bytes(_encoded("TIFF"))
    source = as_source("cat.tif")
    request = ImageRequest("make it snow", "gpt-image-2", sources=(source, source))
    assert validate(request) == ["cat.tif is a TIFF file. It is sent as a PNG."]


def _mask(size=SIZE, hole=(0, 0, 9, 9), alpha=0, kind="PNG", mode="RGBA"):
    mask = Image.new("RGBA", size, "black")
    mask.paste((0, 0, 0, alpha), hole)
    return _encoded(kind, mask.convert(mode), **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("source", [_encoded("JPEG"), None])
def test_masks(kind, source):
    """A mask with the size of its source and a transparent part is uploaded as a PNG."""
    content = _mask(kind=kind)
    check_mask(content, "mask", source)
    made, ending = encode_for_upload(content, "mask", is_mask=True)
    with Image.open(io.BytesIO(made)) as image:
        assert (ending, image.format, image.mode) == ("png", "PNG", "RGBA")
        assert image.getchannel("A").getextrema() == (0, 255)


def test_a_mask_with_alpha_is_not_changed():
    """A PNG with an alpha channel is uploaded byte for byte."""
    content = _mask()
    assert encode_for_upload(content, "mask", is_mask=True) == (content, "png")


def test_a_mask_with_a_palette():
    """A mask with a transparent palette colour gets an alpha channel."""
    content = _encoded("PNG", Image.open(io.BytesIO(_mask(kind="GIF"))))
    made, _ = encode_for_upload(content, "mask", is_mask=True)
    assert Image.open(io.BytesIO(made)).mode == "RGBA"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_mask(size=(10, 10)), "10 x 10 pixels, but its source has 48 x 32"),
        (_mask(hole=(0, 0, 0, 0)), "no transparent part"),
        (_mask(alpha=128), "no transparent part"),
        (_mask(hole=(0, 0, *SIZE)), "completely transparent"),
        (_mask(kind="JPEG", mode="RGB"), "no transparent part"),
        (_encoded("PNG", Image.new("1", SIZE)), "no transparent part"),
        (_mask()[:-40], "damaged or incomplete"),
    ],
)
def test_invalid_masks(content, words):
    """A mask with another size, without a hole or with only a hole is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        check_mask(content, "mask", _encoded("PNG"))
    assert words in caught.value.what
    assert "mask" in caught.value.what
    assert caught.value.todo


def test_the_mask_of_a_rotated_photo():
    """The mask of a rotated photo has the size of the upright photo."""
    exif = Image.Exif()
    exif[0x0112] = 6
    check_mask(_mask(size=SIZE[::-1]), "mask", _encoded("JPEG", exif=exif))


def test_the_profile_of_a_converted_file():
    """A wide-gamut TIFF is in sRGB as a PNG."""
    red = Image.new("RGB", SIZE, (200, 80, 80))
    wide = _encoded("TIFF", red, icc_profile=profiles.rgb(profiles.DISPLAY_P3))
    made, _ = encode_for_upload(wide, "cat")
    with Image.open(io.BytesIO(made)) as image:
        assert image.getpixel((0, 0))[0] > 207
        assert "icc_profile" not in image.info
