"""The journal's tables and the migrations that create and change them.

The version of a file is the number of migrations that were applied to it (``PRAGMA user_version``).

States of a task:

- ``planned``: it is not sent yet;
- ``sent``: the POST may have left;
- ``running``: its task ID is known;
- ``completed``: the service has finished it;
- ``saved``: the images are on disk;
- ``failed``: the task ended without images;
- ``refused``: the service did not accept it;
- ``forgotten``: the user gave it up after it was sent. It may have been charged and counts as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

IS_UNFINISHED = "state IN ('planned', 'sent', 'running', 'completed')"


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            generation TEXT NOT NULL,  -- the request that works on it, or did last
            origin TEXT NOT NULL,
            created REAL NOT NULL,
            model TEXT NOT NULL,
            prompt TEXT NOT NULL,
            fields TEXT NOT NULL,      -- JSON
            sources TEXT NOT NULL,     -- JSON
            fingerprint TEXT NOT NULL, -- what decides how one picture looks
            count INTEGER NOT NULL,
            idempotency_key TEXT,      -- of the last attempt; NULL: never sent
            family TEXT,
            path TEXT,
            body BLOB,
            status_paths TEXT,         -- JSON
            task_id TEXT,
            state TEXT NOT NULL,
            error TEXT,
            cost REAL,                 -- USD
            seconds REAL,              -- from the request until the service was done
            owner TEXT                 -- the kernel that works on it
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE images (
            id TEXT PRIMARY KEY,
            task TEXT NOT NULL REFERENCES tasks (id),
            position INTEGER NOT NULL, -- within its task, from 0
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            parent TEXT,               -- the image that it is an edit of
            saved REAL NOT NULL
        ) STRICT"""
    )
    connection.execute("CREATE INDEX tasks_by_fingerprint ON tasks (fingerprint, origin)")
    connection.execute(
        "CREATE INDEX tasks_unfinished ON tasks (created) "
        "WHERE state IN ('planned', 'sent', 'running', 'completed')"
    )
    connection.execute("CREATE INDEX tasks_by_task_id ON tasks (task_id)")
    connection.execute("CREATE INDEX tasks_by_generation ON tasks (generation)")
    connection.execute("CREATE INDEX images_by_task ON images (task)")


def _look_back(connection: sqlite3.Connection) -> None:
    """Let history, trees and files be found, and keep what was measured."""
    connection.execute("ALTER TABLE images ADD COLUMN sharpness REAL")
    connection.execute("ALTER TABLE images ADD COLUMN noise REAL")
    for column in ("parent", "digest", "saved"):
        connection.execute(f"CREATE INDEX images_by_{column} ON images ({column})")


def _count_money(connection: sqlite3.Connection) -> None:
    """Know what is spent, by whom, and what is set aside; batches and rates."""
    connection.execute("ALTER TABLE tasks ADD COLUMN price REAL")  # USD, expected
    connection.execute("ALTER TABLE tasks ADD COLUMN hold TEXT")  # the money set aside for it
    connection.execute("ALTER TABLE tasks ADD COLUMN kernel TEXT")  # that asked for it
    connection.execute("ALTER TABLE tasks ADD COLUMN notebook TEXT")
    connection.execute("CREATE TABLE budgets (origin TEXT PRIMARY KEY, usd REAL NOT NULL) STRICT")
    connection.execute(
        """CREATE TABLE holds (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,       -- the kernel that took it
            origin TEXT NOT NULL,
            usd REAL NOT NULL
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            created REAL NOT NULL,     -- Unix time, seconds
            is_sweep INTEGER NOT NULL,
            title TEXT NOT NULL,
            since REAL NOT NULL,       -- pictures older than this do not count
            items TEXT NOT NULL        -- JSON
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE rates (
            account TEXT PRIMARY KEY,  -- a hash of address and key
            paused_until REAL NOT NULL, -- Unix time, seconds
            spacing REAL NOT NULL,     -- seconds between two requests
            next REAL NOT NULL         -- Unix time, seconds: the next free turn
        ) STRICT"""
    )
    for column in ("created", "kernel", "hold"):
        connection.execute(f"CREATE INDEX tasks_by_{column} ON tasks ({column})")


def _keep_in_stores(connection: sqlite3.Connection) -> None:
    """Know where in an object store a picture is."""
    connection.execute("ALTER TABLE images ADD COLUMN location TEXT")  # URL; NULL: in no store


def _learn_durations(connection: sqlite3.Connection) -> None:
    """Know how long tasks of each kind took."""
    connection.execute(
        """CREATE TABLE durations (
            origin TEXT NOT NULL,
            model TEXT NOT NULL,
            action TEXT NOT NULL,
            resolution TEXT NOT NULL,  -- empty: none was asked for
            seconds REAL NOT NULL,     -- from the service's acceptance to the end, its own
            failed INTEGER NOT NULL
        ) STRICT"""
    )
    connection.execute(
        "CREATE INDEX durations_by_kind ON durations (origin, model, action, resolution)"
    )


def _note_unseen(connection: sqlite3.Connection) -> None:
    """Know which pictures came when nobody was there to see them."""
    connection.execute("CREATE TABLE unseen (image TEXT PRIMARY KEY REFERENCES images (id)) STRICT")


def _tell_where_batches_were_asked(connection: sqlite3.Connection) -> None:
    """Know what a batch was asked of: what was simulated is not to be paid for by a resume."""
    connection.execute("ALTER TABLE batches ADD COLUMN origin TEXT")  # NULL: not known


def _keep_shown_versions(connection: sqlite3.Connection) -> None:
    """Know which version of a picture a cell shows."""
    connection.execute(
        """CREATE TABLE shown_versions (
            notebook TEXT NOT NULL,    -- empty: not known
            cell TEXT NOT NULL,        -- its id; empty: not known
            first TEXT NOT NULL,       -- the image that the cell asked for
            shown TEXT NOT NULL,       -- the image that it shows instead
            PRIMARY KEY (notebook, cell, first)
        ) STRICT"""
    )


def _keep_routes(connection: sqlite3.Connection) -> None:
    """Know the service and the action of a model that the catalogue does not have."""
    for column in ("service", "action"):
        connection.execute(f"ALTER TABLE tasks ADD COLUMN {column} TEXT")


# A new version of the tables is a new function at the end; none is ever changed.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_tables,
    _look_back,
    _count_money,
    _keep_in_stores,
    _learn_durations,
    _note_unseen,
    _tell_where_batches_were_asked,
    _keep_shown_versions,
    _keep_routes,
)
