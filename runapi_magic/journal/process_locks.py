"""Which kernels are alive, so that one finishes what a dead one left and leaves alone the rest.

Each kernel holds a lock on a file of its own as long as it lives. The operating system lets go of
it when the process ends, however it ends.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock

_OLD = 24 * 3600.0  # seconds
_PATIENCE = 5.0  # seconds


class Owners:
    """The kernels that use one data folder, and this one among them.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.me = secrets.token_hex(8)
        self._folder = folder / "kernels"
        self._mine: FileLock | None = None

    def register(self) -> None:
        """Take this kernel's lock and remove what dead kernels left.

        Raises:
            OSError: The folder cannot be written to.
        """
        if self._mine is not None:
            return
        from filelock import FileLock

        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.lock"):
            # Young files may belong to a kernel that is about to take its lock.
            with suppress(FileNotFoundError):  # another kernel removes them, too
                if time.time() - path.stat().st_mtime > _OLD and not self.is_alive(path.stem):
                    path.unlink()
        # Any thread may let go of it again; another kernel may hold it for a moment to look.
        mine = FileLock(self._path(self.me), thread_local=False)
        mine.acquire(timeout=_PATIENCE)
        self._mine = mine

    def is_alive(self, owner: str | None) -> bool:
        """Whether a kernel of this name still runs."""
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
            return True  # not ours to open: another user's, so leave it alone

    def release(self) -> None:
        """Let go of this kernel's lock."""
        if self._mine is not None:
            self._mine.release()
            self._mine = None

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"
