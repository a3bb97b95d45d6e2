"""A record about a picture inside the picture's file: written without touching a pixel, and read.

Where the record goes, as JSON:

- PNG: an ``iTXt`` chunk right after ``IHDR``, with the standard texts Description, Software and
  Creation Time after it.
- JPEG and WEBP: UserComment in the Exif data, with the standard tags ImageDescription, Software
  and DateTime (UTC). All other tags stay as they are.
- GIF: a comment before the first frame.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import IO, TYPE_CHECKING, Any

from runapi_magic.core.formats import picture_kind
from runapi_magic.media.exif import DATE_TIME, DESCRIPTION, SOFTWARE, add_tags, user_comment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Piece = bytes | tuple[int, int]  # new bytes, or where old ones begin and end in the file

_NAME = b"runapi_magic"
_LARGEST_RECORD = 1_000_000  # bytes of JSON
_AT_A_TIME = 1_000_000  # bytes that are copied from a file at a time
_MOST_BLOCKS = 100_000  # that a file is searched through
_BROKEN, _NO_RECORD = "The picture's file is damaged.", "The picture has no record."

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_RECORD = _NAME + b"\0\0\0\0\0"  # not compressed, no language, no translated keyword
_PNG_TEXTS = (b"tEXt", b"iTXt")

_EXIF_START = b"Exif\0\0"
_LARGEST_EXIF = {"jpg": 65_533 - len(_EXIF_START), "webp": 4_000_000}  # bytes; JPEG: one segment
_PLAIN, _DEFLATED = b"ASCII\0\0\0", bytes(8)  # how a UserComment is coded; 8 zeros: undefined

_FILL, _APP0, _APP1, _EOI, _SOS = 0xFF, 0xE0, 0xE1, 0xD9, 0xDA  # JPEG's markers
_EXIF_SEGMENT = (_APP1, _EXIF_START)

_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08  # flags of VP8X

_EXTENSION, _FRAME, _COMMENT = 0x21, 0x2C, 0xFE  # GIF's introducers and the comment's label
_OPENING = b'{"%s":' % _NAME


@dataclass(frozen=True, slots=True)
class Note:
    """What is written into a picture's file.

    Attributes:
        record: All that is needed to make the picture again; JSON-able.
        description: The prompt, for people's image viewers.
        software: The package and its version.
        created: Unix time in seconds.
    """

    record: dict[str, Any]
    description: str
    software: str
    created: float


def embed(path: Path, kind: str, note: Note) -> str:
    """Write a note into a picture's file, instead of one of ours that is there.

    The same file and note give the same bytes. The file is replaced in one step, by one of the same
    mode. A record of more than 1 MB of JSON is left out. A JPEG has room for 64 kB of Exif data: a
    longer record is compressed, then the description cut; a record that does not fit even so is
    left out, and nothing is written where what was there before leaves no room.

    Args:
        path: The file.
        kind: ``png``, ``jpg``, ``webp`` or ``gif``.
        note: What to write.

    Returns:
        Hex SHA-256 of the file as it is now.

    Raises:
        ValueError: The file is damaged or of another kind; it is as it was.
        OSError: The file cannot be read or written; it is as it was.
    """
    if kind not in _WRITERS:
        raise ValueError(f"Pictures of kind {kind} take no record.")
    neighbour = path.with_name(f".{path.name}.note")
    neighbour.unlink(missing_ok=True)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if picture_kind(file.read(16)) != kind:
                raise ValueError(_BROKEN)
            try:
                pieces = _WRITERS[kind](file, note)
            except struct.error:
                raise ValueError(_BROKEN) from None
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            new = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(new, "wb") as to:
                for data in _read_pieces(file, pieces):
                    digest.update(data)
                    to.write(data)
        neighbour.replace(path)
    finally:
        neighbour.unlink(missing_ok=True)
    return digest.hexdigest()


def _read_pieces(file: IO[bytes], pieces: list[Piece]) -> Iterator[bytes]:
    """Yield new bytes and spans of the file, of which little is in memory at a time."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        at, end = piece
        while at < end:
            data = _take(file, at, min(_AT_A_TIME, end - at))
            yield data
            at += len(data)


def extract(path: Path) -> dict[str, Any] | None:
    """Return the record in a picture's file, None where there is no good one.

    Any file will do: it never raises, and never takes more than a few MB of the file.
    """
    try:
        with path.open("rb") as file:
            kind = picture_kind(file.read(16))
            record = json.loads(_READERS[kind](file)) if kind else None
            if kind != "png" and isinstance(record, dict):
                record = record.get(_NAME.decode())
    except (OSError, ValueError, struct.error, zlib.error, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _json(record: dict[str, Any]) -> bytes:
    """In ASCII, which every place takes. A ``null`` marks the place of one that is too long."""
    text = json.dumps(record, separators=(",", ":")).encode()
    return text if len(text) <= _LARGEST_RECORD else b"null"


def _named(record: bytes) -> bytes:
    """For places that other programs use too."""
    return _OPENING + record + b"}"


def _utf8(text: str) -> bytes:
    """For texts that end at a NUL, and for readers that take no half characters."""
    return text.replace("\0", "?").encode(errors="replace")


def _size(file: IO[bytes]) -> int:
    return file.seek(0, io.SEEK_END)


def _take(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(_BROKEN)
    return data


# PNG: https://www.w3.org/TR/png-3/#11textinfo


def _png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type, and where it begins and ends."""
    size, at = file.seek(0, io.SEEK_END), len(_PNG_START)
    for _ in range(_MOST_BLOCKS):
        length, kind = struct.unpack(">I4s", _take(file, at, 8))
        end = at + 12 + length
        if end > size or (at == len(_PNG_START)) != (kind == b"IHDR"):
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ValueError(_BROKEN)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_text(keyword: bytes, text: str) -> bytes:
    encoded = _utf8(text)
    try:
        return _png_chunk(b"tEXt", keyword + b"\0" + encoded.decode().encode("latin-1"))
    except UnicodeEncodeError:
        return _png_chunk(b"iTXt", keyword + b"\0\0\0\0\0" + encoded)


def _write_png(file: IO[bytes], note: Note) -> list[Piece]:
    texts = {
        b"Description": note.description,
        b"Software": note.software,
        b"Creation Time": formatdate(note.created, usegmt=True),
    }
    ours = _png_chunk(b"iTXt", _PNG_RECORD + _json(note.record))
    ours += b"".join(_png_text(keyword, text) for keyword, text in texts.items())
    chunks = list(_png_chunks(file))
    pieces: list[Piece] = [(0, chunks[0][2]), ours]
    older: list[bytes] = []  # texts to expect after an earlier record of ours
    begin = chunks[0][2]  # of what is kept as it is
    for kind, at, end in chunks[1:]:
        keyword = b""
        if kind in _PNG_TEXTS:
            keyword = _take(file, at + 8, min(80, end - at - 8)).partition(b"\0")[0]
        if kind == b"iTXt" and keyword == _NAME:
            older = list(texts)
        elif older and keyword == older.pop(0):
            pass
        else:
            older = []
            continue
        pieces.append((begin, at))
        begin = end
    return [*pieces, (begin, _size(file))]


def _read_png(file: IO[bytes]) -> bytes:
    for kind, at, end in _png_chunks(file):
        if kind == b"IDAT":
            break
        if kind == b"iTXt" and end - at <= _LARGEST_RECORD + 100:
            chunk = _take(file, at, end - at)
            data = chunk[8:-4]
            if data.startswith(_PNG_RECORD) and chunk == _png_chunk(kind, data):
                return data[len(_PNG_RECORD) :]
    raise ValueError(_NO_RECORD)


# Exif data, in JPEG and WEBP


def _write_exif(tiff: bytes, note: Note, largest: int) -> bytes | None:
    """Return Exif data with a note, instead of one of ours; None where there is no room."""
    time = datetime.fromtimestamp(note.created, UTC).strftime("%Y:%m:%d %H:%M:%S").encode()
    texts = {DESCRIPTION: b"", SOFTWARE: _utf8(note.software), DATE_TIME: time}
    text, description = _named(_json(note.record)), _utf8(note.description)
    dense = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    deflated = zlib.compress(dense.encode(errors="surrogatepass"), 9)
    for comment in (_PLAIN + text, _DEFLATED + deflated, _PLAIN + _named(b"null")):
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
    text = inflater.decompress(comment[len(_DEFLATED) :], 2 * _LARGEST_RECORD)
    if not inflater.eof:
        raise ValueError(_BROKEN)
    return text


# JPEG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B


def _jpeg_segments(file: IO[bytes]) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker, first bytes, begin and end of the segments before the picture's data."""
    at = 2
    for _ in range(_MOST_BLOCKS):
        fill, marker, length = struct.unpack(">BBH", _take(file, at, 4))
        if fill != _FILL or marker == _EOI or length < 2:  # noqa: PLR2004 (its own size)
            break
        if marker == _SOS:
            return
        if marker == _FILL:
            at += 1
            continue
        yield marker, file.read(min(length - 2, len(_EXIF_START))), at, at + 2 + length
        at += 2 + length
    raise ValueError(_BROKEN)


def _write_jpeg(file: IO[bytes], note: Note) -> list[Piece]:
    segments = list(_jpeg_segments(file))
    exif = [(at, end) for marker, start, at, end in segments if (marker, start) == _EXIF_SEGMENT]
    tiff = b"".join(_take(file, at + 10, end - at - 10) for at, end in exif)
    written = _write_exif(tiff, note, _LARGEST_EXIF["jpg"])
    if written is None:
        return [(0, _size(file))]
    to = 2
    for marker, _, _, end in segments:
        if marker != _APP0:
            break
        to = end
    segment = struct.pack(">BBH", _FILL, _APP1, len(written) + 8) + _EXIF_START + written
    pieces: list[Piece] = [(0, to), segment]
    for begin, end in exif:
        pieces.append((to, begin))
        to = end
    return [*pieces, (to, _size(file))]


def _read_jpeg(file: IO[bytes]) -> bytes:
    for marker, start, at, end in _jpeg_segments(file):
        if (marker, start) == _EXIF_SEGMENT:
            return _read_exif(_take(file, at + 10, end - at - 10))
    raise ValueError(_NO_RECORD)


# WEBP: https://developers.google.com/speed/webp/docs/riff_container


def _webp_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type, and where its data begin and end."""
    at = 12
    size = struct.unpack("<I", _take(file, 4, 4))[0] + 8
    if size > file.seek(0, io.SEEK_END):
        raise ValueError(_BROKEN)
    for _ in range(_MOST_BLOCKS):
        if at >= size:
            return
        kind, length = struct.unpack("<4sI", _take(file, at, 8))
        if at + 8 + length > size:
            break
        yield kind, at + 8, at + 8 + length
        at += 8 + length + length % 2
    raise ValueError(_BROKEN)


def _webp_header(kind: bytes, data: bytes) -> bytes:
    """Return the VP8X data for what a file begins with."""
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
        raise ValueError(_BROKEN)
    sides = ((side - 1).to_bytes(3, "little") for side in (width, height))
    return struct.pack("<I", _WEBP_EXIF | alpha) + b"".join(sides)


def _write_webp(file: IO[bytes], note: Note) -> list[Piece]:
    content = _take(file, 0, _size(file))
    spans = list(_webp_chunks(file))
    chunks = [(kind, content[at:end]) for kind, at, end in spans]
    if not chunks or not chunks[0][1]:
        raise ValueError(_BROKEN)
    header = _webp_header(*chunks[0])
    exif = next((data for kind, data in chunks if kind == b"EXIF"), b"")
    written = _write_exif(exif.removeprefix(_EXIF_START), note, _LARGEST_EXIF["webp"])
    if written is None:
        return [content]
    others = [chunk for chunk in chunks if chunk[0] not in (b"VP8X", b"EXIF")]
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)
        for kind, data in [(b"VP8X", header), *others, (b"EXIF", written)]
    )
    behind = content[struct.unpack_from("<I", content, 4)[0] + 8 :]
    return [b"RIFF" + struct.pack("<I", len(body)), body, behind]


def _read_webp(file: IO[bytes]) -> bytes:
    for kind, at, end in _webp_chunks(file):
        if kind == b"EXIF" and end - at <= _LARGEST_EXIF["webp"]:
            return _read_exif(_take(file, at, end - at).removeprefix(_EXIF_START))
    raise ValueError(_NO_RECORD)


# GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt


def _gif_blocks(file: IO[bytes]) -> Iterator[tuple[bytes | None, int, int]]:
    """Yield the blocks before the first frame: a comment's text or None, begin and end.

    The first is the header with the palette.
    """
    flags = _take(file, 10, 1)[0]
    at = 13 + (3 << (flags & 7) + 1 if flags >> 7 else 0)
    yield None, 0, at
    begin, parts = at, list[bytes]()
    for _ in range(_MOST_BLOCKS):
        if begin == at:
            introducer, label = _take(file, at, 2)
            if introducer == _FRAME:
                return
            if introducer != _EXTENSION:
                break
            at, parts = at + 2, []
        length = _take(file, at, 1)[0]
        parts.append(_take(file, at + 1, length))
        at += 1 + length
        if not length:
            yield b"".join(parts) if label == _COMMENT else None, begin, at
            begin = at
    raise ValueError(_BROKEN)


def _write_gif(file: IO[bytes], note: Note) -> list[Piece]:
    content = _take(file, 0, _size(file))
    blocks = list(_gif_blocks(file))
    text = _named(_json(note.record))
    pieces = (text[at : at + 255] for at in range(0, len(text), 255))
    comment = bytes([_EXTENSION, _COMMENT])
    comment += b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
    kept = [content[at:end] for found, at, end in blocks if not (found or b"").startswith(_OPENING)]
    # Comments came with the version of 1989.
    return [b"GIF89a", kept[0][6:], comment, *kept[1:], content[blocks[-1][2] :]]


def _read_gif(file: IO[bytes]) -> bytes:
    for text, _, _ in _gif_blocks(file):
        if text and text.startswith(_OPENING):
            return text
    raise ValueError(_NO_RECORD)


_WRITERS: dict[str, Callable[[IO[bytes], Note], list[Piece]]] = {
    "png": _write_png, "jpg": _write_jpeg, "webp": _write_webp, "gif": _write_gif,
}  # fmt: skip
_READERS: dict[str, Callable[[IO[bytes]], bytes]] = {
    "png": _read_png, "jpg": _read_jpeg, "webp": _read_webp, "gif": _read_gif,
}  # fmt: skip
