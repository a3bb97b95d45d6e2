"""Colours of an image, selected by the words of its prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runapi_magic.simulator.art.canvas import Colour, darker, hls, lighter, mix, rgb

if TYPE_CHECKING:
    import random

HUES: Final = {
    "red": 0.0,
    "crimson": 0.97,
    "orange": 0.075,
    "amber": 0.11,
    "gold": 0.12,
    "golden": 0.12,
    "yellow": 0.145,
    "lime": 0.24,
    "green": 0.36,
    "emerald": 0.42,
    "mint": 0.44,
    "teal": 0.49,
    "turquoise": 0.48,
    "cyan": 0.52,
    "azure": 0.56,
    "blue": 0.6,
    "navy": 0.63,
    "indigo": 0.69,
    "violet": 0.75,
    "purple": 0.78,
    "magenta": 0.87,
    "pink": 0.93,
    "rose": 0.95,
    "brown": 0.06,
}
"""Colour words and their hues in turns."""

_GREYS: Final = {"white": 0.93, "silver": 0.75, "gray": 0.5, "grey": 0.5, "black": 0.13}


def words(text: str) -> set[str]:
    """Return the words of a text in lower case; for each plural also the singular."""
    found = re.findall(r"[^\W\d_]+", text.lower())
    return {*found, *(word[:-1] for word in found if word.endswith("s"))}


def colour_word(text: str) -> Colour | None:
    """Return the first colour that the text names, or None."""
    for word in re.findall(r"[^\W\d_]+", text.lower()):
        if word in _GREYS:
            return hls(0.6, _GREYS[word], 0.06)
        if word in HUES:
            dark = {"brown": 0.32, "navy": 0.28, "pink": 0.66, "rose": 0.62}
            return hls(HUES[word], dark.get(word, 0.5), 0.45 if word == "brown" else 0.72)
    return None


@dataclass(frozen=True)
class Palette:
    """The colours of one image."""

    high: Colour
    """Colour of the sky at the top."""
    middle: Colour
    low: Colour
    """Colour of the sky at the horizon."""
    light: Colour
    """Colour of the sun or moon."""
    far: Colour
    """Colour of distant land."""
    near: Colour
    """Colour of land in front."""
    accent: Colour
    dark: bool = False
    """Whether stars are visible."""

    def land(self, nearness: float) -> Colour:
        """Return the colour of land, from 0 (far away) to 1 (in front)."""
        return mix(self.far, self.near, nearness)


def _palette(codes: str, *, dark: bool = False) -> Palette:
    high, middle, low, light, far, near, accent = map(rgb, codes.split())
    return Palette(high, middle, low, light, far, near, accent, dark)


MOODS: Final = {
    "dawn": _palette("34457c b5728a ffd3b5 fff1d6 a3809f 2f2b4f e56b6f"),
    "day": _palette("3f8ccb 93cdea eaf6ee fff9de 9cc3c9 2a6b57 ff8c42"),
    "golden": _palette("ee9b52 f8c37d fdebcf fffbe6 d09a68 5a3626 b8434b"),
    "sunset": _palette("33265e c8457c ffb770 ffeabf 93427a 211338 ff6f59"),
    "dusk": _palette("12264d 44639f f3aea4 ffe6d8 566797 101b38 f4c95d"),
    "night": _palette("060b22 132456 34528f f6f1dc 2b4178 070c1f ffd166", dark=True),
    "mint": _palette("1f8182 79cbba eefcf5 ffffff 95cfc3 144f4b ef8354"),
    "pastel": _palette("9bbcf5 f3c4ef fff3c9 ffffff cbb2da 66527a ff7fa3"),
    "mist": _palette("8aa6a5 c4d5cf f4f5ec ffffff a9c1b7 213f38 df7457"),
    "aurora": _palette("08132b 14506a 4fbf9f eafff0 1f5a63 07141f c77dff", dark=True),
}

_MOOD_WORDS: Final = {
    "night": "night midnight star starry moon moonlight moonlit dark nebula galaxy space",
    "sunset": "sunset evening neon cyberpunk",
    "dawn": "dawn sunrise morning",
    "dusk": "dusk twilight",
    "golden": "autumn fall desert sahara dune savanna africa warm honey",
    "day": "day noon summer sunny beach spring meadow",
    "mist": "mist misty fog foggy forest jungle rain rainy",
    "pastel": "pastel cute kawaii candy dream dreamy watercolor watercolour soft",
    "aurora": "aurora northern polar arctic",
    "mint": "winter snow snowy ice fresh",
}


def choose(prompt: str, rng: random.Random, *, subject: Colour | None = None) -> Palette:
    """Return the palette for a prompt: by its mood words, its colour word, or at random.

    Args:
        prompt: The prompt.
        rng: Source of random choices.
        subject: The colour that the prompt gives to the subject, if any. The background then
            contrasts with it.
    """
    named = words(prompt)
    moods = [mood for mood, keys in _MOOD_WORDS.items() if named & set(keys.split())]
    chance = rng.choice(["dawn", "day", "golden", "sunset", "dusk", "mint", "pastel", "mist"])
    colour = colour_word(prompt)
    if moods:
        found = MOODS[moods[0]]
        return found if colour is None or subject else _tinted(found, colour)
    if subject:
        return _contrasting(subject)
    return MOODS[chance] if colour is None else _one_colour(colour)


def _tinted(palette: Palette, colour: Colour) -> Palette:
    return Palette(
        mix(palette.high, darker(colour, 0.3), 0.45),
        mix(palette.middle, colour, 0.5),
        mix(palette.low, lighter(colour, 0.4), 0.45),
        palette.light,
        mix(palette.far, colour, 0.4),
        mix(palette.near, darker(colour, 0.6), 0.4),
        colour,
        palette.dark,
    )


def _one_colour(colour: Colour) -> Palette:
    """Make a palette of one colour, from dark to pale."""
    return Palette(
        high=mix(colour, (30, 28, 70), 0.35),
        middle=lighter(colour, 0.25),
        low=lighter(colour, 0.78),
        light=lighter(colour, 0.93),
        far=lighter(mix(colour, (120, 110, 150), 0.25), 0.3),
        near=mix(colour, (18, 14, 40), 0.72),
        accent=lighter(colour, 0.1),
    )


def _contrasting(colour: Colour) -> Palette:
    """Make a pale palette that contrasts with a subject of this colour."""
    complement = mix((255 - colour[0], 255 - colour[1], 255 - colour[2]), (128, 128, 128), 0.45)
    return Palette(
        high=lighter(complement, 0.45),
        middle=lighter(complement, 0.68),
        low=lighter(mix(complement, colour, 0.3), 0.85),
        light=(255, 253, 244),
        far=lighter(complement, 0.35),
        near=darker(complement, 0.5),
        accent=colour,
    )
