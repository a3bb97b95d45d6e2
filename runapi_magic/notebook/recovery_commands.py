"""The commands of ``%runapi`` for unfinished requests: resume, cancel and forget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runapi_magic.engine.backend import SIMULATOR_URL
from runapi_magic.engine.resume import forget_tasks, is_stale
from runapi_magic.notebook.arguments import usage_error

if TYPE_CHECKING:
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.session import Session


def resume(session: Session, arguments: list[str]) -> str | Generation:
    """Resume all unfinished requests (``resume``), or one task (``resume ID``)."""
    from runapi_magic.notebook.api import resume

    match arguments:
        case []:
            listed = _skipped(session)
            if listed and session.simulator is None and not session.service().access.key:
                return listed
            generation = resume()
        case [task_id]:
            listed, generation = "", resume(task_id)
        case _:
            raise usage_error(
                "%runapi resume takes the ID of one task, or nothing.", "%runapi resume [ID]"
            )
    if generation.tasks:
        return generation
    return "\n".join(filter(None, ["Nothing is unfinished.", listed]))


def _skipped(session: Session) -> str:
    """Return the requests that ``resume`` skips, with the reasons."""
    origin, now = session.service().access.base_url, time.time()
    lines = []
    for task in session.journal.unfinished():
        title = task.prompt[:60] or task.model
        if task.origin == SIMULATOR_URL != origin:
            lines.append(
                f"Skipped: {title!r} is simulated. To resume it, run %runapi simulator on first."
            )
        elif task.origin != origin:
            lines.append(f"Skipped: {title!r} belongs to {task.origin}, not to {origin}.")
        elif is_stale(task, now):
            lines.append(
                f"Skipped: {title!r} was sent more than a day ago and never answered."
                f" It may have been charged. To send it again: %runapi resume {task.id}"
                f"  To give it up: %runapi forget {task.id}"
            )
    return "\n".join(lines)


def cancel(session: Session, arguments: list[str]) -> str:
    """Stop waiting for all requests (``cancel``), or for one task or batch (``cancel ID``)."""
    match arguments:
        case [] | [_]:
            stopped = session.cancel(*arguments)
        case _:
            raise usage_error(
                "%runapi cancel takes the ID of one task or batch, or nothing.",
                "%runapi cancel [ID]",
            )
    if not stopped:
        return "Nothing is running."
    ids = ", ".join(dict.fromkeys(name for work in stopped for name in work.task_ids))
    return (
        f"Stopped waiting{ids and f' for {ids}'}. RunAPI cannot cancel a running task; it may"
        " finish and be charged. %runapi resume downloads the images."
    )


def forget(session: Session, arguments: list[str]) -> str:
    """Give up one unfinished task (``forget ID``), or all that are lost (``forget --lost``).

    A lost task is one that RunAPI does not know any more, or a request that was sent more than a
    day ago and never answered. The journal keeps the rows and counts them as charged.
    """
    match arguments:
        case ["--lost"]:
            found = forget_tasks(session.journal)
        case [task_id] if not task_id.startswith("-"):
            found = forget_tasks(session.journal, task_id)
        case _:
            raise usage_error(
                "%runapi forget takes the ID of one task, or --lost.",
                "%runapi forget ID or %runapi forget --lost",
                charged="Nothing was changed.",
            )
    if not found:
        return (
            "Nothing is lost: RunAPI has not reported any unfinished task as unknown, and no"
            " request has waited more than a day for an answer. To give up another task:"
            " %runapi forget ID"
        )
    lines = [
        f"Gave up {task.prompt[:60] or task.model!r} ({task.task_id or task.id})." for task in found
    ]
    if any(task.attempt for task in found):
        lines.append(
            "What was sent may have been charged, and still counts against budgets. The journal"
            " keeps it, but %runapi resume ignores it. If you request the same image again, you pay"
            " for a new one."
        )
    else:
        lines.append("Nothing had been sent, nothing was charged.")
    return "\n".join(lines)
