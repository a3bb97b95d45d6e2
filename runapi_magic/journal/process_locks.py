"""File locks that show which kernels run, so that a kernel claims only tasks of ended kernels.

Each kernel locks a file of its own. The operating system releases the lock when the process ends,
even after a crash.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock

_OLD = 24 * 3600.0  # seconds until the unlocked file of another kernel is deleted
_TIMEOUT = 5.0  # seconds to lock this kernel's own file


class Owners:
    """The kernels that use one data folder.

    Args:
        folder: The data folder.

    Attributes:
        me: The name of this kernel.
    """

    def __init__(self, folder: Path) -> None:
        self.me = secrets.token_hex(8)
        self._folder = folder / "kernels"
        self._mine: FileLock | None = None

    def register(self) -> None:
        """Lock this kernel's file and delete the files of ended kernels.

        Raises:
            OSError: The folder cannot be written.
        """
        if self._mine is not None:
            return
        from filelock import FileLock

        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.lock"):
            # A new file may belong to a kernel that has not locked it yet.
            with suppress(OSError):  # another kernel has deleted it or has it open on Windows
                if time.time() - path.stat().st_mtime > _OLD and not self.is_alive(path.stem):
                    path.unlink()
        # Any thread may release it. Another kernel may lock it for a moment to check it.
        mine = FileLock(self._path(self.me), thread_local=False)
        mine.acquire(timeout=_TIMEOUT)
        self._mine = mine

    def is_alive(self, owner: str | None) -> bool:
        """Whether the kernel with this name still runs."""
        if owner is None:
            return False
        if owner == self.me:
            return True
        path = self._path(owner)
        if not path.exists():
            return False
        from filelock import FileLock, Timeout

        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return True  # another user's file

    def release(self) -> None:
        """Release this kernel's lock."""
        if self._mine is not None:
            self._mine.release()
            self._mine = None

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"
