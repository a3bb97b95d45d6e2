"""Poll one task until the service has finished it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RunAPIError,
    TaskFailedError,
    TaskTimeoutError,
    resume_advice,
)
from runapi_magic.http.client import POLL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.polling import PollingPlan
    from runapi_magic.http.client import Client
    from runapi_magic.http.results import CreatedTask

_MOST_DENIALS = 3  # polls in a row in which no path knows the task; then it does not exist


async def wait_for_task(
    client: Client,
    created: CreatedTask,
    plan: PollingPlan,
    *,
    on_progress: Callable[[float | None], None],
    on_notice: Callable[[str], None],
) -> tuple[Task, tuple[str, ...]]:
    """Poll a task until the service has finished it.

    Args:
        client: Sends the polls.
        created: The task, and the paths that may return its status.
        plan: Decides when to poll, and when to give up.
        on_progress: Called when the progress that the service reports has changed. The progress is
            0 to 1, or None if the service reports none.
        on_notice: Called with a message for the user. The same message may come at every poll.

    Returns:
        The completed task and its status paths, the one that worked first.

    Raises:
        TaskFailedError: The task failed.
        TaskTimeoutError: The deadline passed, and a poll after it failed or found the task
            unfinished.
        RunAPIError: No path knows the task, or the key is no longer valid.
    """
    task, paths = created.task, created.status_paths
    if task.status is TaskStatus.COMPLETED and not task.image_urls:
        # The response to a repeated create may have the status without the images.
        task = Task(task.id, TaskStatus.PROCESSING)
    plan.hint(created.retry_after)
    progress: float | None = None
    denials = 0
    failure: RunAPIError | None = None
    is_last = False
    begun, begun_by_the_clock = time.monotonic(), time.time()
    while not task.status.is_final:
        if is_last or (failure and plan.is_over):
            raise _timeout(task, plan.timeout, failure)
        await _pause(plan, begun)
        # A response may be older than the deadline: a long cell can delay it. So poll once more.
        is_last = plan.is_over
        now = time.monotonic()
        try:
            polled = await client.get(task.id, paths)
        except RunAPIError as error:
            denials = denials + 1 if isinstance(error, NotFoundError) else 0
            failure = _temporary_failure(error, task, denials)
            continue
        finally:
            plan.note_wait(POLL_TIMEOUT, time.monotonic() - now)
        task, failure, denials = polled.task, None, 0
        if not task.status.is_final:
            plan.note_unfinished(now - begun)
        paths = (polled.path, *(path for path in paths if path != polled.path))
        plan.hint(polled.retry_after)
        if task.progress != progress:
            progress = task.progress
            on_progress(progress)
        if task.status is TaskStatus.UNKNOWN and task.word:
            on_notice(f"Task {task.id} has the unknown status {task.word!r}.")
    plan.note_finished(time.monotonic() - begun, time.time() - begun_by_the_clock)
    if task.status is TaskStatus.FAILED:
        raise TaskFailedError(
            f"The service could not make the image: {task.error or 'it gave no reason'}."
        )
    return task, paths


async def _pause(plan: PollingPlan, begun: float) -> None:
    now = time.monotonic()
    planned = plan.pause(now - begun)
    await asyncio.sleep(planned)
    plan.note_wait(planned, time.monotonic() - now)


def _temporary_failure(error: RunAPIError, task: Task, denials: int) -> RunAPIError:
    """Return the error of a failed poll, or raise it if polling again cannot help.

    Args:
        error: The error.
        task: The polled task.
        denials: The number of polls in a row, including this one, in which no path knew the task.
    """
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        raise error
    if denials >= _MOST_DENIALS:
        error.todo = f"{resume_advice(task.id)} To give it up: %runapi forget {task.id}"
        raise error
    return error


def _timeout(task: Task, seconds: float, failure: RunAPIError | None) -> TaskTimeoutError:
    last = f" The last poll failed: {failure.what}" if failure else ""
    return TaskTimeoutError(
        f"Task {task.id} was not finished after {seconds:g} s.{last}", task_id=task.id
    )
