"""Read and write the note in a GIF file.

The record is a comment before the first frame. The description is not written into a GIF.
The format: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from runapi_magic.media.file_pieces import DAMAGED, MOST_BLOCKS, file_size, read_at
from runapi_magic.media.metadata_note import (
    LARGEST_RECORD,
    NO_RECORD,
    RECORD_START,
    named_record,
    record_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.media.file_pieces import Piece
    from runapi_magic.media.metadata_note import Note

_EXTENSION, _FRAME, _COMMENT = 0x21, 0x2C, 0xFE  # introducers of blocks, and a comment's label


def _blocks(file: IO[bytes]) -> Iterator[tuple[bytes | None, int, int]]:
    """Yield the blocks before the first frame: the text of a comment or None, start and end.

    A text ends after about 2 MB. The first block is the header with the palette.
    """
    flags = read_at(file, 10, 1)[0]
    at = 13 + (3 << (flags & 7) + 1 if flags >> 7 else 0)
    yield None, 0, at
    begin, parts = at, list[bytes]()
    for _ in range(MOST_BLOCKS):
        if begin == at:
            introducer, label = read_at(file, at, 2)
            if introducer == _FRAME:
                return
            if introducer != _EXTENSION:
                break
            at, parts = at + 2, []
        length = read_at(file, at, 1)[0]
        if at - begin < 2 * LARGEST_RECORD:  # a longer comment is not a record
            parts.append(read_at(file, at + 1, length))
        at += 1 + length
        if not length:
            yield b"".join(parts) if label == _COMMENT else None, begin, at
            begin = at
    raise ValueError(DAMAGED)


def write_gif(file: IO[bytes], note: Note) -> list[Piece]:
    """Return the file with the record of a note. An earlier record is left out."""
    content = read_at(file, 0, file_size(file))
    blocks = list(_blocks(file))
    text = named_record(record_json(note.record))
    pieces = (text[at : at + 255] for at in range(0, len(text), 255))
    comment = bytes([_EXTENSION, _COMMENT])
    comment += b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
    kept = [
        content[at:end] for found, at, end in blocks if not (found or b"").startswith(RECORD_START)
    ]
    # GIF87a has no comments.
    return [b"GIF89a", kept[0][6:], comment, *kept[1:], content[blocks[-1][2] :]]


def read_gif(file: IO[bytes]) -> bytes:
    """Return the record as named JSON.

    Raises:
        ValueError: There is none, or the file is damaged.
    """
    for text, _, _ in _blocks(file):
        if text and text.startswith(RECORD_START):
            return text
    raise ValueError(NO_RECORD)
