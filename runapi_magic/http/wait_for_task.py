"""Looking at one task until the service is done with it."""

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
from runapi_magic.http.client import LOOK_BUDGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.polling import PollingPlan
    from runapi_magic.http.client import Client, Created

_UNKNOWN_TASK_LOOKS = 3  # a task that every path denies this often is not there


async def follow(
    client: Client,
    created: Created,
    plan: PollingPlan,
    *,
    progress: Callable[[float | None], None],
    notice: Callable[[str], None],
) -> tuple[Task, tuple[str, ...]]:
    """Look at a task until the service is done with it.

    Args:
        client: Looks.
        created: The task, and where its status is.
        plan: When to look, and when to give up.
        progress: Called with the service's own progress, 0 to 1, when it changes.
        notice: Takes a notice to be shown once.

    Returns:
        The completed task, and its paths with the one that answered first.

    Raises:
        TaskFailedError: The service could not make it.
        TaskTimeoutError: The deadline passed, and a look after it found the task unfinished.
        RunAPIError: Nobody knows the task, or the key is not good any more.
    """
    task, paths = created.task, created.status_paths
    if task.status is TaskStatus.COMPLETED and not task.image_urls:
        # The answer to a repeated create may say that it is done, and not more.
        task = Task(task.id, TaskStatus.PROCESSING)
    plan.hint(created.retry_after)
    seen: float | None = None
    denials = 0
    trouble: RunAPIError | None = None
    is_last = False
    begun, begun_by_the_clock = time.monotonic(), time.time()
    while not task.status.is_final:
        if is_last or (trouble and plan.is_over):
            raise _timeout(task, plan.timeout, trouble)
        await _pause(plan, begun)
        # An answer to a look sent before the deadline may be old: a long cell can keep it waiting.
        is_last = plan.is_over
        now = time.monotonic()
        try:
            look = await client.get(task.id, paths)
        except RunAPIError as error:
            denials = denials + 1 if isinstance(error, NotFoundError) else 0
            trouble = _passing_trouble(error, task, denials)
            continue
        finally:
            plan.waited(LOOK_BUDGET, time.monotonic() - now)
        task, trouble, denials = look.task, None, 0
        if not task.status.is_final:
            plan.unfinished(now - begun)
        paths = (look.path, *(path for path in paths if path != look.path))
        plan.hint(look.retry_after)
        if task.progress != seen:
            seen = task.progress
            progress(seen)
        if task.status is TaskStatus.UNKNOWN and task.word:
            notice(f"Task {task.id} has the status {task.word!r}, which is not known.")
    plan.finished(time.monotonic() - begun, time.time() - begun_by_the_clock)
    if task.status is TaskStatus.FAILED:
        raise TaskFailedError(
            f"The service could not make the picture: {task.error or 'it gave no reason'}."
        )
    return task, paths


async def _pause(plan: PollingPlan, begun: float) -> None:
    now = time.monotonic()
    planned = plan.pause(now - begun)
    await asyncio.sleep(planned)
    plan.waited(planned, time.monotonic() - now)


def _passing_trouble(error: RunAPIError, task: Task, denials: int) -> RunAPIError:
    """Return a failed look's error where it says nothing of the task; raise it where it does.

    Args:
        error: Why the look failed.
        task: The task that was looked at.
        denials: How often in a row every path denied the task, this look included.
    """
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        raise error
    if denials >= _UNKNOWN_TASK_LOOKS:
        error.todo = f"{resume_advice(task.id)} To give it up: %runapi forget {task.id}"
        raise error
    return error


def _timeout(task: Task, seconds: float, trouble: RunAPIError | None) -> TaskTimeoutError:
    last = f" The last look failed: {trouble.what}" if trouble else ""
    return TaskTimeoutError(
        f"Task {task.id} was not done after {seconds:g} s of waiting.{last}", task_id=task.id
    )
