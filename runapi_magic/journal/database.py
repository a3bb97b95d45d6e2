"""The journal's file: opened on first use, one transaction at a time, set aside when damaged.

Busy is not unusable. Where another program holds the file, a call waits for it and then says so,
with ``JournalBusyError``: what was to be written down first does not happen. A file that cannot be
used at all is a ``JournalError``.
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
        "This Python has no sqlite3, in which the journal of requests is kept.",
        todo="Use a Python that has it, such as those of python.org, conda or your system.",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Call = TypeVar("Call", bound=Callable[..., Any])

_BUSY_TIMEOUT = 10.0  # seconds that a call waits for another program's write
_MOMENT = 1.0  # the same, where something else waits for the call
_BLINK = 0.05  # seconds, at most, before the file is tried again
_FILE_START = b"SQLite format 3\0"
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


class JournalError(RunAPIError):
    """The journal cannot be used; what goes on is not recorded."""

    default_charged: ClassVar[str] = NOT_SENT
    default_todo: ClassVar[str] = "Check the folder that %runapi status names."

    def __init__(self, reason: str = "", *, what: str | None = None) -> None:
        super().__init__(what or f"The journal cannot be used ({reason}).")


class JournalDamagedError(JournalError):
    """The file was damaged and is set aside; the same call works on a new one."""


class JournalBusyError(JournalError):
    """Another program holds the file; the same call works once it lets go."""

    default_todo: ClassVar[str] = (
        "Close what has the file open (a database browser, a backup, another kernel), then try"
        " again."
    )

    def __init__(self, path: Path) -> None:
        super().__init__(what=f"The journal is busy: another program holds {path}.")


class JournalVersionError(JournalError):
    """A newer version of runapi_magic wrote the file; this version does not change it."""

    default_todo: ClassVar[str] = (
        "Update runapi_magic (%pip install --upgrade runapi-magic) and restart the kernel. To go on"
        " with this version, set RUNAPI_MAGIC_HOME to another folder before you start Jupyter."
    )

    def __init__(self, path: Path) -> None:
        super().__init__(
            what=f"A newer version of runapi_magic wrote the journal {path}. Nothing was changed in"
            " it."
        )


def afterwards(call: Call) -> Call:
    """Mark a method that writes down what has happened: it is repeated until it is written."""
    call.__dict__["is_afterwards"] = True
    return call


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
        self._hurry = threading.local()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for one committed transaction.

        Nothing that takes long belongs into it: all kernels wait for its end.

        Raises:
            JournalBusyError: Another program holds the file.
            JournalError: The file cannot be used; the message says why.
        """
        with self._holding("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for reading one state of the file, whoever writes meanwhile.

        Raises:
            JournalBusyError: Another program holds the file so that it cannot be read.
            JournalError: The file cannot be used; the message says why.
        """
        with self._holding("BEGIN") as connection:
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
    def hurried(self) -> Iterator[None]:
        """Let this thread's transactions wait for a moment only."""
        self._hurry.is_on = True
        try:
            yield
        finally:
            self._hurry.is_on = False

    @contextmanager
    def _holding(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._begin(begin)
        try:
            with connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from None
        finally:
            self._lock.release()

    def _begin(self, begin: str) -> sqlite3.Connection:
        """Take the connection, and begin; while another program holds the file, others may try."""
        # On a loop's thread all that runs on the loop stands still meanwhile.
        is_hurried = getattr(self._hurry, "is_on", False) or asyncio._get_running_loop() is not None  # noqa: SLF001 (None instead of an exception)
        end = time.monotonic() + (_MOMENT if is_hurried else _BUSY_TIMEOUT)
        while True:
            if not self._lock.acquire(timeout=max(0.0, end - time.monotonic())):
                raise JournalBusyError(self.path)
            with ExitStack() as releasing:
                releasing.callback(self._lock.release)
                try:
                    connection = self._try(begin)
                except (sqlite3.Error, OSError) as error:
                    trouble = self._trouble(error)
                else:
                    releasing.pop_all()  # at the end of the transaction
                    return connection
            if not isinstance(trouble, JournalBusyError) or time.monotonic() >= end:
                raise trouble
            time.sleep(random.uniform(0.0, _BLINK))  # noqa: S311 (no secret)

    def _try(self, begin: str) -> sqlite3.Connection:
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

    def _trouble(self, error: Exception) -> JournalError:
        """Return what an error means, and put a damaged file aside."""
        if _is_busy(error):
            return JournalBusyError(self.path)
        if _is_damage(error):
            try:
                self._put_aside()
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
        if self.path.exists():
            self._check_version(_version_of_file(self.path))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=_BLINK, check_same_thread=False, isolation_level=None
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # SQLite's own knows the letters from A to Z alone.
            connection.create_function("casefold", 1, str.casefold, deterministic=True)
            if _version(connection) < len(MIGRATIONS):
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    version = _version(connection)  # another kernel may have been faster
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

    def may_have(self, table: str, where: str, *values: Any) -> bool:
        """Whether a table has such a row, also of a file that nothing can be written to.

        Nothing is written. A file that exists and cannot be read may have it.
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
        with suppress(sqlite3.Error, OSError):  # in a folder that cannot be written to
            if not _has_log(self.path):
                return _finds(f"{uri}?immutable=1", table, where, values)
        return True

    def close(self) -> None:
        """Close the file and let go of what this kernel owns; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.owners.release()


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _version_of_file(path: Path) -> int:
    """Return the version of a file's tables, before anything can be written to the file."""
    if _has_log(path):  # it may have the version
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BLINK)) as connection:
            return _version(connection)
    with path.open("rb") as file:  # https://www.sqlite.org/fileformat.html#the_database_header
        header = file.read(64)
    return int.from_bytes(header[60:], signed=True) if header.startswith(_FILE_START) else 0


def _has_log(path: Path) -> bool:
    """Whether there are writes that are not in the file itself yet."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _finds(uri: str, table: str, where: str, values: tuple[Any, ...]) -> bool:
    connection = sqlite3.connect(uri, uri=True, timeout=_MOMENT)
    try:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        if known.fetchone() is None:
            # An older version has no such table. A newer one may have renamed it.
            return _version(connection) > len(MIGRATIONS)
        query = f"SELECT 1 FROM {table} WHERE {where}"  # noqa: S608 (ours)
        return connection.execute(query, values).fetchone() is not None
    finally:
        connection.close()


def _is_busy(error: Exception) -> bool:
    # The lower byte is the error, the upper one says more of it.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _HELD


def _is_damage(error: Exception) -> bool:
    """Whether the file is no database, or a broken one: SQLite has no class for just that."""
    return type(error) is sqlite3.DatabaseError
