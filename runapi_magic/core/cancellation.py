"""Finish some work even if the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


async def finish_despite_cancellation(
    work: Coroutine[object, object, T], on_cancel: Callable[[], object] | None = None
) -> T:
    """Await some work. If this is cancelled, once or often, raise that after the work is finished.

    Args:
        work: The work.
        on_cancel: Called at each cancellation. It can make the work finish sooner.

    Returns:
        The result of the work, if there was no cancellation.

    Raises:
        CancelledError: There was a cancellation, and the work is finished.
        BaseException: The work raised it, even if there was a cancellation.
    """
    task = asyncio.ensure_future(work)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            is_cancelled = True
            if on_cancel is not None:
                on_cancel()
    result = task.result()
    if is_cancelled:
        raise asyncio.CancelledError
    return result


def raise_if_cancelled() -> None:
    """Raise the cancellation of the current task, if work raised another error instead of it.

    Raises:
        CancelledError: The current task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
