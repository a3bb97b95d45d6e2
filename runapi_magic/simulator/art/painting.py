"""Images made from a prompt: a scene, sometimes a subject, a caption and a badge.

The same prompt, model and variation give the same image at any resolution. The image is painted at
a moderate size and enlarged, so that 4k takes only a little longer than 1k.
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

_PAINTED_SIDE: Final = 1920
"""Long side of the painted image before it is reduced to smooth its edges."""

_ROUGH_SIDE: Final = 256
"""Long side of a roughly painted image."""

_FEW_COLOURS: Final = 64

_SMOOTHED_SIDE: Final = 1280
_AUTO_RATIOS: Final = ("1:1", "3:2", "4:3", "2:3", "16:9", "3:4")
_GROUNDLESS: Final = frozenset({"space", "geometric", "flow", "bokeh"})
_CAPTION_LETTERS: Final = 44
_PILL: Final = (14, 16, 30, 92)
_MARGIN: Final = 0.6
_FONT_LOCK = threading.Lock()


def image_size(ratio: str, long_side: int, *, prompt: str = "") -> tuple[int, int]:
    """Return width and height in pixels. ``auto`` selects a common ratio by the prompt."""
    if ratio == "auto":
        ratio = random.Random(f"ratio:{prompt}").choice(_AUTO_RATIOS)  # noqa: S311 - not for security
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
    """Draw an image for a prompt.

    Args:
        prompt: Its words select scene, subject and colours. Everything else is random, but always
            the same for the same prompt.
        size: Width and height in pixels.
        model: Another model gives another image.
        variation: 0 for the first image of this prompt, 1 for the next, and so on.
        transparent: Draw only the subject, on a transparent background (mode RGBA).
        rough: Draw large blocks in few colours (mode P), in a tenth of the time.
    """
    rng = random.Random(f"{model}|{prompt}|{variation}")  # noqa: S311 - not used for security
    scale = (_ROUGH_SIDE if rough else _PAINTED_SIDE) / max(size)
    painted = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    subject = subjects.choose(prompt)
    colour = subjects.own_colour(prompt, subject) if subject else None
    palette = palettes.choose(prompt, rng, subject=colour)
    if transparent:
        subject = subject or rng.choice(sorted(subjects.SUBJECTS))
        image = Image.new("RGBA", painted)
        colour = colour or palettes.colour_word(prompt)
        _place_subject(image, subject, colour, rng, grounded=False)
    else:
        canvas = Canvas(painted)
        scene = scenes.choose(prompt, rng, subject=subject is not None)
        scenes.SCENES[scene](canvas, palette, rng)
        image = canvas.image
        if subject:
            floats = scene in _GROUNDLESS or subject in subjects.FLOATING
            _place_subject(image, subject, colour, rng, grounded=not floats)
    if rough:
        add_caption(image, prompt)
        # This method takes a thirtieth of the time of the default method.
        few = image.quantize(_FEW_COLOURS, method=Image.Quantize.FASTOCTREE)
        return few.resize(size, Image.Resampling.NEAREST)
    image = _resize(image, size)
    add_caption(image, prompt)
    return image


def draw_placeholder(url: str) -> Image.Image:
    """Draw a placeholder for a foreign URL. The URL is never fetched."""
    name = url.rstrip("/").rpartition("/")[2].partition("?")[0].partition(".")[0]
    return draw(name.replace("-", " ").replace("_", " "), (1024, 768), model=url)


def encode(image: Image.Image, suffix: str) -> bytes:
    """Encode the image as a PNG, or as a JPEG for ``jpg``."""
    out = io.BytesIO()
    if suffix == "jpg":
        image.convert("RGB").save(out, "JPEG", quality=88)
    else:
        image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _place_subject(
    image: Image.Image,
    subject: str,
    colour: Colour | None,
    rng: random.Random,
    *,
    grounded: bool,
) -> None:
    """Draw the subject in the middle, with a shadow if it stands on the ground."""
    width, height = image.size
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
        image.paste((20, 16, 36), (left, top + side - side // 6), soft)
    if image.mode == "RGBA":
        image.alpha_composite(layer, (left, top))
    else:
        image.paste(layer, (left, top), layer)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if max(size) > _SMOOTHED_SIDE:
        scale = _SMOOTHED_SIDE / max(image.size)
        smoothed = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(smoothed, Image.Resampling.LANCZOS)
        return image.resize(size, Image.Resampling.BICUBIC)
    return image.resize(size, Image.Resampling.LANCZOS)


def font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, the only font that every machine has."""
    with _FONT_LOCK:
        return ImageFont.load_default(size=max(8, pixels))


def random_tint(rng: random.Random) -> Colour:
    """Return a random colour that is strong enough for a visible tint."""
    return hls(rng.random(), 0.5, 0.75)


def add_caption(image: Image.Image, caption: str, *, footer: bool = False) -> None:
    """Write the start of the caption and a badge at the bottom of the image.

    With ``footer`` they are on an opaque strip. It covers the caption of an earlier version of the
    image.
    """
    unit = _unit(image.size)
    margin = round(unit * _MARGIN)
    ground = _PILL
    if footer:
        ground = (0, 0, 0, 0)
        red, green, blue = map(round, ImageStat.Stat(image.resize((8, 8)).convert("RGB")).mean)
        strip = darker((red, green, blue), 0.68)
        image.paste(strip, (0, image.height - footer_height(image.size), *image.size))
    badge = label("simulated", unit * 0.85, ground=ground)
    paste_layer(image, badge, (image.width - badge.width - margin, -margin))
    room = image.width - badge.width - 3 * margin
    words = " ".join(caption.split())
    short = words if len(words) <= _CAPTION_LETTERS else words[:_CAPTION_LETTERS].rstrip() + "…"
    while short:
        tag = label(short, unit, ground=ground)
        if tag.width <= room:
            paste_layer(image, tag, (margin, -margin))
            return
        short = short.rpartition(" ")[0]


def footer_height(size: tuple[int, int]) -> int:
    """Return the height of the caption and the badge in pixels, for an image of this size."""
    return min(round(_unit(size) * (2 * _MARGIN + 1.75)), size[1])


def _unit(size: tuple[int, int]) -> float:
    """Return the letter size of the caption in pixels."""
    return max(9.0, 0.0175 * math.sqrt(size[0] * size[1]))


def label(text: str, pixels: float, *, ground: tuple[int, int, int, int] = _PILL) -> Image.Image:
    """Draw a line of text on a rounded, translucent background."""
    face = font(pixels)
    left, top, right, bottom = face.getbbox(text)
    # The height of a full line, so that labels side by side have the same height.
    top, bottom = min(top, face.getbbox("Ag")[1]), max(bottom, face.getbbox("Ag")[3])
    pad_x, pad_y = round(pixels * 0.62), round(pixels * 0.34)
    size = round(right - left) + 2 * pad_x, round(bottom - top) + 2 * pad_y
    layer = Image.new("RGBA", size)
    pen = ImageDraw.Draw(layer)
    pen.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=size[1] / 2, fill=ground)
    pen.text((pad_x - left, pad_y - top), text, font=face, fill=(255, 255, 255, 238))
    return layer


def paste_layer(image: Image.Image, layer: Image.Image, where: tuple[int, int]) -> None:
    """Paste a small layer on an image. A negative y is a distance from the bottom."""
    x, y = where
    y = y if y >= 0 else image.height - layer.height + y
    if image.mode == "RGBA":
        image.alpha_composite(layer, (max(0, x), max(0, y)))
    else:
        image.paste(layer, (x, y), layer)
