"""A clean environment, and a network that is a table in the test."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import socket

import httpx
import pytest
from PIL import Image

from runapi_magic.engine.settings import Access, Secret
from runapi_magic.http.aiohttp_transport import Connections
from runapi_magic.http.transport import Transport
from tests.conftest import KEY

PUBLIC = "93.184.216.34"
SERVICE = "https://runapi.ai"


@pytest.fixture(autouse=True)
def _apart(home, monkeypatch):
    """Nothing of the user's is read or written, and no proxy is in the way."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Network:
    """Answers in place of every server, after the real clients have done their part.

    Attributes:
        answers: httpx.Response, or a function of the request that makes one, by address.
        asked: Every request that left.
    """

    def __init__(self):
        self.answers = {}
        self.asked = []

    async def answer(self, _transport, request):
        """Answer one request; 404 for an address that the test does not name."""
        self.asked.append(request)
        found = self.answers.get(str(named(request)), httpx.Response(404))
        return found(request) if callable(found) else found

    def with_key(self):
        """Return the addresses that were shown the key, in whatever part of the request."""
        return [str(request.url) for request in self.asked if KEY in _everything(request)]


def named(request):
    """Return a request's address by the name it is meant for, whatever it connects to."""
    path = request.url.raw_path.decode("ascii")
    return httpx.URL(f"{request.url.scheme}://{request.headers['host']}{path}")


def _everything(request):
    parts = [str(request.url), *request.headers.values(), request.content.decode("latin-1")]
    return "\n".join(parts)


@pytest.fixture
def network(monkeypatch, names):
    """No request leaves this machine."""
    found = Network()

    async def answer(transport, request):
        await request.aread()
        return await found.answer(transport, request)

    monkeypatch.setattr(Connections, "handle_async_request", answer)
    return found


@pytest.fixture
def names(monkeypatch):
    """A table of names and their addresses; an address resolves to itself, however it is spelt."""
    table = {"runapi.ai": [PUBLIC], "files.example": [PUBLIC]}
    real = socket.getaddrinfo

    async def getaddrinfo(_loop, host, port, **more):
        name = host.decode() if isinstance(host, bytes) else host
        if name not in table:
            # Numbers are read by the system as they always are, without asking anybody.
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
    """Call a coroutine function with a transport to a service; return the result or the error."""

    def call(body, base_url=SERVICE):
        async def main():
            transport = Transport(Access(base_url, Secret(KEY), "test", "test"))
            try:
                async with asyncio.timeout(30):
                    return await body(transport)
            except Exception as error:  # noqa: BLE001 (the test says which it must be)
                return error
            finally:
                await transport.close()

        return asyncio.run(main())

    return call


@pytest.fixture
def picture():
    """Return a maker of encoded pictures."""

    def make(kind="PNG", size=(24, 18)):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind)
        return buffer.getvalue()

    return make
