"""What answers: RunAPI, or a simulator in this process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runapi_magic.client import Client, picture_kind
from runapi_magic.errors import InvalidRequestError
from runapi_magic.settings import Access, Secret
from runapi_magic.transport import Transport

if TYPE_CHECKING:
    from runapi_magic.requests import Source

SIMULATOR_URL = "http://simulator.localhost"
_UPLOAD_LIFETIME = 50 * 60  # seconds; the service keeps an upload for an hour
_OUTPUT_LIFETIME = 20 * 3600  # seconds; some models' outputs are kept for 24 hours


@dataclass(slots=True)
class Service:
    """What answers, and which pictures it has already.

    Attributes:
        access: Base URL and key.
        client: Its calls.
        speed: How much faster than life the simulator in this process is; 0: it is no simulator.
    """

    access: Access
    client: Client
    speed: float = 0.0
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)
    _uploading: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def is_simulated(self) -> bool:
        """Whether a simulator in this process answers."""
        return self.speed > 0

    def remember_output(self, digest: str, url: str) -> None:
        """Note that the service has a picture at an address of its own."""
        self._known[digest] = url, time.monotonic() + _OUTPUT_LIFETIME

    async def address(self, source: Source) -> str:
        """Return an address under which the service finds a source, uploading it if need be.

        Raises:
            InvalidRequestError: The source's file is gone or changed.
            RunAPIError: The upload failed.
        """
        if source.url is not None:
            return source.url
        async with self._uploading.setdefault(source.digest, asyncio.Lock()):
            url, good_until = self._known.get(source.digest, ("", 0.0))
            if time.monotonic() >= good_until:
                content = await asyncio.to_thread(_read, source)
                name = source.path.name if source.path else f"picture.{picture_kind(content)}"
                url = await self.client.upload(content, name)
                self._known[source.digest] = url, time.monotonic() + _UPLOAD_LIFETIME
            return url


def _read(source: Source) -> bytes:
    if source.content is not None:
        return source.content
    if source.path is None:
        raise InvalidRequestError(
            f"The source picture {source.label} was in memory only and is gone.",
            todo="Run the cell again.",
        )
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"The file {source.path} cannot be read any more ({error.strerror}).",
            todo="Check the path.",
        ) from None


def remote_service(access: Access) -> Service:
    """Return the service that key and base URL name."""
    return Service(access, Client(Transport(access)))


def simulated_service(speed: float) -> Service:
    """Return a simulator in this process: no key, no network, no cost.

    Args:
        speed: How much faster than life it is, more than 0.

    Raises:
        InvalidRequestError: The speed is not more than 0.
    """
    if not speed > 0:
        raise InvalidRequestError(
            f"--speed {speed:g} is no speed.", todo="Use a number above 0, such as 10."
        )
    app: Any
    from runapi_magic.simulator import Simulator, create_app

    app = create_app(Simulator(speed=speed))
    access = Access(SIMULATOR_URL, Secret("simulated-key"), "simulator", "simulator")
    return Service(access, Client(Transport(access, app)), speed)
