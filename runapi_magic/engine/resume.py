"""Finish or give up the tasks that an earlier kernel or an interrupted wait left unfinished."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runapi_magic.core.request import ImageRequest
from runapi_magic.engine.generation import Generation
from runapi_magic.errors import InvalidRequestError
from runapi_magic.journal.matching import KEY_LIFETIME

if TYPE_CHECKING:
    import asyncio

    from runapi_magic.engine.session import Session
    from runapi_magic.journal.tables import StoredTask
    from runapi_magic.journal.task_log import Journal


def resume_tasks(
    session: Session, task_id: str | None = None, loop: asyncio.AbstractEventLoop | None = None
) -> Generation:
    """Continue unfinished tasks; return one handle for all of them.

    A request whose response was lost is sent again with its own idempotency key. If it is older
    than a day, it is skipped unless you name it: RunAPI does not publish how long it remembers a
    key. A task that was never sent is sent now, if the budget allows it, and is charged.

    Args:
        session: The session that continues them.
        task_id: RunAPI's ID of one task, or its ID in the journal; None for all.
        loop: The loop that runs them, by default the running one.

    Raises:
        InvalidRequestError: No unfinished task has this ID.
        MissingKeyError: There is no key.
        JournalError: The journal cannot be read.
    """
    service, pipeline = session.service(), session.pipeline
    service.access.require_key()
    origin, now = service.access.base_url, time.time()

    def wanted(task: StoredTask) -> bool:
        if task.origin != origin:
            return False
        if task_id is not None:
            return task_id in {task.task_id, task.id}
        return not is_stale(task, now)

    nothing = ImageRequest("", session.settings.model)
    generation = Generation(nothing, [], simulated=service.is_simulated)
    found = session.journal.claim(wanted, generation.id, generation.reservation)
    if task_id is not None and not found:
        raise InvalidRequestError(
            f"No unfinished task of {origin} has the ID {task_id}.",
            todo="Check the ID. %runapi resume without an ID continues all unfinished tasks.",
        )
    # Now, not on the loop: the handle is shown at once, and the journal has all that it shows.
    requests = [pipeline.image_store.request_of(task) for task in found]
    planned_tasks = [
        pipeline.planned_task(task, request, service)
        for task, request in zip(found, requests, strict=True)
    ]
    generation.request = next(iter(requests), nothing)
    generation.set_tasks([planned.task for planned in planned_tasks])
    session.begin(generation, pipeline.run(generation, service, planned_tasks=planned_tasks), loop)
    return generation


def forget_tasks(journal: Journal, task_id: str | None = None) -> list[StoredTask]:
    """Give up unfinished tasks; return them as they were.

    The journal keeps their rows, but they are no longer resumed or counted as unfinished. A task
    that was sent may have been charged: it counts against budgets by its cost, or by its expected
    price if the cost is not known. If you make the same request again, you pay again.

    Args:
        journal: The journal.
        task_id: RunAPI's ID of one task, or its ID in the journal; None for all lost tasks: RunAPI
            does not know them, or they got no response and their idempotency key is too old.

    Raises:
        InvalidRequestError: No unfinished task has this ID, or a kernel is working on it.
        JournalError: The journal cannot be changed.
    """
    now = time.time()

    def wanted(task: StoredTask) -> bool:
        if task_id is not None:
            return task_id in {task.task_id, task.id}
        return task.is_denied or is_stale(task, now)

    found = journal.forget(wanted)
    if task_id is not None and not found:
        raise InvalidRequestError(
            f"No unfinished task has the ID {task_id}, or a kernel is working on it.",
            charged="Nothing was changed.",
            todo=f"To stop waiting for a running task: %runapi cancel {task_id}",
        )
    return found


def is_stale(task: StoredTask, now: float) -> bool:
    """Whether a request was sent without a response so long ago that its key may be forgotten."""
    was_sent = task.attempt is not None and task.task_id is None
    return was_sent and now - task.created > KEY_LIFETIME
