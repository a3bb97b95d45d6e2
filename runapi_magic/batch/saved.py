"""Batches in the journal: saved before the first request is sent, and loaded by their ID.

The methods are blocking. They raise JournalError if the journal cannot be used.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.batch.sweep import Sweep
from runapi_magic.core.request import ImageRequest
from runapi_magic.errors import InvalidRequestError
from runapi_magic.journal.tables import source_rows

if TYPE_CHECKING:
    from runapi_magic.engine.image_store import ImageStore
    from runapi_magic.engine.session import Session
    from runapi_magic.journal.task_log import Journal


def saved_batches(session: Session) -> Batches:
    """Return the batches of a session's journal."""
    return Batches(session.journal, session.pipeline.image_store)


class Batches:
    """The batches of one journal.

    Args:
        journal: The journal.
        image_store: Makes the sources of requests from rows of the journal.
    """

    def __init__(self, journal: Journal, image_store: ImageStore) -> None:
        self._journal = journal
        self._image_store = image_store

    def save(self, batch: Batch, origin: str) -> None:
        """Save a batch. If it is saved already, only its service is updated.

        Args:
            batch: The batch.
            origin: The base URL of the service that makes its images now.
        """
        items = [
            {
                "prompt": item.request.prompt,
                "model": item.request.model,
                "fields": dict(item.request.fields),
                "count": item.request.count,
                "sources": source_rows(item.request),
                "service": item.request.service,
                "action": item.request.action_name,
                "variables": {name: _plain(value) for name, value in item.variables.items()},
            }
            for item in batch.items
        ]
        with self._journal.transaction() as connection:
            connection.execute(
                "INSERT INTO batches (id, created, is_sweep, title, since, items, origin)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET origin = excluded.origin",
                (
                    batch.id,
                    time.time(),
                    isinstance(batch, Sweep),
                    batch.title,
                    batch.since,
                    json.dumps(items),
                    origin,
                ),
            )

    def load(self, batch_id: str, concurrency: int, origin: str) -> Batch:
        """Return a saved batch with its requests, to be started again.

        Args:
            batch_id: The ID of the batch.
            concurrency: Number of tasks that run at the same time.
            origin: The base URL of the service that is used now.

        Raises:
            InvalidRequestError: There is no batch with this ID, or another service made its images.
                On this service, all images would be generated and charged again.
        """
        with self._journal.reading() as connection:
            row = connection.execute(
                "SELECT is_sweep, title, since, items, origin FROM batches WHERE id = ?",
                (str(batch_id),),
            ).fetchone()
        if row is None:
            raise InvalidRequestError(
                f"There is no batch with the ID {batch_id}.",
                todo="%runapi batches lists the IDs of your batches.",
            )
        is_sweep, title, since, items, saved_origin = row
        if saved_origin not in {None, origin}:
            raise InvalidRequestError(
                f"Batch {batch_id} belongs to {saved_origin}, but {origin} is used now.",
                todo="Switch back with %runapi simulator or RUNAPI_BASE_URL. To make the batch on"
                " this service, run its cell again.",
            )
        return (Sweep if is_sweep else Batch)(
            [self._item(index, item) for index, item in enumerate(json.loads(items))],
            title=title,
            concurrency=concurrency,
            since=since,
            batch_id=batch_id,
        )

    def _item(self, index: int, item: dict[str, Any]) -> Item:
        sources, mask = self._image_store.sources_of(item["sources"])
        request = ImageRequest(
            item["prompt"], item["model"], item["fields"], item["count"], sources, mask,
            item.get("service"), item.get("action"),
        )  # fmt: skip
        return Item(index, request, item["variables"])

    def newest(self, limit: int) -> list[tuple[str, float, str, int]]:
        """Return the ID, the Unix time in seconds, the title and the size of the newest batches."""
        with self._journal.reading() as connection:
            rows = connection.execute(
                "SELECT id, created, title, json_array_length(items) FROM batches"
                " ORDER BY created DESC LIMIT ?",
                (limit,),
            )
            return list(rows)


def _plain(value: Any) -> Any:
    """Return a value as JSON can store it; values of other types as text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)
