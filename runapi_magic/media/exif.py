"""Add tags to Exif data without moving the existing data.

New directories are appended to the old data, and the header points to them. The offsets of the
orientation, the thumbnail and the maker notes stay valid, and the new tags can be removed again.

Pillow is not used, for two reasons. It loads every value of a directory, so a hostile file can make
it load the same megabyte thousands of times. And it drops the thumbnail.

The format: https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION, SOFTWARE, DATE_TIME = 0x010E, 0x0131, 0x0132  # tags of the first directory
_EXIF_IFD, _VERSION, _OFFSET_TIME, _USER_COMMENT = 0x8769, 0x9000, 0x9010, 0x9286
_ASCII, _LONG, _UNDEFINED = 2, 4, 7  # types of values
_EMPTY = b"MM\0*" + bytes(4)  # no directory
_TRAILER = struct.Struct(">12sII")  # _MARK, length and first directory of the old data
_MARK = b"runapi_magic"


def _directory(tiff: bytes, order: str, at: int) -> tuple[dict[int, bytes], bytes]:
    """Return the 12-byte entries of a directory by tag, and the offset of the next directory."""
    if not at:
        return {}, bytes(4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    end = at + 2 + 12 * count
    if end > len(tiff):
        raise ValueError("The Exif data is damaged.")
    entries = [tiff[start : start + 12] for start in range(at + 2, end, 12)]
    tags = {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in entries}
    return tags, tiff[end : end + 4].ljust(4, b"\0")


def _open(tiff: bytes) -> tuple[str, int, int]:
    """Return the byte order and the offsets of the first and the Exif directory; 0: none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("The Exif data is damaged.")
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    entry = _directory(tiff, order, first)[0].get(_EXIF_IFD, bytes(12))
    return order, first, struct.unpack_from(f"{order}I", entry, 8)[0]


def add_tags(tiff: bytes, comment: bytes, texts: Mapping[int, bytes]) -> bytes:
    """Add tags to Exif data. They replace the tags of an earlier call.

    Args:
        tiff: The data from the TIFF header on; empty if there are none.
        comment: The UserComment, with the 8 bytes for its encoding.
        texts: Values of the first directory by tag. Times are UTC.

    Raises:
        ValueError: The data is damaged.
        struct.error: The data is damaged.
    """
    tiff = tiff or _EMPTY
    order, first_at, exif_at = _open(tiff)
    mark, length, before = _TRAILER.unpack(tiff[-_TRAILER.size :].rjust(_TRAILER.size))
    if mark == _MARK:
        tiff = tiff[:4] + struct.pack(f"{order}I", before) + tiff[8:length]
        order, first_at, exif_at = _open(tiff)
    out = bytearray(tiff + bytes(len(tiff) % 2))

    def entry(tag: int, kind: int, value: bytes) -> bytes:
        here = value.ljust(4, b"\0")
        if len(here) > 4:  # noqa: PLR2004 (the size of a value in the entry itself)
            here = struct.pack(f"{order}I", len(out))
            out.extend(value + bytes(len(value) % 2))
        return struct.pack(f"{order}HHI", tag, kind, len(value)) + here

    def put(tags: dict[int, bytes], following: bytes) -> int:
        at = len(out)
        out.extend(struct.pack(f"{order}H", len(tags)))
        out.extend(b"".join(tags[tag] for tag in sorted(tags)) + following)
        return at

    tags, following = _directory(tiff, order, exif_at)
    tags.setdefault(_VERSION, entry(_VERSION, _UNDEFINED, b"0232"))
    tags[_OFFSET_TIME] = entry(_OFFSET_TIME, _ASCII, b"+00:00\0")
    tags[_USER_COMMENT] = entry(_USER_COMMENT, _UNDEFINED, comment)
    at = put(tags, following)
    tags, following = _directory(tiff, order, first_at)
    tags[_EXIF_IFD] = struct.pack(f"{order}HHII", _EXIF_IFD, _LONG, 1, at)
    tags |= {tag: entry(tag, _ASCII, text + b"\0") for tag, text in texts.items()}
    at = put(tags, following)
    out += _TRAILER.pack(_MARK, len(tiff), first_at)
    out[4:8] = struct.pack(f"{order}I", at)
    return bytes(out)


def user_comment(tiff: bytes) -> bytes:
    """Return the UserComment with the 8 bytes for its encoding.

    Raises:
        ValueError: The data is damaged.
        struct.error: The data is damaged or has no UserComment.
    """
    order, _, exif_at = _open(tiff)
    tags, _ = _directory(tiff, order, exif_at)
    count, at = struct.unpack_from(f"{order}II", tags.get(_USER_COMMENT, b""), 4)
    if at + count > len(tiff):
        raise ValueError("The Exif data is damaged.")
    return tiff[at : at + count]
