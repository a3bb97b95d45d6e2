"""The durations of tasks in the journal. The newest of each kind are kept."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from runapi_magic.core.duration_model import KEPT, Duration

if TYPE_CHECKING:
    import sqlite3

    from runapi_magic.core.duration_model import Kind

_OF_KIND = "origin = ? AND model = ? AND action = ? AND resolution = ?"


def select_durations(connection: sqlite3.Connection, kind: Kind) -> list[Duration]:
    """Return the durations of the last tasks of a kind, oldest first."""
    rows = connection.execute(
        f"SELECT seconds, failed FROM durations WHERE {_OF_KIND}"  # noqa: S608 (no user input)
        " ORDER BY rowid DESC LIMIT ?",
        (*astuple(kind), KEPT),
    ).fetchall()
    return [Duration(seconds, bool(failed)) for seconds, failed in reversed(rows)]


def insert_duration(connection: sqlite3.Connection, kind: Kind, duration: Duration) -> None:
    """Add a duration and delete those of its kind that are too old to be used."""
    values = astuple(kind)
    connection.execute(
        "INSERT INTO durations (origin, model, action, resolution, seconds, failed)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*values, duration.seconds, duration.failed),
    )
    connection.execute(
        f"DELETE FROM durations WHERE {_OF_KIND} AND rowid <= (SELECT rowid FROM durations"  # noqa: S608 (no user input)
        f" WHERE {_OF_KIND} ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
        (*values, *values, KEPT),
    )
