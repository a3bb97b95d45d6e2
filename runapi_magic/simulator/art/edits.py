"""Pictures from pictures: edits by instruction, enlarging, removing a background.

An edit starts from the decoded source, works at a moderate size and is enlarged at the end. Every
instruction leaves a visible mark: words that are understood change the picture accordingly, one
after the other, and words that are not tint it.
"""

from __future__ import annotations

import io
import random
import re
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, UnidentifiedImageError

from runapi_magic.simulator.art import painting as art
from runapi_magic.simulator.art import stickers
from runapi_magic.simulator.art.canvas import gradient, mix
from runapi_magic.simulator.art.palettes import colour_word, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.simulator.art.canvas import Colour

    Step = Callable[[Image.Image, random.Random], Image.Image]

WORKED: Final = 1536
"""Longest side while an edit is worked on, in pixels."""

LARGEST: Final = 8192
"""Longest side that an upscale reaches, in pixels; memory would not bear more."""

_TOLERANCE: Final = 46
_BACKGROUND: Final = 320
"""Long side of the small picture on which a background is found."""


def decode(content: bytes, url: str) -> Image.Image:
    """A source picture as RGB, or RGBA if it has transparency; a stand-in if it is broken."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = ImageOps.exif_transpose(opened)
            transparent = picture.has_transparency_data
            return picture.convert("RGBA" if transparent else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return art.stand_in(url)


def edited_size(source: Image.Image, ratio: str, long_side: int) -> tuple[int, int]:
    """Size of an edit's result; ``auto`` keeps the source's ratio."""
    if ratio != "auto":
        return art.picture_size(ratio, long_side)
    scale = long_side / max(source.size)
    return max(1, round(source.width * scale)), max(1, round(source.height * scale))


def enlarge(source: Image.Image, factor: int) -> Image.Image:
    """The source so many times larger, at most to `LARGEST`; with factor 1 only sharpened."""
    if factor == 1:
        return _split(source, lambda colours: colours.filter(ImageFilter.UnsharpMask(2, 120, 2)))
    scale = max(1.0, min(factor, LARGEST / max(source.size)))
    size = round(source.width * scale), round(source.height * scale)
    return source.resize(size, Image.Resampling.LANCZOS)


def remove_background(source: Image.Image) -> Image.Image:
    """The source as RGBA with everything transparent that is like its edges."""
    small = source.convert("RGB")
    small.thumbnail((_BACKGROUND, _BACKGROUND))
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
        # All of one colour: what is in the middle is taken for the subject.
        box = (width // 5, height // 5, width * 4 // 5, height * 4 // 5)
        ImageDraw.Draw(kept).ellipse(box, fill=255)
    kept = _central(kept)
    foot = round(art.footer_height(source.size) * height / source.height)
    ImageDraw.Draw(kept).rectangle((0, height - foot, width, height), fill=0)
    kept = kept.filter(ImageFilter.GaussianBlur(0.8))
    mask = kept.resize(source.size, Image.Resampling.BICUBIC)
    cut = source.convert("RGBA")
    if source.mode == "RGBA":
        mask = ImageChops.darker(mask, source.getchannel("A"))
    cut.putalpha(mask)
    return cut


def _central(kept: Image.Image) -> Image.Image:
    """Only the parts that reach into the middle; all of them if none does."""
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
    """The first source changed as the instruction says.

    Args:
        sources: The picture to change; further ones appear as prints along its foot.
        instruction: What to do; its words are looked up in `STEPS`.
        size: Width and height of the result. A source of another ratio is cropped to it.
        mask: Only where it is transparent, or white, the result differs from the source.
        variation: 0 for the first result of this instruction, 1 for the next, and so on.
    """
    rng = random.Random(f"{instruction}|{variation}")  # noqa: S311 - a picture, no secret
    scale = min(1.0, WORKED / max(size))
    worked = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    before = ImageOps.fit(sources[0], worked, Image.Resampling.LANCZOS)
    picture = before
    for step in steps(instruction) or [_unknown(instruction)]:
        picture = step(picture, rng)
    if variation:
        # Another answer to the same instruction must not be the same picture.
        colour = art.tint_of(rng)
        picture = _split(picture, lambda colours: _wash(colours, colour, 0.12))
    if len(sources) > 1:
        picture = stickers.prints(picture, sources[1:])
    if mask is not None:
        picture = _masked(before, picture, mask)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    # On a strip, where the source may have had its own; transparency leaves no place for one.
    art.sign(picture, instruction, footer=picture.mode != "RGBA")
    return picture


def steps(instruction: str) -> list[Step]:
    """What the instruction's words ask for, in the order in which it is done."""
    text, named = instruction.lower(), words(instruction)
    found = [step for pattern, step in STEPS if re.search(rf"\b(?:{pattern})", text)]
    # "black and white" and the colours of a quoted text are not colours to dye with.
    colour = colour_word(re.sub(r"black[ -]and[ -]white|[\"“«].*?[\"”»]", "", text))
    adds = bool(named & {"add", "put", "wear", "give", "wearing", "with"})
    added = [
        thing for thing in stickers.THINGS if named & {thing, *stickers.ALIASES.get(thing, ())}
    ]
    if colour and not (added and adds) and "background" not in named:
        found.insert(0, lambda picture, _: _split(picture, lambda c: _wash(c, colour, 0.62)))
    if adds and added:
        found += [_sticker(thing, colour) for thing in added]
    elif "add" in named and not found:
        found.append(_note(instruction))
    if wording := _wording(instruction):
        found.append(lambda picture, _: stickers.sign_board(picture, wording))
    # A transparent background is made of the finished colours.
    if re.search(r"(remove|erase|without|cut out|delete).{0,20}background|transparent", text):
        found.append(lambda picture, _: remove_background(picture))
    return found


def _split(picture: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Change the colours and leave the transparency alone."""
    if picture.mode != "RGBA":
        return change(picture)
    changed = change(picture.convert("RGB")).convert("RGBA")
    changed.putalpha(picture.getchannel("A"))
    return changed


def _colours(change: Callable[[Image.Image], Image.Image]) -> Step:
    return lambda picture, _: _split(picture, change)


def _curve(function: Callable[[float], float]) -> Step:
    """A tone curve on 0 to 1."""
    table = [round(255 * min(1.0, max(0.0, function(v / 255)))) for v in range(256)]
    return _colours(lambda colours: colours.point(table * 3))


def _channels(red: float, green: float, blue: float) -> Step:
    """Each channel multiplied."""
    table = [min(255, round(v * gain)) for gain in (red, green, blue) for v in range(256)]
    return _colours(lambda colours: colours.point(table))


def _wash(colours: Image.Image, colour: Colour, strength: float) -> Image.Image:
    """Dyed in a colour, light and dark kept."""
    dyed = ImageOps.colorize(
        colours.convert("L"),
        black=mix((6, 6, 14), colour, 0.12),
        mid=mix(colour, (128, 128, 128), 0.1),
        white=mix((255, 255, 255), colour, 0.12),
    )
    return Image.blend(colours, dyed, strength)


def _sepia(colours: Image.Image) -> Image.Image:
    return ImageOps.colorize(colours.convert("L"), black="#1d120a", mid="#9a7550", white="#fdf1d8")


def _pixels(picture: Image.Image, _: random.Random) -> Image.Image:
    scale = 56 / max(picture.size)
    small = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(small, Image.Resampling.BOX).resize(
        picture.size, Image.Resampling.NEAREST
    )


def _zoom(picture: Image.Image, _: random.Random) -> Image.Image:
    width, height = picture.size
    box = (width * 0.18, height * 0.18, width * 0.82, height * 0.82)
    return picture.resize(picture.size, Image.Resampling.LANCZOS, box=box)


def _rotated(picture: Image.Image, _: random.Random) -> Image.Image:
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    return ImageOps.fit(turned, picture.size, Image.Resampling.LANCZOS)


def _framed(picture: Image.Image, _: random.Random) -> Image.Image:
    unit = max(2, round(min(picture.size) * 0.022))
    inner = (picture.width - 8 * unit, picture.height - 8 * unit)
    small = ImageOps.fit(picture, (max(1, inner[0]), max(1, inner[1])), Image.Resampling.LANCZOS)
    framed = Image.new(picture.mode, picture.size, (58, 40, 32))
    pen = ImageDraw.Draw(framed)
    right, bottom = picture.width - 1, picture.height - 1
    for inset, colour in ((unit // 2, (122, 86, 58)), (unit * 2, (250, 246, 236))):
        pen.rectangle((inset, inset, right - inset, bottom - inset), fill=colour)
    framed.paste(small, (4 * unit, 4 * unit))
    return framed


def _lit(high: Colour, low: Colour, strength: float, *, dim: float) -> Step:
    """Another time of day: the colours of its sky laid over the picture."""

    def change(colours: Image.Image) -> Image.Image:
        darkened = colours.point([round(v * dim) for v in range(256)] * 3)
        return Image.blend(darkened, gradient(colours.size, (high, low)), strength)

    return _colours(change)


def _sunset(colours: Image.Image) -> Image.Image:
    warm = _wash(colours, (255, 138, 84), 0.6)
    return Image.blend(warm, gradient(colours.size, ((120, 50, 130), (255, 170, 96))), 0.18)


def _sticker(thing: str, colour: Colour | None) -> Step:
    return lambda picture, _: stickers.add(picture, thing, colour)


def _note(instruction: str) -> Step:
    """What cannot be drawn is written down."""
    wanted = re.split(r"\badd\b", instruction, maxsplit=1, flags=re.IGNORECASE)[-1].strip(" .")
    return lambda picture, _: stickers.note(picture, f"+ {wanted or instruction}")


def _unknown(instruction: str) -> Step:
    """A tint by chance and a strip with the instruction."""

    def change(picture: Image.Image, rng: random.Random) -> Image.Image:
        colour = art.tint_of(rng)
        tinted = _split(picture, lambda colours: _wash(colours, colour, 0.42))
        return stickers.note(tinted, instruction)

    return change


def _wording(instruction: str) -> str:
    """The text that the picture should show: quoted, or behind "text to" and the like."""
    if quoted := re.search(r"[\"“«']([^\"”»']{1,60})[\"”»'](?![a-z])", instruction):
        return quoted[1].strip()
    asked = re.search(
        r"\b(?:text|caption|label|title|sign|word)s?\b(?:.{0,24}?)\b(?:to|reads?|says?|saying)\b\s+"
        r"([^,.;]{1,60})",
        instruction,
        re.IGNORECASE,
    )
    return asked[1].strip() if asked else ""


def _masked(before: Image.Image, after: Image.Image, mask: Image.Image) -> Image.Image:
    if mask.mode == "RGBA":
        where = ImageChops.invert(mask.getchannel("A"))
        # An opaque mask says it in black and white.
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
    (r"rotate|turn (it|the \w+)\b(?! into)", _rotated),
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
    ("night|midnight", _lit((8, 14, 52), (34, 52, 116), 0.4, dim=0.66)),
    ("sunset|sunrise|golden hour", _colours(_sunset)),
    ("snow|winter", _lit((206, 226, 244), (250, 252, 255), 0.42, dim=1.0)),
    ("blur|soft", _colours(lambda c: c.filter(ImageFilter.GaussianBlur(max(c.size) / 110)))),
    ("sharp|crisp", _colours(lambda c: c.filter(ImageFilter.UnsharpMask(3, 220, 1)))),
    ("pixel|8-?bit|mosaic", _pixels),
    ("poster|cartoon|comic", _colours(lambda colours: ImageOps.posterize(colours, 2))),
    (
        "sketch|pencil|drawing|line art",
        _colours(
            lambda c: ImageOps.invert(c.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")
        ),
    ),
    ("border|frame", _framed),
)
"""What to look for at the start of a word, and what it does; done in this order."""
