"""httpx's interface on aiohttp's connections, which a thousand tasks under way do not overload.

httpx's own pool goes through all its connections for every request that waits for one: with a
thousand tasks under way a kernel does nothing else; docs/benchmarks.md has the figures. The package
httpx-aiohttp (0.2) is not used: it calls an answer that was lost a connection that was never made,
so that a charge would be denied, and it decodes what a signed address has encoded.
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

_AT_ONCE = 100  # connections; more requests wait for their turn
_KEEP_ALIVE = 90.0  # seconds; looks at a task are seconds apart, and a new TLS connection is dear
_LONGEST_LINE = 64 * 1024  # bytes of an answer's header: signed addresses are long
# What aiohttp would add: a store may refuse headers that were not signed.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Connections(httpx.AsyncBaseTransport):
    """The connections of one client on one event loop.

    Args:
        verify: Checks certificates.
        pinned: Whether to connect to public addresses only: a name is looked up once, checked and
            connected to, since it may lead elsewhere a moment later. Not behind a proxy, which
            looks names up itself.
        proxied: Whether to go through the proxies that the environment names.
    """

    def __init__(self, verify: ssl.SSLContext, *, pinned: bool, proxied: bool) -> None:
        self._verify = verify
        self._pinned = pinned
        self._proxied = proxied
        self._connectors: dict[bool, _Connector] = {}  # by whether they are pinned

    def _session(self, *, pinned: bool) -> aiohttp.ClientSession:
        """Return a session for one request: one that is left open complains when the kernel ends.

        The environment is not trusted as a whole: aiohttp would put the password of .netrc into
        the place of the key.
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
        """Send a request and return its answer, the body still to be read.

        Raises:
            httpx.ConnectError: Nothing was sent: no connection was made.
            httpx.ConnectTimeout: That, or no connection became free in time.
            httpx.TransportError: The request may have arrived.
            UnsafeURLError: The host's address is not public.
            CertificateError: The host's certificate is not trusted; nothing was sent.
        """
        timeout = request.extensions.get("timeout", {})
        raw = request.headers.raw  # with the names' capitals
        proxy = self._proxy(request.url)
        session = self._session(pinned=self._pinned and not proxy)
        try:
            with _as_httpx():
                answer = await session.request(
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
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    def _proxy(self, url: httpx.URL) -> dict[str, Any]:
        """Return the proxy that the environment names for an address, as aiohttp takes it."""
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
    """Connections that end with their loop, and without a word."""

    def __del__(self, *_: Any) -> None:
        """Say nothing."""


class _PublicResolver(AbstractResolver):
    """Looks up names of the public network, and no others."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily | int = 0
    ) -> list[ResolveResult]:
        address = await resolve_public(host, port)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class _Body(httpx.AsyncByteStream):
    """The body of an answer, piece by piece as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._answer.content.iter_any():
                yield piece

    async def aclose(self) -> None:
        self._answer.release()


def _body(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    try:
        return request.content or None
    except httpx.RequestNotRead:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        return request.stream


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise aiohttp's errors as httpx's; above all, say whether anything may have left."""
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
