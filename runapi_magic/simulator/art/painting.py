"""Pictures from words: a scene, perhaps something in front of it, a caption and a badge.

The same prompt, model and variation give the same picture, at any resolution. It is painted at a
moderate size and enlarged, so that 4k costs little more than 1k.
"""

from __future__ import annotations

import io
import math
import random
import threading
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageStat

from runapi_magic.simulator.art import palettes, scenes, subjects
from runapi_magic.simulator.art.canvas import Canvas, darker, happens, hls

if TYPE_CHECKING:
    from runapi_magic.simulator.art.canvas import Colour

_PAINTED: Final = 1920
"""Long side of what is painted, and then reduced to smooth its edges."""

_ROUGH: Final = 256
"""Long side of what is painted roughly."""

_FEW_COLOURS: Final = 64

_SMOOTHED: Final = 1280
_AUTO_RATIOS: Final = ("1:1", "3:2", "4:3", "2:3", "16:9", "3:4")
_GROUNDLESS: Final = frozenset({"space", "geometric", "flow", "bokeh"})
_CAPTION_LETTERS: Final = 44
_PILL: Final = (14, 16, 30, 92)
_MARGIN: Final = 0.6
_FONT_LOCK = threading.Lock()


def picture_size(ratio: str, long_side: int, *, prompt: str = "") -> tuple[int, int]:
    """Width and height in pixels; ``auto`` takes one of the usual ratios, by the prompt."""
    if ratio == "auto":
        ratio = random.Random(f"ratio:{prompt}").choice(_AUTO_RATIOS)  # noqa: S311 - a picture
    across, down = map(int, ratio.split(":"))
    if across >= down:
        return long_side, max(1, round(long_side * down / across))
    return max(1, round(long_side * across / down)), long_side


def draw(
    prompt: str,
    size: tuple[int, int],
    *,
    model: str,
    variation: int = 0,
    transparent: bool = False,
    rough: bool = False,
) -> Image.Image:
    """A picture for a prompt.

    Args:
        prompt: Its words choose scene, subject and colours; what they leave open is chance, but
            always the same.
        size: Width and height in pixels.
        model: Another model paints another picture.
        variation: 0 for the first picture of this prompt, 1 for the next, and so on.
        transparent: Only the subject, on a transparent background (mode RGBA).
        rough: In large blocks of few colours (mode P), in a tenth of the time.
    """
    rng = random.Random(f"{model}|{prompt}|{variation}")  # noqa: S311 - a picture, no secret
    scale = (_ROUGH if rough else _PAINTED) / max(size)
    painted = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    subject = subjects.choose(prompt)
    colour = subjects.own_colour(prompt, subject) if subject else None
    palette = palettes.choose(prompt, rng, subject=colour)
    if transparent:
        subject = subject or rng.choice(sorted(subjects.SUBJECTS))
        picture = Image.new("RGBA", painted)
        colour = colour or palettes.colour_word(prompt)
        _place(picture, subject, colour, rng, grounded=False)
    else:
        canvas = Canvas(painted)
        scene = scenes.choose(prompt, rng, subject=subject is not None)
        scenes.SCENES[scene](canvas, palette, rng)
        picture = canvas.image
        if subject:
            floats = scene in _GROUNDLESS or subject in subjects.FLOATING
            _place(picture, subject, colour, rng, grounded=not floats)
    if rough:
        sign(picture, prompt)
        # The octree takes a thirtieth of the time of the default method.
        few = picture.quantize(_FEW_COLOURS, method=Image.Quantize.FASTOCTREE)
        return few.resize(size, Image.Resampling.NEAREST)
    picture = _resized(picture, size)
    sign(picture, prompt)
    return picture


def stand_in(url: str) -> Image.Image:
    """The picture that stands for a foreign URL, which is never fetched."""
    name = url.rstrip("/").rpartition("/")[2].partition("?")[0].partition(".")[0]
    return draw(name.replace("-", " ").replace("_", " "), (1024, 768), model=url)


def encode(picture: Image.Image, suffix: str) -> bytes:
    """The picture as a PNG, or for ``jpg`` as a JPEG."""
    out = io.BytesIO()
    if suffix == "jpg":
        picture.convert("RGB").save(out, "JPEG", quality=88)
    else:
        picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _place(
    picture: Image.Image,
    subject: str,
    colour: Colour | None,
    rng: random.Random,
    *,
    grounded: bool,
) -> None:
    """Put the subject in the middle, with a shadow under it if it stands."""
    width, height = picture.size
    side = round(min(width, height) * (0.72 if width < height else 0.66))
    left = (width - side) // 2 + round(rng.uniform(-0.02, 0.02) * width)
    top = round(height * 0.9) - side if grounded else (height - side) // 2
    layer = subjects.paint(subject, side, colour)
    if happens(rng, 0.5):
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if grounded:
        small = Image.new("L", (side // 4, side // 16))
        ImageDraw.Draw(small).ellipse((side // 32, side // 64, side * 7 // 32, side * 3 // 64), 120)
        soft = small.filter(ImageFilter.GaussianBlur(side / 120)).resize((side, side // 4))
        picture.paste((20, 16, 36), (left, top + side - side // 6), soft)
    if picture.mode == "RGBA":
        picture.alpha_composite(layer, (left, top))
    else:
        picture.paste(layer, (left, top), layer)


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if max(size) > _SMOOTHED:
        scale = _SMOOTHED / max(picture.size)
        smoothed = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(smoothed, Image.Resampling.LANCZOS)
        return picture.resize(size, Image.Resampling.BICUBIC)
    return picture.resize(size, Image.Resampling.LANCZOS)


def font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; the only one that is everywhere."""
    with _FONT_LOCK:
        return ImageFont.load_default(size=max(8, pixels))


def tint_of(rng: random.Random) -> Colour:
    """A colour by chance, strong enough to be seen as a tint."""
    return hls(rng.random(), 0.5, 0.75)


def sign(picture: Image.Image, caption: str, *, footer: bool = False) -> None:
    """Write the caption's first words and a badge at the foot of the picture.

    With a ``footer`` they stand on an opaque strip, which covers what an earlier version of the
    picture had there.
    """
    unit = _unit(picture.size)
    margin = round(unit * _MARGIN)
    ground = _PILL
    if footer:
        ground = (0, 0, 0, 0)
        red, green, blue = map(round, ImageStat.Stat(picture.resize((8, 8)).convert("RGB")).mean)
        strip = darker((red, green, blue), 0.68)
        picture.paste(strip, (0, picture.height - footer_height(picture.size), *picture.size))
    badge = label("simulated", unit * 0.85, ground=ground)
    stick(picture, badge, (picture.width - badge.width - margin, -margin))
    room = picture.width - badge.width - 3 * margin
    words = " ".join(caption.split())
    short = words if len(words) <= _CAPTION_LETTERS else words[:_CAPTION_LETTERS].rstrip() + "…"
    while short:
        tag = label(short, unit, ground=ground)
        if tag.width <= room:
            stick(picture, tag, (margin, -margin))
            return
        short = short.rpartition(" ")[0]


def footer_height(size: tuple[int, int]) -> int:
    """How much of the foot of a picture of this size its caption and badge take, in pixels."""
    return min(round(_unit(size) * (2 * _MARGIN + 1.75)), size[1])


def _unit(size: tuple[int, int]) -> float:
    """Size of the caption's letters in pixels."""
    return max(9.0, 0.0175 * math.sqrt(size[0] * size[1]))


def label(text: str, pixels: float, *, ground: tuple[int, int, int, int] = _PILL) -> Image.Image:
    """A line of text on a round, translucent ground."""
    face = font(pixels)
    left, top, right, bottom = face.getbbox(text)
    # The line's own height, not the letters', so that labels beside each other are alike.
    top, bottom = min(top, face.getbbox("Ag")[1]), max(bottom, face.getbbox("Ag")[3])
    pad_x, pad_y = round(pixels * 0.62), round(pixels * 0.34)
    size = round(right - left) + 2 * pad_x, round(bottom - top) + 2 * pad_y
    layer = Image.new("RGBA", size)
    pen = ImageDraw.Draw(layer)
    pen.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=size[1] / 2, fill=ground)
    pen.text((pad_x - left, pad_y - top), text, font=face, fill=(255, 255, 255, 238))
    return layer


def stick(picture: Image.Image, layer: Image.Image, where: tuple[int, int]) -> None:
    """Lay a small layer on a picture; a negative height counts from the foot."""
    x, y = where
    y = y if y >= 0 else picture.height - layer.height + y
    if picture.mode == "RGBA":
        picture.alpha_composite(layer, (max(0, x), max(0, y)))
    else:
        picture.paste(layer, (x, y), layer)
