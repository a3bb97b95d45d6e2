"""A record in the image file itself: how the image was generated. No pixel changes.

The modules that read and write it are ``metadata_png``, ``metadata_exif`` (JPEG and WEBP) and
``metadata_gif``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zlib
from typing import IO, TYPE_CHECKING, Any

from runapi_magic.core.formats import image_format
from runapi_magic.media.file_pieces import DAMAGED, read_pieces
from runapi_magic.media.metadata_exif import read_jpeg, read_webp, write_jpeg, write_webp
from runapi_magic.media.metadata_gif import read_gif, write_gif
from runapi_magic.media.metadata_note import NAME
from runapi_magic.media.metadata_png import read_png, write_png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runapi_magic.media.file_pieces import Piece
    from runapi_magic.media.metadata_note import Note

_WRITERS: dict[str, Callable[[IO[bytes], Note], list[Piece]]] = {
    "png": write_png, "jpg": write_jpeg, "webp": write_webp, "gif": write_gif,
}  # fmt: skip
_READERS: dict[str, Callable[[IO[bytes]], bytes]] = {
    "png": read_png, "jpg": read_jpeg, "webp": read_webp, "gif": read_gif,
}  # fmt: skip


def embed(path: Path, kind: str, note: Note) -> str:
    """Write a note into an image file. It replaces an earlier note of this package.

    The same file and note give the same bytes. The file is replaced in one step and keeps its
    mode. A record of more than 1 MB of JSON is left out.

    A JPEG has room for 64 kB of Exif data. A longer record is compressed, then the description is
    cut. A record that still does not fit is left out. If even the rest does not fit, the file is
    not changed.

    Args:
        path: The file.
        kind: ``png``, ``jpg``, ``webp`` or ``gif``.
        note: What to write.

    Returns:
        Hex SHA-256 of the new file.

    Raises:
        ValueError: The file is damaged or has another format. It is not changed.
        OSError: The file cannot be read or written. It is not changed.
    """
    if kind not in _WRITERS:
        raise ValueError(f"A record cannot be written into images of type {kind}.")
    temporary = path.with_name(f".{path.name}.note")
    temporary.unlink(missing_ok=True)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if image_format(file.read(16)) != kind:
                raise ValueError(DAMAGED)
            try:
                pieces = _WRITERS[kind](file, note)
            except struct.error:
                raise ValueError(DAMAGED) from None
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(new, "wb") as to:
                for data in read_pieces(file, pieces):
                    digest.update(data)
                    to.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def extract(path: Path) -> dict[str, Any] | None:
    """Return the record in an image file; None if it has no valid one.

    It does not raise for any file, and has at most a few MB of it in memory.
    """
    try:
        with path.open("rb") as file:
            kind = image_format(file.read(16))
            record = json.loads(_READERS[kind](file)) if kind else None
            if kind != "png" and isinstance(record, dict):
                record = record.get(NAME.decode())
    except (OSError, ValueError, struct.error, zlib.error, RecursionError):
        return None
    return record if isinstance(record, dict) else None
