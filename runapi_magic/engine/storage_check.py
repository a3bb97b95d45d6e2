"""Try, before anything is paid for, whether images can be saved where they are to go."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from runapi_magic.errors import ConfigurationError
from runapi_magic.http.rate_limit import lock_of_loop
from runapi_magic.media.files import create_folder
from runapi_magic.media.object_store import check_writable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from pathlib import Path

    from runapi_magic.media.object_store import SaveLocation

_FOLDER_GOOD_FOR = 1.0  # seconds: a test takes a millisecond, and a disk may fill up meanwhile
_STORE_GOOD_FOR = 300.0  # seconds: a test is two requests
_ROOM = 16_000_000  # bytes, about one picture of 4k
_TEST = b"\0" * 64 * 1024
_CHOOSE = "or choose another place: %config RunAPIMagics.image_dir = '...'"


class StorageCheck:
    """Tries places for images; what it found counts for a while.

    A folder is tried again for every few requests. A store is tried once in five minutes, and
    where it refuses, once for each run of a cell or batch.
    """

    def __init__(self) -> None:
        self._good_until: dict[SaveLocation, float] = {}
        self._refusals: dict[SaveLocation, tuple[str, ConfigurationError]] = {}
        self._lines: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def __call__(self, place: SaveLocation, run: str) -> None:
        """Try a place, unless it is known already.

        Args:
            place: Where images are to go.
            run: Names the cell or batch that asks.

        Raises:
            ConfigurationError: Nothing can be saved there.
        """
        async with lock_of_loop(self._lines):
            known, refusal = self._refusals.get(place, ("", None))
            if refusal is not None and known == run:
                raise ConfigurationError(refusal.what, todo=refusal.todo)
            if time.monotonic() < self._good_until.get(place, 0.0):
                return
            try:
                await asyncio.to_thread(try_place, place)
            except ConfigurationError as error:
                self._refusals[place] = run, error
                raise
            good_for = _STORE_GOOD_FOR if place.url else _FOLDER_GOOD_FOR
            self._good_until[place] = time.monotonic() + good_for


def try_place(place: SaveLocation) -> None:
    """Save a small file in a place and delete it. Blocking.

    Raises:
        ConfigurationError: It cannot be saved.
    """
    _try_folder(place.folder, private=bool(place.url))  # local copies are ours
    if place.url:
        check_writable(place.url)


def _try_folder(folder: Path, *, private: bool) -> None:
    try:
        create_folder(folder, private=private)
        # It has no name, so that a kernel that is killed meanwhile leaves nothing behind.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_TEST)
            file.flush()
            os.fsync(file.fileno())
        disk = shutil.disk_usage(folder)
    except OSError as error:
        todo = "Make room" if error.errno == errno.ENOSPC else "Make it writable"
        raise ConfigurationError(
            f"The folder {folder} cannot be written to ({error.strerror}).",
            todo=f"{todo}, {_CHOOSE}",
        ) from None
    if disk.total and disk.free < _ROOM:  # some file systems do not say: 0 of 0
        raise ConfigurationError(
            f"The disk of the folder {folder} has only {disk.free / 1e6:.0f} MB left.",
            todo=f"Make room, {_CHOOSE}",
        )
