"""The journal's file: opened on first use, one transaction at a time, set aside when damaged."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runapi_magic.owners import Owners
from runapi_magic.rows import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_TIMEOUT = 10.0  # seconds that a kernel waits for another one's write
_BLINK = 0.05  # seconds, at most, before the file's first use is tried again


class JournalError(Exception):
    """The journal cannot be used; what goes on is not recorded."""


class JournalDamagedError(JournalError):
    """The file was damaged and is set aside; the same call works on a new one."""


class Database:
    """The SQLite file of one data folder. Any thread may use it.

    Args:
        folder: The data folder; made, private to the user, where it is missing.

    Attributes:
        path: The file.
        owners: The kernels that use it.
        set_aside: The new name of a file that was damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self.owners = Owners(folder)
        self.set_aside: Path | None = None
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for one committed transaction.

        Raises:
            JournalError: The file cannot be used; the message says why.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                if _is_damage(error):
                    self._put_aside()
                    raise JournalDamagedError(f"{self.path}: {error}") from None
                raise JournalError(f"{self.path}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        self.owners.register()
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._put_aside()
            return self._connect()

    def _put_aside(self) -> None:
        """Give a damaged file another name; nothing of it is deleted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        name = f"{self.path.name}.damaged-{int(time.time())}-{secrets.token_hex(3)}"
        for ending in ("", "-wal", "-shm"):
            leftover = self.path.with_name(self.path.name + ending)
            if leftover.exists():
                leftover.replace(self.path.with_name(name + ending))
        self.set_aside = self.path.with_name(name)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT, check_same_thread=False, isolation_level=None
        )
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            # SQLite's own knows the letters from A to Z alone.
            connection.create_function("casefold", 1, str.casefold, deterministic=True)
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                for migrate in MIGRATIONS[version:]:
                    migrate(connection)
                connection.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file and let go of what this kernel owns; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.owners.release()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn a new file to write-ahead logging; SQLite does not wait where another kernel does so."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

    attempts = Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(_BUSY_TIMEOUT),
        wait=wait_random(0.0, _BLINK),
        reraise=True,
    )
    attempts(connection.execute, "PRAGMA journal_mode = WAL")


def _is_busy(error: BaseException) -> bool:
    # The lower byte is the error, the upper one says more of it.
    code = error.sqlite_errorcode if isinstance(error, sqlite3.OperationalError) else 0
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _is_damage(error: Exception) -> bool:
    """Whether the file is no database, or a broken one: SQLite has no class for just that."""
    return type(error) is sqlite3.DatabaseError
