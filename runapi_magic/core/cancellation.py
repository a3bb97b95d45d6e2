"""Work that is done to its end although whoever waits for it is cancelled, once or often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


async def finish_despite_cancellation(
    work: Coroutine[object, object, T], on_cancel: Callable[[], object] | None = None
) -> T:
    """Await some work; a cancellation is raised when the work is done, and not before.

    Args:
        work: What is done.
        on_cancel: Called at each cancellation, to let the work end sooner.

    Returns:
        What the work returns, where nothing was cancelled.

    Raises:
        CancelledError: It was cancelled meanwhile, and the work has come to its end.
        BaseException: Whatever the work raised, also where it was cancelled meanwhile.
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
