"""The results of RunAPI's calls, read from the responses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runapi_magic.core.task import Task, parse_task
from runapi_magic.errors import ConnectionFailedError

if TYPE_CHECKING:
    from runapi_magic.http.responses import Response

_PRICED = "available"  # a quote's pricing_status
_BALANCE_FIELDS = ("balance_cents", "spent_cents_today", "spent_cents_total")


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """The result of a create.

    Attributes:
        task: The task, with an id.
        status_paths: The paths that may return its status, the most likely first.
        retry_after: Seconds that the service asks to wait before the first poll.
    """

    task: Task
    status_paths: tuple[str, ...]
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class PolledTask:
    """The result of one poll.

    Attributes:
        task: The task at that time.
        path: The path that returned its status. The next poll tries it first.
        retry_after: Seconds that the service asks to wait before the next poll.
    """

    task: Task
    path: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """The result of an upload.

    Attributes:
        url: The URL of the file.
        lifetime: Seconds that the service keeps the file; None if it does not say.
    """

    url: str
    lifetime: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """The money in the account, in US cents."""

    balance_cents: int
    spent_cents_today: int
    spent_cents_total: int


def read_created_task(response: Response) -> Task:
    """Read the task from the response to a create.

    The id may be in the body or in a header.

    Raises:
        ConnectionFailedError: There is no id, so this is not a response of RunAPI.
    """
    in_header = response.headers.get("x-runapi-task-id", "")
    try:
        task = parse_task(response.json() if response.body.strip() else {})
    except ConnectionFailedError:
        if not in_header:
            raise
        task = parse_task({})
    task_id = task.id or in_header
    if not task_id:
        location = response.headers.get("location", "")
        task_id = location.rstrip("/").rpartition("/")[2] if "/tasks/" in location else ""
    if not task_id:
        raise ConnectionFailedError(
            "RunAPI's response has no task ID.",
            arrived=True,
            request_id=response.headers.get("x-request-id"),
        )
    return task.with_id(task_id)


def read_uploaded_file(data: Mapping[str, Any]) -> UploadedFile:
    """Read the file from the response to a confirmed upload.

    Raises:
        ConnectionFailedError: There is no URL in it.
    """
    return UploadedFile(read_text(data, "url"), _lifetime(data))


def read_quote(data: Mapping[str, Any]) -> float:
    """Read a price in USD from the response to a price request.

    Raises:
        ConnectionFailedError: There is no price in it.
    """
    quote = data.get("price_quote")
    cents = _cents(quote) if isinstance(quote, Mapping) else None
    if cents is None:
        raise ConnectionFailedError("RunAPI's response has no price.")
    return cents / 100


def read_balance(data: Mapping[str, Any]) -> Balance:
    """Read the balance of the account.

    Raises:
        ConnectionFailedError: There is no balance in it.
    """
    cents = [value for name in _BALANCE_FIELDS if isinstance(value := data.get(name), int)]
    if len(cents) != len(_BALANCE_FIELDS):
        raise ConnectionFailedError("RunAPI's response has no balance.")
    return Balance(*cents)


def read_text(data: Mapping[str, Any], name: str) -> str:
    """Return a text from a response.

    Raises:
        ConnectionFailedError: There is no such text.
    """
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ConnectionFailedError(f"RunAPI's response has no {name}.")
    return value


def _lifetime(data: Mapping[str, Any]) -> float | None:
    """Return the seconds between two times of the service: its clock may differ from ours."""
    try:
        until, since = (
            datetime.fromisoformat(read_text(data, name)) for name in ("expires_at", "created_at")
        )
        return (until - since).total_seconds()
    except (ConnectionFailedError, ValueError, TypeError):
        return None


def _cents(quote: Mapping[str, Any]) -> float | None:
    """Return the US cents of a quote; None if the service has no price."""
    if str(quote.get("pricing_status")).lower() != _PRICED:
        return None
    if str(quote.get("currency", "USD")).upper() != "USD":
        return None
    cents = quote.get("reservation_amount_cents")
    if not isinstance(cents, int | float) or isinstance(cents, bool):
        return None
    return cents if 0 <= cents < math.inf else None
