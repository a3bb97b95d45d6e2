"""The HTTP clients: one with the key for the configured origin, a bare one for everything else.

The key leaves this module in one header, to one origin, and no redirect is followed with it. What
comes back is searched for the key before anybody else sees it.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

from runapi_magic.core.access import Access, is_loopback_host
from runapi_magic.errors import (
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    DownloadError,
    RunAPIError,
    UnsafeURLError,
)
from runapi_magic.http.proxies import proxy_for
from runapi_magic.http.rate_limit import Limiter, Turns, lock_of_loop
from runapi_magic.http.response_body import ENCODING, BodyError, minimum_rate, pieces
from runapi_magic.http.responses import decode_json, error_from_response
from runapi_magic.http.retry import may_have_arrived, retrying
from runapi_magic.http.ssrf import check_url

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import httpx

USER_AGENT = "runapi-magic"

_MOST_REDIRECTS = 3
_CONNECT_TIMEOUT, _ANSWER_TIMEOUT = 15.0, 60.0  # seconds
_ERROR, _REDIRECT = 400, range(300, 400)
_PIECE = 64 * 1024  # bytes of an upload between two reports of its progress
_LARGEST_ANSWER = 8 * 1024 * 1024  # bytes of JSON


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered, searched for the key.

    Attributes:
        status_code: HTTP status.
        headers: Headers by lower-case name.
        body: The body.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait, None where it does not."""
        return parse_retry_after(self.headers.get("retry-after"), time.time())

    def json(self) -> Any:
        """Decode the body.

        Raises:
            ConnectionFailedError: It is no JSON: not RunAPI that answered, or half an answer.
        """
        try:
            return decode_json(self.body)
        except ValueError:
            raise ConnectionFailedError(
                "The answer is not one of RunAPI's: it is no JSON.",
                arrived=True,
                request_id=self.headers.get("x-request-id"),
            ) from None


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read ``Retry-After`` in any of its forms: ``2``, ``1.5`` or an HTTP date.

    Args:
        value: The header.
        now: Unix time in seconds that a date is counted from.

    Returns:
        Seconds, 0 or more; None where there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class Transport:
    """Requests to one service.

    Args:
        access: Base URL and key.
        app: An ASGI application that answers instead of the network (the simulator).
        limiter: Says when a request may leave; by default one of its own.
    """

    def __init__(self, access: Access, app: Any = None, limiter: Limiter | None = None) -> None:
        self.access = access
        self.limiter = limiter or Limiter()
        self.is_public = not is_loopback_host(urlsplit(access.base_url).hostname or "")
        self._app = app
        self._clients: WeakKeyDictionary[
            AbstractEventLoop, tuple[httpx.AsyncClient, httpx.AsyncClient]
        ] = WeakKeyDictionary()
        self._opening: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        idempotency_key: str | None = None,
        leaving: Callable[[], Awaitable[None]] | None = None,
        in_line: bool = False,
        needs_key: bool = True,
        budget: float = 60.0,
        stopping: asyncio.Event | None = None,
        read: Callable[[Answer], Any] | None = None,
        waiting: Callable[[float], None] | None = None,
    ) -> Answer:
        """Send a request with the key, again where that is harmless, and return its answer.

        A POST is repeated only where it has an idempotency key, with identical bytes.

        Args:
            method: HTTP method.
            path: Path on the configured origin, or an address on it.
            body: JSON.
            idempotency_key: Makes a POST repeatable.
            leaving: Awaited once, right before the first byte leaves; only for a request that
                is paid. An error is doubtful then where the service may have taken the request.
            in_line: Whether it takes turns with other creates where the service asks to slow down.
            needs_key: Whether the service refuses it without a key; else it is sent with the key
                where there is one.
            budget: Seconds for all attempts together; a longer ``Retry-After`` ends them. As many
                again for waiting for turns.
            stopping: Once it is set, no attempt follows the one that is on its way.
            read: Called with an answer of success; a ConnectionFailedError from it counts as no
                answer.
            waiting: Told how many seconds it waits for its turn, where that is long, and 0 when
                it leaves.

        Raises:
            APIError: The service answered with an error, after the last attempt.
            RateLimitError: That, or its turn did not come.
            StoppedError: Nothing was sent before ``stopping`` was set.
            ConnectionFailedError: No readable answer came.
            UnsafeURLError: The path leads to another origin.
            MissingKeyError: There is no key.
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
        doubtful, has_left, held_up = False, False, 0.0
        turns = Turns(
            self.limiter, in_line=in_line, patience=budget, stopping=stopping, told=waiting
        )
        attempts = retrying(
            repeatable=repeatable,
            budget=lambda: budget + turns.waited + held_up,
            stopping=stopping,
        )
        try:
            async for attempt in attempts:
                await turns.take()
                if leaving is not None and not has_left:
                    await self._ready()
                    await leaving()
                    has_left = True
                with attempt:
                    begun = time.monotonic()
                    try:
                        answer = await self._once(method, url, headers, body)
                        if read is not None:
                            read(answer)
                    except RunAPIError as error:
                        doubtful = doubtful or may_have_arrived(error)
                        held_up += max(0.0, time.monotonic() - begun - _longest(error))
                        await turns.failed(error)
                        raise
        except RunAPIError as error:
            error.doubtful = doubtful and leaving is not None
            raise
        turns.taken()
        return answer

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        import httpx

        client, _ = await self._open()
        try:
            async with (
                minimum_rate() as moved,
                client.stream(
                    method, url, headers=dict(headers), content=body, auth=self._authorize
                ) as response,
            ):
                # No variable holds the body as it came: the service may have put the key into it,
                # and a traceback may show variables.
                content = self._without_key((await _read(response, moved)).decode("latin-1"))
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,  # these three are about the address: nothing left
            httpx.InvalidURL,
            UnicodeError,
        ) as error:
            raise ConnectionFailedError(
                f"{self.access.base_url} cannot be reached ({_name(error)})."
            ) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ConnectionFailedError(
                f"The connection to {self.access.base_url} was lost ({_name(error)}).",
                arrived=True,
            ) from None
        except (TimeoutError, BodyError) as error:
            raise ConnectionFailedError(
                f"The answer of {self.access.base_url} cannot be read: {_in_words(error)}.",
                arrived=True,
            ) from None
        except BaseException as error:  # noqa: BLE001 (raised again)
            # An interrupt, say. The frames that it passed hold the key, and %xmode Verbose shows
            # what frames hold.
            raise error.with_traceback(None) from None
        answer = Answer(
            response.status_code,
            {name.lower(): self._without_key(value) for name, value in response.headers.items()},
            content.encode("latin-1"),
        )
        if answer.status_code in _REDIRECT or answer.status_code >= _ERROR:
            raise error_from_response(
                answer.status_code, answer.headers, answer.body, retry_after=answer.retry_after
            )
        return answer

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        """Put the key into a request. No variable holds it: a traceback may show those."""
        if self.access.key:
            request.headers["Authorization"] = f"Bearer {self.access.key.reveal()}"
        return request

    def _without_key(self, text: str) -> str:
        return text.replace(self.access.key.reveal(), "...") if self.access.key else text

    def same_origin(self, path: str) -> str:
        """Return the full address of a path, or of an address on the configured origin.

        Raises:
            UnsafeURLError: It is on another origin; the key does not go there.
        """
        try:
            url = urljoin(self.access.base_url + "/", path) if path.isprintable() else ""
        except ValueError:
            url = ""
        if not url:
            raise UnsafeURLError("The service points to an address that is none.")
        if _origin(url) != _origin(self.access.base_url):
            raise UnsafeURLError(
                f"The service points to another origin ({urlsplit(url).hostname}); not followed."
            )
        return url

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[httpx.Response]:
        """Open an address without the key, following at most three checked redirects.

        Raises:
            UnsafeURLError: The address, or one that it leads to, is refused.
            DownloadError: The address cannot be reached or answers with an error.
        """
        import httpx

        _, client = await self._open()
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                await self.check_url(url)
                async with client.stream("GET", url) as response:
                    if response.status_code not in _REDIRECT:
                        _raise_for_download(response)
                        yield response
                        return
                    try:
                        url = urljoin(url, response.headers.get("location", ""))
                    except ValueError:
                        raise UnsafeURLError("The picture's address leads to none.") from None
            except (CertificateError, ConfigurationError) as error:
                todo = f"{error.todo}\nThen: %runapi resume."
                raise DownloadError(error.what, passing=False, todo=todo) from None
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise DownloadError(f"The download broke off ({_name(error)}).") from None
        raise DownloadError(f"The picture's address leads on more than {_MOST_REDIRECTS} times.")

    async def put(
        self,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        sent: Callable[[float], None] | None = None,
    ) -> None:
        """Upload bytes without the key, once, with exactly these headers.

        Args:
            url: The store's address.
            headers: The headers.
            content: The bytes.
            sent: Told the share that has left, 0 to 1.

        Raises:
            UnsafeURLError: The address is refused.
            APIError: The store answered with an error.
            ConnectionFailedError: No answer came.
        """
        import httpx

        try:
            await self.check_url(url)
        except DownloadError as error:  # nothing is downloaded here, and nothing was made yet
            raise ConnectionFailedError(
                f"The source picture could not be uploaded: {error.what}"
            ) from None
        _, client = await self._open()
        try:
            # The length is named, so that the body is not sent as chunks: stores refuse those.
            length = {"Content-Length": str(len(content))}
            async with minimum_rate() as moved:
                body = _in_pieces(content, sent, moved)
                async with client.stream(
                    "PUT", url, headers=length | dict(headers), content=body
                ) as response:
                    answer = await _read(response, moved)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise ConnectionFailedError(
                f"The source picture could not be uploaded ({_name(error)})."
            ) from None
        except (TimeoutError, BodyError) as error:
            raise ConnectionFailedError(
                f"The source picture could not be uploaded: {_in_words(error)}."
            ) from None
        if not response.is_success:
            raise error_from_response(response.status_code, response.headers, answer)

    async def check_url(self, url: str) -> None:
        """Refuse an address that the service must not make this machine fetch.

        Raises:
            UnsafeURLError: The address is refused.
            DownloadError: The host's name cannot be resolved.
        """
        await check_url(url, service_is_public=self.is_public)

    async def prepare(self) -> None:
        """Make everything ready that a request needs, and send nothing.

        Raises:
            MissingKeyError: There is no key.
            ConfigurationError: The environment names certificates that cannot be read, or a proxy
                that cannot be used.
        """
        self.access.require_key()
        await self._ready()

    async def _ready(self) -> None:
        """Find out what is wrong with certificates and proxies before anything leaves."""
        await self._open()
        if self.is_public and self._app is None:
            parts = urlsplit(self.access.base_url)
            proxy_for(parts.scheme, parts.hostname or "")

    async def _open(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        """Return the client with the key's origin and the bare one, of the running loop.

        Raises:
            ConfigurationError: The environment names certificates that cannot be read.
        """
        loop = asyncio.get_running_loop()
        async with lock_of_loop(self._opening):
            if loop not in self._clients:
                # Imports and certificates take a while: not on the loop.
                make = await asyncio.to_thread(_client_factory, self.is_public, self._app)
                self._clients[loop] = (make(pinned=False), make(pinned=True))
            return self._clients[loop]

    async def close(self) -> None:
        """Close the running loop's connections."""
        for client in self._clients.pop(asyncio.get_running_loop(), ()):
            await client.aclose()


async def _read(response: httpx.Response, moved: Callable[[int], None]) -> bytes:
    """Return an answer's body, read no further than an answer may be long.

    Raises:
        BodyError: It is longer, or cannot be decoded.
    """
    body = bytearray()
    async for piece in pieces(response, moved):
        body += piece
        if len(body) > _LARGEST_ANSWER:
            raise BodyError(f"it is larger than {_LARGEST_ANSWER / 1024 / 1024:g} MB")
    return bytes(body)


def _in_words(error: Exception) -> str:
    return "it comes too slowly" if isinstance(error, TimeoutError) else str(error)


async def _in_pieces(
    content: bytes, sent: Callable[[float], None] | None, moved: Callable[[int], None]
) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
        moved(_PIECE)
        if sent is not None:
            sent(min(1.0, (start + _PIECE) / len(content)))
        await asyncio.sleep(0)  # a fast network takes all at once: others have their turn, too


def _client_factory(is_public: bool, app: Any) -> Callable[..., httpx.AsyncClient]:
    """Return a maker of clients; what takes a while is done here."""
    import httpx

    from runapi_magic.http.aiohttp_transport import Connections
    from runapi_magic.http.certificates import create_tls_context

    verify = create_tls_context() if app is None else None

    def make(*, pinned: bool) -> httpx.AsyncClient:
        connections: httpx.AsyncBaseTransport = (
            httpx.ASGITransport(app=app)
            if verify is None
            # A proxy of the environment is for the network, not for this machine.
            else Connections(verify, pinned=pinned and is_public, proxied=is_public)
        )
        return httpx.AsyncClient(
            transport=connections,
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "*/*",
                # Pictures are compressed already.
                "Accept-Encoding": "identity" if pinned else ENCODING,
            },
            timeout=httpx.Timeout(_ANSWER_TIMEOUT, connect=_CONNECT_TIMEOUT),
            follow_redirects=False,
        )

    return make


def _longest(error: RunAPIError) -> float:
    """Return the seconds that such a failure takes at most; a long cell makes it take more."""
    never_left = isinstance(error, ConnectionFailedError) and not error.arrived
    return _CONNECT_TIMEOUT + (0.0 if never_left else _ANSWER_TIMEOUT)


def _raise_for_download(response: httpx.Response) -> None:
    if response.status_code >= _ERROR:
        raise DownloadError(
            f"The picture's address answered with {response.status_code}.",
            expired=response.status_code in {403, 404, 410},
            retry_after=parse_retry_after(response.headers.get("retry-after"), time.time()),
        )


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return parts.scheme, "", None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port or default


def _name(error: Exception) -> str:
    """A network error's kind; its text may hold an address that is nobody's business."""
    return type(error).__name__
