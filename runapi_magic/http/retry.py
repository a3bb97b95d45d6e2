"""What is repeated, when, and when not: the rules for one request's attempts."""

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
_ATTEMPTS = 5  # for failures without a Retry-After; with one, the deadline decides
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds, doubling


def retrying(
    *, repeatable: bool, budget: Callable[[], float], stopping: asyncio.Event | None
) -> AsyncRetrying:
    """Return the attempts of one request.

    Args:
        repeatable: Whether a repeat is harmless.
        budget: Returns the seconds for all attempts together, so far; a longer ``Retry-After``
            ends them.
        stopping: Once it is set, no attempt follows.
    """
    from tenacity import AsyncRetrying, retry_if_exception

    async def sleep(seconds: float) -> None:
        await until_stopped(asyncio.sleep(seconds), stopping)

    return AsyncRetrying(
        retry=retry_if_exception(lambda error: repeatable and _is_passing(error)),
        wait=_pause,
        stop=lambda state: is_set(stopping) or _stop(state, budget()),
        sleep=sleep,
        reraise=True,
    )


async def until_stopped(work: Coroutine[Any, Any, Any], stopping: asyncio.Event | None) -> bool:
    """Await some work, but not on when the user wants no more; return whether it was done."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(work)]
    if stopping is not None:
        waits.append(asyncio.ensure_future(stopping.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            waits[0].result()
        return waits[0].done()
    finally:
        for wait in waits:
            wait.cancel()


def is_set(stopping: asyncio.Event | None) -> bool:
    """Whether the user wants no more."""
    return stopping is not None and stopping.is_set()


def _pause(state: Any) -> float:
    """Return the seconds before the next attempt: as told, or doubling with jitter."""
    told = _told(state)
    if told is not None and told >= _FIRST_BACKOFF:
        return told
    doubled: float = _FIRST_BACKOFF * 2.0 ** (state.attempt_number - 1)
    return min(doubled, _LONGEST_BACKOFF) * random.uniform(1.0, 1.5)  # noqa: S311 (jitter)


def _stop(state: Any, budget: float) -> bool:
    if _told(state) is None and state.attempt_number >= _ATTEMPTS:
        return True
    return bool(state.seconds_since_start + state.upcoming_sleep > budget)


def _told(state: Any) -> float | None:
    """Return the seconds that the service asked to wait, if it did."""
    seconds: float | None = getattr(state.outcome.exception(), "retry_after", None)
    return seconds


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, APIError):
        return error.status_code in _RETRIED or error.code in _RETRIED_CODES
    return isinstance(error, ConnectionFailedError) and not isinstance(error, CertificateError)


def may_have_arrived(error: RunAPIError) -> bool:
    """Whether the service may have done what was asked although no good answer came."""
    if isinstance(error, APIError):
        return error.task_id is not None or error.status_code in {408, *range(500, 600)}
    return isinstance(error, ConnectionFailedError) and error.arrived
