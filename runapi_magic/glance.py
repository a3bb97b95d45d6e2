"""The first look at the journal, on ``%load_ext``: one query, and nothing else is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IS_UNFINISHED = "state IN ('planned', 'sent', 'running', 'completed')"


def is_anything_unfinished(folder: Path) -> bool:
    """Whether any task in the folder's journal has no end yet; False where in doubt."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return False
    import sqlite3

    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.1)
        try:
            query = f"SELECT 1 FROM tasks WHERE {IS_UNFINISHED} LIMIT 1"  # noqa: S608 (ours)
            return connection.execute(query).fetchone() is not None
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        return False
