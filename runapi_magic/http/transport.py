"""Send requests with the key to RunAPI, and repeat them where that is safe.

The key is sent in one header, to one origin. Redirects are not followed. The key is removed from
each response before other modules see it. Requests without the key are in ``file_transfer``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from runapi_magic.core.access import Access, is_loopback_host
from runapi_magic.errors import ConnectionFailedError, RunAPIError, UnsafeURLError
from runapi_magic.http.file_transfer import FileTransfer
from runapi_magic.http.httpx_clients import CONNECT_TIMEOUT, READ_TIMEOUT, HttpxClients
from runapi_magic.http.proxies import proxy_for
from runapi_magic.http.rate_limit import Limiter, Turns
from runapi_magic.http.response_body import (
    BodyError,
    describe_body_error,
    minimum_rate,
    read_body,
)
from runapi_magic.http.responses import FIRST_ERROR, REDIRECTS, Response, error_from_response
from runapi_magic.http.retry import may_have_arrived, retrying

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    import httpx


class Transport:
    """Requests to one service.

    Args:
        access: Base URL and key.
        app: An ASGI application that answers instead of the network (the simulator).
        limiter: Limits the rate of requests. By default the transport has its own limiter.

    Attributes:
        files: Downloads and uploads, without the key.
    """

    def __init__(self, access: Access, app: Any = None, limiter: Limiter | None = None) -> None:
        self.access = access
        self.limiter = limiter or Limiter()
        self.is_public = not is_loopback_host(urlsplit(access.base_url).hostname or "")
        self.clients = HttpxClients(is_public=self.is_public, app=app)
        self.files = FileTransfer(self.clients, is_public=self.is_public)
        self._app = app

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        idempotency_key: str | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
        in_queue: bool = False,
        needs_key: bool = True,
        timeout: float = 60.0,
        stop: asyncio.Event | None = None,
        check: Callable[[Response], Any] | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> Response:
        """Send a request with the key. Repeat it where that is safe, and return the response.

        A POST is repeated only if it has an idempotency key. Each repeat sends the same bytes.

        Args:
            method: HTTP method.
            path: A path on the configured origin, or a URL on it.
            body: JSON.
            idempotency_key: Makes a POST repeatable.
            before_send: Awaited once, right before the first byte is sent. Give it for requests
                that cost money. The error of such a request is ``doubtful`` if the service may
                have accepted the request.
            in_queue: Whether the request queues with other creates while the rate is limited.
            needs_key: Whether the service refuses the request without a key. Otherwise the key is
                sent if there is one.
            timeout: Seconds for the request and its repeats. A longer ``Retry-After`` ends the
                repeats. Waiting for turns may take the same time again.
            stop: When it is set, nothing more is sent.
            check: Called with a successful response. If it raises a ConnectionFailedError, that
                counts as no response.
            on_wait: Called with the seconds that the request waits for its turn, if they are
                many, and with 0 when it is sent.

        Raises:
            APIError: The service returned an error, also after all repeats.
            RateLimitError: The same, or the turn of the request did not come.
            StoppedError: ``stop`` was set before anything was sent.
            ConnectionFailedError: There was no readable response.
            UnsafeURLError: The path leads to another origin.
            MissingKeyError: There is no key.
            ConfigurationError: The key, the certificates or the proxy cannot be used.
        """
        url = self.same_origin(path)
        if needs_key or self.access.key:
            self.access.require_key()
        headers = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        repeatable = method == "GET" or idempotency_key is not None
        doubtful, is_recorded, blocked = False, False, 0.0
        turns = Turns(self.limiter, in_queue=in_queue, timeout=timeout, stop=stop, on_wait=on_wait)
        attempts = retrying(
            repeatable=repeatable,
            timeout=lambda: timeout + turns.waited + blocked,
            stop=stop,
        )
        try:
            async for attempt in attempts:
                await turns.wait()
                if before_send is not None and not is_recorded:
                    await self._check_environment()
                    await before_send()
                    is_recorded = True
                with attempt:
                    begun = time.monotonic()
                    try:
                        response = await self._send_once(method, url, headers, body)
                        if check is not None:
                            check(response)
                    except RunAPIError as error:
                        doubtful = doubtful or may_have_arrived(error)
                        # Time in which a long cell blocked the loop does not count.
                        blocked += max(0.0, time.monotonic() - begun - _longest(error))
                        await turns.failed(error)
                        raise
        except RunAPIError as error:
            error.doubtful = doubtful and before_send is not None
            raise
        turns.accepted()
        return response

    async def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        import httpx

        client = (await self.clients.get()).api
        try:
            async with (
                minimum_rate() as moved,
                client.stream(
                    method, url, headers=dict(headers), content=body, auth=self._authorize
                ) as raw,
            ):
                # The service may have put the key into the body, and a traceback may show
                # variables. So no variable holds the original body.
                content = self.access.without_key((await read_body(raw, moved)).decode("latin-1"))
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            # The next three are about the URL: nothing was sent.
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
            UnicodeError,
        ) as error:
            raise ConnectionFailedError(
                f"{self.access.base_url} cannot be reached ({type(error).__name__})."
            ) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ConnectionFailedError(
                f"The connection to {self.access.base_url} was lost ({type(error).__name__}).",
                arrived=True,
            ) from None
        except (TimeoutError, BodyError) as error:
            why = describe_body_error(error)
            raise ConnectionFailedError(
                f"The response of {self.access.base_url} cannot be read: {why}.", arrived=True
            ) from None
        except BaseException as error:  # noqa: BLE001 (raised again)
            # For example an interrupt. The frames that it passed hold the key, and
            # ``%xmode Verbose`` shows the variables of frames.
            raise error.with_traceback(None) from None
        response = Response(
            raw.status_code,
            {name.lower(): self.access.without_key(value) for name, value in raw.headers.items()},
            content.encode("latin-1"),
        )
        status, headers = response.status_code, response.headers
        if status in REDIRECTS or status >= FIRST_ERROR:
            raise error_from_response(
                status, headers, response.body, retry_after=response.retry_after
            )
        return response

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        """Put the key into a request, but not into a variable: a traceback may show variables."""
        if self.access.key:
            request.headers["Authorization"] = f"Bearer {self.access.key.reveal()}"
        return request

    def same_origin(self, path: str) -> str:
        """Return the full URL for a path, or for a URL on the configured origin.

        Raises:
            UnsafeURLError: The URL is on another origin, which must not get the key.
        """
        try:
            url = urljoin(self.access.base_url + "/", path) if path.isprintable() else ""
        except ValueError:
            url = ""
        if not url:
            raise UnsafeURLError("The service returned an invalid URL.")
        if _origin(url) != _origin(self.access.base_url):
            raise UnsafeURLError(
                f"The service returned a URL on another origin ({urlsplit(url).hostname})."
            )
        return url

    async def prepare(self) -> None:
        """Check everything that a request needs, and send nothing.

        Raises:
            MissingKeyError: There is no key.
            ConfigurationError: The key is not valid. Or the environment names certificates that
                cannot be read, or a proxy that cannot be used.
        """
        self.access.require_key()
        await self._check_environment()

    async def _check_environment(self) -> None:
        """Find errors in the settings for certificates and proxies before anything is sent."""
        await self.clients.get()
        if self.is_public and self._app is None:
            parts = urlsplit(self.access.base_url)
            proxy_for(parts.scheme, parts.hostname or "")

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self.clients.close()


def _longest(error: RunAPIError) -> float:
    """Return the most seconds that such a failure takes, if no long cell blocks the loop."""
    never_left = isinstance(error, ConnectionFailedError) and not error.arrived
    return CONNECT_TIMEOUT + (0.0 if never_left else READ_TIMEOUT)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return parts.scheme, "", None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port or default
