"""Contrast of colours as in WCAG 2.2."""

from __future__ import annotations

from PIL import ImageColor


def _luminance(colour):
    shares = (channel / 255 for channel in colour[:3])
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Return the contrast of two colours with CSS names, 1 to 21."""
    first, second = sorted(_luminance(ImageColor.getrgb(colour)) for colour in (one, other))
    return (second + 0.05) / (first + 0.05)
