"""Landscapes, painted on a `Canvas` in the colours of a `Palette`, and the choice of a scene."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from runapi_magic.simulator.art.canvas import darker, happens, lighter, mix, smooth, stars
from runapi_magic.simulator.art.palettes import words
from runapi_magic.simulator.art.patterns import bokeh, flow, geometric, space, studio

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from PIL import ImageDraw

    from runapi_magic.simulator.art.canvas import Canvas, Colour, Point
    from runapi_magic.simulator.art.palettes import Palette

    Painter = Callable[[Canvas, Palette, random.Random], None]


def _sun(canvas: Canvas, palette: Palette, rng: random.Random, height: float) -> Point:
    """Paint a sun or moon with its light. Return its position."""
    centre = (rng.choice((rng.uniform(0.18, 0.38), rng.uniform(0.62, 0.82))), height)
    radius = rng.uniform(0.045, 0.075)
    canvas.glow(centre, 0.62, mix(palette.light, palette.low, 0.35), 0.75)
    canvas.glow(centre, radius * 2.6, palette.light, 0.7)
    canvas.disc(centre, radius, palette.light)
    return centre


def _clouds(canvas: Canvas, palette: Palette, rng: random.Random, count: int) -> None:
    for _ in range(count):
        x, y = rng.uniform(-0.05, 1.05), rng.uniform(0.08, 0.38)
        puffs = [
            (x + rng.uniform(-0.12, 0.12), y + rng.uniform(-0.008, 0.008), rng.uniform(0.02, 0.07))
            for _ in range(9)
        ]

        def paint(
            pen: ImageDraw.ImageDraw,
            width: float,
            height: float,
            puffs: list[tuple[float, float, float]] = puffs,
        ) -> None:
            for px, py, r in puffs:
                flat = r * 0.22 * math.sqrt(width * height) / height
                pen.ellipse(
                    (
                        (px - r) * width,
                        (py - flat) * height,
                        (px + r) * width,
                        (py + flat) * height,
                    ),
                    fill=150,
                )

        canvas.soft(paint, lighter(palette.low, 0.55), 0.009)


def _ridge(rng: random.Random, base: float, height: float, *, rough: float) -> list[Point]:
    """Return the outline of hills (rough 0) or cliffs (rough 1), down to the ground."""
    waves = [
        (rng.uniform(0.6, 1.3) * 1.9**octave, rng.uniform(0, 7), 0.55**octave)
        for octave in range(3)
    ]
    points: list[Point] = []
    for index in range(241):
        x = index / 240
        rise = sum(share * math.sin(f * math.tau * x + phase) for f, phase, share in waves)
        points.append((x, base - height * 0.5 * (1 + rise / 1.6)))
    if rough:
        crags = _midpoints(rng, 8)
        points = [(x, y - rough * height * crags[round(x * (len(crags) - 1))]) for x, y in points]
    return [(-0.01, 1.01), (-0.01, points[0][1]), *points, (1.01, points[-1][1]), (1.01, 1.01)]


def _midpoints(rng: random.Random, depth: int) -> list[float]:
    """Return 2**depth + 1 random heights around 0 (midpoint displacement)."""
    line = [0.0, 0.0]
    reach = 1.0
    for _ in range(depth):
        longer: list[float] = []
        for left, right in pairwise(line):
            longer += [left, (left + right) / 2 + rng.uniform(-reach, reach) * 0.5]
        line = [*longer, line[-1]]
        reach *= 0.52
    return line


def _tree(canvas: Canvas, x: float, foot: float, height: float, colour: Colour) -> None:
    """Paint a fir. Its branches get wider towards the ground."""
    half = height * 0.2 * canvas.height / canvas.width
    outline: list[Point] = [(x, foot - height)]
    tiers = 5
    right: list[Point] = []
    for tier in range(1, tiers + 1):
        y = foot - height * (1 - tier / tiers * 0.92)
        reach = half * tier / tiers
        right += [(x + reach, y), (x + reach * 0.45, y - height * 0.012)]
    left = [(2 * x - px, py) for px, py in reversed(right)]
    canvas.polygon([*outline, *right, (x, foot), *left], colour)


def hills(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint rolling hills under a big sky."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.55)
    _sun(canvas, palette, rng, rng.uniform(0.24, 0.42))
    _clouds(canvas, palette, rng, 4)
    layers = 6
    for layer in range(layers):
        near = layer / (layers - 1)
        base = 0.6 + 0.36 * near**1.15
        outline = _ridge(rng, base, 0.16 - 0.04 * near, rough=0)
        canvas.polygon(outline, palette.land(near))
        if layer < layers - 1:
            canvas.veil(base - 0.05, base + 0.14, palette.low, (0.0, 0.3 * (1 - near), 0.0))
        if layer in {3, 4}:
            shade = darker(palette.land(near + 0.1), 0.12)
            for _ in range(rng.randint(5, 11)):
                x, foot = rng.choice(outline[2:-2])
                _tree(canvas, x, foot + 0.012, rng.uniform(0.035, 0.065) * (0.6 + near), shade)


def _snow(canvas: Canvas, palette: Palette, rng: random.Random, crest: list[Point]) -> None:
    """Paint snow above a line that is lower in the valleys."""
    top, foot = min(y for _, y in crest), max(y for _, y in crest)
    line = top + 0.45 * (foot - top)
    gullies = _midpoints(rng, 8)
    edge = [
        (x, max(y, line + 0.05 * gullies[index] - 0.35 * (y - top)))
        for index, (x, y) in enumerate(crest)
    ]
    canvas.translucent([*crest, *reversed(edge)], lighter(palette.light, 0.3), 0.62)


def mountains(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint distant cliffs with light between them, and a lake or firs in front."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.5)
    _sun(canvas, palette, rng, rng.uniform(0.2, 0.34))
    _clouds(canvas, palette, rng, 3)
    for layer in range(4):
        near = layer / 3
        base, height = 0.6 + 0.1 * layer, 0.2 - 0.025 * layer
        outline = _ridge(rng, base, height, rough=1.5 - 0.35 * layer)
        canvas.polygon(outline, palette.land(near * 0.8))
        if layer < 2:  # noqa: PLR2004 - the two mountain ranges at the back
            _snow(canvas, palette, rng, outline[2:-2])
        canvas.veil(base - 0.08, base + 0.12, palette.low, (0.0, 0.42 * (1 - near), 0.0))
    if happens(rng, 0.5):
        canvas.band(0.84, 1.01, mix(palette.low, palette.middle, 0.4), palette.near)
        for _ in range(34):
            x, y = rng.random(), rng.uniform(0.85, 0.99)
            reach = rng.uniform(0.03, 0.12) * (y - 0.7) * 4
            canvas.line([(x - reach, y), (x + reach, y)], lighter(palette.middle, 0.25), 0.0011)
    for _ in range(26):
        x = rng.random() ** 1.6 * 0.34
        x = x if happens(rng, 0.5) else 1 - x
        _tree(
            canvas, x, rng.uniform(0.98, 1.04), rng.uniform(0.12, 0.26), darker(palette.near, 0.25)
        )


def dunes(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint sand in long curves, light on one side and dark on the other."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.5)
    _sun(canvas, palette, rng, rng.uniform(0.22, 0.36))
    for layer in range(5):
        near = layer / 4
        base = 0.58 + 0.36 * near
        crest = _ridge(rng, base, 0.13, rough=0)[2:-2]
        canvas.polygon([*crest, (1, 1.01), (0, 1.01)], mix(palette.low, palette.land(near), 0.75))
        peak = min(range(30, len(crest) - 30), key=lambda i: crest[i][1])
        foot = crest[peak][0] + rng.uniform(-0.25, 0.05), base + 0.22
        spine = smooth(
            [crest[peak], (crest[peak][0] - 0.03, crest[peak][1] + 0.08), foot], closed=False
        )
        shade = [*crest[peak:], (1, 1.01), (foot[0], 1.01), *reversed(spine)]
        canvas.translucent(shade, darker(palette.land(near), 0.25), 0.45)
        canvas.veil(base - 0.06, base + 0.1, palette.low, (0.0, 0.2 * (1 - near), 0.0))


def sea(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint open water, the sun above it and its reflection on the waves."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.5)
    horizon = rng.uniform(0.52, 0.6)
    sun = _sun(canvas, palette, rng, horizon - rng.uniform(0.06, 0.2))
    _clouds(canvas, palette, rng, 5)
    if happens(rng, 0.6):
        isle = [(x, min(y, horizon)) for x, y in _ridge(rng, horizon + 0.05, 0.13, rough=0.25)]
        canvas.polygon(isle, mix(palette.far, palette.low, 0.35))
    deep = mix(palette.near, palette.high, 0.45)
    canvas.band(horizon, 1.01, mix(palette.middle, palette.low, 0.35), palette.middle, deep, deep)
    for _ in range(150):
        depth = rng.random() ** 1.3
        y = horizon + (1 - horizon) * depth
        x = sun[0] + rng.gauss(0, 0.02 + 0.09 * depth)
        reach = rng.uniform(0.006, 0.03) * (0.4 + 2 * depth)
        shine = mix(palette.light, palette.low, 0.25 + 0.4 * depth)
        canvas.line([(x - reach, y), (x + reach, y)], shine, 0.0012 + 0.0022 * depth)
    for layer in range(5):
        depth = 0.3 + 0.17 * layer
        y0 = horizon + (1 - horizon) * depth
        phase, turns = rng.uniform(0, 7), rng.uniform(1.5, 3) / (0.4 + depth)
        crest = [
            (i / 120, y0 + 0.011 * (0.3 + depth) * math.sin(turns * math.tau * i / 120 + phase))
            for i in range(121)
        ]
        tone = mix(palette.middle, deep, 0.25 + 0.18 * layer)
        canvas.translucent([*crest, (1, 1.01), (0, 1.01)], tone, 0.42)
        canvas.line(crest, lighter(tone, 0.22), 0.0014 + 0.001 * depth)


def forest(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint rows of firs in the mist."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.4)
    _sun(canvas, palette, rng, rng.uniform(0.22, 0.34))
    rows, clearing = 6, 0.22
    for row in range(rows):
        near = row / (rows - 1)
        foot = 0.64 + 0.38 * near
        tall = 0.16 + 0.3 * near
        shade = palette.land(near**0.8)
        canvas.polygon(_ridge(rng, foot + 0.05, 0.07, rough=0), shade)
        for index in range(int(34 - 20 * near)):
            x = (index + rng.uniform(0, 1)) / (34 - 20 * near)
            if row == rows - 1 and abs(x - 0.5) < clearing:
                continue
            height = tall * rng.uniform(0.6, 1.05)
            _tree(canvas, x, foot + rng.uniform(0, 0.05), height, mix(shade, palette.near, 0.1))
        canvas.veil(foot - 0.14, foot + 0.1, palette.low, (0.0, 0.36 * (1 - near), 0.0))


def city(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint a skyline in three rows, with lit windows."""
    canvas.sky(palette.high, palette.middle, palette.low, palette.low)
    if palette.dark:
        stars(canvas, rng, 0.4, 90)
    _sun(canvas, palette, rng, rng.uniform(0.22, 0.36))
    for row in range(3):
        near = (row + 0.6) / 2.6
        wall = mix(palette.far, palette.near, near)
        x, edge = -0.02 - rng.random() * 0.04, 1.02
        while x < edge:
            wide = rng.uniform(0.045, 0.1) * (0.75 + 0.25 * row)
            top = 0.84 - rng.uniform(0.12, 0.46) * (1 - 0.22 * row) + 0.05 * row
            canvas.box(x, top, x + wide, 1.01, wall)
            if happens(rng, 0.3):
                mast = x + wide / 2
                canvas.line([(mast, top), (mast, top - rng.uniform(0.03, 0.07))], wall, 0.002)
            canvas.box(x, top, x + wide * 0.12, 1.01, lighter(wall, 0.06))
            if row:
                _windows(canvas, palette, rng, (x, top, wide), wall)
            x += wide + rng.choice((0, 0, 0.006))
        canvas.veil(0.62, 1.0, palette.low, (0.0, 0.22 * (1 - near), 0.34 * (1 - near)))


def _windows(
    canvas: Canvas,
    palette: Palette,
    rng: random.Random,
    tower: tuple[float, float, float],
    wall: Colour,
) -> None:
    left, top, wide = tower
    columns = max(2, int(wide * canvas.width / canvas.unit / 0.013))
    step = wide / (columns + 1)
    tall = 0.0085 * canvas.unit / canvas.height
    y = top + 2 * tall
    while y < 1:
        for column in range(columns):
            if happens(rng, 0.42):
                x = left + step * (column + 0.75)
                lit = mix(wall, palette.accent, rng.uniform(0.35, 0.9))
                canvas.box(x, y, x + step * 0.5, y + tall, lit)
        y += 2.3 * tall


SCENES: Final[dict[str, Painter]] = {
    "hills": hills,
    "mountains": mountains,
    "dunes": dunes,
    "sea": sea,
    "forest": forest,
    "city": city,
    "space": space,
    "geometric": geometric,
    "flow": flow,
    "bokeh": bokeh,
    "studio": studio,
}

_SCENE_WORDS: Final = {
    "space": "space galaxy planet rocket astronaut nebula cosmos universe spaceship",
    "city": "city street skyline building tokyo paris london york town urban neon cyberpunk",
    "mountains": "mountain alp peak snow snowy everest glacier cliff valley summit ski",
    "dunes": "desert dune sahara sand savanna",
    "sea": "sea ocean beach wave boat ship sail sailboat harbor harbour lake island fish lighthouse"
    " coast river water whale",
    "forest": "forest wood jungle pine fir grove mist foggy woodland",
    "geometric": "abstract geometric pattern logo poster bauhaus mosaic icon shape cubist",
    "flow": "flow liquid silk gradient wallpaper marbled smoke ribbon",
    "studio": "product studio bottle perfume marble cup coffee mug shoe watch still portrait vase"
    " photo robot label packaging",
    "hills": "hill field meadow countryside farm garden landscape sunrise sunset grass house",
    "bokeh": "bokeh party light blurred festive christmas",
}


def choose(prompt: str, rng: random.Random, *, subject: bool) -> str:
    """Return the name of the scene for a prompt: by its scene words, or at random."""
    named = words(prompt)
    wanted = [scene for scene, keys in _SCENE_WORDS.items() if named & set(keys.split())]
    quiet = rng.choice(["studio", "hills", "bokeh", "studio"])
    chance = rng.choice(["hills", "mountains", "sea", "forest", "flow", "geometric", "hills"])
    return wanted[0] if wanted else quiet if subject else chance
