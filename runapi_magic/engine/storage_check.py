"""Check that images can be saved, before anything is paid for."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

from runapi_magic.core.loop_locks import LoopLocks
from runapi_magic.errors import ConfigurationError
from runapi_magic.media.files import create_folder
from runapi_magic.media.object_store import check_writable

if TYPE_CHECKING:
    from pathlib import Path

    from runapi_magic.media.object_store import SaveLocation

_FOLDER_LIFETIME = 1.0  # seconds: a check takes a millisecond, and the disk may fill up
_STORE_LIFETIME = 300.0  # seconds: a check is two HTTP requests
_MIN_FREE = 16_000_000  # bytes, about one 4k image
_TEST = b"\0" * 64 * 1024
_CHOOSE = "or choose another folder: %config RunAPIMagics.image_dir = '...'"


class StorageCheck:
    """Checks the locations for images, and caches the results.

    A folder is checked at most once a second, an object store at most once in five minutes. If a
    check fails, the same request or batch gets the same error again without a check; others check
    again.
    """

    def __init__(self) -> None:
        self._valid_until: dict[SaveLocation, float] = {}
        self._errors: dict[SaveLocation, tuple[str, ConfigurationError]] = {}
        self._locks = LoopLocks()

    async def __call__(self, location: SaveLocation, run: str) -> None:
        """Check a location, unless the cached result is still valid.

        Args:
            location: Where images will be saved.
            run: The ID of the request, or of the run of its batch.

        Raises:
            ConfigurationError: Images cannot be saved there.
        """
        async with self._locks.of_running_loop():
            failed_run, known_error = self._errors.get(location, ("", None))
            if known_error is not None and failed_run == run:
                raise ConfigurationError(known_error.what, todo=known_error.todo)
            if time.monotonic() < self._valid_until.get(location, 0.0):
                return
            try:
                await asyncio.to_thread(check_location, location)
            except ConfigurationError as error:
                self._errors[location] = run, error
                raise
            lifetime = _STORE_LIFETIME if location.url else _FOLDER_LIFETIME
            self._valid_until[location] = time.monotonic() + lifetime


def check_location(location: SaveLocation) -> None:
    """Write and delete a small file at a location. Blocking.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    _check_folder(location.folder, private=bool(location.url))  # a cache, not for users
    if location.url:
        check_writable(location.url)


def _check_folder(folder: Path, *, private: bool) -> None:
    try:
        create_folder(folder, private=private)
        # A file without a name: it disappears even if the kernel is killed.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_TEST)
            file.flush()
            os.fsync(file.fileno())
        disk = shutil.disk_usage(folder)
    except OSError as error:
        todo = "Free disk space" if error.errno == errno.ENOSPC else "Make it writable"
        raise ConfigurationError(
            f"The folder {folder} cannot be written to ({error.strerror}).",
            todo=f"{todo}, {_CHOOSE}",
        ) from None
    if disk.total and disk.free < _MIN_FREE:  # some file systems report 0 of 0
        raise ConfigurationError(
            f"The disk of the folder {folder} has only {disk.free / 1e6:.0f} MB left.",
            todo=f"Free disk space, {_CHOOSE}",
        )
