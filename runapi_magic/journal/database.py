"""The SQLite file of the journal: it is opened on first use and has one transaction at a time.

- If another program locks the file, a call waits and then raises ``JournalBusyError``. The caller
  must not send what it could not record.
- If a newer version of the package wrote the file, it raises ``JournalVersionError`` and does not
  change the file.
- If the file is damaged, it is renamed and a new file is created. If another kernel has done that,
  its new file is used.
- If the file cannot be used for another reason, it raises ``JournalError``.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import stat
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from runapi_magic.errors import NOT_SENT, ConfigurationError, RunAPIError
from runapi_magic.journal.process_locks import Owners
from runapi_magic.journal.schema import MIGRATIONS

try:
    import sqlite3
except ImportError:
    raise ConfigurationError(
        "This Python has no sqlite3 module, which the journal of requests needs.",
        todo="Use a Python with sqlite3, for example from python.org, conda or your system.",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Call = TypeVar("Call", bound=Callable[..., Any])

_BUSY_TIMEOUT = 10.0  # seconds that a call waits for another program
_SHORT_TIMEOUT = 1.0  # the same, if an event loop or a queue waits for the call
_RETRY_DELAY = 0.05  # seconds, at most, between two attempts
_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


class JournalError(RunAPIError):
    """The journal cannot be used. Requests are not recorded."""

    default_charged: ClassVar[str] = NOT_SENT
    default_todo: ClassVar[str] = "Check the folder that %runapi status names."

    def __init__(self, reason: str = "", *, what: str | None = None) -> None:
        super().__init__(what or f"The journal cannot be used ({reason}).")


class JournalDamagedError(JournalError):
    """The file was damaged and has been renamed. The same call works with a new file."""


class JournalBusyError(JournalError):
    """Another program locks the file. The same call works when it has finished."""

    default_todo: ClassVar[str] = (
        "Close the program that uses the file (a database browser, a backup, another kernel), then"
        " try again."
    )

    def __init__(self, path: Path) -> None:
        super().__init__(what=f"The journal is busy: another program has locked {path}.")


class JournalVersionError(JournalError):
    """A newer version of runapi_magic wrote the file. This version does not change it."""

    default_todo: ClassVar[str] = (
        "Update runapi_magic (%pip install --upgrade runapi-magic) and restart the kernel. To keep"
        " this version, set RUNAPI_MAGIC_HOME to another folder before you start Jupyter."
    )

    def __init__(self, path: Path) -> None:
        super().__init__(
            what=f"A newer version of runapi_magic wrote the journal {path}. Nothing was changed in"
            " it."
        )


def retry_until_written(call: Call) -> Call:
    """Mark a method that records what has already happened. It is retried until it is written."""
    call.__dict__["retries_until_written"] = True
    return call


class Database:
    """The SQLite file of one data folder. Any thread may use it.

    Args:
        folder: The data folder. If it is missing, it is created with access for the user only.

    Attributes:
        path: The file.
        owners: The kernels that use it.
        damaged_file: The new path of the last damaged file; None if no file was damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self.owners = Owners(folder)
        self.damaged_file: Path | None = None
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # the identity of the file that was opened last

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that writes. It is committed at the end of the block.

        Keep it short, because all other kernels wait for its end.

        Raises:
            JournalBusyError: Another program locks the file.
            JournalError: The file cannot be used. The message has the reason.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that only reads. It does not see what others write meanwhile.

        Raises:
            JournalBusyError: Another program locks the file even for readers.
            JournalError: The file cannot be used. The message has the reason.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    def data_version(self) -> int:
        """Return a number that changes when another program has written to the file.

        Raises:
            JournalError: The file cannot be used.
        """
        with self.reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return int(version)

    @contextmanager
    def short_timeout(self) -> Iterator[None]:
        """Let the transactions of this thread wait for another program only for a second."""
        self._of_thread.has_short_timeout = True
        try:
            yield
        finally:
            self._of_thread.has_short_timeout = False

    def may_have(self, table: str, where: str, *values: Any) -> bool:
        """Whether a table has such a row. It also works for a file that cannot be written.

        Nothing is written. If the file exists but cannot be read, the answer is True.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        uri = self.path.absolute().as_uri()
        with suppress(sqlite3.Error):
            return _finds(f"{uri}?mode=ro", table, where, values)
        with suppress(sqlite3.Error, OSError):  # the folder may be read-only
            if not _has_log(self.path):
                return _finds(f"{uri}?immutable=1", table, where, values)
        return True

    def close(self) -> None:
        """Close the file and release this kernel's lock. The next use opens the file again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.owners.release()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._begin(begin)
        try:
            with connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._journal_error(error) from None
        finally:
            self._lock.release()

    def _begin(self, begin: str) -> sqlite3.Connection:
        """Lock the connection and begin a transaction.

        The lock is released between two attempts, so that other threads can read meanwhile.
        """
        is_short = getattr(self._of_thread, "has_short_timeout", False)
        # A call on the thread of an event loop blocks everything on the loop.
        is_short = is_short or asyncio._get_running_loop() is not None  # noqa: SLF001 (None instead of an exception)
        end = time.monotonic() + (_SHORT_TIMEOUT if is_short else _BUSY_TIMEOUT)
        while True:
            if not self._lock.acquire(timeout=max(0.0, end - time.monotonic())):
                raise JournalBusyError(self.path)
            with ExitStack() as releasing:
                releasing.callback(self._lock.release)
                try:
                    connection = self._connect_and_begin(begin)
                except (sqlite3.Error, OSError) as error:
                    journal_error = self._journal_error(error)
                else:
                    releasing.pop_all()  # it is released at the end of the transaction
                    return connection
            if not isinstance(journal_error, JournalBusyError) or time.monotonic() >= end:
                raise journal_error
            time.sleep(random.uniform(0.0, _RETRY_DELAY))  # noqa: S311 (not a secret)

    def _connect_and_begin(self, begin: str) -> sqlite3.Connection:
        if self._connection is not None and self._is_replaced():
            self._close_damaged_file()  # another kernel has found the damage and renamed the file
        if self._connection is None:
            self._connection = self._open()
        connection = self._connection
        try:
            connection.execute(begin)
            self._check_version(_version(connection))  # another kernel may have changed it
        except (sqlite3.Error, JournalVersionError):
            if connection.in_transaction:
                connection.rollback()
            raise
        return connection

    def _journal_error(self, error: Exception) -> JournalError:
        """Return the error for the caller. After damage, the next call opens a new file."""
        if _is_busy(error):
            return JournalBusyError(self.path)
        if _is_damage(error):
            try:
                self._close_damaged_file()
            except OSError as refusal:
                return JournalError(f"{self.path}: {error}; {refusal}")
            return JournalDamagedError(f"{self.path}: {error}")
        return JournalError(f"{self.path}: {error}")

    def _open(self) -> sqlite3.Connection:
        self.owners.register()
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._close_damaged_file()
            return self._connect()

    def _is_replaced(self) -> bool:
        """Whether there is another file in place of the one that was opened."""
        return _identity(self.path) not in {self._file, None}

    def _close_damaged_file(self) -> None:
        """Close a damaged file and rename it if no other kernel has. Nothing is deleted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._is_replaced():
            for path in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                if _identity(path) == self._file:
                    self.damaged_file = path
            return
        name = f"{self.path.name}.damaged-{int(time.time())}-{secrets.token_hex(3)}"
        for ending in ("", "-wal", "-shm"):
            leftover = self.path.with_name(self.path.name + ending)
            if leftover.exists():
                leftover.replace(self.path.with_name(name + ending))
        self.damaged_file = self.path.with_name(name)

    def _connect(self) -> sqlite3.Connection:
        self._file = _identity(self.path)
        if self._file is not None:
            self._check_version(_version_of_file(self.path))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600, exist_ok=True)
        self._file = self._file or _identity(self.path)
        connection = sqlite3.connect(
            self.path, timeout=_RETRY_DELAY, check_same_thread=False, isolation_level=None
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # SQLite's lower() only changes the letters A to Z.
            connection.create_function("casefold", 1, str.casefold, deterministic=True)
            if _version(connection) < len(MIGRATIONS):
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    version = _version(connection)  # another kernel may have changed it meanwhile
                    for migrate in MIGRATIONS[version:]:
                        migrate(connection)
                    connection.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _check_version(self, version: int) -> None:
        if version > len(MIGRATIONS):
            raise JournalVersionError(self.path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what a file keeps when it is renamed; None if it does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _version_of_file(path: Path) -> int:
    """Return the version of a file, without a connection that can write to it.

    The file is not opened without SQLite: closing it would end the locks of this process's other
    connections (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    mode = "mode=ro" if _has_log(path) else "immutable=1"  # the version may be in the log only
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=_RETRY_DELAY)) as connection:
        return _version(connection)


def _has_log(path: Path) -> bool:
    """Whether the write-ahead log has data that may not be in the file yet."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _finds(uri: str, table: str, where: str, values: tuple[Any, ...]) -> bool:
    with closing(sqlite3.connect(uri, uri=True, timeout=_SHORT_TIMEOUT)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        if known.fetchone() is None:
            # An older version has no such table. A newer one may have renamed it.
            return _version(connection) > len(MIGRATIONS)
        query = f"SELECT 1 FROM {table} WHERE {where}"  # noqa: S608 (no user input)
        return connection.execute(query, values).fetchone() is not None


def _is_busy(error: Exception) -> bool:
    # The lower byte is the error code. The upper bytes have details.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES


def _is_damage(error: Exception) -> bool:
    """Whether the file is damaged or is not a database. sqlite3 has no class for only that."""
    return type(error) is sqlite3.DatabaseError
