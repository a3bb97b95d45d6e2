"""Images made from images: edits by instruction, upscaling, background removal.

An edit starts from the decoded source. It works at a moderate size and enlarges the result. Every
instruction has a visible effect: known words change the image one after the other; an instruction
without known words tints the image.
"""

from __future__ import annotations

import io
import random
import re
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, UnidentifiedImageError

from runapi_magic.simulator.art import painting, stickers
from runapi_magic.simulator.art.canvas import gradient, mix
from runapi_magic.simulator.art.palettes import colour_word, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.simulator.art.canvas import Colour

    Step = Callable[[Image.Image, random.Random], Image.Image]

_WORKING_SIDE: Final = 1536
"""Long side of the image while an edit works on it, in pixels."""

MAX_SIDE: Final = 8192
"""Maximum long side of an upscaled image, in pixels; limits the memory."""

_TOLERANCE: Final = 46
_BACKGROUND_SIDE: Final = 320
"""Long side of the small copy that is used to find the background."""


def decode(content: bytes, url: str) -> Image.Image:
    """Decode a source as RGB, or RGBA if it has transparency; a placeholder if it is broken."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = ImageOps.exif_transpose(opened)
            transparent = image.has_transparency_data
            return image.convert("RGBA" if transparent else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return painting.draw_placeholder(url)


def edited_size(source: Image.Image, ratio: str, long_side: int) -> tuple[int, int]:
    """Return the size of an edited image. ``auto`` keeps the source's ratio."""
    if ratio != "auto":
        return painting.image_size(ratio, long_side)
    scale = long_side / max(source.size)
    return max(1, round(source.width * scale)), max(1, round(source.height * scale))


def enlarge(source: Image.Image, factor: int) -> Image.Image:
    """Enlarge the source by a factor, up to `MAX_SIDE`. Factor 1 only sharpens it."""
    if factor == 1:
        return _keep_transparency(
            source, lambda colours: colours.filter(ImageFilter.UnsharpMask(2, 120, 2))
        )
    scale = max(1.0, min(factor, MAX_SIDE / max(source.size)))
    size = round(source.width * scale), round(source.height * scale)
    return source.resize(size, Image.Resampling.LANCZOS)


def remove_background(source: Image.Image) -> Image.Image:
    """Return the source as RGBA; everything that resembles its edges becomes transparent."""
    small = source.convert("RGB")
    small.thumbnail((_BACKGROUND_SIDE, _BACKGROUND_SIDE))
    small = small.filter(ImageFilter.MedianFilter(3))
    marker = (255, 0, 255)
    width, height = small.size
    edge = [(x, y) for x in range(0, width, 8) for y in (0, height - 1)]
    edge += [(x, y) for y in range(0, height, 8) for x in (0, width - 1)]
    for spot in edge:
        if small.getpixel(spot) != marker:
            ImageDraw.floodfill(small, spot, marker, thresh=_TOLERANCE)
    off = ImageChops.difference(small, Image.new("RGB", small.size, marker)).convert("L")
    kept = off.point([0] + [255] * 255)
    if kept.getbbox() is None:
        # The image has only one colour: the subject is assumed to be in the middle.
        box = (width // 5, height // 5, width * 4 // 5, height * 4 // 5)
        ImageDraw.Draw(kept).ellipse(box, fill=255)
    kept = _keep_central(kept)
    foot = round(painting.footer_height(source.size) * height / source.height)
    ImageDraw.Draw(kept).rectangle((0, height - foot, width, height), fill=0)
    kept = kept.filter(ImageFilter.GaussianBlur(0.8))
    mask = kept.resize(source.size, Image.Resampling.BICUBIC)
    cut = source.convert("RGBA")
    if source.mode == "RGBA":
        mask = ImageChops.darker(mask, source.getchannel("A"))
    cut.putalpha(mask)
    return cut


def _keep_central(kept: Image.Image) -> Image.Image:
    """Keep only the parts that reach the middle; keep all parts if none does."""
    width, height = kept.size
    found = kept.copy()
    grid = [(width * x // 20, height * y // 20) for x in range(7, 14) for y in range(5, 16)]
    for spot in grid:
        if found.getpixel(spot) == 255:  # noqa: PLR2004 - white
            ImageDraw.floodfill(found, spot, 128)
    chosen = found.point([255 if v == 128 else 0 for v in range(256)])  # noqa: PLR2004 - as filled
    return chosen if chosen.getbbox() else kept


def edit(
    sources: Sequence[Image.Image],
    instruction: str,
    size: tuple[int, int],
    *,
    mask: Image.Image | None = None,
    variation: int = 0,
) -> Image.Image:
    """Return the first source, changed as the instruction says.

    Args:
        sources: The image to change. Further images appear as small prints at the bottom.
        instruction: What to do; its words are searched for the patterns in `STEPS`.
        size: Width and height of the result. A source with another ratio is cropped.
        mask: The result differs from the source only where the mask is transparent or white.
        variation: 0 for the first result of this instruction, 1 for the next, and so on.
    """
    rng = random.Random(f"{instruction}|{variation}")  # noqa: S311 - not used for security
    scale = min(1.0, _WORKING_SIDE / max(size))
    working_size = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    before = ImageOps.fit(sources[0], working_size, Image.Resampling.LANCZOS)
    image = before
    for step in steps(instruction) or [_unknown(instruction)]:
        image = step(image, rng)
    if variation:
        # Another result of the same instruction must be a different image.
        colour = painting.random_tint(rng)
        image = _keep_transparency(image, lambda colours: _tint(colours, colour, 0.12))
    if len(sources) > 1:
        image = stickers.add_prints(image, sources[1:])
    if mask is not None:
        image = _apply_mask(before, image, mask)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    # An opaque strip covers the source's own caption. A transparent image gets no strip.
    painting.add_caption(image, instruction, footer=image.mode != "RGBA")
    return image


def steps(instruction: str) -> list[Step]:
    """Return the changes that the instruction's words ask for, in order."""
    text, named = instruction.lower(), words(instruction)
    found = [step for pattern, step in STEPS if re.search(rf"\b(?:{pattern})", text)]
    # "black and white" and the colours in a quoted text do not tint the image.
    colour = colour_word(re.sub(r"black[ -]and[ -]white|[\"“«].*?[\"”»]", "", text))
    adds = bool(named & {"add", "put", "wear", "give", "wearing", "with"})
    added = [
        thing for thing in stickers.THINGS if named & {thing, *stickers.ALIASES.get(thing, ())}
    ]
    if colour and not (added and adds) and "background" not in named:
        found.insert(
            0, lambda image, _: _keep_transparency(image, lambda c: _tint(c, colour, 0.62))
        )
    if adds and added:
        found += [_sticker(thing, colour) for thing in added]
    elif "add" in named and not found:
        found.append(_note(instruction))
    if wording := _wording(instruction):
        found.append(lambda image, _: stickers.add_sign(image, wording))
    # Runs last, because it needs the final colours.
    if re.search(r"(remove|erase|without|cut out|delete).{0,20}background|transparent", text):
        found.append(lambda image, _: remove_background(image))
    return found


def _keep_transparency(
    image: Image.Image, change: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Change the colours and keep the transparency."""
    if image.mode != "RGBA":
        return change(image)
    changed = change(image.convert("RGB")).convert("RGBA")
    changed.putalpha(image.getchannel("A"))
    return changed


def _colours(change: Callable[[Image.Image], Image.Image]) -> Step:
    return lambda image, _: _keep_transparency(image, change)


def _curve(function: Callable[[float], float]) -> Step:
    """Make a step from a tone curve on 0 to 1."""
    table = [round(255 * min(1.0, max(0.0, function(v / 255)))) for v in range(256)]
    return _colours(lambda colours: colours.point(table * 3))


def _channels(red: float, green: float, blue: float) -> Step:
    """Make a step that multiplies each channel."""
    table = [min(255, round(v * gain)) for gain in (red, green, blue) for v in range(256)]
    return _colours(lambda colours: colours.point(table))


def _tint(colours: Image.Image, colour: Colour, strength: float) -> Image.Image:
    """Tint the image in one colour; keep light and dark areas."""
    dyed = ImageOps.colorize(
        colours.convert("L"),
        black=mix((6, 6, 14), colour, 0.12),
        mid=mix(colour, (128, 128, 128), 0.1),
        white=mix((255, 255, 255), colour, 0.12),
    )
    return Image.blend(colours, dyed, strength)


def _sepia(colours: Image.Image) -> Image.Image:
    return ImageOps.colorize(colours.convert("L"), black="#1d120a", mid="#9a7550", white="#fdf1d8")


def _pixelate(image: Image.Image, _: random.Random) -> Image.Image:
    scale = 56 / max(image.size)
    small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _zoom(image: Image.Image, _: random.Random) -> Image.Image:
    width, height = image.size
    box = (width * 0.18, height * 0.18, width * 0.82, height * 0.82)
    return image.resize(image.size, Image.Resampling.LANCZOS, box=box)


def _rotate(image: Image.Image, _: random.Random) -> Image.Image:
    turned = image.transpose(Image.Transpose.ROTATE_270)
    return ImageOps.fit(turned, image.size, Image.Resampling.LANCZOS)


def _add_frame(image: Image.Image, _: random.Random) -> Image.Image:
    unit = max(2, round(min(image.size) * 0.022))
    inner = (image.width - 8 * unit, image.height - 8 * unit)
    small = ImageOps.fit(image, (max(1, inner[0]), max(1, inner[1])), Image.Resampling.LANCZOS)
    framed = Image.new(image.mode, image.size, (58, 40, 32))
    pen = ImageDraw.Draw(framed)
    right, bottom = image.width - 1, image.height - 1
    for inset, colour in ((unit // 2, (122, 86, 58)), (unit * 2, (250, 246, 236))):
        pen.rectangle((inset, inset, right - inset, bottom - inset), fill=colour)
    framed.paste(small, (4 * unit, 4 * unit))
    return framed


def _time_of_day(high: Colour, low: Colour, strength: float, *, dim: float) -> Step:
    """Make a step for another time of day: blend in the colours of its sky."""

    def change(colours: Image.Image) -> Image.Image:
        darkened = colours.point([round(v * dim) for v in range(256)] * 3)
        return Image.blend(darkened, gradient(colours.size, (high, low)), strength)

    return _colours(change)


def _sunset(colours: Image.Image) -> Image.Image:
    warm = _tint(colours, (255, 138, 84), 0.6)
    return Image.blend(warm, gradient(colours.size, ((120, 50, 130), (255, 170, 96))), 0.18)


def _sticker(thing: str, colour: Colour | None) -> Step:
    return lambda image, _: stickers.add(image, thing, colour)


def _note(instruction: str) -> Step:
    """Make a step that writes down what cannot be drawn."""
    wanted = re.split(r"\badd\b", instruction, maxsplit=1, flags=re.IGNORECASE)[-1].strip(" .")
    return lambda image, _: stickers.add_note(image, f"+ {wanted or instruction}")


def _unknown(instruction: str) -> Step:
    """Make a step that adds a random tint and the text of the instruction."""

    def change(image: Image.Image, rng: random.Random) -> Image.Image:
        colour = painting.random_tint(rng)
        tinted = _keep_transparency(image, lambda colours: _tint(colours, colour, 0.42))
        return stickers.add_note(tinted, instruction)

    return change


def _wording(instruction: str) -> str:
    """Return the text that the image should show: quoted, or after "text to" and similar words."""
    if quoted := re.search(r"[\"“«']([^\"”»']{1,60})[\"”»'](?![a-z])", instruction):
        return quoted[1].strip()
    asked = re.search(
        r"\b(?:text|caption|label|title|sign|word)s?\b(?:.{0,24}?)\b(?:to|reads?|says?|saying)\b\s+"
        r"([^,.;]{1,60})",
        instruction,
        re.IGNORECASE,
    )
    return asked[1].strip() if asked else ""


def _apply_mask(before: Image.Image, after: Image.Image, mask: Image.Image) -> Image.Image:
    if mask.mode == "RGBA":
        where = ImageChops.invert(mask.getchannel("A"))
        # An opaque mask uses black and white.
        where = where if where.getbbox() else mask.convert("L")
    else:
        where = mask.convert("L")
    mode = "RGBA" if "RGBA" in {before.mode, after.mode} else "RGB"
    where = where.resize(before.size, Image.Resampling.BILINEAR)
    return Image.composite(after.convert(mode), before.convert(mode), where)


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("crop|zoom|close-?up|closer", _zoom),
    ("flip|mirror", _colours(ImageOps.mirror)),
    ("upside down", _colours(ImageOps.flip)),
    (r"rotate|turn (it|the \w+)\b(?! into)", _rotate),
    ("invert|negative", _colours(ImageOps.invert)),
    (
        "gr[ea]yscale|black and white|black-and-white|monochrome|desaturate",
        _colours(lambda colours: colours.convert("L").convert("RGB")),
    ),
    ("sepia|vintage|retro|old photo|antique", _colours(_sepia)),
    ("warm", _channels(1.16, 1.03, 0.78)),
    ("cool|cold", _channels(0.8, 0.98, 1.2)),
    ("bright|lighter", _curve(lambda v: v**0.62)),
    ("dark(?!$)|darker|dim", _curve(lambda v: v**1.6 * 0.9)),
    ("contrast", _curve(lambda v: v + 0.9 * (v - 0.5) * (1 - abs(2 * v - 1)))),
    ("night|midnight", _time_of_day((8, 14, 52), (34, 52, 116), 0.4, dim=0.66)),
    ("sunset|sunrise|golden hour", _colours(_sunset)),
    ("snow|winter", _time_of_day((206, 226, 244), (250, 252, 255), 0.42, dim=1.0)),
    ("blur|soft", _colours(lambda c: c.filter(ImageFilter.GaussianBlur(max(c.size) / 110)))),
    ("sharp|crisp", _colours(lambda c: c.filter(ImageFilter.UnsharpMask(3, 220, 1)))),
    ("pixel|8-?bit|mosaic", _pixelate),
    ("poster|cartoon|comic", _colours(lambda colours: ImageOps.posterize(colours, 2))),
    (
        "sketch|pencil|drawing|line art",
        _colours(
            lambda c: ImageOps.invert(c.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")
        ),
    ),
    ("border|frame", _add_frame),
)
"""Pattern at the start of a word, and its change. The changes are made in this order."""
