"""Read and write the note in the Exif data of JPEG and WEBP files.

The record is in UserComment. The standard tags ImageDescription, Software and DateTime (UTC) are
written too. All other tags stay as they are.
"""

from __future__ import annotations

import json
import struct
import zlib
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from runapi_magic.media.exif import DATE_TIME, DESCRIPTION, SOFTWARE, add_tags, user_comment
from runapi_magic.media.file_pieces import DAMAGED, MOST_BLOCKS, file_size, read_at
from runapi_magic.media.metadata_note import (
    LARGEST_RECORD,
    NO_RECORD,
    named_record,
    record_json,
    utf8,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.media.file_pieces import Piece
    from runapi_magic.media.metadata_note import Note

_START = b"Exif\0\0"
_LARGEST = {"jpg": 65_533 - len(_START), "webp": 4_000_000}  # bytes; in a JPEG it is one segment
_PLAIN, _DEFLATED = b"ASCII\0\0\0", bytes(8)  # the encoding of a UserComment; zeros: undefined

_FILL, _APP0, _APP1, _EOI, _SOS = 0xFF, 0xE0, 0xE1, 0xD9, 0xDA  # JPEG's markers
_EXIF_SEGMENT = (_APP1, _START)

_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08  # flags of VP8X


def _write_exif(tiff: bytes, note: Note, largest: int) -> bytes | None:
    """Return Exif data with a note that replaces an earlier one; None if there is no room."""
    time = datetime.fromtimestamp(note.created, UTC).strftime("%Y:%m:%d %H:%M:%S").encode()
    texts = {DESCRIPTION: b"", SOFTWARE: utf8(note.software), DATE_TIME: time}
    text, description = named_record(record_json(note.record)), utf8(note.description)
    dense = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    deflated = zlib.compress(dense.encode(errors="surrogatepass"), 9)
    for comment in (_PLAIN + text, _DEFLATED + deflated, _PLAIN + named_record(b"null")):
        room = largest - len(add_tags(tiff, comment, texts)) - 6  # a NUL and padding
        if room >= 0:
            shown = description[:room].decode(errors="ignore").encode()
            return add_tags(tiff, comment, texts | {DESCRIPTION: shown})
    return None


def _read_exif(tiff: bytes) -> bytes:
    comment = user_comment(tiff)
    if not comment.startswith(_DEFLATED):
        return comment.removeprefix(_PLAIN)
    inflater = zlib.decompressobj()
    text = inflater.decompress(comment[len(_DEFLATED) :], 2 * LARGEST_RECORD)
    if not inflater.eof:
        raise ValueError(DAMAGED)
    return text


# JPEG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B


def _jpeg_segments(file: IO[bytes]) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker, first bytes, start and end of each segment before the pixel data."""
    at = 2
    for _ in range(MOST_BLOCKS):
        fill, marker, length = struct.unpack(">BBH", read_at(file, at, 4))
        if fill != _FILL or marker == _EOI or length < 2:  # noqa: PLR2004 (the size of the length itself)
            break
        if marker == _SOS:
            return
        if marker == _FILL:
            at += 1
            continue
        yield marker, file.read(min(length - 2, len(_START))), at, at + 2 + length
        at += 2 + length
    raise ValueError(DAMAGED)


def write_jpeg(file: IO[bytes], note: Note) -> list[Piece]:
    """Return the file with a note: in one segment after JFIF, or first if there is no JFIF."""
    segments = list(_jpeg_segments(file))
    exif = [(at, end) for marker, start, at, end in segments if (marker, start) == _EXIF_SEGMENT]
    tiff = b"".join(read_at(file, at + 10, end - at - 10) for at, end in exif)
    written = _write_exif(tiff, note, _LARGEST["jpg"])
    if written is None:
        return [(0, file_size(file))]
    to = 2
    for marker, _, _, end in segments:
        if marker != _APP0:
            break
        to = end
    segment = struct.pack(">BBH", _FILL, _APP1, len(written) + 8) + _START + written
    pieces: list[Piece] = [(0, to), segment]
    for begin, end in exif:
        pieces.append((to, begin))
        to = end
    return [*pieces, (to, file_size(file))]


def read_jpeg(file: IO[bytes]) -> bytes:
    """Return the record as named JSON.

    Raises:
        ValueError: There is none, or the file is damaged.
        struct.error: The file is damaged.
    """
    for marker, start, at, end in _jpeg_segments(file):
        if (marker, start) == _EXIF_SEGMENT:
            return _read_exif(read_at(file, at + 10, end - at - 10))
    raise ValueError(NO_RECORD)


# WEBP: https://developers.google.com/speed/webp/docs/riff_container


def _webp_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type and the start and end of its data."""
    at = 12
    size = struct.unpack("<I", read_at(file, 4, 4))[0] + 8
    if size > file_size(file):
        raise ValueError(DAMAGED)
    for _ in range(MOST_BLOCKS):
        if at >= size:
            return
        kind, length = struct.unpack("<4sI", read_at(file, at, 8))
        if at + 8 + length > size:
            break
        yield kind, at + 8, at + 8 + length
        at += 8 + length + length % 2
    raise ValueError(DAMAGED)


def _webp_header(kind: bytes, data: bytes) -> bytes:
    """Return the data of VP8X for a file whose first chunk this is."""
    if kind == b"VP8X":
        return bytes([data[0] | _WEBP_EXIF]) + data[1:]
    alpha = 0
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
    elif kind == b"VP8L" and data[:1] == b"\x2f":
        (bits,) = struct.unpack_from("<I", data, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        alpha = _WEBP_ALPHA * (bits >> 28 & 1)
    else:
        raise ValueError(DAMAGED)
    sides = ((side - 1).to_bytes(3, "little") for side in (width, height))
    return struct.pack("<I", _WEBP_EXIF | alpha) + b"".join(sides)


def write_webp(file: IO[bytes], note: Note) -> list[Piece]:
    """Return the file with a note in its EXIF chunk, which is the last one."""
    content = read_at(file, 0, file_size(file))
    spans = list(_webp_chunks(file))
    chunks = [(kind, content[at:end]) for kind, at, end in spans]
    if not chunks or not chunks[0][1]:
        raise ValueError(DAMAGED)
    header = _webp_header(*chunks[0])
    exif = next((data for kind, data in chunks if kind == b"EXIF"), b"")
    written = _write_exif(exif.removeprefix(_START), note, _LARGEST["webp"])
    if written is None:
        return [content]
    others = [chunk for chunk in chunks if chunk[0] not in (b"VP8X", b"EXIF")]
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)
        for kind, data in [(b"VP8X", header), *others, (b"EXIF", written)]
    )
    behind = content[struct.unpack_from("<I", content, 4)[0] + 8 :]
    return [b"RIFF" + struct.pack("<I", len(body)), body, behind]


def read_webp(file: IO[bytes]) -> bytes:
    """Return the record as named JSON.

    Raises:
        ValueError: There is none, or the file is damaged.
        struct.error: The file is damaged.
    """
    for kind, at, end in _webp_chunks(file):
        if kind == b"EXIF" and end - at <= _LARGEST["webp"]:
            return _read_exif(read_at(file, at, end - at).removeprefix(_START))
    raise ValueError(NO_RECORD)
