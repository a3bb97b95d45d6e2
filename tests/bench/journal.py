"""A journal of 100,000 requests against an empty one.

The table compares %load_ext and the search for a reusable image.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_client.manager import run_kernel

from runapi_magic.core.request import ImageRequest
from runapi_magic.engine.generation import new_local_id
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.files import is_intact
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 100_000
_REPEATS = 9
_LOAD = """
import time
started = time.perf_counter()
get_ipython().run_line_magic("load_ext", "runapi_magic")
print((time.perf_counter() - started) * 1000)
"""


def report() -> Iterator[str]:
    """Yield the lines of the table: medians in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        _fill(small, 1)
        _fill(large, MANY)
        yield f"{'journal':24}{'1 request':>12}{f'{MANY:,} requests':>20}{'ratio':>8}"
        for name, measure in (("%load_ext", _load), ("search for reuse", _find_reusable)):
            pairs = [(measure(small), measure(large)) for _ in range(_REPEATS)]
            few, many = (statistics.median(side) for side in zip(*pairs, strict=True))
            yield f"{name:24}{few:9.1f} ms{many:17.1f} ms{many / few:8.2f}"


def _fill(folder: Path, count: int) -> None:
    journal = Journal(folder)
    request = ImageRequest("prompt 0", "gpt-image-2")
    _reserve(journal, request)
    journal.close()
    with sqlite3.connect(journal.path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(tasks)")]
        row = dict(zip(columns, connection.execute("SELECT * FROM tasks").fetchone(), strict=True))
        connection.execute("UPDATE tasks SET state = 'failed'")
        placeholders = ", ".join("?" for _ in columns)
        connection.executemany(
            f"INSERT INTO tasks VALUES ({placeholders})",
            (
                tuple(
                    (
                        row
                        | {
                            "id": new_local_id(),
                            "fingerprint": f"{number:064x}",
                            "state": "saved",
                            "created": row["created"] - number,
                        }
                    ).values()
                )
                for number in range(1, count)
            ),
        )


def _reserve(journal: Journal, request: ImageRequest) -> None:
    journal.allocate(
        "generation",
        request,
        "https://runapi.ai",
        split=lambda count: (1,) * count,
        new_id=new_local_id,
        usable=is_intact,
        since=0.0,
    )


def _find_reusable(folder: Path) -> float:
    journal = Journal(folder)
    _reserve(journal, ImageRequest("warm up", "gpt-image-2"))
    started = time.perf_counter()
    _reserve(journal, ImageRequest(f"prompt {started}", "gpt-image-2"))
    milliseconds = (time.perf_counter() - started) * 1000
    with sqlite3.connect(journal.path) as connection:
        connection.execute("DELETE FROM tasks WHERE state = 'planned'")
    journal.close()
    return milliseconds


def _load(folder: Path) -> float:
    environment = {**os.environ, "RUNAPI_MAGIC_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    with run_kernel(env=environment) as client:
        printed: list[str] = []
        client.execute_interactive(
            _LOAD, output_hook=lambda message: printed.append(message["content"].get("text", ""))
        )
    return float("".join(printed).splitlines()[-1])
