"""Small colour profiles for tests, built from their published primaries.

The format: https://www.color.org/specification/ICC.2-2019.pdf and its version 2.
"""

from __future__ import annotations

import struct

# The primaries' XYZ for the D50 white of profiles.
DISPLAY_P3 = (
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
WHITE = (0.9642, 1.0, 0.8249)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, tags: dict[bytes, bytes], connection: bytes, kind: bytes) -> bytes:
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", **tags}
    at, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(data), len(value))
        data += padded
    header = struct.pack(
        ">I4sI4s4s4s12s4s28x", at + len(data), b"test", 0x02100000, kind, space, connection,
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp",
    )  # fmt: skip
    return (header + _fixed(*WHITE)).ljust(128, b"\0") + table + data


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def rgb(primaries: tuple[tuple[float, ...], ...], gamma: float = 2.2) -> bytes:
    """Return an RGB profile with these primaries."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*WHITE)}
    for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(*primary)
        tags[name + b"TRC"] = _curve(gamma)
    return _profile(b"RGB ", tags, b"XYZ ", b"mntr")


def grey(gamma: float) -> bytes:
    """Return a grey profile with this gamma."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*WHITE), b"kTRC": _curve(gamma)}
    return _profile(b"GRAY", tags, b"XYZ ", b"mntr")


def cmyk() -> bytes:
    """Return a CMYK profile in which the three colours together are blue."""
    levels = b"".join(
        bytes((0, 128, 128)) if black else bytes((255 - 50 * (c + m + y), 128, 128 - 60 * y))
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for black in (0, 1)
    )  # fmt: skip
    straight = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += straight * 4 + levels + straight * 3
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*WHITE), b"A2B0": table}
    return _profile(b"CMYK", tags, b"Lab ", b"prtr")
