"""A transport for httpx that uses the connections of aiohttp.

The pool of httpx searches all its connections for every request that waits for one. With a thousand
running tasks, a kernel has no time for anything else; see docs/benchmarks.md.

We do not use the package httpx-aiohttp (0.2). It reports a lost response as a failed connection, so
a message would say that nothing was charged. It also decodes the encoded parts of signed URLs.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from runapi_magic.http.certificates import refused_certificate
from runapi_magic.http.proxies import proxy_for
from runapi_magic.http.ssrf import resolve_public

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

_AT_ONCE = 100  # connections; other requests wait
_KEEP_ALIVE = 90.0  # seconds; polls are seconds apart, and a new TLS connection is expensive
_LONGEST_LINE = 64 * 1024  # bytes of a header in a response: signed URLs are long
# Headers that aiohttp would add. File storage may refuse headers that are not signed.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Connections(httpx.AsyncBaseTransport):
    """The connections of one client on one event loop.

    Args:
        verify: Checks certificates.
        pinned: Whether to connect to public addresses only. A connection uses the same addresses
            that were checked, because the name may have another address a moment later. This does
            not apply with a proxy, which resolves names itself.
        proxied: Whether to use the proxies of the environment.
    """

    def __init__(self, verify: ssl.SSLContext, *, pinned: bool, proxied: bool) -> None:
        self._verify = verify
        self._pinned = pinned
        self._proxied = proxied
        self._connectors: dict[bool, _Connector] = {}  # by ``pinned``

    def _session(self, *, pinned: bool) -> aiohttp.ClientSession:
        """Return a session for one request. A session that stays open warns when the kernel ends.

        The session does not use ``trust_env``: aiohttp would send a password from .netrc instead of
        the key.
        """
        if pinned not in self._connectors:
            self._connectors[pinned] = _Connector(
                limit=_AT_ONCE,
                keepalive_timeout=_KEEP_ALIVE,
                ssl=self._verify,
                resolver=_PublicResolver() if pinned else None,
                use_dns_cache=not pinned,
            )
        return aiohttp.ClientSession(
            connector=self._connectors[pinned],
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response. Its body is not read yet.

        Raises:
            httpx.ConnectError: There was no connection, so nothing was sent.
            httpx.ConnectTimeout: The same, or no connection became free in time.
            httpx.TransportError: The request may have arrived.
            UnsafeURLError: The address of the host is not public.
            CertificateError: The certificate of the host is not trusted. Nothing was sent.
        """
        timeout = request.extensions.get("timeout", {})
        raw = request.headers.raw  # keeps the case of the names
        proxy = self._proxy(request.url)
        session = self._session(pinned=self._pinned and not proxy)
        try:
            with _as_httpx():
                response = await session.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=[(name.decode(), value.decode()) for name, value in raw],
                    data=_body(request),
                    allow_redirects=False,
                    auto_decompress=False,
                    timeout=aiohttp.ClientTimeout(
                        total=None,
                        connect=timeout.get("pool"),
                        sock_connect=timeout.get("connect"),
                        sock_read=timeout.get("read"),
                    ),
                    **proxy,
                )
        finally:
            session.detach()
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    def _proxy(self, url: httpx.URL) -> dict[str, Any]:
        """Return the proxy of the environment for a URL, as arguments for aiohttp."""
        found = proxy_for(url.scheme, url.host) if self._proxied else None
        if found is None:
            return {}
        proxy = httpx.Proxy(found)
        if not proxy.raw_auth:
            return {"proxy": str(proxy.url)}
        word = b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        return {
            "proxy": str(proxy.url),
            "proxy_headers": {"Proxy-Authorization": f"Basic {word}"},
        }

    async def aclose(self) -> None:
        """Close all connections."""
        for connector in self._connectors.values():
            await connector.close()


class _Connector(aiohttp.TCPConnector):
    """Connections that end with their event loop, without a warning."""

    def __del__(self, *_: Any) -> None:
        """Do not warn about open connections."""


class _PublicResolver(AbstractResolver):
    """Resolves host names to public addresses only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily | int = 0
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in await resolve_public(host, port)
        ]

    async def close(self) -> None:
        """Do nothing: the resolver has no state."""


class _Body(httpx.AsyncByteStream):
    """The body of a response, in pieces as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._response.content.iter_any():
                yield piece

    async def aclose(self) -> None:
        self._response.release()


def _body(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    try:
        return request.content or None
    except httpx.RequestNotRead:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        return request.stream


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise the errors of aiohttp as those of httpx, which say whether anything was sent."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        reason = error.certificate_error
        if not isinstance(reason, ssl.SSLCertVerificationError):
            raise httpx.ConnectError(str(error)) from error
        raise refused_certificate(error.host, reason) from None
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as error:
        raise httpx.ConnectError(str(error)) from error
    except TimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except aiohttp.InvalidURL as error:
        raise httpx.UnsupportedProtocol(str(error)) from error
    except (aiohttp.ClientPayloadError, ConnectionError) as error:
        raise httpx.ReadError(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
