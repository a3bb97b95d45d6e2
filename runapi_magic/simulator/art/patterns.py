"""Backgrounds without a landscape: space, shapes, bands, lights, a studio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runapi_magic.simulator.art.canvas import darker, lighter, mix, smooth, stars

if TYPE_CHECKING:
    import random

    from runapi_magic.simulator.art.canvas import Canvas, Colour, Point
    from runapi_magic.simulator.art.palettes import Palette


def space(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint a nebula, many stars and a planet."""
    canvas.sky((7, 8, 26), (16, 14, 44), (9, 10, 30))
    tones = [palette.middle, palette.accent, palette.high, palette.low]
    for index in range(16):
        along = rng.random()
        centre = along, 0.75 - 0.5 * along + rng.gauss(0, 0.13)
        canvas.glow(centre, rng.uniform(0.12, 0.34), tones[index % 4], rng.uniform(0.12, 0.34))
    stars(canvas, rng, 1.0, 320)
    for _ in range(9):
        spot = rng.random(), rng.random()
        canvas.glow(spot, 0.016, (255, 255, 255), 0.8)
        canvas.disc(spot, 0.0022, (255, 255, 255))
    centre = rng.choice(((0.78, 0.26), (0.24, 0.28), (0.82, 0.72)))
    planet(canvas, palette, centre, rng.uniform(0.09, 0.14))


def planet(canvas: Canvas, palette: Palette, centre: Point, radius: float) -> None:
    """Paint a ball with a ring, lit from the upper left."""
    canvas.glow(centre, radius * 1.7, palette.low, 0.4)
    steps = 46
    for step in range(steps):
        share = step / (steps - 1)
        offset = 0.34 * radius * canvas.unit * share
        spot = centre[0] - offset / canvas.width, centre[1] - offset / canvas.height
        tone = mix(darker(palette.accent, 0.62), lighter(palette.accent, 0.35), share)
        canvas.disc(spot, radius * (1 - 0.62 * share) * (1 - 0.12 * share), tone)
    ring = [
        (
            centre[0] + 1.75 * radius * canvas.unit / canvas.width * math.cos(a),
            centre[1]
            + radius * canvas.unit / canvas.height * (0.3 * math.sin(a) - 0.16 * math.cos(a)),
        )
        for a in (math.pi * (i / 60) for i in range(-5, 66))
    ]
    canvas.line(ring, lighter(palette.low, 0.2), 0.006)


def geometric(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint a poster of arches, circles and steps on a grid."""
    paper = lighter(palette.low, 0.5)
    canvas.sky(paper, mix(paper, palette.low, 0.35))
    tones = [palette.accent, palette.high, palette.middle, palette.near, palette.far, palette.low]
    across = max(2, round(4 * math.sqrt(canvas.width / canvas.height)))
    down = max(2, round(across * canvas.height / canvas.width))
    margin = 0.06
    for column in range(across):
        for row in range(down):
            wide, tall = (1 - 2 * margin) / across, (1 - 2 * margin) / down
            left, top = margin + column * wide, margin + row * tall
            back, front, spot = rng.sample(tones, 3)
            canvas.box(left, top, left + wide, top + tall, back)
            _tile(canvas, rng, (left, top, wide, tall), front, spot)
    canvas.vignette(0.12)


def _tile(
    canvas: Canvas,
    rng: random.Random,
    cell: tuple[float, float, float, float],
    front: Colour,
    spot: Colour,
) -> None:
    left, top, wide, tall = cell
    corner = rng.randrange(4)
    cx, cy = left + wide * (corner & 1), top + tall * (corner >> 1)
    # A quarter circle from the corner into the cell.
    dx, dy = (-1 if corner & 1 else 1), (-1 if corner >> 1 else 1)
    turn = [math.pi / 2 * i / 24 for i in range(25)]

    def quarter(share: float) -> list[Point]:
        arc = [
            (cx + dx * share * wide * math.cos(a), cy + dy * share * tall * math.sin(a))
            for a in turn
        ]
        return [(cx, cy), *arc]

    match rng.randrange(5):
        case 0:
            canvas.polygon(quarter(1), front)
            canvas.polygon(quarter(0.5), spot)
        case 1:
            ring = [
                (
                    left + wide * (0.5 + 0.4 * math.cos(a * 4)),
                    top + tall * (0.5 + 0.4 * math.sin(a * 4)),
                )
                for a in turn
            ]
            canvas.polygon(ring, front)
            canvas.polygon(
                [
                    (
                        left + wide / 2 + (x - left - wide / 2) * 0.45,
                        top + tall / 2 + (y - top - tall / 2) * 0.45,
                    )
                    for x, y in ring
                ],
                spot,
            )
        case 2:
            canvas.polygon([(cx, cy), (cx + dx * wide, cy), (cx, cy + dy * tall)], front)
        case 3:
            for stripe in range(3):
                y = top + tall * (stripe * 2 + 0.5) / 6
                canvas.box(left, y, left + wide, y + tall / 6, front)
        case _:
            for share, tone in ((1.0, front), (0.72, spot), (0.44, front)):
                canvas.polygon(quarter(share), tone)


def flow(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint silky bands that wind across the image."""
    canvas.sky(palette.high, palette.middle, palette.low)
    stops = [palette.high, palette.accent, palette.middle, palette.low, palette.far, palette.near]
    bands = 13
    phase, bend = rng.uniform(0, 7), rng.uniform(0.7, 1.3)
    for band in range(bands):
        share = band / (bands - 1)
        where = share * (len(stops) - 1)
        first = min(int(where), len(stops) - 2)
        tone = mix(stops[first], stops[first + 1], where - first)
        crest = [
            (
                x,
                -0.02
                + share * 0.98
                + 0.085 * math.sin(bend * math.tau * x + phase + share * 2.6)
                + 0.035 * math.sin(2.7 * bend * math.tau * x + 2 * phase - share * 5),
            )
            for x in (i / 160 for i in range(161))
        ]
        shadow = [(x, y - 0.016) for x, y in crest]
        canvas.translucent([*shadow, (1, 1.01), (0, 1.01)], darker(tone, 0.5), 0.16)
        canvas.polygon([*crest, (1, 1.01), (0, 1.01)], tone)
        canvas.line(crest, lighter(tone, 0.3), 0.0016)
    canvas.vignette(0.16)


def bokeh(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint lights out of focus."""
    canvas.sky(darker(palette.high, 0.25), mix(palette.high, palette.middle, 0.6), palette.middle)
    canvas.glow((rng.uniform(0.3, 0.7), 0.55), 0.8, palette.low, 0.45)
    tones = [palette.low, palette.accent, palette.light, lighter(palette.middle, 0.3)]
    for index in range(46):
        centre = rng.random(), rng.random()
        radius = rng.uniform(0.012, 0.075)
        tone = tones[index % 4]
        strength = rng.uniform(0.1, 0.32)
        canvas.translucent(canvas.circle_points(centre, radius), tone, strength)
        canvas.translucent(canvas.circle_points(centre, radius * 0.93), tone, strength * 0.35)
    canvas.vignette(0.4)


def studio(canvas: Canvas, palette: Palette, rng: random.Random) -> None:
    """Paint a plain backdrop with a table, for a subject in front."""
    wall = lighter(palette.middle, 0.25)
    canvas.sky(mix(wall, palette.high, 0.55), wall, lighter(palette.low, 0.25))
    canvas.glow((0.5, 0.42), 0.66, lighter(palette.light, 0.3), 0.7)
    edge = 0.76
    canvas.band(edge, 1.01, lighter(palette.low, 0.35), mix(palette.low, palette.middle, 0.75))
    canvas.veil(edge - 0.05, edge + 0.05, lighter(palette.low, 0.4), (0.0, 0.75, 0.0))
    side = rng.choice((0.14, 0.86))
    blob = smooth([(side - 0.3, 0.3), (side, 0.02), (side + 0.3, 0.34), (side + 0.02, 0.66)])
    canvas.translucent(blob, lighter(palette.accent, 0.4), 0.14)
