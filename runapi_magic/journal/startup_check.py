"""The first look at the journal, on ``%load_ext``: two queries, and nothing else is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IS_UNFINISHED = "state IN ('planned', 'sent', 'running', 'completed')"


_QUESTIONS = {
    "unfinished": f"SELECT 1 FROM tasks WHERE {IS_UNFINISHED} LIMIT 1",  # noqa: S608 (ours)
    "unseen": "SELECT 1 FROM unseen LIMIT 1",
}


def look(folder: Path) -> set[str]:
    """Return what there is to be told of the folder's journal; nothing where in doubt.

    ``unfinished``: a task has no end yet. ``unseen``: a picture came when nobody was there.
    """
    path = folder / "journal.sqlite"
    if not path.exists():
        return set()
    try:
        import sqlite3
    except ImportError:  # told when it is needed
        return set()

    found = set()
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.1)
        try:
            for name, query in _QUESTIONS.items():
                if connection.execute(query).fetchone() is not None:
                    found.add(name)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        pass  # or tables of an older version, which has nothing unseen
    return found
