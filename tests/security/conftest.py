"""Fixtures for security tests: a clean environment, and a network that the test defines."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import socket

import httpx
import pytest
from PIL import Image

from runapi_magic.core.access import Access, Secret
from runapi_magic.http.aiohttp_transport import Connections
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

PUBLIC = "93.184.216.34"
SERVICE = "https://runapi.ai"


@pytest.fixture(autouse=True)
def _apart(home, monkeypatch):
    """Read and write nothing of the user's, and use no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Network:
    """Responds in place of all servers. The real clients prepare the requests.

    Attributes:
        responses: URL -> httpx.Response, or a function that makes one from the request.
        requests: All requests that were sent.
    """

    def __init__(self):
        self.responses = {}
        self.requests = []

    async def respond(self, _transport, request):
        """Respond to one request; 404 for a URL that the test does not define."""
        self.requests.append(request)
        found = self.responses.get(str(named_url(request)), httpx.Response(404))
        return found(request) if callable(found) else found

    def with_key(self):
        """Return the URLs that received the key, in any part of the request."""
        return [str(request.url) for request in self.requests if KEY in _everything(request)]


def named_url(request):
    """Return the URL with the host name of the request; it may connect to an IP address."""
    path = request.url.raw_path.decode("ascii")
    return httpx.URL(f"{request.url.scheme}://{request.headers['host']}{path}")


def _everything(request):
    parts = [str(request.url), *request.headers.values(), request.content.decode("latin-1")]
    return "\n".join(parts)


@pytest.fixture
def network(monkeypatch, dns):
    """Replace the network. No request leaves this machine."""
    found = Network()

    async def respond(transport, request):
        await request.aread()
        return await found.respond(transport, request)

    monkeypatch.setattr(Connections, "handle_async_request", respond)
    return found


@pytest.fixture
def dns(monkeypatch):
    """Return a table of host names and their addresses. An IP address resolves to itself."""
    table = {"runapi.ai": [PUBLIC], "files.example": [PUBLIC]}
    real = socket.getaddrinfo

    async def getaddrinfo(_loop, host, port, **more):
        name = host.decode() if isinstance(host, bytes) else host
        if name not in table:
            # The system parses IP addresses without a DNS query.
            return real(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        found = [ipaddress.ip_address(address) for address in table[name]]
        return [
            (
                socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (str(address), port, *((0, 0) if address.version == 6 else ())),
            )
            for address in found
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return table


@pytest.fixture
def run():
    """Call a coroutine function with a transport to a service. Return its result or error."""

    def call(body, base_url=SERVICE):
        async def main():
            transport = Transport(Access(base_url, Secret(KEY), "test", "test"))
            try:
                async with asyncio.timeout(30):
                    return await body(transport)
            except Exception as error:  # noqa: BLE001 (the test checks it)
                return error
            finally:
                await transport.close()

        return asyncio.run(main())

    return call


@pytest.fixture
def make_image():
    """Return a function that makes encoded images."""

    def make(kind="PNG", size=(24, 18)):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind)
        return buffer.getvalue()

    return make
