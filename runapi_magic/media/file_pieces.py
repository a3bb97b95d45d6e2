"""Read parts of a file, and describe a changed file as pieces of the old one and new bytes."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Piece = bytes | tuple[int, int]  # new bytes, or the start and end of old ones in the file

MOST_BLOCKS = 100_000  # blocks of a file that are searched
DAMAGED = "The image file is damaged."
_CHUNK = 1_000_000  # bytes that are copied at a time


def file_size(file: IO[bytes]) -> int:
    """Return the size of an open file in bytes."""
    return file.seek(0, io.SEEK_END)


def read_at(file: IO[bytes], at: int, size: int) -> bytes:
    """Return exactly ``size`` bytes from an offset.

    Raises:
        ValueError: The file ends before that.
    """
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(DAMAGED)
    return data


def read_pieces(file: IO[bytes], pieces: list[Piece]) -> Iterator[bytes]:
    """Yield the bytes of all pieces. At most 1 MB of the file is in memory at a time."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        at, end = piece
        while at < end:
            data = read_at(file, at, min(_CHUNK, end - at))
            yield data
            at += len(data)
