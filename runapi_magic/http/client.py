"""RunAPI's calls: create a task, poll it, upload a source, download an image, prices, balance.

RunAPI has published two families of routes, and the client uses both. A create goes to the family
of its model's name. If that family has no such path (404 or 405, so nothing was created), the
client tries the other family once and remembers which one worked.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runapi_magic.core.request import Attempt
from runapi_magic.core.task import parse_task
from runapi_magic.core.task_state import TaskState, free_of_charge
from runapi_magic.errors import ConnectionFailedError, NotFoundError, UnsafeURLError
from runapi_magic.http.results import (
    Balance,
    CreatedTask,
    PolledTask,
    UploadedFile,
    read_balance,
    read_created_task,
    read_quote,
    read_text,
    read_uploaded_file,
)

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from runapi_magic.core.catalog import Family
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.http.transport import Transport

POLL_TIMEOUT = 60.0  # seconds for one poll with its repeats; polling continues after a failed one
_NO_SUCH_ROUTE = {404, 405}


def new_idempotency_key() -> str:
    """Return an idempotency key for one task."""
    return f"runapi-magic-{uuid.uuid4()}"


@dataclass(slots=True)
class Client:
    """RunAPI's calls over one transport.

    Attributes:
        transport: Sends the requests.
        families: The family that worked after the other one had no such route, by service and
            action.
    """

    transport: Transport
    families: dict[tuple[str, str], Family] = field(default_factory=dict)

    async def create(
        self,
        request: ImageRequest,
        *,
        before_send: Callable[[Attempt], Awaitable[None]],
        state: TaskState | None = None,
        count: int = 1,
        source_urls: tuple[str, ...] = (),
        mask_url: str | None = None,
        earlier: Attempt | None = None,
        timeout: float = 120.0,
        stop: asyncio.Event | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> CreatedTask:
        """Create one task of a request.

        Args:
            request: A validated request.
            before_send: Awaited with each attempt right before it is sent, to record it.
            state: The state of the task, which is updated.
            count: Number of images of this task.
            source_urls: The URLs of the sources.
            mask_url: The URL of the mask.
            earlier: An attempt that was sent before. Its route family is tried first, with its
                idempotency key: the key protects from a second task on that route only.
            timeout: Seconds for one attempt with its repeats.
            stop: When it is set, nothing more is sent.
            on_wait: Called with the seconds that the request waits for its turn, if they are
                many, and with 0 when it is sent.

        Raises:
            StoppedError: ``stop`` was set before anything was sent.
            RunAPIError: The service refused the request, or there was no response.
        """
        service, action = request.route
        first = self.families.get((service, action), request.catalogue.family)
        first = earlier.family if earlier else first
        other: Family = "flat" if first == "namespaced" else "namespaced"
        families: tuple[Family, ...] = (first, other)
        if not request.catalogue.known:  # the user gave the path: do not guess another one
            families = ("namespaced",)
        refused: NotFoundError | None = None
        for family in families:
            body = request.body(family, count=count, source_urls=source_urls, mask_url=mask_url)
            if earlier is not None and earlier.family == family:
                key = earlier.idempotency_key
            else:  # each family has another body, so it needs another key
                key = new_idempotency_key()
            attempt = _attempt(service, action, family, body, key)
            try:
                created = await self.post(
                    attempt,
                    before_send=before_send,
                    state=state,
                    timeout=timeout,
                    stop=stop,
                    on_wait=on_wait,
                )
            except NotFoundError as error:
                # Only "no such route" makes it certain that nothing was created.
                if error.status_code not in _NO_SUCH_ROUTE or error.task_id or error.doubtful:
                    raise
                refused = refused or error
                if stop is not None and stop.is_set():
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
        before_send: Callable[[Attempt], Awaitable[None]] | None = None,
        state: TaskState | None = None,
        timeout: float = 120.0,
        stop: asyncio.Event | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> CreatedTask:
        """Send an attempt, for the first time or again. Both create the same single task.

        Args:
            attempt: The attempt.
            before_send: Awaited with the attempt right before it is sent, to record it.
            state: The state of the task, which is updated.
            timeout: Seconds for the attempt with its repeats.
            stop: When it is set, nothing more is sent.
            on_wait: Called with the seconds that the request waits for its turn, if they are
                many, and with 0 when it is sent.

        Raises:
            StoppedError: ``stop`` was set before anything was sent.
            RunAPIError: The service refused the request, or there was no response.
        """
        state = TaskState() if state is None else state
        with state.sending():
            response = await self.transport.request(
                "POST",
                attempt.path,
                body=attempt.body,
                idempotency_key=attempt.idempotency_key,
                before_send=partial(note_send, attempt, before_send, state),
                in_queue=True,
                timeout=timeout,
                stop=stop,
                check=read_created_task,
                on_wait=on_wait,
            )
            task = read_created_task(response)
        state.know(task.id)
        paths = attempt.paths_of(task.id)
        location = response.headers.get("location")
        if location:
            # If it is on another origin, only the usual paths are used: the key stays here.
            with contextlib.suppress(UnsafeURLError):
                paths = (self.transport.same_origin(location), *paths)
        return CreatedTask(task, paths, response.retry_after)

    async def get(self, task_id: str, paths: tuple[str, ...]) -> PolledTask:
        """Poll a task once. Try each path until one knows the task.

        Args:
            task_id: The id of the task.
            paths: The paths that may return its status, the most likely first.

        Raises:
            NotFoundError: No path knows the task.
            RunAPIError: The service refused the request, or there was no response.
        """
        unknown: NotFoundError | None = None
        unreadable: ConnectionFailedError | None = None
        for path in paths:
            try:
                with free_of_charge():
                    response = await self.transport.request("GET", path, timeout=POLL_TIMEOUT)
            except NotFoundError as error:
                unknown = unknown or error
                continue
            try:
                task = parse_task(response.json())
            except ConnectionFailedError as error:  # a web page: this is not a path of the API
                unreadable = unreadable or error
                continue
            return PolledTask(replace(task, id=task_id), path, response.retry_after)
        if unreadable is not None:
            raise unreadable
        assert unknown is not None, "a task has at least one path"
        raise unknown

    async def upload(
        self, content: bytes, filename: str, on_progress: Callable[[float], None] | None = None
    ) -> UploadedFile:
        """Upload an image and return its URL, which is valid for about an hour.

        RunAPI publishes three steps: prepare, PUT to the file storage without the key, confirm.

        Args:
            content: The encoded image.
            filename: Its name.
            on_progress: Called with the share that was sent, 0 to 1.

        Raises:
            RunAPIError: The service or the file storage refused the request, or there was no
                response.
        """
        with free_of_charge():
            checksum = base64.b64encode(hashlib.md5(content).digest()).decode()  # noqa: S324 (published)
            prepared = await self._post_json(
                "/api/v1/files/prepare",
                {"filename": filename, "byte_size": len(content), "checksum": checksum},
                in_queue=True,
            )
            headers = prepared.get("headers")
            await self.transport.files.upload(
                read_text(prepared, "upload_url"),
                {str(name): str(value) for name, value in headers.items()}
                if isinstance(headers, Mapping)
                else {},
                content,
                on_progress,
            )
            return read_uploaded_file(
                await self._post_json(
                    "/api/v1/files/confirm", {"signed_id": read_text(prepared, "signed_id")}
                )
            )

    async def _post_json(
        self, path: str, body: Mapping[str, Any], *, in_queue: bool = False
    ) -> Mapping[str, Any]:
        # Uploads cost nothing, so nothing needs to record this key before the request.
        response = await self.transport.request(
            "POST",
            path,
            body=_encode(body),
            idempotency_key=new_idempotency_key(),
            in_queue=in_queue,
        )
        return response.json_object()

    async def download(self, url: str, into: Path, *, max_megabytes: float) -> str:
        """Download an image into a file; see ``FileTransfer.download``."""
        return await self.transport.files.download(url, into, max_megabytes=max_megabytes)

    async def quote(self, request: ImageRequest, count: int = 1) -> float:
        """Return the price of one task of a request, in USD. Nothing is reserved.

        This works without a key. Sources are left out: the price does not depend on their URLs.

        Args:
            request: A validated request.
            count: Number of images of the task.

        Raises:
            RunAPIError: The service refused the request, or there was no response.
        """
        service, action = request.route
        body = request.body("namespaced", count=count)
        quoted = {
            "service": service,
            "action": action,
            "model": body.pop("model"),
            "params": body,
        }
        # No idempotency key, so no repeats: the user is waiting, and callers handle a failure.
        with free_of_charge():
            response = await self.transport.request(
                "POST", "/api/v1/price_quotes", body=_encode(quoted), needs_key=False
            )
            return read_quote(response.json_object())

    async def balance(self) -> Balance:
        """Return the balance of the account.

        Raises:
            RunAPIError: The service refused the request, or there was no response.
        """
        with free_of_charge():
            response = await self.transport.request("GET", "/api/v1/me/balance")
            return read_balance(response.json_object())


async def note_send(
    attempt: Attempt,
    before_send: Callable[[Attempt], Awaitable[None]] | None,
    state: TaskState,
) -> None:
    """Record that the first byte of an attempt will be sent now."""
    if before_send is not None:
        await before_send(attempt)
    state.send()


def _attempt(
    service: str, action: str, family: Family, body: Mapping[str, Any], key: str
) -> Attempt:
    namespaced, flat = f"/api/v1/{service}/{action}", f"/v1/{action}"
    status: tuple[str, ...] = (f"{namespaced}/{{id}}", "/api/v1/tasks/{id}")
    if family == "flat":
        # The guide does not publish its status path, so the likely ones are tried first.
        status = (f"{flat}/{{id}}", "/v1/tasks/{id}", *status)
    return Attempt(
        key,
        family,
        flat if family == "flat" else namespaced,
        _encode(body),
        status,
    )


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
