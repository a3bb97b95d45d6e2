"""Detect the image formats that the package supports."""

from __future__ import annotations

import re

_MAGIC_BYTES = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "jpg": re.compile(rb"\xff\xd8\xff"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "gif": re.compile(rb"GIF8[79]a"),
}


def image_format(start: bytes | bytearray) -> str | None:
    """Return ``png``, ``jpg``, ``webp`` or ``gif`` from a file's first bytes; None for others."""
    return next((kind for kind, magic in _MAGIC_BYTES.items() if magic.match(start)), None)
