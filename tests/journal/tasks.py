"""Functions that put tasks into a journal."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from runapi_magic.core.request import ImageRequest
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.http.client import Attempt

ORIGIN = "https://runapi.ai"
REQUEST = ImageRequest("a fox", "gpt-image-2", {"aspect_ratio": "3:4"})
ATTEMPT = Attempt(
    "key-1", "namespaced", "/api/v1/gpt_image_2/text_to_image", b'{"model":"gpt-image-2"}',
    ("/api/v1/gpt_image_2/text_to_image/{id}",),
)  # fmt: skip


_numbers = iter(range(10_000))


def allocate(journal, request=REQUEST, *, reuse=True, origin=ORIGIN, intact=True, generation="g1"):
    """Allocate images and tasks to a request."""
    return journal.allocate(
        generation, request, origin, split=lambda count: (1,) * count,
        new_id=lambda: f"task-{next(_numbers)}", usable=lambda *_: intact,
        since=0.0 if reuse else None,
    )  # fmt: skip


def plan(journal, request=REQUEST, **options):
    """Plan one task for a request and return its ID."""
    (task,) = allocate(journal, request, **options).planned
    return task.id


def image(task, request=REQUEST, number=0):
    """Return an image of a task."""
    return GeneratedImage(
        id=f"{task}-{number}", path=Path(f"/images/{task}-{number}.png"), request=request,
        width=8, height=6, task_id="tsk_1", digest=f"{number:064x}", created=5.0,
    )  # fmt: skip


def finish(journal, task, request=REQUEST, count=1):
    """Save the images of a task."""
    journal.mark_sent(task, ATTEMPT)
    journal.mark_running(task, "tsk_1", ("/p/tsk_1",))
    journal.mark_completed(task, 0.06, 12.5)
    journal.mark_saved(task, [image(task, request, number) for number in range(count)])


def query(journal, sql):
    """Return the rows of an SQL query, through a connection of its own."""
    with sqlite3.connect(journal.path) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def insert_old_task(journal, model="gpt-image-2", path="/api/v1/gpt_image_2/text_to_image"):
    """Insert a running task as the first version of the tables had it. Return its ID."""
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO tasks (id, generation, origin, created, model, prompt, fields, sources,"
            " fingerprint, count, state, idempotency_key, family, path, body, status_paths,"
            " task_id)"
            " VALUES ('old', 'g', 'https://runapi.ai', 1.0, ?, 'a fox', '{}', '[]', 'f', 1,"
            " 'running', 'key', 'namespaced', ?, X'7B7D', ?, 'tsk_1')",
            (model, path, json.dumps([f"{path}/{{id}}"])),
        )
    return "old"
