"""RunAPI's calls: create a task, look at it, upload a source, download a picture, balance.

Both published route families are spoken. A create goes to the family that its model's name
belongs to; where that family's path does not exist (404 or 405, so nothing was created) the other
is tried once, and what worked is remembered.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runapi_magic.core.formats import picture_kind
from runapi_magic.core.request import Attempt
from runapi_magic.core.task import Task, parse_task
from runapi_magic.core.task_state import TaskState, free_of_charge
from runapi_magic.errors import (
    ConnectionFailedError,
    DownloadError,
    NotFoundError,
    UnsafeURLError,
)
from runapi_magic.http.response_body import BodyError, minimum_rate, pieces

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from runapi_magic.core.catalog import Family
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.http.transport import Answer, Transport

LOOK_BUDGET = 60.0  # seconds for one look with its retries; the polling goes on after it
_PRICED = "available"  # a quote's pricing_status
_NO_SUCH_ROUTE = {404, 405}
_CHUNK = 1024 * 1024  # bytes of a picture that are written at a time
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Created:
    """What a create answered.

    Attributes:
        task: The task, with an id.
        status_paths: Where to look for its status, the likeliest first.
        retry_after: Seconds that the service asks to wait before the first look.
    """

    task: Task
    status_paths: tuple[str, ...]
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a task showed.

    Attributes:
        task: The task at that moment.
        path: The path that answered; the next look asks it first.
        retry_after: Seconds that the service asks to wait before the next look.
    """

    task: Task
    path: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A picture that was uploaded.

    Attributes:
        url: Its address.
        lifetime: Seconds that the service keeps it; None where it did not say.
    """

    url: str
    lifetime: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """The account's money, in US cents."""

    balance_cents: int
    spent_cents_today: int
    spent_cents_total: int


def new_idempotency_key() -> str:
    """Return a key for one logical task."""
    return f"runapi-magic-{uuid.uuid4()}"


@dataclass(slots=True)
class Client:
    """RunAPI's calls over one transport.

    Attributes:
        transport: The HTTP clients.
        families: The family that answered where the other has no such route, by service and action.
    """

    transport: Transport
    families: dict[tuple[str, str], Family] = field(default_factory=dict)

    async def create(
        self,
        request: ImageRequest,
        *,
        before: Callable[[Attempt], Awaitable[None]],
        state: TaskState | None = None,
        count: int = 1,
        source_urls: tuple[str, ...] = (),
        mask_url: str | None = None,
        key: str | None = None,
        budget: float = 120.0,
        stopping: asyncio.Event | None = None,
        waiting: Callable[[float], None] | None = None,
    ) -> Created:
        """Create one task of a request.

        Args:
            request: A validated request.
            before: Awaited with each attempt right before it leaves, to write it down.
            state: What is known of the task; told how far it comes.
            count: Number of pictures of this task.
            source_urls: The sources' addresses.
            mask_url: The mask's address.
            key: The idempotency key to use first; by default a new one.
            budget: Seconds for one attempt with its repeats.
            stopping: Once it is set, nothing more is sent.
            waiting: Told how many seconds it waits for its turn, where that is long, and 0 when
                it leaves.

        Raises:
            StoppedError: Nothing was sent before ``stopping`` was set.
            RunAPIError: The service refused, or no answer came.
        """
        service, action = request.route
        first = self.families.get((service, action), request.catalogue.family)
        other: Family = "flat" if first == "namespaced" else "namespaced"
        families: tuple[Family, ...] = (first, other)
        if not request.catalogue.known:  # the user named the path: another one would be a guess
            families = ("namespaced",)
        refused: NotFoundError | None = None
        for family in families:
            body = request.body(family, count=count, source_urls=source_urls, mask_url=mask_url)
            attempt = _attempt(service, action, family, body, key or new_idempotency_key())
            key = None  # another body wants another key
            try:
                created = await self.post(
                    attempt,
                    before=before,
                    state=state,
                    budget=budget,
                    stopping=stopping,
                    waiting=waiting,
                )
            except NotFoundError as error:
                # Only "no such route" is certain to have created nothing.
                if error.status_code not in _NO_SUCH_ROUTE or error.task_id or error.doubtful:
                    raise
                refused = refused or error
                if stopping is not None and stopping.is_set():
                    break
                continue
            if refused is not None:
                self.families[service, action] = family
            return created
        assert refused is not None
        raise refused

    async def post(
        self,
        attempt: Attempt,
        *,
        before: Callable[[Attempt], Awaitable[None]] | None = None,
        state: TaskState | None = None,
        budget: float = 120.0,
        stopping: asyncio.Event | None = None,
        waiting: Callable[[float], None] | None = None,
    ) -> Created:
        """Send an attempt, or send it once more: the same task, never a second one.

        Args:
            attempt: What is sent.
            before: Awaited with the attempt right before it leaves, to write it down.
            state: What is known of the task; told how far it comes.
            budget: Seconds for the attempt with its repeats.
            stopping: Once it is set, nothing more is sent.
            waiting: Told how many seconds it waits for its turn, where that is long, and 0 when
                it leaves.

        Raises:
            StoppedError: Nothing was sent before ``stopping`` was set.
            RunAPIError: The service refused, or no answer came.
        """
        state = TaskState() if state is None else state
        with state.asking():
            answer = await self.transport.request(
                "POST",
                attempt.path,
                body=attempt.body,
                idempotency_key=attempt.idempotency_key,
                leaving=leaving(attempt, before, state),
                in_line=True,
                budget=budget,
                stopping=stopping,
                read=_created_task,
                waiting=waiting,
            )
            task = _created_task(answer)
        state.know(task.id)
        paths = attempt.paths_of(task.id)
        location = answer.headers.get("location")
        if location:
            # Another origin is never asked with the key; the usual paths are.
            with contextlib.suppress(UnsafeURLError):
                paths = (self.transport.same_origin(location), *paths)
        return Created(task, paths, answer.retry_after)

    async def get(self, task_id: str, paths: tuple[str, ...]) -> Look:
        """Look at a task, asking each path in turn until one knows it.

        Args:
            task_id: The task's id.
            paths: Where its status may be, the likeliest first.

        Raises:
            NotFoundError: No path knows the task.
            RunAPIError: The service refused, or no answer came.
        """
        unknown: NotFoundError | None = None
        unreadable: ConnectionFailedError | None = None
        for path in paths:
            try:
                with free_of_charge():
                    answer = await self.transport.request("GET", path, budget=LOOK_BUDGET)
            except NotFoundError as error:
                unknown = unknown or error
                continue
            try:
                task = parse_task(answer.json())
            except ConnectionFailedError as error:  # a web page, where this is no path of the API
                unreadable = unreadable or error
                continue
            return Look(replace(task, id=task_id), path, answer.retry_after)
        if unreadable is not None:
            raise unreadable
        assert unknown is not None, "a task has at least one path"
        raise unknown

    async def upload(
        self, content: bytes, filename: str, sent: Callable[[float], None] | None = None
    ) -> Uploaded:
        """Upload a picture and return its address, good for about an hour.

        Three steps as published: prepare, PUT to the store without the key, confirm.

        Args:
            content: The encoded picture.
            filename: Its name.
            sent: Told the share that has left, 0 to 1.

        Raises:
            RunAPIError: The service or the store refused, or no answer came.
        """
        with free_of_charge():
            checksum = base64.b64encode(hashlib.md5(content).digest()).decode()  # noqa: S324 (published)
            prepared = await self._post_json(
                "/api/v1/files/prepare",
                {"filename": filename, "byte_size": len(content), "checksum": checksum},
                in_line=True,
            )
            headers = prepared.get("headers")
            await self.transport.put(
                _text(prepared, "upload_url"),
                {str(name): str(value) for name, value in headers.items()}
                if isinstance(headers, Mapping)
                else {},
                content,
                sent,
            )
            confirmed = await self._post_json(
                "/api/v1/files/confirm", {"signed_id": _text(prepared, "signed_id")}
            )
            return Uploaded(_text(confirmed, "url"), _lifetime(confirmed))

    async def _post_json(
        self, path: str, body: Mapping[str, Any], *, in_line: bool = False
    ) -> Mapping[str, Any]:
        # Uploads cost nothing, so a key that makes the repeat harmless may be made up here.
        answer = await self.transport.request(
            "POST",
            path,
            body=_encode(body),
            idempotency_key=new_idempotency_key(),
            in_line=in_line,
        )
        return _object(answer)

    async def download(self, url: str, into: Path, *, max_megabytes: float) -> str:
        """Fetch a picture into a file, without the key, and return its kind by its bytes.

        Args:
            url: The picture's address.
            into: The file to write; it exists and is empty.
            max_megabytes: Largest size, millions of bytes.

        Returns:
            ``png``, ``jpg``, ``webp`` or ``gif``.

        Raises:
            DownloadError: The address does not answer with a picture, or the picture is too large.
            UnsafeURLError: The address is refused.
        """
        most = int(max_megabytes * _MEGABYTE)
        try:
            async with minimum_rate() as moved, self.transport.stream(url) as response:
                kind = await _save(response, into, most, moved)
        except (TimeoutError, BodyError) as error:
            raise DownloadError(
                "The picture comes too slowly."
                if isinstance(error, TimeoutError)
                else f"The picture cannot be read: {error}."
            ) from None
        if kind is None:
            raise DownloadError("The picture's address answered with nothing.")
        return kind

    async def quote(self, request: ImageRequest, count: int = 1) -> float:
        """Return what one task of a request would cost, in USD. Nothing is reserved.

        Works without a key. Sources are left out: a price does not depend on where they are.

        Args:
            request: A validated request.
            count: Number of pictures of the task.

        Raises:
            RunAPIError: The service refused, or no answer came.
        """
        service, action = request.route
        body = request.body("namespaced", count=count)
        asked = {
            "service": service,
            "action": action,
            "model": body.pop("model"),
            "params": body,
        }
        # Once: the user waits, and a failure has an answer of its own.
        with free_of_charge():
            answer = await self.transport.request(
                "POST", "/api/v1/price_quotes", body=_encode(asked), needs_key=False
            )
            quote = _object(answer).get("price_quote")
            cents = _cents(quote) if isinstance(quote, Mapping) else None
            if cents is None:
                raise ConnectionFailedError("RunAPI's answer has no price in it.")
        return cents / 100

    async def balance(self) -> Balance:
        """Return the account's balance.

        Raises:
            RunAPIError: The service refused, or no answer came.
        """
        with free_of_charge():
            data = _object(await self.transport.request("GET", "/api/v1/me/balance"))
            names = ("balance_cents", "spent_cents_today", "spent_cents_total")
            cents = [value for name in names if isinstance(value := data.get(name), int)]
            if len(cents) != len(names):
                raise ConnectionFailedError("RunAPI's answer has no balance in it.")
            return Balance(*cents)


def leaving(
    attempt: Attempt, before: Callable[[Attempt], Awaitable[None]] | None, state: TaskState
) -> Callable[[], Awaitable[None]]:
    """Return what is awaited right before the first byte of an attempt leaves."""

    async def leave() -> None:
        if before is not None:
            await before(attempt)
        state.send()

    return leave


async def _save(
    response: httpx.Response, into: Path, most: int, moved: Callable[[int], None]
) -> str | None:
    """Write a picture into a file; return its kind by its bytes, None where there are none."""
    size, kind = 0, None
    waiting = bytearray()

    with into.open("wb") as file:

        async def write() -> None:
            nonlocal kind
            kind = kind or _require_picture(waiting, response.headers.get("content-type", ""))
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()

        async for piece in pieces(response, moved):
            size += len(piece)
            if size > most:
                raise DownloadError(
                    f"The picture is larger than {most / _MEGABYTE:g} MB.",
                    passing=False,
                    todo="%config RunAPIMagics.max_download_mb allows more.",
                )
            waiting += piece
            if len(waiting) >= _CHUNK:
                await write()
        if waiting:
            await write()
    return kind


def _attempt(
    service: str, action: str, family: Family, body: Mapping[str, Any], key: str
) -> Attempt:
    namespaced, flat = f"/api/v1/{service}/{action}", f"/v1/{action}"
    status: tuple[str, ...] = (f"{namespaced}/{{id}}", "/api/v1/tasks/{id}")
    if family == "flat":
        # The guide does not publish its status path: ask where one would look.
        status = (f"{flat}/{{id}}", "/v1/tasks/{id}", *status)
    return Attempt(
        key,
        family,
        flat if family == "flat" else namespaced,
        _encode(body),
        status,
    )


def _created_task(answer: Answer) -> Task:
    """Read a create answer; without an id in it or in its headers it is no answer."""
    in_header = answer.headers.get("x-runapi-task-id", "")
    try:
        task = parse_task(answer.json() if answer.body.strip() else {})
    except ConnectionFailedError:
        if not in_header:
            raise
        task = parse_task({})
    task_id = task.id or in_header
    if not task_id:
        location = answer.headers.get("location", "")
        task_id = location.rstrip("/").rpartition("/")[2] if "/tasks/" in location else ""
    if not task_id:
        raise ConnectionFailedError(
            "RunAPI answered without a task id.",
            arrived=True,
            request_id=answer.headers.get("x-request-id"),
        )
    return task.with_id(task_id)


def _lifetime(confirmed: Mapping[str, Any]) -> float | None:
    """Return the seconds between two times of the service; its clock may differ from ours."""
    try:
        until, since = (
            datetime.fromisoformat(_text(confirmed, name)) for name in ("expires_at", "created_at")
        )
        return (until - since).total_seconds()
    except (ConnectionFailedError, ValueError, TypeError):
        return None


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _object(answer: Answer) -> Mapping[str, Any]:
    data = answer.json()
    if not isinstance(data, Mapping):
        raise ConnectionFailedError("The answer is not one of RunAPI's: it is no object.")
    return data


def _cents(quote: Mapping[str, Any]) -> float | None:
    """Return the US cents of a quote that is one; a service may answer that it has no price."""
    if str(quote.get("pricing_status")).lower() != _PRICED:
        return None
    if str(quote.get("currency", "USD")).upper() != "USD":
        return None
    cents = quote.get("reservation_amount_cents")
    if not isinstance(cents, int | float) or isinstance(cents, bool):
        return None
    return cents if 0 <= cents < math.inf else None


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ConnectionFailedError(f"RunAPI's answer has no {name}.")
    return value


def _require_picture(start: bytes | bytearray, content_type: str) -> str:
    kind = picture_kind(start)
    if kind is not None:
        return kind
    shown = content_type.partition(";")[0].strip() or "unknown"
    raise DownloadError(f"What came is no PNG, JPEG, WEBP or GIF picture (sent as {shown[:60]}).")
