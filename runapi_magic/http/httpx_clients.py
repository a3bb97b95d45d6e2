"""Create the httpx clients of each event loop, and close them.

Each loop has two clients. The first one sends requests to RunAPI, with the key. The second one
downloads and uploads files, without the key; it connects to public addresses only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from runapi_magic.core.loop_locks import LoopLocks
from runapi_magic.http.response_body import ENCODING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    import httpx

USER_AGENT = "runapi-magic"
CONNECT_TIMEOUT, READ_TIMEOUT = 15.0, 60.0  # seconds


class LoopClients(NamedTuple):
    """The clients of one event loop.

    Attributes:
        api: For requests to RunAPI, with the key.
        files: For downloads and uploads, without the key.
    """

    api: httpx.AsyncClient
    files: httpx.AsyncClient


class HttpxClients:
    """The clients of all event loops, for one service.

    Args:
        is_public: Whether the service is on another machine.
        app: An ASGI application that answers instead of the network (the simulator).
    """

    def __init__(self, *, is_public: bool, app: Any = None) -> None:
        self._is_public = is_public
        self._app = app
        self._clients: WeakKeyDictionary[AbstractEventLoop, LoopClients] = WeakKeyDictionary()
        self._locks = LoopLocks()

    async def get(self) -> LoopClients:
        """Return the clients of the running loop. Create them on the first call.

        Raises:
            ConfigurationError: The environment names certificates that cannot be read.
        """
        loop = asyncio.get_running_loop()
        async with self._locks.of_running_loop():
            if loop not in self._clients:
                # Imports and certificates take some time, so this runs in a thread.
                create = await asyncio.to_thread(_client_factory, self._is_public, self._app)
                self._clients[loop] = LoopClients(create(for_files=False), create(for_files=True))
            return self._clients[loop]

    async def close(self) -> None:
        """Close the connections of the running loop."""
        for client in self._clients.pop(asyncio.get_running_loop(), ()):
            await client.aclose()


def _client_factory(is_public: bool, app: Any) -> Callable[..., httpx.AsyncClient]:
    """Do the slow part of creating clients, and return a function that does the rest."""
    import httpx

    from runapi_magic.http.aiohttp_transport import Connections
    from runapi_magic.http.certificates import create_tls_context

    verify = create_tls_context() if app is None else None

    def create(*, for_files: bool) -> httpx.AsyncClient:
        connections: httpx.AsyncBaseTransport = (
            httpx.ASGITransport(app=app)
            if verify is None
            # The proxies of the environment are for other machines, not for this one.
            else Connections(verify, pinned=for_files and is_public, proxied=is_public)
        )
        return httpx.AsyncClient(
            transport=connections,
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "*/*",
                # Image files are already compressed.
                "Accept-Encoding": "identity" if for_files else ENCODING,
            },
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
        )

    return create
