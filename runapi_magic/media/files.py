"""A downloaded file, checked, flushed to the disk and given its name."""

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
    from runapi_magic.media.metadata_note import Note
    from runapi_magic.media.preview import Limits, Preview

_log = logging.getLogger(__name__)

_LONGEST_SLUG = 48  # characters of the prompt in a file name
_JUST_NOW = 2.0  # seconds; the coarsest file system counts in these
_REMEMBERED = 10_000  # files
_NOT_FOR_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A picture that is safely on disk, and its preview.

    Attributes:
        path: The file.
        width: Pixels.
        height: Pixels.
        digest: Hex SHA-256 of its bytes.
        preview: The small picture, where it was made.
        location: Its URL where it is in a store too, else empty.
    """

    path: Path
    width: int
    height: int
    digest: str
    preview: Preview | None
    location: str = ""


def create_part(folder: Path, unique: str, *, private: bool = False) -> Path:
    """Make the folder and an empty file in it to download to, hidden until it has its name.

    Args:
        folder: Where pictures go.
        unique: The picture's id, so that what a dead kernel left is written over.
        private: Make both for their owner alone; otherwise the umask decides.

    Raises:
        DownloadError: The folder cannot be written to.
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
            todo="Make it writable or set %config RunAPIMagics.image_dir, then %runapi resume.",
        ) from None
    return part


def create_folder(folder: Path, *, private: bool = False) -> None:
    """Make a folder, where it is missing, so that a power cut does not take it away again.

    Args:
        folder: Where pictures go.
        private: Make it for its owner alone; otherwise the umask decides.

    Raises:
        OSError: It cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    for made in missing:
        _flush_folder(made.parent)


def digest_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether a picture's file is still there, unchanged.

    A file is read once for each state of it. One that changed just now may change again without
    another time of change, so it is read each time.
    """
    try:
        found = path.stat()
        if abs(time.time() - max(found.st_mtime, found.st_ctime)) < _JUST_NOW:
            return digest_of(path) == digest
        state = found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return _digest_of_state(path, *state) == digest
    except OSError:
        return False


@lru_cache(maxsize=_REMEMBERED)
def _digest_of_state(path: Path, _size: int, _modified: int, _changed: int) -> str:
    return digest_of(path)


def finish_part(
    part: Path, stem: str, kind: str, limits: Limits, note: Note | None = None
) -> SavedFile:
    """Check a downloaded file, flush it to the disk and give it its name, in one step.

    Args:
        part: The downloaded file; it is gone afterwards, whatever happens.
        stem: The name without its ending; made unique where another picture has it.
        kind: ``png``, ``jpg``, ``webp`` or ``gif``.
        limits: Largest picture to decode, and the preview's measures.
        note: What is written into the file, beside its pixels.

    Raises:
        DownloadError: It is no good picture, or the disk does not take it.
    """
    from runapi_magic.media.metadata import embed
    from runapi_magic.media.preview import decode_image

    try:
        width, height, preview = decode_image(part, limits)
        digest = ""
        if note is not None:
            try:
                digest = embed(part, kind, note)
            except ValueError as error:  # paid for, so kept as it is
                _log.warning("nothing was written into %s: %s", stem, error)
        with part.open("rb+") as file:
            digest = digest or hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        path = _give_name(part, stem, kind, digest)
        _flush_folder(path.parent)  # a name is lost in a power cut until its folder is on the disk
        return SavedFile(path, width, height, digest, preview)
    except OSError as error:
        raise disk_error(error) from None
    finally:
        part.unlink(missing_ok=True)


def readable_stem(part: Path, title: str) -> str:
    """Return a readable name for a downloaded file, without its ending; a hash tells it apart.

    The same file has the same name in every run: a notebook that runs again on the simulator, whose
    pictures do not change, is the same to the letter.

    Args:
        part: The downloaded file.
        title: Its letters and digits make the readable part.

    Raises:
        DownloadError: The file cannot be read.
    """
    try:
        return file_stem(title, digest_of(part))
    except OSError as error:
        raise disk_error(error) from None


def disk_error(error: OSError) -> DownloadError:
    """Return what a disk's refusal means for a picture."""
    return DownloadError(
        f"The picture cannot be written ({error.strerror}).",
        todo="Make room or set %config RunAPIMagics.image_dir, then %runapi resume.",
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
    """Give a finished file its name in one step; it may keep its old one as well.

    Args:
        part: The file, in the folder of its name.
        path: The name.

    Raises:
        FileExistsError: Another file has this name.
        OSError: The disk does not take it.
    """
    try:
        os.link(part, path)  # unlike a rename, never on top of another file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        path.touch(0o600, exist_ok=False)
        try:
            part.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)  # the empty file that kept the name free
            raise


def _flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the platform and file system can do so."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(handle)


def file_stem(prompt: str, unique: str) -> str:
    """Return a readable file name for a picture, without folder and ending.

    Args:
        prompt: Its letters and digits make the readable part.
        unique: What tells this picture from all others; only its hash goes into the name.
    """
    words = re.sub(r"[^\w]+", "-", prompt.lower(), flags=re.ASCII).strip("-_")
    slug = words[:_LONGEST_SLUG].rstrip("-_") or "image"
    return f"{slug}-{hashlib.sha256(unique.encode()).hexdigest()[:8]}"


def short_path(path: Path | str) -> str:
    """Return a path as seen from the working directory, where it lies below it; a URL as it is."""
    if isinstance(path, str):
        from runapi_magic.media.object_store import is_url

        if is_url(path):
            return path
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)
