"""Decide which failed requests are repeated, and when."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import APIError, CertificateError, ConnectionFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tenacity import AsyncRetrying

    from runapi_magic.errors import RunAPIError

_RETRIED = {408, 429, 500, 502, 503, 504}
_RETRIED_CODES = {"source_task_not_ready"}
_ATTEMPTS = 5  # of a request, for failures without Retry-After; with it, the deadline decides
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds; each pause is twice as long as the last


def retrying(
    *, repeatable: bool, timeout: Callable[[], float], stop: asyncio.Event | None
) -> AsyncRetrying:
    """Return tenacity's attempts: the first request and its repeats.

    Args:
        repeatable: Whether a repeat is safe.
        timeout: Returns the seconds that the request and its repeats may take, as known now. A
            longer ``Retry-After`` ends the repeats.
        stop: When it is set, the request is not repeated.
    """
    from tenacity import AsyncRetrying, retry_if_exception

    async def sleep(seconds: float) -> None:
        await until_stopped(asyncio.sleep(seconds), stop)

    return AsyncRetrying(
        retry=retry_if_exception(lambda error: repeatable and _is_temporary(error)),
        wait=_pause,
        stop=lambda state: is_set(stop) or _is_over(state, timeout()),
        sleep=sleep,
        reraise=True,
    )


async def until_stopped(work: Coroutine[Any, Any, Any], stop: asyncio.Event | None) -> bool:
    """Await some work until ``stop`` is set. Return whether the work was finished."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(work)]
    if stop is not None:
        waits.append(asyncio.ensure_future(stop.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            waits[0].result()
        return waits[0].done()
    finally:
        for wait in waits:
            wait.cancel()


def is_set(stop: asyncio.Event | None) -> bool:
    """Whether the user has stopped the request."""
    return stop is not None and stop.is_set()


def _pause(state: Any) -> float:
    """Return the seconds before the next repeat.

    It is ``Retry-After``. If that is missing or very short, it is a backoff with jitter.
    """
    retry_after = _retry_after(state)
    if retry_after is not None and retry_after >= _FIRST_BACKOFF:
        return retry_after
    doubled: float = _FIRST_BACKOFF * 2.0 ** (state.attempt_number - 1)
    return min(doubled, _LONGEST_BACKOFF) * random.uniform(1.0, 1.5)  # noqa: S311 (jitter)


def _is_over(state: Any, timeout: float) -> bool:
    if _retry_after(state) is None and state.attempt_number >= _ATTEMPTS:
        return True
    return bool(state.seconds_since_start + state.upcoming_sleep > timeout)


def _retry_after(state: Any) -> float | None:
    seconds: float | None = getattr(state.outcome.exception(), "retry_after", None)
    return seconds


def _is_temporary(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, APIError):
        return error.status_code in _RETRIED or error.code in _RETRIED_CODES
    return isinstance(error, ConnectionFailedError) and not isinstance(error, CertificateError)


def may_have_arrived(error: RunAPIError) -> bool:
    """Whether the service may have accepted the request although it sent no good response."""
    if isinstance(error, APIError):
        return error.task_id is not None or error.status_code in {408, *range(500, 600)}
    return isinstance(error, ConnectionFailedError) and error.arrived
