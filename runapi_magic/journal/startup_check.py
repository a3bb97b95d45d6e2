"""A check of the journal on ``%load_ext``. It only reads, and it imports little."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from runapi_magic.journal.tables import StoredTask

_TIMEOUT = 0.1  # seconds; loading the extension must not wait for another program


def check_journal(folder: Path) -> set[str]:
    """Return what the user is to be notified of; nothing where the journal cannot be read.

    - ``newer``: a newer version of the package wrote it, and this one does not use it.
    - ``unfinished``: a task has not ended.
    - ``unseen``: an image came while its page was closed.
    """
    found: set[str] = set()
    connection = _connect(folder)
    if connection is None:
        return found
    import sqlite3

    from runapi_magic.journal.schema import IS_UNFINISHED, MIGRATIONS

    queries = {
        "unfinished": f"SELECT 1 FROM tasks WHERE {IS_UNFINISHED} LIMIT 1",  # noqa: S608 (no user input)
        "unseen": "SELECT 1 FROM unseen LIMIT 1",  # last: an older version has no such table
    }
    with closing(connection), suppress(sqlite3.Error):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            return {"newer"}
        for name, query in queries.items():
            if connection.execute(query).fetchone() is not None:
                found.add(name)
    return found


def unfinished_tasks(folder: Path) -> list[StoredTask]:
    """Return the tasks that no running kernel works on; none where the journal cannot be read."""
    connection = _connect(folder)
    if connection is None:
        return []
    import sqlite3

    from runapi_magic.journal.process_locks import Owners
    from runapi_magic.journal.tables import select_abandoned

    owners = Owners(folder)
    with closing(connection), suppress(sqlite3.Error):
        return select_abandoned(connection, lambda task: owners.is_alive(task.owner))
    return []


def _connect(folder: Path) -> sqlite3.Connection | None:
    """Open the journal for reading; None where that is not possible."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return None
    try:
        import sqlite3
    except ImportError:  # reported when the journal is first used
        return None
    with suppress(sqlite3.Error):
        uri = path.absolute().as_uri()
        return sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_TIMEOUT)
    return None
