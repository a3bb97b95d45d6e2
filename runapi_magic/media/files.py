"""Save a downloaded file: check it, flush it to the disk and give it its name."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runapi_magic.errors import DownloadError

if TYPE_CHECKING:
    from runapi_magic.media.limits import Limits
    from runapi_magic.media.metadata_note import Note
    from runapi_magic.media.preview import Preview

_log = logging.getLogger(__name__)

_LONGEST_SLUG = 48  # characters of the prompt in a file name
_JUST_NOW = 2.0  # seconds; the coarsest resolution of a file system's times
_CACHED = 10_000  # digests of files
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class SavedFile:
    """An image that is safely on disk, and its preview.

    Attributes:
        path: The file.
        width: Pixels.
        height: Pixels.
        digest: Hex SHA-256 of its bytes.
        preview: The preview; None if none was requested.
        location: Its URL in an object store; empty if it is only on disk.
    """

    path: Path
    width: int
    height: int
    digest: str
    preview: Preview | None
    location: str = ""


def create_part(folder: Path, unique: str, *, private: bool = False) -> Path:
    """Create the folder, and a hidden, empty file in it for a download.

    Args:
        folder: The folder for images.
        unique: The ID of the image. A file that an ended kernel left for it is replaced.
        private: Only the user may read the folder and the file. Otherwise the umask decides.

    Raises:
        DownloadError: The folder cannot be written.
    """
    part = folder / f".{unique}.part"
    try:
        create_folder(folder, private=private)
        part.unlink(missing_ok=True)
        mode = 0o600 if private else 0o666
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    except OSError as error:
        raise DownloadError(
            f"The folder {folder} cannot be written to ({error.strerror}).",
            todo="Make it writable or set %config RunAPIMagics.image_dir, then run %runapi resume.",
        ) from None
    return part


def create_folder(folder: Path, *, private: bool = False) -> None:
    """Create a folder if it is missing, and flush it to the disk.

    Args:
        folder: The folder for images.
        private: Only the user may read it. Otherwise the umask decides.

    Raises:
        OSError: It cannot be created.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    for made in missing:
        _flush_folder(made.parent)


def digest_of(path: Path) -> str:
    """Return the hex SHA-256 of a file.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether the file of an image exists and has this hex SHA-256.

    The digest of a file is cached until its size or time changes. A file that was changed in the
    last two seconds is always read, because it may change again without a new time.
    """
    try:
        found = path.stat()
        if abs(time.time() - max(found.st_mtime, found.st_ctime)) < _JUST_NOW:
            return digest_of(path) == digest
        state = found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return _digest_of_state(path, *state) == digest
    except OSError:
        return False


@lru_cache(maxsize=_CACHED)
def _digest_of_state(path: Path, _size: int, _modified: int, _changed: int) -> str:
    return digest_of(path)


def finish_part(
    part: Path, stem: str, kind: str, limits: Limits, note: Note | None = None
) -> SavedFile:
    """Check a downloaded file, write its note, flush it to the disk and give it its name.

    Args:
        part: The downloaded file. It is removed in any case.
        stem: The name without its ending. A number is added if another file has it.
        kind: ``png``, ``jpg``, ``webp`` or ``gif``.
        limits: The largest image to decode, and the size of the preview.
        note: The note to write into the file; None for none.

    Raises:
        DownloadError: The file is not a valid image, or cannot be saved.
    """
    from runapi_magic.media.metadata import embed
    from runapi_magic.media.preview import decode_image

    try:
        width, height, preview = decode_image(part, limits)
        digest = ""
        if note is not None:
            try:
                digest = embed(part, kind, note)
            except ValueError as error:  # the image was paid for, so it is kept without a note
                _log.warning("no note was written into %s: %s", stem, error)
        with part.open("rb+") as file:
            digest = digest or hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        path = _give_name(part, stem, kind, digest)
        _flush_folder(path.parent)  # until then, a power failure could lose the name
        return SavedFile(path, width, height, digest, preview)
    except OSError as error:
        raise disk_error(error) from None
    finally:
        part.unlink(missing_ok=True)


def readable_stem(part: Path, title: str) -> str:
    """Return a readable and unique name for a downloaded file, without its ending.

    The same file gets the same name in every run, so a notebook that is run again on the simulator
    has identical outputs.

    Args:
        part: The downloaded file.
        title: The text for the readable part.

    Raises:
        DownloadError: The file cannot be read.
    """
    try:
        return file_stem(title, digest_of(part))
    except OSError as error:
        raise disk_error(error) from None


def disk_error(error: OSError) -> DownloadError:
    """Return the error for an image that cannot be written to the disk."""
    return DownloadError(
        f"The image cannot be saved ({error.strerror}).",
        todo="Free disk space or set %config RunAPIMagics.image_dir, then run %runapi resume.",
    )


def _give_name(part: Path, stem: str, kind: str, digest: str) -> Path:
    number = 1
    while True:
        path = part.parent / (f"{stem}.{kind}" if number == 1 else f"{stem}-{number}.{kind}")
        try:
            link_or_rename(part, path)
        except FileExistsError:
            if is_intact(path, digest):
                return path
            number += 1
        else:
            return path


def link_or_rename(part: Path, path: Path) -> None:
    """Give a file another name in one step, without replacing a file. It may keep its old name.

    Args:
        part: The file. It is in the same folder as the new path.
        path: The new path.

    Raises:
        FileExistsError: There is a file at this path.
        OSError: The disk refuses it.
    """
    try:
        os.link(part, path)  # unlike a rename, this never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        path.touch(0o600, exist_ok=False)
        try:
            part.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)  # the empty file that reserved the name
            raise


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the platform and file system support it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def file_stem(prompt: str, unique: str) -> str:
    """Return a readable and unique file name for an image, without folder and ending.

    Args:
        prompt: The text for the readable part. Only its ASCII letters and digits are used.
        unique: A text that no other image has. Its hash is part of the name.
    """
    words = re.sub(r"[^\w]+", "-", prompt.lower(), flags=re.ASCII).strip("-_")
    slug = words[:_LONGEST_SLUG].rstrip("-_") or "image"
    return f"{slug}-{hashlib.sha256(unique.encode()).hexdigest()[:8]}"


def short_path(path: Path | str) -> str:
    """Return a path relative to the working directory if it is inside. A URL is not changed."""
    if isinstance(path, str):
        from runapi_magic.media.object_store import is_url

        if is_url(path):
            return path
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)
