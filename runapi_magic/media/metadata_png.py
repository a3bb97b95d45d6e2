"""Read and write the note in a PNG file.

The record is an ``iTXt`` chunk right after ``IHDR``. The standard texts Description, Software and
Creation Time follow it. The format: https://www.w3.org/TR/png-3/#11textinfo
"""

from __future__ import annotations

import struct
import zlib
from email.utils import formatdate
from typing import IO, TYPE_CHECKING

from runapi_magic.media.file_pieces import DAMAGED, MOST_BLOCKS, file_size, read_at
from runapi_magic.media.metadata_note import LARGEST_RECORD, NAME, NO_RECORD, record_json, utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.media.file_pieces import Piece
    from runapi_magic.media.metadata_note import Note

_START = b"\x89PNG\r\n\x1a\n"
_RECORD = NAME + b"\0\0\0\0\0"  # not compressed, no language, no translated keyword
_TEXTS = (b"tEXt", b"iTXt")


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, start and end of each chunk."""
    size, at = file_size(file), len(_START)
    for _ in range(MOST_BLOCKS):
        length, kind = struct.unpack(">I4s", read_at(file, at, 8))
        end = at + 12 + length
        if end > size or (at == len(_START)) != (kind == b"IHDR"):
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ValueError(DAMAGED)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(keyword: bytes, text: str) -> bytes:
    encoded = utf8(text)
    try:
        return _chunk(b"tEXt", keyword + b"\0" + encoded.decode().encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", keyword + b"\0\0\0\0\0" + encoded)


def write_png(file: IO[bytes], note: Note) -> list[Piece]:
    """Return the file with a note. An earlier note of this package is left out."""
    texts = {
        b"Description": note.description,
        b"Software": note.software,
        b"Creation Time": formatdate(note.created, usegmt=True),
    }
    ours = _chunk(b"iTXt", _RECORD + record_json(note.record))
    ours += b"".join(_text(keyword, text) for keyword, text in texts.items())
    chunks = list(_chunks(file))
    pieces: list[Piece] = [(0, chunks[0][2]), ours]
    older: list[bytes] = []  # texts that follow an earlier record of this package
    begin = chunks[0][2]  # start of the next part that is kept
    for kind, at, end in chunks[1:]:
        keyword = b""
        if kind in _TEXTS:
            keyword = read_at(file, at + 8, min(80, end - at - 8)).partition(b"\0")[0]
        if kind == b"iTXt" and keyword == NAME:
            older = list(texts)
        elif older and keyword == older.pop(0):
            pass
        else:
            older = []
            continue
        pieces.append((begin, at))
        begin = end
    return [*pieces, (begin, file_size(file))]


def read_png(file: IO[bytes]) -> bytes:
    """Return the record as JSON.

    Raises:
        ValueError: There is none, or the file is damaged.
        struct.error: The file is damaged.
    """
    for kind, at, end in _chunks(file):
        if kind == b"IDAT":
            break
        if kind == b"iTXt" and end - at <= LARGEST_RECORD + 100:
            chunk = read_at(file, at, end - at)
            data = chunk[8:-4]
            if data.startswith(_RECORD) and chunk == _chunk(kind, data):
                return data[len(_RECORD) :]
    raise ValueError(NO_RECORD)
