"""The journal's tables and the migrations that create and change them.

The version of a file is the number of migrations that were applied to it (``PRAGMA user_version``).

States of a task:

- ``planned``: it is not sent yet.
- ``sent``: the POST may have been sent.
- ``running``: the service's task ID is known.
- ``completed``: the service has finished the images.
- ``saved``: the images are on disk.
- ``failed``: the task ended without images.
- ``refused``: the service did not accept it, or it was given up before it was sent.
- ``forgotten``: the user gave it up after it was sent. It counts as charged.
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
            generation TEXT NOT NULL,  -- the request that works on it or did last
            origin TEXT NOT NULL,
            created REAL NOT NULL,
            model TEXT NOT NULL,
            prompt TEXT NOT NULL,
            fields TEXT NOT NULL,      -- JSON
            sources TEXT NOT NULL,     -- JSON
            fingerprint TEXT NOT NULL, -- a hash of all that determines an image
            count INTEGER NOT NULL,
            idempotency_key TEXT,      -- of the last attempt; NULL: not sent yet
            family TEXT,
            path TEXT,
            body BLOB,
            status_paths TEXT,         -- JSON
            task_id TEXT,
            state TEXT NOT NULL,
            error TEXT,
            cost REAL,                 -- USD
            seconds REAL,              -- from the request until the service finished
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


def _add_metrics_and_indexes(connection: sqlite3.Connection) -> None:
    """Add the metrics of images, and indexes for history, trees and files."""
    connection.execute("ALTER TABLE images ADD COLUMN sharpness REAL")
    connection.execute("ALTER TABLE images ADD COLUMN noise REAL")
    for column in ("parent", "digest", "saved"):
        connection.execute(f"CREATE INDEX images_by_{column} ON images ({column})")


def _add_money_batches_and_rates(connection: sqlite3.Connection) -> None:
    """Add prices, budgets and reservations of money; batches; rate limits."""
    connection.execute("ALTER TABLE tasks ADD COLUMN price REAL")  # USD, expected
    # hold: the reservation of money that pays for it; kernel: the kernel that requested it
    connection.execute("ALTER TABLE tasks ADD COLUMN hold TEXT")
    connection.execute("ALTER TABLE tasks ADD COLUMN kernel TEXT")
    connection.execute("ALTER TABLE tasks ADD COLUMN notebook TEXT")
    connection.execute("CREATE TABLE budgets (origin TEXT PRIMARY KEY, usd REAL NOT NULL) STRICT")
    connection.execute(
        """CREATE TABLE holds (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,       -- the kernel that reserved it
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
            since REAL NOT NULL,       -- older images are not reused
            items TEXT NOT NULL        -- JSON
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE rates (
            account TEXT PRIMARY KEY,  -- a hash of base URL and key
            paused_until REAL NOT NULL, -- Unix time, seconds
            spacing REAL NOT NULL,     -- seconds between two requests
            next REAL NOT NULL         -- Unix time, seconds: the next free slot
        ) STRICT"""
    )
    for column in ("created", "kernel", "hold"):
        connection.execute(f"CREATE INDEX tasks_by_{column} ON tasks ({column})")


def _add_store_locations(connection: sqlite3.Connection) -> None:
    """Add the location of images in object stores."""
    connection.execute("ALTER TABLE images ADD COLUMN location TEXT")  # URL; NULL: only on disk


def _add_durations(connection: sqlite3.Connection) -> None:
    """Add the durations of tasks."""
    connection.execute(
        """CREATE TABLE durations (
            origin TEXT NOT NULL,
            model TEXT NOT NULL,
            action TEXT NOT NULL,
            resolution TEXT NOT NULL,  -- empty: none was requested
            seconds REAL NOT NULL,     -- from acceptance to end, by the service's clock
            failed INTEGER NOT NULL
        ) STRICT"""
    )
    connection.execute(
        "CREATE INDEX durations_by_kind ON durations (origin, model, action, resolution)"
    )


def _add_unseen_images(connection: sqlite3.Connection) -> None:
    """Add the images that came while their page was closed."""
    connection.execute("CREATE TABLE unseen (image TEXT PRIMARY KEY REFERENCES images (id)) STRICT")


def _add_origin_of_batches(connection: sqlite3.Connection) -> None:
    """Add the service of a batch, so that resuming a simulated batch is not charged."""
    connection.execute("ALTER TABLE batches ADD COLUMN origin TEXT")  # NULL: unknown


def _add_shown_versions(connection: sqlite3.Connection) -> None:
    """Add the version of an image that a cell shows."""
    connection.execute(
        """CREATE TABLE shown_versions (
            notebook TEXT NOT NULL,    -- empty: unknown
            cell TEXT NOT NULL,        -- its ID; empty: unknown
            first TEXT NOT NULL,       -- the image that the cell requested
            shown TEXT NOT NULL,       -- the image that it shows instead
            PRIMARY KEY (notebook, cell, first)
        ) STRICT"""
    )


def _add_routes(connection: sqlite3.Connection) -> None:
    """Add the service and the action of models that are not in the catalogue."""
    for column in ("service", "action"):
        connection.execute(f"ALTER TABLE tasks ADD COLUMN {column} TEXT")


# To change the tables, append a function. Never change a function that was released.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_tables,
    _add_metrics_and_indexes,
    _add_money_batches_and_rates,
    _add_store_locations,
    _add_durations,
    _add_unseen_images,
    _add_origin_of_batches,
    _add_shown_versions,
    _add_routes,
)
