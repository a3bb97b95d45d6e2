"""Download and upload image files by URL, without the key.

The service names these URLs, so each one is checked before anything connects to it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from runapi_magic.core.formats import image_format
from runapi_magic.errors import (
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    DownloadError,
    PayloadTooLargeError,
    UnsafeURLError,
)
from runapi_magic.http.response_body import (
    BodyError,
    describe_body_error,
    minimum_rate,
    pieces,
    read_body,
)
from runapi_magic.http.responses import (
    FIRST_ERROR,
    REDIRECTS,
    error_from_response,
    parse_retry_after,
)
from runapi_magic.http.ssrf import check_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    import httpx

    from runapi_magic.errors import APIError
    from runapi_magic.http.httpx_clients import HttpxClients

_MOST_REDIRECTS = 3
_MEGABYTE = 1_000_000
_WRITTEN_AT_ONCE = 1024 * 1024  # bytes
_SENT_AT_ONCE = 64 * 1024  # bytes between two progress reports
_EXPIRED = {403, 404, 410}


class FileTransfer:
    """Downloads and uploads for one service.

    Args:
        clients: The clients to use.
        is_public: Whether the service is on another machine.
    """

    def __init__(self, clients: HttpxClients, *, is_public: bool) -> None:
        self._clients = clients
        self._is_public = is_public

    async def download(self, url: str, into: Path, *, max_megabytes: float) -> str:
        """Download an image into a file, and return its format.

        Args:
            url: The URL of the image.
            into: The file to write. It exists and is empty.
            max_megabytes: The largest size, in millions of bytes.

        Returns:
            ``png``, ``jpg``, ``webp`` or ``gif``, from the first bytes of the file.

        Raises:
            DownloadError: The URL does not return an image, or the image is too large.
            UnsafeURLError: The URL is not allowed.
        """
        largest = int(max_megabytes * _MEGABYTE)
        try:
            async with minimum_rate() as moved, self.stream(url) as response:
                kind = await _save(response, into, largest, moved)
        except (TimeoutError, BodyError) as error:
            raise DownloadError(
                f"The image cannot be read: {describe_body_error(error)}."
            ) from None
        if kind is None:
            raise DownloadError("The image URL returned an empty file.")
        return kind

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[httpx.Response]:
        """Open a URL. Follow at most three redirects, and check each one.

        Raises:
            UnsafeURLError: The URL, or a redirect, is not allowed.
            DownloadError: The URL cannot be reached or returns an error.
        """
        import httpx

        client = (await self._clients.get()).files
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                await self.check_url(url)
                async with client.stream("GET", url) as response:
                    if response.status_code not in REDIRECTS:
                        _raise_for_status(response)
                        yield response
                        return
                    url = _redirect_target(url, response)
            except (CertificateError, ConfigurationError) as error:
                todo = f"{error.todo}\nThen: %runapi resume."
                raise DownloadError(error.what, temporary=False, todo=todo) from None
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise DownloadError(
                    f"The download was interrupted ({type(error).__name__})."
                ) from None
        raise DownloadError(f"The image URL redirects more than {_MOST_REDIRECTS} times.")

    async def upload(
        self,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Upload bytes with one PUT request that has exactly these headers.

        Args:
            url: The URL in the file storage.
            headers: The headers.
            content: The bytes.
            on_progress: Called with the share that was sent, 0 to 1.

        Raises:
            UnsafeURLError: The URL is not allowed.
            APIError: The file storage returned an error.
            ConnectionFailedError: There was no response.
        """
        import httpx

        try:
            await self.check_url(url)
        except DownloadError as error:  # the error class of ``check_url``; nothing is downloaded
            raise _upload_failed(f": {error.what}") from None
        client = (await self._clients.get()).files
        try:
            # Name the length. Otherwise the body is sent in chunks, which file storage refuses.
            length = {"Content-Length": str(len(content))}
            async with minimum_rate() as moved:
                body = _split(content, on_progress, moved)
                async with client.stream(
                    "PUT", url, headers=length | dict(headers), content=body
                ) as response:
                    answer = await read_body(response, moved)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _upload_failed(f" ({type(error).__name__}).") from None
        except ValueError:  # such as a line feed in a header; a UnicodeError is a ValueError
            raise _upload_failed(": the service returned an invalid URL or header.") from None
        except (TimeoutError, BodyError) as error:
            raise _upload_failed(f": {describe_body_error(error)}.") from None
        if not response.is_success:
            refusal = error_from_response(response.status_code, response.headers, answer)
            raise _from_file_storage(refusal)

    async def check_url(self, url: str) -> None:
        """Raise an error if this machine must not open a URL that the service names.

        Raises:
            UnsafeURLError: The URL is not allowed.
            DownloadError: The host name cannot be resolved.
        """
        await check_url(url, service_is_public=self._is_public)


def _upload_failed(why: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"The source image could not be uploaded{why}")


def _from_file_storage(error: APIError) -> APIError:
    """Return an error with texts for the file storage, which gets no key and knows no model."""
    what = f"The file storage did not accept the source image ({error.status_code})"
    error.what = f"{what}: {error.reason}" if error.reason else f"{what}."
    error.args = (error.what,)
    if not isinstance(error, PayloadTooLargeError):
        error.todo = "Wait a moment and run the cell again."
    return error


def _redirect_target(url: str, response: httpx.Response) -> str:
    location: str = response.headers.get("location", "")
    try:
        return urljoin(url, location)
    except ValueError:
        raise UnsafeURLError("The image URL redirects to an invalid URL.") from None


def _raise_for_status(response: httpx.Response) -> None:
    if response.status_code >= FIRST_ERROR:
        raise DownloadError(
            f"The image URL returned status {response.status_code}.",
            expired=response.status_code in _EXPIRED,
            retry_after=parse_retry_after(response.headers.get("retry-after"), time.time()),
        )


async def _save(
    response: httpx.Response, into: Path, largest: int, moved: Callable[[int], None]
) -> str | None:
    """Write an image into a file. Return its format; None if the body is empty."""
    size, kind = 0, None
    buffer = bytearray()

    with into.open("wb") as file:

        async def write() -> None:
            nonlocal kind
            kind = kind or _require_image(buffer, response.headers.get("content-type", ""))
            await asyncio.to_thread(file.write, bytes(buffer))
            buffer.clear()

        async for piece in pieces(response, moved):
            size += len(piece)
            if size > largest:
                raise DownloadError(
                    f"The image is larger than {largest / _MEGABYTE:g} MB.",
                    temporary=False,
                    todo="To allow more, set %config RunAPIMagics.max_download_mb.",
                )
            buffer += piece
            if len(buffer) >= _WRITTEN_AT_ONCE:
                await write()
        if buffer:
            await write()
    return kind


def _require_image(start: bytes | bytearray, content_type: str) -> str:
    kind = image_format(start)
    if kind is not None:
        return kind
    shown = content_type.partition(";")[0].strip() or "unknown"
    raise DownloadError(f"The file is not a PNG, JPEG, WEBP or GIF image (sent as {shown[:60]}).")


async def _split(
    content: bytes, on_progress: Callable[[float], None] | None, moved: Callable[[int], None]
) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _SENT_AT_ONCE):
        yield content[start : start + _SENT_AT_ONCE]
        moved(_SENT_AT_ONCE)
        if on_progress is not None:
            on_progress(min(1.0, (start + _SENT_AT_ONCE) / len(content)))
        await asyncio.sleep(0)  # on a fast network, sending never waits: let other tasks run
