"""Images with a colour profile are converted to sRGB."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms

from runapi_magic.media.colour_profiles import to_srgb
from runapi_magic.media.from_python import encode_value
from runapi_magic.media.limits import DEFAULT_LIMITS
from runapi_magic.media.preview import decode_image
from runapi_magic.media.thumbnails import read_small
from tests.media import profiles

SIZE = (16, 12)
WIDE = {
    "Display P3": profiles.rgb(profiles.DISPLAY_P3),
    "Adobe RGB": profiles.rgb(profiles.ADOBE_RGB),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _with(image, profile):
    image.info["icc_profile"] = profile
    return image


def _decoded(content):
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("profile", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "RGBX"])
def test_wide_colours(profile, mode):
    """A muted red in a wide colour space becomes a stronger red in sRGB, without a profile."""
    image = Image.new("RGB", SIZE, (200, 80, 80)).convert(mode)
    made = _decoded(encode_value(_with(image, profile)))
    before, after = (each.convert("RGB").getpixel((1, 1)) for each in (image, made))
    assert after[0] - before[0] > 5
    assert max(after[1] - before[1], after[2] - before[2]) < 3
    assert "icc_profile" not in made.info


def test_transparency_is_kept():
    """Transparency is kept, as a channel and as a transparent colour."""
    keyed = _with(Image.new("RGB", SIZE, (200, 80, 80)), WIDE["Display P3"])
    keyed.info["transparency"] = (200, 80, 80)
    assert _decoded(encode_value(keyed)).convert("RGBA").getpixel((0, 0))[3] == 0
    half = _with(Image.new("RGBA", SIZE, (200, 80, 80, 128)), WIDE["Display P3"])
    assert _decoded(encode_value(half)).getpixel((0, 0))[3] == 128


def test_grey():
    """A grey image with another gamma is converted and stays grey, also with transparency."""
    for mode, pixel in (("L", 128), ("LA", (128, 7))):
        made = _decoded(encode_value(_with(Image.new(mode, SIZE, pixel), profiles.grey(1.0))))
        assert made.mode == mode
        assert (made.getpixel((0, 0))[0] if mode == "LA" else made.getpixel((0, 0))) > 180


def test_cmyk():
    """CMYK is converted by its profile. The PNG has no profile."""
    image = _with(Image.new("CMYK", SIZE, (0, 0, 255, 0)), profiles.cmyk())
    made = _decoded(encode_value(image))
    red, _, blue = made.getpixel((0, 0))
    assert made.mode == "RGB"
    assert blue > red + 50  # yellow of this profile is blue; without the profile, blue would be 0
    assert "icc_profile" not in made.info


NO_CHANGE = {
    "sRGB": SRGB,
    "incomplete": WIDE["Display P3"][:200],
    "junk": b"junk",
    "long junk": b"x" * 300,
    "of CMYK": profiles.cmyk(),
    "of grey": profiles.grey(2.2),
}


@pytest.mark.parametrize("profile", NO_CHANGE.values(), ids=NO_CHANGE)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_profiles_that_change_nothing(profile, mode):
    """An sRGB profile, a damaged one or one for other images does not change pixels."""
    image = Image.new("RGB", SIZE, (200, 80, 80)).convert(mode)
    made = _decoded(encode_value(_with(image, profile)))
    assert made.convert("RGB").getpixel((0, 0)) == image.convert("RGB").getpixel((0, 0))


def test_nothing_to_convert():
    """An image without a profile or in sRGB is returned as the same object."""
    plain = Image.new("RGB", SIZE, "red")
    assert to_srgb(plain) is plain
    standard = _with(Image.new("RGB", SIZE, "red"), SRGB)
    assert to_srgb(standard) is standard


def test_same_bytes_each_time():
    """An image is always converted to the same bytes, so the source is the same."""
    image = _with(Image.new("RGB", SIZE, (200, 80, 80)), WIDE["Display P3"])
    assert encode_value(image) == encode_value(image.copy())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_previews(kind, tmp_path):
    """The preview and the thumbnail of a wide-gamut file are in sRGB."""
    path = tmp_path / "wide"
    Image.new("RGB", (64, 64), (200, 80, 80)).save(path, kind, icc_profile=WIDE["Display P3"])
    _, _, preview = decode_image(path, DEFAULT_LIMITS)
    for image in (_decoded(preview.data), read_small(path, 32)):
        assert image.getpixel((5, 5))[0] > 207


def test_a_generated_image_with_a_damaged_profile(tmp_path):
    """A generated image with a damaged profile has a preview."""
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), (200, 80, 80)).save(path, icc_profile=b"junk")
    _, _, preview = decode_image(path, DEFAULT_LIMITS)
    assert abs(_decoded(preview.data).getpixel((5, 5))[0] - 200) < 4
